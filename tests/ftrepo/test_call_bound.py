"""What the primary sees, at most, with 1, 100 and 10,000 callers.

The bound is stated in `ftrepo.resilience.call_budget`: in any stretch of time, calls that bring
nothing number at most a burst and a rate times the time, however the primary fails and however
many ask.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError
from ftrepo.events import BreakerChanged, Event
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from sim.world.outages import Outage, OutageMode
from tests.laboratory import Laboratory, make_key, run_laboratory

RATE_PER_S, BURST = 50.0, 40
CAPACITY = BURST * 1.2
"""What reads may use, and a tenth of that for writes, and as much for background work."""
POLICY = Policy(
    futile_calls_per_s_max=RATE_PER_S,
    calls_in_flight_max=BURST,
    breaker_open_s=1.0,
    expiry_interval_s=2.0,
    flush_interval_s=0.5,
)
KNOWN = [f"known-{number}" for number in range(50)]


@dataclass
class Watched:
    """A primary that notes when each call began, whether it brought anything, and recoveries."""

    lab: Laboratory
    began_s: list[float] = field(default_factory=list)
    futile_s: list[float] = field(default_factory=list)
    closed_s: list[float] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        if isinstance(event, BreakerChanged) and event.new is BreakerState.CLOSED:
            self.closed_s.append(self.lab.loop.time())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.lab.primary, name)
        if name not in ("get", "create", "create_many", "list_valid", "delete_expired", "ping"):
            return method

        async def watched(*args: Any, **kwargs: Any) -> Any:
            began_s = self.lab.loop.time()
            self.began_s.append(began_s)
            try:
                return await method(*args, **kwargs)
            except BaseException:
                self.futile_s.append(began_s)
                raise

        return watched


def burst_beyond(moments_s: Sequence[float], rate_per_s: float) -> float:
    """By how many the moments in any stretch of time exceed the rate times its length."""
    largest = excess = 0.0
    before_s = -math.inf
    for moment_s in sorted(moments_s):
        excess = max(0.0, excess - rate_per_s * (moment_s - before_s)) + 1.0
        before_s, largest = moment_s, max(largest, excess)
    return largest


async def ask_for_ever(
    repo: FaultTolerantRepository,
    pick: Callable[[], str],
    pause_s: Callable[[], float],
    patience_s: float,
) -> None:
    """A caller who is content with any of the answers that a repository may give, and with none."""
    while True:
        await asyncio.sleep(pause_s())
        with suppress(KeyUnavailableError, KeyNotFoundError, TimeoutError):
            async with asyncio.timeout(patience_s):
                await repo.get(pick())


def play(
    callers: int,
    outages: Sequence[Outage],
    story: Callable[[Laboratory, FaultTolerantRepository, Watched], Awaitable[None]],
    *,
    unknown_share: float = 0.3,
    patience_s: float = 5.0,
    policy: Policy = POLICY,
) -> Watched:
    """Let so many callers ask about once a second each, while a story is told."""

    async def play_it(lab: Laboratory) -> Watched:
        rng = np.random.default_rng(7)
        watched = Watched(lab)
        forged = iter(range(10**9))

        def pick() -> str:
            if rng.random() < unknown_share:
                return f"forged-{next(forged)}"
            return KNOWN[rng.integers(len(KNOWN))]

        def pause_s() -> float:
            return float(rng.random() * 2.0)

        repository = FaultTolerantRepository(
            watched,  # type: ignore[arg-type]
            policy,
            now=lab.now,
            observers=[watched.observe],
            draw=lambda: 0.0,
        )
        async with repository:
            for name in KNOWN:
                await repository.create(make_key(name))
            crowd = [
                asyncio.create_task(ask_for_ever(repository, pick, pause_s, patience_s))
                for _ in range(callers)
            ]
            await story(lab, repository, watched)
            for caller in crowd:
                caller.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)
        return watched

    return run_laboratory(play_it, outages)


@pytest.mark.parametrize("callers", [1, 100, 10_000])
@pytest.mark.parametrize(
    ("mode", "breaker"),
    [
        (OutageMode.REFUSE, True),
        (OutageMode.REFUSE, False),
        (OutageMode.HANG, True),
        (OutageMode.ERROR_RATE, True),
        (OutageMode.ERROR_RATE, False),
    ],
)
def test_an_outage_costs_a_bounded_number_of_calls(
    callers: int, mode: OutageMode, breaker: bool
) -> None:
    """However many ask, with a breaker and without, calls that bring nothing keep to the bound."""
    outage = Outage(2.0, 5.0, mode, 0.5 if mode is OutageMode.ERROR_RATE else 1.0)
    policy = POLICY if breaker else replace(POLICY, breaker=False)

    async def story(lab: Laboratory, repo: FaultTolerantRepository, _: Watched) -> None:
        await lab.until(3.0)
        for number in range(3):
            await repo.create(make_key(f"new-{number}"))
        await lab.until(6.5)
        assert not repo.pending, "the flush has not been kept from its work"

    watched = play(callers, [outage], story, policy=policy)
    assert burst_beyond(watched.futile_s, RATE_PER_S) <= CAPACITY
    if callers == 10_000 and mode is OutageMode.REFUSE and not breaker:
        in_outage = [moment_s for moment_s in watched.futile_s if 2.0 <= moment_s < 5.0]
        assert len(in_outage) > 2.5 * RATE_PER_S, "the bound is reached, so it is what holds"


@pytest.mark.parametrize("callers", [1, 100, 10_000])
def test_callers_who_give_up_cost_a_bounded_number_of_calls(callers: int) -> None:
    """A call that its caller cancels is no failure to the breaker, but it has brought nothing."""

    async def story(lab: Laboratory, repo: FaultTolerantRepository, _: Watched) -> None:
        await lab.until(5.0)

    watched = play(callers, [Outage(2.0, 5.0, OutageMode.HANG)], story, patience_s=0.05)
    assert burst_beyond(watched.futile_s, RATE_PER_S) <= CAPACITY
    if callers == 10_000:
        in_outage = [moment_s for moment_s in watched.futile_s if 2.0 <= moment_s < 5.0]
        assert len(in_outage) > 2.5 * RATE_PER_S, "the bound is reached, so it is what holds"


@pytest.mark.parametrize("callers", [1, 100, 10_000])
def test_a_flood_of_made_up_ids_costs_a_bounded_number_of_calls(callers: int) -> None:
    """Forged ids reach a healthy primary at the rate and no faster, and known keys go on."""

    async def story(lab: Laboratory, repo: FaultTolerantRepository, _: Watched) -> None:
        for _ in range(20):
            await asyncio.sleep(0.1)
            assert await repo.get(KNOWN[0]) == make_key(KNOWN[0])
        assert repo.breaker_state is BreakerState.CLOSED

    watched = play(callers, [], story, unknown_share=1.0)
    assert burst_beyond(watched.futile_s, RATE_PER_S) <= CAPACITY
    if callers == 10_000:
        assert len(watched.futile_s) > RATE_PER_S * 1.5


@pytest.mark.parametrize("callers", [1, 100, 10_000])
def test_the_return_is_a_ramp(callers: int) -> None:
    """After a recovery, calls come back at no more than rate / (1 − p), and in the end all do."""
    ramp_s = 4.0
    policy = replace(POLICY, ramp_up_s=ramp_s)

    async def story(lab: Laboratory, repo: FaultTolerantRepository, watched: Watched) -> None:
        await lab.until(10.0)
        (closed_s,) = watched.closed_s
        for passed in (0.25, 0.5, 0.75):
            until_s = closed_s + passed * ramp_s
            calls = sum(closed_s < began_s <= until_s for began_s in watched.began_s)
            # The integral of rate / (1 − p), and what the bucket held: the reserve, and one more.
            allowed = RATE_PER_S * ramp_s * math.log(1 / (1 - passed)) + 0.2 * BURST + 1
            assert calls <= allowed + 1
            if callers == 10_000:
                assert calls >= 0.8 * allowed, "callers want more than they are let"
        after = sum(closed_s + ramp_s < began_s for began_s in watched.began_s)
        if callers == 10_000:
            assert after > 2 * RATE_PER_S * (10.0 - closed_s - ramp_s)

    play(callers, [Outage(2.0, 3.0, OutageMode.REFUSE)], story, unknown_share=0.0, policy=policy)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("cancels_at_once", "honours"), [(True, True), (False, True), (False, False)]
)
def test_every_token_comes_back(seed: int, cancels_at_once: bool, honours: bool) -> None:
    """However calls end, none keeps its token, its place or its flight."""
    policy = replace(
        POLICY,
        calls_in_flight_max=20,
        breaker_open_s=0.3,
        breaker_probe_timeout_s=0.6,
        flush_interval_s=0.2,
        refresh_interval_s=0.7,
        ramp_up_s=0.5,
    )
    outages = [
        Outage(1.0, 2.5, OutageMode.HANG),
        Outage(4.0, 5.0, OutageMode.REFUSE),
        Outage(6.0, 12.0, OutageMode.ERROR_RATE, 0.6),
        Outage(13.0, 14.0, OutageMode.HANG),
    ]
    rng = np.random.default_rng(seed)

    async def story(lab: Laboratory) -> None:
        async def caller(repo: FaultTolerantRepository, number: int) -> None:
            answers = (KeyUnavailableError, KeyNotFoundError, TimeoutError)
            with suppress(*answers):
                async with asyncio.timeout(float(rng.choice([0.0, 0.001, 0.002, 0.05, 0.5, 2.0]))):
                    if rng.random() < 0.2:
                        await repo.create(make_key(f"k{number % 50}"))
                    else:
                        await repo.get(f"k{rng.integers(80)}")

        lab.primary.cancels_at_once = cancels_at_once  # type: ignore[attr-defined]
        async with lab.repository(policy) as repo:
            assert repo.budget is not None
            crowd = []
            for number in range(2000):
                crowd.append(asyncio.create_task(caller(repo, number)))
                if rng.random() < 0.1:
                    crowd[rng.integers(len(crowd))].cancel()
                if rng.random() < 0.7:
                    await asyncio.sleep(float(rng.exponential(0.01)))
                level = repo.budget.level(lab.loop.time())
                assert 0 <= level <= repo.budget.capacity - repo.budget.held + 1e-9
                assert repo.calls_in_flight <= policy.calls_in_flight_max
            await asyncio.gather(*crowd, return_exceptions=True)
            await lab.until(max(lab.loop.time(), 20.0) + 3.05)
            assert not repo.pending
            await repo.get("k1")
        assert repo.budget.held == repo.calls_in_flight == len(repo.lookup._flights) == 0

    run_laboratory(story, outages, seed=seed, driver_honours_cancellation=honours)


@pytest.mark.parametrize("forged_per_s", [150, 5_000])
def test_a_flood_keeps_no_key_from_being_stored(forged_per_s: int) -> None:
    """Every `create` reaches a healthy primary, whatever anybody asks for meanwhile."""

    async def story(lab: Laboratory) -> None:
        rng = np.random.default_rng(1)

        async def flood(repo: FaultTolerantRepository) -> None:
            for number in range(10**9):
                await asyncio.sleep(float(rng.exponential(1.0 / forged_per_s)))
                asked.append(asyncio.create_task(ask(repo, number)))

        async def ask(repo: FaultTolerantRepository, number: int) -> None:
            with suppress(KeyUnavailableError, KeyNotFoundError):
                await repo.get(f"forged-{number}")

        asked: list[asyncio.Task[None]] = []
        async with lab.repository(POLICY) as repo:
            flooding = asyncio.create_task(flood(repo))
            for number in range(200):
                await asyncio.sleep(0.02)
                assert await repo.create(make_key(f"k{number}")) is Durability.PRIMARY
            flooding.cancel()
            await asyncio.gather(flooding, *asked, return_exceptions=True)

    run_laboratory(story)
