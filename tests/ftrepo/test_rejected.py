"""A primary that answers and refuses the data: neither a success nor a failure of the server."""

from __future__ import annotations

from typing import Any

import pytest

from ftrepo.errors import PrimaryRejectedError, PrimaryUnavailableError
from ftrepo.events import BreakerChanged, PrimaryFailed
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerState
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory


class Refusing:
    """The simulated primary with a constraint: it takes no key whose id begins with "x"."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab.primary, name)

    async def create(self, key: PublicKey) -> Durability:
        self._check([key])
        return await self._lab.primary.create(key)

    async def create_many(self, keys: list[PublicKey]) -> object:
        self._check(keys)
        return await self._lab.primary.create_many(keys)

    def _check(self, keys: list[PublicKey]) -> None:
        if any(key.id.startswith("x") for key in keys):
            raise PrimaryRejectedError("the primary refuses it")

    def repository(self, policy: Policy | None = None) -> FaultTolerantRepository:
        return FaultTolerantRepository(
            self,  # type: ignore[arg-type]
            policy,
            now=self._lab.now,
            observers=[self._lab.events.append],
        )


def test_rejections_do_not_trip_the_breaker() -> None:
    """However many keys are refused, the primary is still asked, and each refusal is observed."""

    async def story(lab: Laboratory) -> None:
        async with Refusing(lab).repository() as repo:
            for number in range(3 * repo.policy.breaker_failure_threshold):
                assert await repo.create(make_key(f"x{number}")) is Durability.MEMORY
            assert repo.breaker_state is BreakerState.CLOSED
            assert await repo.create(make_key("a")) is Durability.PRIMARY
            assert len(lab.seen(PrimaryFailed)) >= 3 * repo.policy.breaker_failure_threshold
            assert not lab.seen(BreakerChanged)

    run_laboratory(story)


def test_rejections_do_not_hide_an_outage() -> None:
    """A refusal between failures is no success: the failures still trip the breaker."""

    async def story(lab: Laboratory) -> None:
        policy = Policy(flush_interval_s=100.0)
        async with Refusing(lab).repository(policy) as repo:
            await lab.until(10.0)
            for number in range(policy.breaker_failure_threshold):
                assert repo.breaker_state is BreakerState.CLOSED
                await repo.create(make_key(f"a{number}"))
                await repo.create(make_key(f"x{number}"))
            assert repo.breaker_state is BreakerState.OPEN

    run_laboratory(story, [refuse(10.0, 90.0)])


def test_a_rejected_key_delays_no_other() -> None:
    """A key that the primary never takes stays pending, and those beside it are flushed."""

    async def story(lab: Laboratory) -> None:
        async with Refusing(lab).repository(Policy(refresh_interval_s=None)) as repo:
            await lab.until(10.0)
            for name in ("a", "x", "b", "c"):
                await repo.create(make_key(name))
            await lab.until(40.0)
            assert repo.pending.key_ids() == ["x"]
            assert all(name in lab.primary for name in "abc")
            assert (await repo.get("x")).id == "x"

    run_laboratory(story, [refuse(10.0, 15.0)])


def test_a_caller_sees_an_unavailable_primary() -> None:
    """Without pending writes a refusal reaches the caller as `PrimaryUnavailableError`."""

    async def story(lab: Laboratory) -> None:
        policy = Policy(write_order="primary-only", pending_writes=False)
        async with Refusing(lab).repository(policy) as repo:
            with pytest.raises(PrimaryUnavailableError):
                await repo.create(make_key("x"))

    run_laboratory(story)
