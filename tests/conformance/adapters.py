"""The adapter of our breaker, and where to find those of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from tests.conformance import asyncio_peers, other_peers
from tests.conformance.site import Adapter, BadRequestError, Feature, Wanted

Action = Callable[[], Awaitable[Any]]


def ftrepo() -> type[Adapter]:
    """The breaker of this project."""
    from ftrepo import CircuitOpenError
    from ftrepo.resilience import BreakerSettings, CircuitBreaker, Outcome

    class Ftrepo(Adapter):
        distribution = "ftrepo"
        features = frozenset(Feature)

        def __init__(self, wanted: Wanted) -> None:
            lease_s = wanted.probe_timeout_s
            settings = BreakerSettings(
                failure_threshold=wanted.failure_threshold,
                open_s=wanted.open_s,
                half_open_max_calls=wanted.half_open_max_calls,
                **({} if lease_s is None else {"probe_timeout_s": lease_s}),
            )
            self._breaker = CircuitBreaker(
                settings,
                classify=lambda error: (
                    Outcome.SUCCESS if isinstance(error, BadRequestError) else Outcome.FAILURE
                ),
            )
            if listener := wanted.listener:
                self._breaker.add_listener(lambda breaker, old, new: listener())

        def call(self, action: Action) -> Awaitable[Any]:
            return self._breaker.call(action)

        def is_rejection(self, error: BaseException) -> bool:
            return isinstance(error, CircuitOpenError)

        def retry_after_s(self, error: Any) -> float | None:
            return error.retry_after_s

    return Ftrepo


ADAPTERS: dict[str, Callable[[], type[Adapter]]] = {
    each.__name__: each
    for each in (
        ftrepo,
        asyncio_peers.httpware,
        asyncio_peers.aioresilience,
        asyncio_peers.purgatory,
        asyncio_peers.aiobreaker,
        other_peers.circuitbreaker,
        asyncio_peers.hyx,
        other_peers.pyresilience,
        other_peers.pybreaker,
    )
}
"""How to make each adapter, by the name of its distribution."""


def installed() -> dict[str, str]:
    """Return the version of each library that is there, in the order of the table."""
    found = {}
    for name, load in ADAPTERS.items():
        try:
            found[name] = version(load().distribution)
        except ImportError:
            continue
    return found
