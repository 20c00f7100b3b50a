"""Adapters of the libraries that serve threads and asyncio alike, as their documentation uses them.

As in `tests.conformance.asyncio_peers`, each function returns the adapter of one library.
"""

from __future__ import annotations

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


def circuitbreaker() -> type[Adapter]:
    """Used as a decorator: its methods `call` and `call_async` do not look at the state.

    One success at half-open closes it; that and the number of probes are fixed.
    """
    import circuitbreaker as library

    class Circuitbreaker(Adapter):
        distribution = "circuitbreaker"

        def __init__(self, wanted: Wanted) -> None:
            self._breaker = library.CircuitBreaker(
                failure_threshold=wanted.failure_threshold,
                recovery_timeout=wanted.open_s,
                expected_exception=DownError,
            )
            self._guarded = self._breaker(run)

        def call(self, action: Action) -> Awaitable[Any]:
            return self._guarded(action)

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, library.CircuitBreakerError)

        def retry_after_s(self, error: BaseException) -> float | None:
            return self._breaker.open_remaining

    return Circuitbreaker


def pyresilience() -> type[Adapter]:
    """Its listeners hear of rejections too; only the events of its state are passed on.

    A never-ending probe is ended by its time-out, which is asked for where a check may.
    """
    import pyresilience as library

    opened, closed = library.EventType.CIRCUIT_OPEN, library.EventType.CIRCUIT_CLOSED
    half_opened = library.EventType.CIRCUIT_HALF_OPEN

    class Pyresilience(Adapter):
        distribution = "pyresilience"
        features = frozenset({Feature.SEVERAL_SUCCESSES, Feature.LISTENERS})

        def __init__(self, wanted: Wanted) -> None:
            limit_s = wanted.probe_timeout_s

            def hear(event: Any) -> None:
                is_opening = event.event_type is opened and event.error is not None
                if is_opening or event.event_type in (closed, half_opened):
                    wanted.listener()

            self._guarded = library.resilient(
                circuit_breaker=library.CircuitBreakerConfig(
                    failure_threshold=wanted.failure_threshold,
                    recovery_timeout=wanted.open_s,
                    success_threshold=wanted.half_open_max_calls,
                    ignore_on=[BadRequestError],
                ),
                timeout=None if limit_s is None else library.TimeoutConfig(seconds=limit_s),
                listeners=None if wanted.listener is None else [hear],
            )(run)

        def call(self, action: Action) -> Awaitable[Any]:
            return self._guarded(action)

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, library.CircuitOpenError)

    return Pyresilience


def pybreaker() -> type[Adapter]:
    """Used as a context manager: its `call_async` is for Tornado, and not for coroutines.

    `throw_new_error_on_trip=False` lets the failure that trips it reach its caller.
    """
    import pybreaker as library

    class Pybreaker(Adapter):
        distribution = "pybreaker"
        features = frozenset({Feature.SEVERAL_SUCCESSES, Feature.LISTENERS})

        def __init__(self, wanted: Wanted) -> None:
            self._breaker = library.CircuitBreaker(
                fail_max=wanted.failure_threshold,
                reset_timeout=wanted.open_s,
                success_threshold=wanted.half_open_max_calls,
                exclude=[BadRequestError],
                listeners=state_listeners(library.CircuitBreakerListener, wanted.listener),
                throw_new_error_on_trip=False,
            )

        async def call(self, action: Action) -> Any:
            with self._breaker.calling():
                return await action()

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, library.CircuitBreakerError)

    return Pybreaker
