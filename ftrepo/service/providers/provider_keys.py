"""The keys of one provider: kept, renewed ahead of their time, and asked for when one is unknown.

What a flood of tokens can do is bounded. One fetch is under way at a time, and all who need one
wait for it. How many there are is bounded by a budget that failures use up too, and behind it by a
breaker. Ids that the provider did not know are remembered for a while. Callers who wait are bounded
by the server's requests in flight, and each by the time of one fetch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ftrepo.errors import CallRefusedError, TimeLimitError
from ftrepo.failure_log import log_failure
from ftrepo.resilience import BreakerRegistry, CircuitBreaker, TokenBucket
from ftrepo.service.errors import InvalidTokenError, ProviderUnavailableError
from ftrepo.service.providers.events import (
    FetchFailed,
    KeysFetched,
    ProviderEvent,
    ProviderStatus,
)
from ftrepo.service.providers.fetch_error import FetchError
from ftrepo.service.providers.freshness import Freshness
from ftrepo.service.providers.jwks import VerificationKey, VerificationKeys, parse_jwks
from ftrepo.service.providers.refusals import refused
from ftrepo.service.providers.sources import Answer, JwksFile, JwksSource
from ftrepo.service.settings import ProviderSettings

_log = logging.getLogger("ftrepo")

UNKNOWN_S = 30.0
"""For how long an id that the provider did not know is not asked for again. One client that keeps
sending the same wrong id then uses a third of the default budget, and a key that was published late
is found at the latest after so long."""

UNKNOWN_MAX = 1_000
"""How many such ids are remembered, the latest ones: a megabyte at their longest."""

FILE_FRESH_S = 5.0
"""How long the keys from a file are used before it is looked at again; half of that if all is
well, and up to a minute once it could not be read."""

FILE_READS_PER_S = 1.0
"""How often a file is read in the long run: it is asked for as unknown ids are, and costs less."""

_PAUSE_S_MIN = 0.1
"""Between two looks at a budget that was empty: a timer may fire a rounding error early."""


class ProviderKeys:
    """The keys of one provider.

    Args:
        settings: of the provider.
        source: where its keys are.
        breakers: its breaker is called "provider/" and its name.
        observe: is told of each fetch; must not raise.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        source: JwksSource,
        *,
        breakers: BreakerRegistry,
        observe: Callable[[ProviderEvent], None],
    ) -> None:
        self._settings = settings
        self._breaker_name = f"provider/{settings.name}"
        self._source = source
        self._breakers = breakers
        self._observe = observe
        # A file is looked at more often, and trusted for as long.
        is_file = isinstance(source, JwksFile)
        fresh_s = min(settings.fresh_s, FILE_FRESH_S) if is_file else settings.fresh_s
        self._freshness = Freshness(
            fresh_s=fresh_s,
            stale_s=settings.fresh_s + settings.stale_s - fresh_s,
            fetch_timeout_s=settings.fetch_timeout_s,
        )
        rate_per_s = FILE_READS_PER_S if is_file else settings.fetches_per_min_max / 60.0
        self._budget = TokenBucket(rate_per_s, max(1.0, settings.fetches_per_min_max))
        self._keys = VerificationKeys()
        self._body: bytes | None = None
        self._unknown: dict[tuple[str | None, str], float] = {}
        self._last_error: str | None = None
        self._fetches = self._failures = 0
        self._fetch: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fetch the keys, now and whenever they are due, and wait for nothing."""
        self._renewal = asyncio.get_running_loop().create_task(
            self._renew(), name=f"keys of {self._settings.name}"
        )

    async def close(self) -> None:
        """End what is under way; callers who wait for it are told that nobody knows."""
        tasks = [task for task in (self._renewal, self._fetch) if task is not None]
        self._renewal = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, key_id: str | None, algorithm: str) -> VerificationKey:
        """Return a key, asking the provider if it is not at hand and may be asked.

        Raises:
            InvalidTokenError: the provider has no such key, as far as it said lately; or no id was
                given, and several keys fit.
            ProviderUnavailableError: the keys at hand are too old; or they lack this one, and the
                provider, which may have it by now, cannot be asked.
        """
        now = _time_s()
        if self._freshness.is_usable(now):
            key = self._keys.find(key_id, algorithm)
            if key is not None:
                return key
            if self._unknown.get((key_id, algorithm), now) > now:
                raise self._not_found(now)
        fetch = self._ask()
        if fetch is not None:
            await asyncio.wait({fetch})  # Whoever is cancelled here cancels nobody else's fetch.
            now = _time_s()
        if not self._freshness.is_usable(now):
            raise self._unavailable(now)
        key = self._keys.find(key_id, algorithm)
        if key is not None:
            return key
        if fetch is not None and not self._freshness.failures_in_row:
            self._remember_unknown((key_id, algorithm), now)
        raise self._not_found(now)

    def status(self) -> ProviderStatus:
        """Return what is to be said of the keys now."""
        now, fetched_s = _time_s(), self._freshness.fetched_s
        return ProviderStatus(
            name=self._settings.name,
            state=self._freshness.state(now),
            keys=len(self._keys),
            age_s=None if fetched_s is None else max(0.0, now - fetched_s),
            last_error=self._last_error,
            fetches=self._fetches,
            failures=self._failures,
        )

    def _ask(self) -> asyncio.Task[None] | None:
        """Return the fetch that is under way, or begin one; `None` if the provider is spared."""
        if self._fetch is not None and not self._fetch.done():
            return self._fetch
        now = _time_s()
        if self._renewal is None or self._wait_s(now) > 0 or not self._budget.take(now):
            return None
        self._fetch = asyncio.get_running_loop().create_task(self._fetch_once())
        return self._fetch

    def _wait_s(self, now: float) -> float:
        """Seconds until the provider may be asked."""
        return max(self._budget.wait_s(now), self._breaker().retry_after_s(now))

    def _breaker(self) -> CircuitBreaker:
        return self._breakers.get(self._breaker_name)

    async def _renew(self) -> None:
        """Fetch the keys whenever they are due, for as long as the service runs."""
        while True:
            early_s = self._freshness.due_s() - _time_s()
            if early_s > 0:  # Callers may ask meanwhile, and it is due later then: look again.
                await asyncio.sleep(early_s)
            elif (fetch := self._ask()) is None:
                await asyncio.sleep(max(_PAUSE_S_MIN, self._wait_s(_time_s())))
            else:
                await asyncio.wait({fetch})

    async def _fetch_once(self) -> None:
        """Ask the provider. Whatever comes of it is noted, and nothing is raised."""
        began_s = _time_s()
        self._fetches += 1
        try:
            answer, keys = await self._breakers.execute(
                self._breaker_name, self._read, timeout_s=self._settings.fetch_timeout_s
            )
        except Exception as error:
            self._note_failure(_named(error), began_s)
            return
        has_changed = answer.body != self._body
        self._keys, self._body, self._last_error = keys, answer.body, None
        self._freshness.succeeded(began_s, answer.max_age_s)
        self._observe(
            KeysFetched(
                provider=self._settings.name,
                keys=len(keys),
                skipped=keys.skipped,
                has_changed=has_changed,
                duration_s=_time_s() - began_s,
            )
        )

    async def _read(self) -> tuple[Answer, VerificationKeys]:
        # Within the breaker: a provider that answers nonsense has failed as one that is silent.
        answer = await self._source.read()
        if answer.body == self._body:
            return answer, self._keys
        return answer, parse_jwks(answer.body, self._settings.algorithms)

    def _note_failure(self, error: FetchError, began_s: float) -> None:
        now = _time_s()
        self._failures += 1
        self._last_error = str(error)
        self._freshness.failed(now)
        self._observe(
            FetchFailed(
                provider=self._settings.name,
                reason=error.reason,
                message=str(error),
                duration_s=now - began_s,
            )
        )

    def _remember_unknown(self, which: tuple[str | None, str], now: float) -> None:
        self._unknown.pop(which, None)
        if len(self._unknown) >= UNKNOWN_MAX:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[which] = now + UNKNOWN_S

    def _not_found(self, now: float) -> InvalidTokenError | ProviderUnavailableError:
        """The error for a key that is not among those at hand, which are usable."""
        if self._freshness.failures_in_row or self._breaker().retry_after_s(now) > 0:
            return self._unavailable(now)  # It may have been published since.
        return refused("unknown-key")

    def _unavailable(self, now: float) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            "the keys of the token's issuer cannot be had at the moment",
            retry_after_s=max(1.0, self._wait_s(now)),
        )


def _named(error: Exception) -> FetchError:
    """The failure by its name, whatever was raised."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, TimeLimitError):
        return FetchError("timed-out", "it did not answer in time")
    if isinstance(error, CallRefusedError):
        return FetchError("not-asked", "it was not asked, because it failed too often lately")
    log_failure(_log, "keys were not fetched because of a defect", error=error)
    return FetchError("internal-error", "a defect of this service; see its log")


def _time_s() -> float:
    return asyncio.get_running_loop().time()
