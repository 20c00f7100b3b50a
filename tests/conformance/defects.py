"""A small breaker that is right, and the ways to get it wrong: each is caught by a check.

It shows that the checks can be met in a hundred lines without any library, and that none of them
passes whatever it is given.
"""

from __future__ import annotations

import asyncio
import calendar
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.conformance.site import Adapter, BadRequestError, Feature, Wanted


class RefusedError(Exception):
    """How the small breaker refuses a call; says how long it stays open."""


class Ticket:
    """What a call holds while it is under way."""

    def __init__(self, generation: int, until_s: float) -> None:
        self.generation = generation
        self.until_s = until_s


class SmallBreaker(Adapter):
    """A breaker without any defect but those that a subclass names."""

    distribution = "none"
    features = frozenset(Feature)
    defects: frozenset[str] = frozenset()
    shared: SmallBreaker | None = None

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._state = "closed"
        self._generation = 0
        self._failures = 0
        self._successes = 0
        self._opened_s = 0.0
        self._probes: set[Ticket] = set()
        self._latest: Ticket | None = None
        self._has_recovered = False
        self._kept: list[Any] = []
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reused = RefusedError(1.0)

    def has(self, defect: str) -> bool:
        """Whether it has this defect."""
        return defect in self.defects

    def now_s(self) -> float:
        """Return the time of the loop, or what the defect takes for it."""
        if self.has("wall clock"):
            return time.time()
        if self.has("local time"):
            # The hour that the wall shows, taken for UTC.
            return float(calendar.timegm(time.localtime()))
        return asyncio.get_running_loop().time()

    def call(self, action: Callable[[], Awaitable[Any]]) -> Coroutine[Any, Any, Any]:
        if self.has("place taken early"):
            return self._run(action, self._admit())
        return self._run(action, None)

    def is_rejection(self, error: BaseException) -> bool:
        return isinstance(error, RefusedError)

    def retry_after_s(self, error: BaseException) -> float | None:
        return None if self.has("no retry-after") else error.args[0]

    async def _run(self, action: Callable[[], Awaitable[Any]], ticket: Ticket | None) -> Any:
        if self.has("one loop"):
            self._loop = self._loop or asyncio.get_running_loop()
            if self._loop is not asyncio.get_running_loop():
                raise RuntimeError("made for another loop")
        if self.has("serial"):
            await asyncio.wait_for(self._lock.acquire(), 1)
        try:
            ticket = ticket or self._admit()
            try:
                result = await action()
            except asyncio.CancelledError:
                self._report_cancelled(ticket)
                if self.has("swallows cancellation"):
                    return None
                raise
            except BaseException as error:
                self._report_error(ticket, error)
                raise
            self._report(ticket, success=True)
            return bool(result) if self.has("changes results") else result
        finally:
            if self.has("serial"):
                self._lock.release()

    def _admit(self) -> Ticket:
        wanted, now_s = self._wanted, self.now_s()
        if self._state == "open":
            left_s = self._opened_s + wanted.open_s - now_s
            if left_s > 0 and not self.has("never rejects"):
                self._reject(left_s)
            if self.has("open for ever"):
                self._reject(1.0)
            self._change("half-open")
        if self._state == "half-open":
            if not self.has("no lease"):
                self._probes = {each for each in self._probes if each.until_s > now_s}
            taken = len(self._probes)
            if not self.has("no count of successes"):
                taken += self._successes
            limit = 1 if self.has("one probe") else wanted.half_open_max_calls
            if taken >= limit and not self.has("all probe"):
                self._reject(0.0)
        lease_s = wanted.probe_timeout_s or 60.0
        ticket = self._latest = Ticket(self._generation, now_s + lease_s)
        if self._state == "half-open":
            self._probes.add(ticket)
        return ticket

    def _reject(self, left_s: float) -> None:
        if self.has("rejections prolong"):
            self._opened_s = self.now_s()
        if self.has("one exception"):
            raise self._reused
        error = RefusedError(left_s)
        if self.has("keeps rejections"):
            self._kept.append(error)
        raise error

    def _report_cancelled(self, ticket: Ticket) -> None:
        if self.has("cancellation fails"):
            self._report(ticket, success=False)
        elif self.has("cancellation succeeds"):
            self._report(ticket, success=True)
        elif not self.has("cancellation keeps the place"):
            self._probes.discard(ticket)

    def _report_error(self, ticket: Ticket, error: BaseException) -> None:
        if not isinstance(error, Exception) and not self.has("exits fail"):
            if not self.has("exits keep the place"):
                self._probes.discard(ticket)
        elif isinstance(error, BadRequestError) and not self.has("nothing is ignored"):
            if not self.has("ignored keeps the place"):
                self._probes.discard(ticket)
        else:
            state = self._state
            self._report(ticket, success=False)
            if self.has("keeps errors"):
                self._kept.append(error)
            if self.has("error replaced") and self._state == "closed":
                raise RuntimeError("failed") from error
            if self.has("trip replaced") and state == "closed" != self._state:
                raise RefusedError(1.0) from error
            if self.has("probe replaced") and state == "half-open":
                raise RefusedError(1.0) from error

    def _report(self, ticket: Ticket, *, success: bool) -> None:
        if ticket.generation != self._generation and not self._takes_late(success):
            return
        self._probes.discard(ticket)
        if ticket is not self._latest and self.has("only the latest call counts"):
            return
        if self._state == "closed":
            self._report_closed(success)
        elif success:
            self._successes += 1
            wanted = 1 if self.has("one success closes") else self._wanted.half_open_max_calls
            if self._successes >= wanted and not self.has("never closes"):
                self._change("closed")
        elif not self.has("failed probe ignored"):
            self._change("open")

    def _report_closed(self, success: bool) -> None:
        if success:
            self._failures = self._failures if self.has("counts all failures") else 0
            return
        owner = (type(self).shared or self) if self.has("shared count") else self
        if self.has("shared count"):
            type(self).shared = owner
        owner._failures += 1
        threshold = self._wanted.failure_threshold + self.has("one too late")
        threshold -= self.has("one too early")
        if self.has("never trips") or (self._has_recovered and self.has("trips once")):
            return
        if owner._failures >= threshold:
            self._change("open")

    def _takes_late(self, success: bool) -> bool:
        kind = "success" if success else "failure"
        return self.has(f"late {kind} when {self._state}")

    def _change(self, state: str) -> None:
        self._state = state
        self._generation += 1
        self._failures = self._successes = 0
        self._probes.clear()
        self._has_recovered |= state == "closed"
        if state == "open":
            self._opened_s = self.now_s()
        if (listener := self._wanted.listener) and not (
            self.has("opening is not told") and state == "open"
        ):
            try:
                listener()
            except RuntimeError:
                if self.has("listeners break calls"):
                    raise


CAUGHT_BY = [
    ("never trips", "trips at the threshold and not before"),
    ("one too late", "trips at the threshold and not before"),
    ("one too early", "trips at the threshold and not before"),
    ("counts all failures", "a success starts the count again"),
    ("nothing is ignored", "ignored errors do not trip it"),
    ("cancellation fails", "twenty cancelled calls do not trip it"),
    ("cancellation succeeds", "cancelled calls do not clear the count"),
    ("cancellation succeeds", "a cancelled probe does not close it"),
    ("swallows cancellation", "a cancellation reaches the task"),
    ("exits fail", "an exit of the program does not count"),
    ("serial", "calls run side by side"),
    ("serial", "a guarded call may make another"),
    ("only the latest call counts", "each overlapping call counts by its own outcome"),
    ("changes results", "a result passes unchanged"),
    ("error replaced", "an error passes unchanged"),
    ("trip replaced", "the failure that trips it passes unchanged"),
    ("keeps errors", "no error is kept alive"),
    ("shared count", "two breakers are independent"),
    ("never rejects", "an open breaker does not call"),
    ("one exception", "each rejection is a fresh exception"),
    ("no retry-after", "a rejection says when to come back"),
    ("rejections prolong", "rejected calls do not prolong the open time"),
    ("keeps rejections", "rejected calls retain no memory"),
    ("late failure when open", "a late failure does not prolong the open time"),
    ("late success when open", "a late success does not close it"),
    ("local time", "time zones have no effect"),
    ("wall clock", "a wall clock set back does not prolong the open time"),
    ("wall clock", "a wall clock set forward does not end the open time"),
    ("listeners break calls", "a failing listener breaks no call"),
    ("one loop", "it serves one event loop after another"),
    ("open for ever", "after the open time a probe is admitted"),
    ("never closes", "a probe that succeeds closes it"),
    ("failed probe ignored", "a probe that fails opens it again"),
    ("probe replaced", "the failure of a probe passes unchanged"),
    ("trips once", "it opens and recovers again and again"),
    ("all probe", "of 100 callers one probes the dead dependency"),
    ("one probe", "of 100 callers three probe if three may"),
    ("no count of successes", "a probe that succeeded keeps its place"),
    ("one success closes", "it closes after three successes if three are wanted"),
    ("cancellation keeps the place", "a cancelled probe frees its place"),
    ("ignored keeps the place", "an ignored error frees the place of its probe"),
    ("exits keep the place", "an exit of the program frees the place of its probe"),
    ("place taken early", "a call that is never awaited takes no place"),
    ("no lease", "a probe that never ends does not jam it"),
    ("no lease", "a probe that cannot be cancelled does not jam it"),
    ("late success when half-open", "a late success does not count as a probe"),
    ("late failure when half-open", "a late failure does not count as a probe"),
    ("late failure when closed", "late failures do not count after a recovery"),
    ("opening is not told", "listeners hear each change"),
]
"""Each defect, and a check that is there to catch it."""
