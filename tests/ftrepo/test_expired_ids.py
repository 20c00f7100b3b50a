"""An id whose key has expired is free, wherever that key still is."""

from __future__ import annotations

from typing import Literal

import pytest

from ftrepo.events import PendingDropped
from ftrepo.interface import Durability
from ftrepo.policy import Policy
from tests.laboratory import Laboratory, make_key, refuse, run_laboratory


@pytest.mark.parametrize("write_order", ["cache-first", "primary-first"])
@pytest.mark.parametrize("material", ["a", "other"])
def test_a_successor_created_in_an_outage_is_kept(
    write_order: Literal["cache-first", "primary-first"], material: str
) -> None:
    """A key acknowledged under the id of an expired one that still waited reaches the primary."""
    policy = Policy(write_order=write_order)
    successor = make_key("a", material=material)

    async def story(lab: Laboratory) -> None:
        async with lab.repository(policy) as repo:
            await lab.until(10.0)
            for number in range(policy.breaker_failure_threshold):
                await repo.create(make_key(f"k{number}"))
            await repo.create(make_key("a", lifetime_s=12.0))
            await lab.until(15.0)
            assert "a" in repo.pending
            assert await repo.create(successor) is Durability.MEMORY
            assert await repo.get("a") == successor
            assert lab.seen(PendingDropped) == [PendingDropped(key_id="a", reason="expired")]
            await lab.until(200.0)
            assert "a" in lab.primary
            assert await repo.get("a") == successor
            assert not repo.pending

    run_laboratory(story, [refuse(10.0, 100.0)])
