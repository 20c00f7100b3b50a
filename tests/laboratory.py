"""What many tests share: keys, and a repository before a primary that fails on schedule."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np

from ftrepo.events import Event
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Journal
from ftrepo.keys import Algorithm, PublicKey
from ftrepo.policy import Policy
from sim.loop import VirtualTimeLoop, run_virtual
from sim.world.durations import Deterministic
from sim.world.issuers import EPOCH
from sim.world.outages import Outage, OutageMode
from sim.world.primary import SimulatedPrimary
from sim.world.primary_settings import PrimarySettings

T = TypeVar("T")

LATENCY_S = 0.002
"""How long a healthy primary takes for anything."""

STORY_S_MAX = 5_000.0
"""No story is longer, in virtual time; one that never ends then fails instead."""


def make_key(
    name: str, *, material: str | None = None, created_s: float = 0.0, lifetime_s: float = 1e6
) -> PublicKey:
    """A key with this id, whose material depends on nothing but the name given for it."""
    created = EPOCH + timedelta(seconds=created_s)
    return PublicKey(
        id=name,
        material=hashlib.sha256((material or name).encode()).digest(),
        algorithm=Algorithm.ED25519,
        created=created,
        expires=created + timedelta(seconds=lifetime_s),
    )


@dataclass
class Laboratory:
    """A primary that fails on schedule, in virtual time, and whatever events were observed."""

    loop: VirtualTimeLoop
    primary: SimulatedPrimary
    events: list[Event] = field(default_factory=list)

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time())

    def repository(
        self, policy: Policy | None = None, *, journal: Journal | None = None
    ) -> FaultTolerantRepository:
        return FaultTolerantRepository(
            self.primary,
            policy,
            now=self.now,
            observers=[self.events.append],
            journal=journal,
            draw=lambda: 0.0,
        )

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, moment_s: float) -> None:
        """Let virtual time pass to this moment."""
        await asyncio.sleep(moment_s - self.loop.time())


def run_laboratory(
    story: Callable[[Laboratory], Awaitable[T]],
    outages: Sequence[Outage] = (),
    *,
    seed: int | None = None,
    **settings: Any,
) -> T:
    """Play a story in virtual time; with a seed, in an order of callbacks that the seed picks."""

    async def main(loop: VirtualTimeLoop) -> T:
        def now() -> datetime:
            return EPOCH + timedelta(seconds=loop.time())

        latency = Deterministic(mean_s=LATENCY_S)
        plain = {"select": latency, "insert": latency, "delete": latency}
        primary = SimulatedPrimary(
            loop,
            PrimarySettings(**(plain | settings)),
            outages=outages,
            rng=np.random.default_rng(0),
            now=now,
        )
        async with asyncio.timeout(STORY_S_MAX):
            return await story(Laboratory(loop, primary))

    order = None if seed is None else np.random.default_rng(seed)
    return run_virtual(main, order=order)


def refuse(start_s: float, end_s: float) -> Outage:
    """An outage in which every connection is refused."""
    return Outage(start_s, end_s, OutageMode.REFUSE)


def hang(start_s: float, end_s: float) -> Outage:
    """An outage in which nothing is answered."""
    return Outage(start_s, end_s, OutageMode.HANG)
