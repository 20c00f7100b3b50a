"""Adapters of the libraries that are made for asyncio, as their documentation uses them.

Each function imports its library and returns the adapter; without the library it raises
ImportError. What is peculiar to a library is said where it is used, so that a failed check is the
library's and not its adapter's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.conformance.site import (
    Adapter,
    BadRequestError,
    DownError,
    Feature,
    Wanted,
    run,
    state_listeners,
)

Action = Callable[[], Awaitable[Any]]


def httpware() -> type[Adapter]:
    """A middleware of an HTTP client: an action is what sends the request.

    It counts its own errors of the network and ignores whatever else is raised. One probe at a
    time is fixed. A never-ending probe is ended by its time-out right behind the breaker, as its
    documentation has it, which is asked for where a check may.
    """
    import httpware as library
    import httpx2

    class Httpware(Adapter):
        distribution = "httpware"
        features = frozenset({Feature.SEVERAL_SUCCESSES})
        failure = library.NetworkError

        def __init__(self, wanted: Wanted) -> None:
            self._request = httpx2.Request("GET", "http://dependency")
            self._breaker = library.AsyncCircuitBreaker(
                failure_threshold=wanted.failure_threshold,
                reset_timeout=wanted.open_s,
                success_threshold=wanted.half_open_max_calls,
            )
            limit_s = wanted.probe_timeout_s
            self._limit = None if limit_s is None else library.AsyncTimeout(timeout=limit_s)

        def call(self, action: Action) -> Awaitable[Any]:
            def send(request: Any) -> Awaitable[Any]:
                return action()

            if (limit := self._limit) is None:
                return self._breaker(self._request, send)
            return self._breaker(self._request, lambda request: limit(request, send))

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, library.CircuitOpenError)

        def retry_after_s(self, error: Any) -> float | None:
            return error.retry_after

    return Httpware


def aioresilience() -> type[Adapter]:
    """A never-ending probe is ended by its `timeout`, which is asked for where a check may."""
    import aioresilience as library
    from aioresilience.events import EventType

    class Aioresilience(Adapter):
        distribution = "aioresilience"
        features = frozenset(Feature)

        def __init__(self, wanted: Wanted) -> None:
            config = library.CircuitConfig(
                failure_threshold=wanted.failure_threshold,
                recovery_timeout=wanted.open_s,
                half_open_max_calls=wanted.half_open_max_calls,
                success_threshold=wanted.half_open_max_calls,
                timeout=wanted.probe_timeout_s,
                failure_exceptions=(DownError,),
            )
            self._breaker = library.CircuitBreaker("dependency", config)
            if wanted.listener is not None:

                async def hear(event: Any) -> None:
                    wanted.listener()

                self._breaker.events.add_handler(EventType.STATE_CHANGE.value, hear)

        def call(self, action: Action) -> Awaitable[Any]:
            return self._breaker.call(action)

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, library.CircuitBreakerOpenError)

    return Aioresilience


def purgatory() -> type[Adapter]:
    """One success at half-open closes it; that and the number of probes are fixed."""
    import purgatory as library
    from purgatory.domain.model import OpenedState

    class Purgatory(Adapter):
        distribution = "purgatory"
        features = frozenset({Feature.LISTENERS})

        def __init__(self, wanted: Wanted) -> None:
            self._ttl_s = wanted.open_s
            self._factory = library.AsyncCircuitBreakerFactory(
                wanted.failure_threshold, wanted.open_s, exclude=[BadRequestError]
            )
            if listener := wanted.listener:
                self._factory.add_listener(
                    lambda name, event, _: listener() if event == "state_changed" else None
                )

        async def call(self, action: Action) -> Any:
            async with await self._factory.get_breaker("dependency"):
                return await action()

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, OpenedState)

        def retry_after_s(self, error: Any) -> float | None:
            return error.opened_at + self._ttl_s - time.time()

    return Purgatory


def aiobreaker() -> type[Adapter]:
    """One success at half-open closes it; that and the number of probes are fixed."""
    from datetime import timedelta

    import aiobreaker as library

    class Aiobreaker(Adapter):
        distribution = "aiobreaker"
        features = frozenset({Feature.LISTENERS})

        def __init__(self, wanted: Wanted) -> None:
            self._breaker = library.CircuitBreaker(
                fail_max=wanted.failure_threshold,
                timeout_duration=timedelta(seconds=wanted.open_s),
                exclude=[BadRequestError],
                listeners=state_listeners(library.CircuitBreakerListener, wanted.listener),
            )

        def call(self, action: Action) -> Awaitable[Any]:
            return self._breaker.call_async(action)

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, library.CircuitBreakerError)

        def retry_after_s(self, error: Any) -> float | None:
            return error.time_remaining.total_seconds()

    return Aiobreaker


def hyx() -> type[Adapter]:
    """Used as a decorator: its `async with` takes a cancellation for a success.

    The successes that close it can be set, the number of probes cannot.
    """
    from hyx.circuitbreaker import consecutive_breaker
    from hyx.circuitbreaker.exceptions import BreakerFailing

    class Hyx(Adapter):
        distribution = "hyx"
        features = frozenset({Feature.SEVERAL_SUCCESSES})

        def __init__(self, wanted: Wanted) -> None:
            self._breaker = consecutive_breaker(
                exceptions=(DownError,),
                failure_threshold=wanted.failure_threshold,
                recovery_time_secs=wanted.open_s,
                recovery_threshold=wanted.half_open_max_calls,
            )
            self._guarded = self._breaker(run)

        def call(self, action: Action) -> Awaitable[Any]:
            return self._guarded(action)

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, BreakerFailing)

        def retry_after_s(self, error: BaseException) -> float | None:
            remain = self._breaker.state.remain
            return remain and remain.total_seconds()

    return Hyx
