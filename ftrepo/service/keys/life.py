"""The life of the service's own keys: made, published, used and replaced on a schedule.

A private key exists in one `SigningKey` of this process and nowhere else. When its time to sign is
over, nothing refers to it any more; its public half stays published until it expires, for every
token that it has signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ftrepo.failure_log import log_failure
from ftrepo.keys import SigningKey
from ftrepo.rotation import REPEAT_CREATE_S, KeyRotation, Publisher

if TYPE_CHECKING:
    from ftrepo.interface import Clock
    from ftrepo.policy import Policy
    from ftrepo.service.settings import KeySettings

_log = logging.getLogger(__name__)

FIRST_KEY_WAIT_S = 2.0
"""How long a start waits for its first key. With the primary away it takes one time-out of
`Policy.insert_timeout_s`; a repository that refuses the key must not keep the service from starting
and answering whoever asks for other keys."""

HANDOVER_S_MAX = 1.0
"""How much longer than it may a key signs if its successor is late. Where that comes into use just
as the time of the older one is over, a busy loop would otherwise leave a moment without a key.
A token that is signed in this time ends with its key, and is so much shorter."""

HANDOVER_SHARE_MAX = 0.1
"""And at most this share of a token's lifetime."""

CLOCK_LOOK_EVERY_S = 5.0
"""How often it is looked whether a key may sign. If none may at two looks in a row, the clock has
leapt, as after a machine has slept, or the publisher refuses every key."""


class KeyLife:
    """Has a key to sign with, from a start on.

    Use it as an async context manager: entering publishes a first key; leaving ends the schedule,
    and there is no key to sign with any more.

    Args:
        publisher: where public keys go.
        settings: algorithm, lifetime and interval.
        token_lifetime_s: the longest that a token is valid: a key signs until so long before it
            expires.
        policy: `publish_lead_s` and `sign_when_committed`.
        now: the calendar time.
        draw: returns random numbers in [0, 1): by which part of an interval the second key comes
            sooner, so that instances which start together do not rotate together for ever. The
            default leaves nothing out.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        settings: KeySettings,
        token_lifetime_s: float,
        policy: Policy,
        now: Clock,
        draw: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._settings = settings
        self._token_lifetime = timedelta(seconds=token_lifetime_s)
        handover_s = min(HANDOVER_S_MAX, HANDOVER_SHARE_MAX * token_lifetime_s)
        self._handover = timedelta(seconds=handover_s)
        self._now = now
        self._rotation: KeyRotation[SigningKey] = KeyRotation(
            publisher,
            self._make,
            policy,
            interval_s=settings.rotation_interval_s,
            token_lifetime_s=token_lifetime_s,
            now=now,
            first_in_s=settings.rotation_interval_s * (1.0 - draw()),
            on_use=_log_use,
        )
        self._first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="ftrepo key life")
        try:
            async with asyncio.timeout(FIRST_KEY_WAIT_S):
                await self._first.wait()
        except TimeoutError:
            _log.error(
                "the first key was not published within %s s; no token is signed until it is",
                FIRST_KEY_WAIT_S,
            )
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    @property
    def current(self) -> SigningKey | None:
        """The key to sign with; `None` if none may sign.

        A key may sign while a token of full lifetime, signed now, ends before the key expires, and
        for a moment more (`HANDOVER_S_MAX`) if there is no other yet.
        """
        pair = self._rotation.current
        if self._task is None or pair is None or self._left(pair) < -self._handover:
            return None
        return pair

    @property
    def ready(self) -> bool:
        """Whether there is a key to sign with."""
        return self.current is not None

    @property
    def may_sign_for_s(self) -> float:
        """How long the current key may go on signing, in seconds; zero if there is none."""
        pair = self.current
        return 0.0 if pair is None else max(0.0, self._left(pair).total_seconds())

    def _left(self, pair: SigningKey) -> timedelta:
        return pair.public.expires - self._now() - self._token_lifetime

    def _make(self) -> SigningKey:
        lifetime = timedelta(seconds=self._settings.lifetime_s)
        return SigningKey.generate(
            self._settings.key_algorithm, created=self._now(), lifetime=lifetime
        )

    async def _run(self) -> None:
        while True:
            await self._until_it_works(self._rotation.start)
            self._first.set()
            await self._until_it_works(self._follow_the_schedule)
            _log.warning(
                "no key may sign: the clock was set forward, or no new key was taken for too long; "
                "one is made now"
            )

    async def _follow_the_schedule(self) -> None:
        """Renew the key until no key may sign, whatever the schedule says; the clock may leap."""
        steps = [
            asyncio.create_task(self._rotation.run()),
            asyncio.create_task(self._until_none_may_sign()),
        ]
        try:
            done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            for step in done:
                step.result()
        finally:
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)

    async def _until_none_may_sign(self) -> None:
        # Two looks: a key that waited for the end of the older one comes into use at that moment.
        looks = 0
        while looks < 2:
            await asyncio.sleep(CLOCK_LOOK_EVERY_S)
            looks = 0 if self.ready else looks + 1

    async def _until_it_works(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await step()
            except Exception as error:  # A defect: what a repository may refuse, a rotation bears.
                again = "the rotation of keys failed; it starts again in %s s"
                log_failure(_log, again, REPEAT_CREATE_S, error=error)
                await asyncio.sleep(REPEAT_CREATE_S)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


def _log_use(pair: SigningKey) -> None:
    _log.info(
        "key %s signs from now on; it expires at %s",
        pair.public.id,
        pair.public.expires.isoformat(),
    )
