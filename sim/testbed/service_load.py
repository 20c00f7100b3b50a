"""Callers of the service: they get tokens, verify them as users do, and ask for keys.

Tokens are verified by PyJWT's `PyJWKClient`, which knows nothing of this project: it reads the key
set of an instance drawn by lot, and that of a token may be another's. `GET /keys/{id}` is asked
likewise, and its answer counts only if the token's signature fits it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2
import jwt
import numpy as np

from ftrepo.service.http.endpoints import KEY, KEY_SET, SERVICE
from sim.history import GetOutcome
from sim.testbed.service_process import CLIENT
from sim.testbed.service_record import Asked, Noted
from sim.testbed.service_site import ServiceSite
from sim.testbed.service_verifier import RIGHT, Ended, fits, verified
from sim.testbed.service_wallet import Held, Wallet

DEADLINE_S = 1.0
"""How long callers wait for a token or a key: as in the laboratory's scenarios."""

VERIFIER_TIMEOUT_S = 5.0
"""How long a `PyJWKClient` waits for a key set. By itself it waits 30 s, which no caller would."""

_LIFESPAN_SHARE, _COOLDOWN_SHARE = 0.5, 0.05
"""PyJWT's defaults (300 s, and 30 s between fetches for unknown ids) as shares of the policy's
default `publish_lead_s`, 600 s: a long-lived client here has them on the scale of `KeyTimes`."""

_LEFT_S_MIN = 1.0
"""What a token must have left to be verified: its times are whole seconds."""

NOBODY = -1
"""The number of the instance that was asked where none was ready."""

_THREADS = 32


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How much is asked of all instances together.

    Attributes:
        tokens_per_s: new tokens.
        gets_per_s: calls of `GET /keys/{id}`.
        fresh_per_s: verifications, each by a new client.
        cached_per_s: verifications by clients that live as long as the load.
        token_age_mean_s: the mean age of a token that is used, exponential and cut off at its
            lifetime; far above that, all ages are equally likely.
        seed: of what is drawn.
    """

    tokens_per_s: float = 10.0
    gets_per_s: float = 30.0
    fresh_per_s: float = 15.0
    cached_per_s: float = 10.0
    token_age_mean_s: float = 1e6
    seed: int = 1

    def times(self, factor: float) -> LoadSettings:
        """Return the same with all rates so many times as high."""
        rates = ("tokens_per_s", "gets_per_s", "fresh_per_s", "cached_per_s")
        return replace(self, **{name: factor * getattr(self, name) for name in rates})


class Begun(NamedTuple):
    """A request that was made, as `Noted` has it."""

    phase: str
    asked: Asked
    at_s: float
    instance: int
    maker: int
    key_id: str


class ServiceLoad:
    """Asks at fixed rates, whether or not earlier requests have been answered.

    Args:
        site: whom to ask.
        settings: how much.

    Attributes:
        phase: what is noted as the phase of every request from now on.
        ready: the numbers of the instances that are asked; as of a balancer.
        noted: every request that has ended.
        began: when the load began, by the calendar.
    """

    def __init__(self, site: ServiceSite, settings: LoadSettings) -> None:
        self.phase = ""
        self.ready = set(range(len(site.instances)))
        self.noted: list[Noted] = []
        self.began = datetime.now(UTC)
        self._site = site
        self._settings = settings
        self._lifetime_s = site.settings.times.token_lifetime_s
        self._rng = np.random.default_rng(settings.seed)
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._issued = itertools.count()
        makers = len(site.instances)
        self._wallet = Wallet(makers, interval_s=makers / settings.tokens_per_s)
        self._known: set[str] = set()
        lead_s = site.settings.times.lead_s
        self._long_lived = [
            self._verifier(
                number,
                lifespan=_LIFESPAN_SHARE * lead_s,
                cooldown_duration=_COOLDOWN_SHARE * lead_s,
            )
            for number in range(len(site.instances))
        ]

    def now_s(self) -> float:
        """Seconds since the load began."""
        return self._loop.time() - self._began_s

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask for as long as the block lasts; what was asked is waited for."""
        settings = self._settings
        callers: tuple[tuple[Callable[[], Coroutine[Any, Any, None]], float], ...] = (
            (self._get_token, settings.tokens_per_s),
            (self._get_key, settings.gets_per_s),
            (self._verify_freshly, settings.fresh_per_s),
            (self._verify_from_cache, settings.cached_per_s),
        )
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="verifier") as self._threads:
            async with asyncio.TaskGroup() as self._group:
                sources = [
                    self._group.create_task(self._repeat(call, rate))
                    for call, rate in callers
                    if rate
                ]
                try:
                    yield
                finally:
                    for source in sources:
                        source.cancel()

    async def _repeat(self, call: Callable[[], Coroutine[Any, Any, None]], rate: float) -> None:
        start_s = self._loop.time()
        for number in itertools.count(1):
            self._group.create_task(call())
            await asyncio.sleep(start_s + number / rate - self._loop.time())

    # Tokens

    async def _get_token(self) -> None:
        """Ask the instances for tokens, one after the other."""
        maker = next(self._issued) % len(self._site.instances)
        if maker not in self.ready:
            return
        begun = self._begin(Asked.TOKEN, maker, maker)
        ended, answer = await self._ask(
            self._site.client.post(
                self._site.instances[maker].url + SERVICE,
                data={"grant_type": "client_credentials"},
                auth=(CLIENT, self._site.secret),
                timeout=DEADLINE_S,
            )
        )
        if answer is not None:
            token = answer.json()["access_token"]
            held = Held.of(token, maker=maker, issued_s=begun.at_s)
            begun = begun._replace(key_id=held.key_id)
            self._wallet.add(held)
            if held.key_id not in self._known:
                self._known.add(held.key_id)
                self._verify_everywhere(held)
        self._note(begun, ended)

    def _token(self) -> Held | None:
        """A token by lot, of any instance and of an age by lot; `None` if there is none such."""
        maker = int(self._rng.integers(len(self._site.instances)))
        mean_s = self._settings.token_age_mean_s
        within = -np.expm1(-self._lifetime_s / mean_s)
        age_s = float(-mean_s * np.log1p(-self._rng.random() * within))
        return self._wallet.issued_at(maker, self.now_s() - age_s)

    def _asked_instance(self) -> int | None:
        ready = sorted(self.ready)
        return ready[int(self._rng.integers(len(ready)))] if ready else None

    # Keys

    async def _get_key(self) -> None:
        held, instance = self._token(), self._asked_instance()
        if held is None:
            return
        begun = self._begin(
            Asked.KEY, NOBODY if instance is None else instance, held.maker, held.key_id
        )
        if instance is None:
            self._note(begun, Ended(GetOutcome.UNAVAILABLE, "no instance is ready"))
            return
        url = self._site.instances[instance].url + KEY.format(key_id=held.key_id)
        ended, answer = await self._ask(self._site.client.get(url, timeout=DEADLINE_S))
        if answer is not None and not fits(answer.json(), held.token):
            ended = Ended(GetOutcome.WRONG, "another key")
        # A key may end with the last token that it has signed.
        self._note(begun, ended, counts=self.now_s() < held.issued_s + self._lifetime_s)

    async def _ask(
        self, request: Coroutine[Any, Any, httpx2.Response]
    ) -> tuple[Ended, httpx2.Response | None]:
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await request
        except (TimeoutError, httpx2.TimeoutException):
            return Ended(GetOutcome.GAVE_UP, f"nothing within {DEADLINE_S:g} s"), None
        except httpx2.TransportError as error:
            return Ended(GetOutcome.UNAVAILABLE, type(error).__name__), None
        if answer.status_code == httpx2.codes.OK:
            return RIGHT, answer
        outcome = _OUTCOMES.get(answer.status_code, GetOutcome.ERROR)
        return Ended(outcome, str(answer.status_code)), None

    # Verifiers

    def _verifier(self, instance: int, **options: Any) -> jwt.PyJWKClient:
        url = self._site.instances[instance].url + KEY_SET
        return jwt.PyJWKClient(url, timeout=VERIFIER_TIMEOUT_S, **options)

    async def _verify_freshly(self) -> None:
        held, instance = self._token(), self._asked_instance()
        if held is not None and instance is not None and held.is_valid(for_s=_LEFT_S_MIN):
            verifier = self._verifier(instance, cache_jwk_set=False)
            await self._verify(Asked.FRESH, verifier, instance, held)

    async def _verify_from_cache(self) -> None:
        held, instance = self._token(), self._asked_instance()
        if held is not None and instance is not None and held.is_valid(for_s=_LEFT_S_MIN):
            await self._verify(Asked.CACHED, self._long_lived[instance], instance, held)

    def _verify_everywhere(self, held: Held) -> None:
        """Verify the first token of a key at once, at every instance."""
        if self._settings.fresh_per_s:
            for instance in self.ready:
                verifier = self._verifier(instance, cache_jwk_set=False)
                self._group.create_task(self._verify(Asked.FIRST, verifier, instance, held))

    async def _verify(
        self, asked: Asked, verifier: jwt.PyJWKClient, instance: int, held: Held
    ) -> None:
        begun = self._begin(asked, instance, held.maker, held.key_id)
        ended = await self._loop.run_in_executor(self._threads, verified, verifier, held.token)
        self._note(begun, ended, counts=held.is_valid())

    def _begin(self, asked: Asked, instance: int, maker: int, key_id: str = "") -> Begun:
        return Begun(self.phase, asked, self.now_s(), instance, maker, key_id)

    def _note(self, begun: Begun, ended: Ended, *, counts: bool = True) -> None:
        self.noted.append(
            Noted(
                **begun._asdict(),
                latency_s=self.now_s() - begun.at_s,
                outcome=ended.outcome,
                counts=counts or ended.outcome is GetOutcome.RIGHT,
                said=ended.said,
            )
        )


_OUTCOMES: Mapping[int, GetOutcome] = {
    httpx2.codes.NOT_FOUND: GetOutcome.UNKNOWN,
    httpx2.codes.SERVICE_UNAVAILABLE: GetOutcome.UNAVAILABLE,
}
