"""What `get` costs when memory answers, in lookups of a plain dict behind one await.

The lookup is the least that any asyncio cache costs. On top of it the repository checks the id, the
expiry and the policy, keeps the order of use, and, while the breaker is open, tells its observers.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ftrepo import FaultTolerantRepository, InMemoryRepository, Policy, PublicKey, SigningKey
from ftrepo.resilience import BreakerState

CALLS = 10_000
PAIRS = 21


class FailingPrimary(InMemoryRepository):
    """A primary in memory that can be switched off; a failure is immediate."""

    def __init__(self) -> None:
        super().__init__(now=_now, entries_max=None)
        self.is_down = False

    async def get(self, key_id: str) -> PublicKey:
        """Return the key, if the primary is up."""
        if self.is_down:
            raise ConnectionRefusedError
        return await super().get(key_id)

    async def ping(self) -> None:
        """Fail while it is down."""
        if self.is_down:
            raise ConnectionRefusedError


def get_cache_first_us() -> dict[str, Any]:
    """`get` with `read_policy="cache-first"` and the key in memory."""
    return asyncio.run(_measure("get_cache_first_us", Policy(read_policy="cache-first")))


def get_while_open_us() -> dict[str, Any]:
    """`get` with the default policy while the breaker is open."""
    return asyncio.run(_measure("get_while_open_us", Policy(), down=True))


async def _measure(name: str, policy: Policy, *, down: bool = False) -> dict[str, Any]:
    primary = FailingPrimary()
    key = SigningKey.generate(created=_now(), lifetime=timedelta(days=1)).public
    plain = {key.id: key}

    async def lookup(key_id: str) -> PublicKey:
        return plain[key_id]

    async with FaultTolerantRepository(primary, policy, observers=[]) as repository:
        await repository.create(key)
        primary.is_down = down
        while down and repository.breaker_state is not BreakerState.OPEN:
            await repository.get(key.id)
        times = [
            (await _cpu_s(repository.get, key.id), await _cpu_s(lookup, key.id))
            for _ in range(PAIRS)
        ]
    ratio = statistics.median(ours_s / plain_s for ours_s, plain_s in times)
    ours_us = statistics.median(ours_s for ours_s, _ in times) / CALLS * 1e6
    return {
        "name": name,
        "value": round(ratio, 2),
        "unit": "ratio",
        "reference": f"one lookup in a dict behind one await; {ours_us:.2f} µs a call here",
    }


async def _cpu_s(get: Callable[[str], Awaitable[PublicKey]], key_id: str) -> float:
    gc.collect()
    start_s = time.process_time()
    for _ in range(CALLS):
        await get(key_id)
    return time.process_time() - start_s


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    print(get_cache_first_us())
    print(get_while_open_us())
