"""What a call costs through a time limit, a bulkhead or a rate limiter, in bare awaited calls.

None of these calls is refused or has to wait. Each peer is called in the cheapest of its ways; some
libraries make a call in a task of its own to limit its time, as `BreakerRegistry` does unless it is
told that calls end at once when they are cancelled.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from benchmarks.resilience import SETTINGS, in_bare_calls, ways_of
from benchmarks.resilience_peers import FAILURES, OPEN_S, Action, DownError, Way, answer
from ftrepo.resilience import BreakerRegistry, Bulkhead, RateLimiter, RateLimitSettings

TIMEOUT_S = 3.0
CONCURRENCY_MAX = 25
CALLS_PER_S = 1e9
"""More than a benchmark makes, so that each finds a token."""


def registry_execute() -> dict[str, Any]:
    """A call that succeeds in time, through a closed breaker that is found by its name."""

    async def measure() -> dict[str, Any]:
        peers = {"hyx": _hyx_in_time, "pyresilience": _pyresilience_in_time}
        ways = ways_of(_execute, peers, answer)
        # What the standard library alone takes to keep the time.
        ways["asyncio.timeout"] = _decorated(_in_time)
        ways["ftrepo, in a task of its own"] = _execute(answer, cancels_at_once=False)
        return await in_bare_calls("registry_execute", ways)

    return asyncio.run(measure())


def bulkhead_call() -> dict[str, Any]:
    """A call that finds a place free."""

    async def measure() -> dict[str, Any]:
        peers = {
            "aioresilience": _aioresilience_bulkhead,
            "hyx": _hyx_bulkhead,
            "pyresilience": _pyresilience_bulkhead,
        }
        ways = ways_of(_bulkhead, peers, answer)
        ways["asyncio.Semaphore"] = _with_a_semaphore()
        return await in_bare_calls("bulkhead_call", ways)

    return asyncio.run(measure())


def rate_limit_call() -> dict[str, Any]:
    """A call that finds a token."""

    async def measure() -> dict[str, Any]:
        peers = {"hyx": _hyx_rate, "pyresilience": _pyresilience_rate}
        ways = ways_of(_rate_limiter, peers, answer)
        return await in_bare_calls("rate_limit_call", ways)

    return asyncio.run(measure())


def _execute(action: Action, *, cancels_at_once: bool = True) -> Way:
    registry = BreakerRegistry(SETTINGS, cancels_at_once=cancels_at_once)
    names: dict[str, object] = {"registry": registry, "action": action}
    return Way('registry.execute("billing/acme", action)', names)


def _bulkhead(action: Action) -> Way:
    return Way("bulkhead.call(action)", {"bulkhead": Bulkhead(), "action": action})


def _rate_limiter(action: Action) -> Way:
    limiter = RateLimiter(RateLimitSettings(rate_per_s=CALLS_PER_S, burst=CALLS_PER_S))
    return Way("limiter.call(action)", {"limiter": limiter, "action": action})


async def _in_time() -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await answer()


def _with_a_semaphore() -> Way:
    places = asyncio.Semaphore(CONCURRENCY_MAX)

    async def in_its_place() -> None:
        async with places:
            await answer()

    return _decorated(in_its_place)


def _aioresilience_bulkhead(action: Action) -> Way:
    library = import_module("aioresilience")
    config = library.BulkheadConfig(max_concurrent=CONCURRENCY_MAX)
    bulkhead = library.Bulkhead("dependency", config)
    return Way("bulkhead.execute(action)", {"bulkhead": bulkhead, "action": action})


def _hyx_bulkhead(action: Action) -> Way:
    library = import_module("hyx.bulkhead")
    bulkhead = library.bulkhead(CONCURRENCY_MAX, CONCURRENCY_MAX)

    async def in_its_place() -> None:
        async with bulkhead:
            await action()

    return _decorated(in_its_place)


def _hyx_in_time(action: Action) -> Way:
    breakers, timeouts = import_module("hyx.circuitbreaker"), import_module("hyx.timeout")
    breaker = breakers.consecutive_breaker(
        exceptions=(DownError,), failure_threshold=FAILURES, recovery_time_secs=OPEN_S
    )

    async def in_time() -> None:
        async with timeouts.timeout(TIMEOUT_S):
            await action()

    return _decorated(breaker(in_time))


def _hyx_rate(action: Action) -> Way:
    library = import_module("hyx.ratelimit")
    return _decorated(library.tokenbucket(CALLS_PER_S, 1.0)(action))


def _pyresilience_bulkhead(action: Action) -> Way:
    library = import_module("pyresilience")
    config = library.BulkheadConfig(max_concurrent=CONCURRENCY_MAX)
    return _decorated(library.resilient(bulkhead=config)(action))


def _pyresilience_in_time(action: Action) -> Way:
    library = import_module("pyresilience")
    breaker = library.CircuitBreakerConfig(failure_threshold=FAILURES, recovery_timeout=OPEN_S)
    timeout = library.TimeoutConfig(seconds=TIMEOUT_S)
    return _decorated(library.resilient(circuit_breaker=breaker, timeout=timeout)(action))


def _pyresilience_rate(action: Action) -> Way:
    library = import_module("pyresilience")
    config = library.RateLimiterConfig(max_calls=int(CALLS_PER_S))
    return _decorated(library.resilient(rate_limiter=config)(action))


def _decorated(function: object) -> Way:
    return Way("function()", {"function": function})


if __name__ == "__main__":
    for measure in (registry_execute, bulkhead_call, rate_limit_call):
        print(measure())
