"""The other breakers and retries, as a benchmark calls them: each in the cheapest of its ways.

Each function loads its library and says how to call `action` through it; without the library it
raises ImportError. They are set up alike, five failures in a row and then open for an hour, with
their defaults otherwise: none has a rate of slow calls, and none of these a window of time.
`tests/conformance` has adapters that use all of what they can do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from typing import NamedTuple

Action = Callable[..., Awaitable[None]]

OPEN_S = 3600.0
FAILURES = 5


class Way(NamedTuple):
    """How to make a call.

    Attributes:
        expression: what is awaited, as somebody would write it.
        names: what the names in it stand for.
        rejection: what is raised instead while the breaker is open.
        keeps: what must live as long as the breaker is counted, for its memory.
    """

    expression: str
    names: dict[str, object]
    rejection: type[Exception] = Exception
    keeps: object = None


class DownError(OSError):
    """What a dead dependency answers."""


async def answer(_request: object = None) -> None:
    """Answer at once."""


async def die(_request: object = None) -> None:
    """Fail at once."""
    raise DownError


def aiobreaker(action: Action) -> Way:
    """Through its `call_async`."""
    library = import_module("aiobreaker")

    breaker = library.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=OPEN_S))
    return _called("breaker.call_async(action)", breaker, action, library.CircuitBreakerError)


def aioresilience(action: Action) -> Way:
    """Through its `call`."""
    library = import_module("aioresilience")

    config = library.CircuitConfig(failure_threshold=FAILURES, recovery_timeout=OPEN_S)
    breaker = library.CircuitBreaker("dependency", config)
    return _called("breaker.call(action)", breaker, action, library.CircuitBreakerOpenError)


def circuitbreaker(action: Action) -> Way:
    """As a decorator: its methods for calls do not look at the state."""
    library = import_module("circuitbreaker")

    breaker = library.CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=OPEN_S)
    return _decorated(breaker(action), library.CircuitBreakerError, breaker)


def httpware(action: Action) -> Way:
    """As the middleware that it is, in front of what sends a request; only its errors count."""
    library = import_module("httpware")
    httpx2 = import_module("httpx2")

    breaker = library.AsyncCircuitBreaker(failure_threshold=FAILURES, reset_timeout=OPEN_S)

    async def fail(_: object) -> None:
        raise library.NetworkError("down")

    send = answer if action is answer else fail
    request = httpx2.Request("GET", "http://dependency")
    names = {"breaker": breaker, "request": request, "send": send}
    return Way("breaker(request, send)", names, library.CircuitOpenError, breaker)


def hyx(action: Action) -> Way:
    """As a decorator."""
    library = import_module("hyx.circuitbreaker")
    rejection = import_module("hyx.circuitbreaker.exceptions").BreakerFailing

    breaker = library.consecutive_breaker(
        exceptions=(DownError,), failure_threshold=FAILURES, recovery_time_secs=OPEN_S
    )
    return _decorated(breaker(action), rejection, breaker)


def purgatory(action: Action) -> Way:
    """As a decorator of its factory."""
    library = import_module("purgatory")
    rejection = import_module("purgatory.domain.model").OpenedState

    factory = library.AsyncCircuitBreakerFactory(FAILURES, OPEN_S)
    return _decorated(factory("dependency")(action), rejection, factory)


def pybreaker(action: Action) -> Way:
    """As a context manager: its `call_async` is not for coroutines."""
    library = import_module("pybreaker")

    breaker = library.CircuitBreaker(fail_max=FAILURES, reset_timeout=OPEN_S)

    async def call() -> None:
        with breaker.calling():
            await action()

    return _decorated(call, library.CircuitBreakerError, breaker)


def pyresilience(action: Action) -> Way:
    """As a decorator."""
    library = import_module("pyresilience")

    config = library.CircuitBreakerConfig(failure_threshold=FAILURES, recovery_timeout=OPEN_S)
    guarded = library.resilient(circuit_breaker=config)(action)
    return _decorated(guarded, library.CircuitOpenError, guarded)


def stamina(action: Action) -> Way:
    """As a decorator."""
    library = import_module("stamina")

    return _decorated(library.retry(on=DownError)(action))


def tenacity(action: Action) -> Way:
    """As a decorator, with three attempts."""
    library = import_module("tenacity")

    return _decorated(library.retry(stop=library.stop_after_attempt(3))(action))


def _called(expression: str, breaker: object, action: Action, rejection: type[Exception]) -> Way:
    return Way(expression, {"breaker": breaker, "action": action}, rejection, breaker)


def _decorated(
    function: object, rejection: type[Exception] = Exception, keeps: object = None
) -> Way:
    return Way("function()", {"function": function}, rejection, keeps)


BREAKERS: tuple[Callable[[Action], Way], ...] = (
    aiobreaker,
    aioresilience,
    circuitbreaker,
    httpware,
    hyx,
    purgatory,
    pybreaker,
    pyresilience,
)
RETRIES: tuple[Callable[[Action], Way], ...] = (stamina, tenacity)
