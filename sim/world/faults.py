"""What an outage does to one call, decided when the call reaches the server. Pure.

The schedule of outages is known whole, so the fate of a call can be worked out at once: when the
answer comes, whether it is an error, and when (if ever) a write is committed. A write and its
answer are separate things: an answer may be lost after the commit, and a call that its caller has
given up may still commit later. The same holds for the connection that a call needs.
"""

from __future__ import annotations

import enum
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from sim.world.outages import Outage, OutageMode, Schedule
from sim.world.workers import Workers

REFUSALS = {
    OutageMode.REFUSE: "connection refused",
    OutageMode.STARTING: "57P03: the database system is starting up",
    OutageMode.RESET: "the connection was reset",
    OutageMode.CONNECTION_LIMIT: "53300: sorry, too many clients already",
}
"""Modes in which no new connection is made, and what whoever tries is told."""

_CUTS = frozenset({OutageMode.REFUSE, OutageMode.STARTING, OutageMode.RESET})
"""Modes that cut open connections as they begin."""

_CRASHES = _CUTS - {OutageMode.RESET}
"""Modes in which the server itself loses what is under way."""


_FREEZES = frozenset({OutageMode.HANG})
"""Modes in which the server does nothing at all."""

_BLOCKS = _FREEZES | {OutageMode.LOCKED}
"""Modes in which it does nothing of what touches the table."""


SERVER_SHARE = 0.9
"""The share of the driver's time-out after which the server gives up: see `ftrepo.postgres`."""


class CallKind(enum.Enum):
    """What a call asks of the server."""

    READ = "read"
    WRITE = "write"
    PING = "ping"
    """Whether a write would be accepted now."""


ROUNDING_S = 1e-9
"""By how much sums of times may be off: work that ends as an outage begins is done before it."""


class Fate(NamedTuple):
    """What becomes of one call.

    Attributes:
        answered_s: when the caller has an answer or an error.
        error: what the driver raises then; `None` if the call succeeds.
        committed_s: when the write is committed; `None` if it never is.
        connection_lost: whether the connection cannot be used again: every error, but not one
            that the server itself answered.
    """

    answered_s: float
    error: str | None
    committed_s: float | None
    connection_lost: bool = False


class CallDraw(NamedTuple):
    """The random numbers of one call, drawn before it is made.

    Attributes:
        work_s: how long a healthy server takes for it.
        failure: uniform in [0, 1); the call fails in an error-rate outage of a greater severity, or
            if a greater share fails anyway.
        commit_share: uniform in [0, 1); the share of the work after which a write is committed.
        lost_reply: uniform in [0, 1); decides whether a failing write had in fact committed.
    """

    work_s: float
    failure: float
    commit_share: float
    lost_reply: float


class Faults(Schedule):
    """The schedule of outages, asked one call at a time.

    Args:
        outages: sorted and not overlapping.
        slow_factor: how many times longer the work takes in mode `SLOW`.
        lost_reply_share: share of the writes failing under mode `ERROR_RATE` that committed.
        timeout_s: how long the driver waits for the answer to a call; the server works on it for
            `SERVER_SHARE` of that. `None` for no limit.
        failing_share: share of the calls that fail although there is no outage.
    """

    def __init__(
        self,
        outages: Sequence[Outage],
        *,
        slow_factor: float,
        lost_reply_share: float,
        timeout_s: float | None = None,
        failing_share: float = 0.0,
    ) -> None:
        super().__init__(outages)
        self._slow_factor = slow_factor
        self._lost_reply_share = lost_reply_share
        self._timeout_s = timeout_s
        self._failing_share = failing_share
        self._cuts_s = [outage.start_s for outage in self.outages if outage.mode in _CUTS]

    def refusal(self, now_s: float) -> OutageMode | None:
        """The mode for which a new connection is refused; `None` if it is not."""
        outage = self.at(now_s)
        return outage.mode if outage is not None and outage.mode in REFUSALS else None

    def is_cut(self, opened_s: float, now_s: float) -> bool:
        """Whether a connection that was opened then has been cut since."""
        cuts_s = self._cuts_s
        return bool(cuts_s) and bisect_right(cuts_s, opened_s) != bisect_right(cuts_s, now_s)

    def pool_free_s(self, now_s: float) -> float:
        """From when on others do not hold all of the pool's connections; now, if they do not."""
        outage = self.at(now_s)
        if outage is None or outage.mode is not OutageMode.FULL_POOL:
            return now_s
        return outage.end_s

    def listening_until_s(
        self, since_s: float, check_interval_s: float, check_timeout_s: float
    ) -> float | None:
        """When whoever listens since then finds out that the connection is lost; `None` for never.

        Args:
            since_s: when the connection stood.
            check_interval_s: how often the server is asked whether it is there.
            check_timeout_s: how long the answer may take.
        """
        cut = bisect_right(self._cuts_s, since_s)
        moments_s = self._cuts_s[cut : cut + 1]
        for outage in self.outages[self.index_after(since_s) :]:
            if outage.mode not in _FREEZES:
                continue
            checks = max(1, math.ceil((outage.start_s - since_s) / check_interval_s))
            given_up_s = since_s + checks * check_interval_s + check_timeout_s
            if given_up_s < outage.end_s:
                moments_s.append(given_up_s)
                break
        return min(moments_s, default=None)

    def connected(self, now_s: float, work_s: float) -> tuple[float, bool]:
        """When a connection stands that is asked for now; or when it is cut before that.

        Args:
            now_s: when it is asked for; not while it is refused.
            work_s: how long a healthy server takes.

        Returns:
            The moment, and whether the connection stands then.
        """
        after = self.index_after(now_s)
        stands_s = self._done_s(now_s, work_s, after, ends=_CUTS, waits=_FREEZES)
        if stands_s is None:
            return self._cut_s(now_s, after), False
        return stands_s, True

    def fate(self, now_s: float, draw: CallDraw, kind: CallKind = CallKind.READ) -> Fate:
        """What becomes of a call whose work begins now on a connection that stands."""
        fate = self._unlimited_fate(now_s, draw, kind)
        return fate if self._timeout_s is None else self._within(fate, now_s, self._timeout_s)

    def fate_in_queue(
        self, now_s: float, workers: Workers, draw: CallDraw, kind: CallKind = CallKind.READ
    ) -> Fate:
        """What becomes of a call that comes now, and waits until one of the workers is free.

        The worker is taken for as long as the server works on the call, whether or not its caller
        waits for that. Where as many wait as may, the call is refused. Calls must come in the order
        of time.
        """
        if workers.is_full(now_s):
            return Fate(now_s, REFUSALS[OutageMode.CONNECTION_LIMIT], None, True)
        begun_s = workers.begin_s(now_s)
        # No worker is taken beyond a crash: whoever waits then is begun as it comes, and cut off.
        whole = fate = self._unlimited_fate(begun_s, draw, kind)
        if self._timeout_s is not None:
            fate = self._within(whole, now_s, self._timeout_s)
        # A server that gives a call up is free then; if the driver gave up, it works to the end.
        done_s = whole.answered_s if fate.connection_lost else fate.answered_s
        workers.take(until_s=min(begun_s, done_s), done_s=done_s)
        return fate

    def _unlimited_fate(self, now_s: float, draw: CallDraw, kind: CallKind) -> Fate:
        after = self.index_after(now_s)
        if draw.failure >= self._failing_share and self._is_done_before(after, now_s, draw.work_s):
            return Fate(now_s + draw.work_s, None, now_s + draw.work_s * draw.commit_share)
        error: str | None = None
        lost = False
        commits = True
        outage = self.at(now_s)
        failing = self._failing_share
        if outage is not None and outage.mode is OutageMode.ERROR_RATE:
            failing = max(failing, outage.severity)
        if draw.failure < failing:
            error, lost = "the server closed the connection unexpectedly", True
            commits = draw.lost_reply < self._lost_reply_share
        elif (
            outage is not None and outage.mode is OutageMode.READ_ONLY and kind is not CallKind.READ
        ):
            error, commits = "25006: cannot write in a read-only transaction", False
        committed_s = self._done_s(now_s, draw.work_s * draw.commit_share, after, ends=_CRASHES)
        answered_s = self._done_s(now_s, draw.work_s, after, ends=_CUTS)
        if answered_s is None:
            error, lost = "the connection was reset by the server", True
            answered_s = self._cut_s(now_s, after)
        return Fate(answered_s, error, committed_s if commits else None, lost)

    def _is_done_before(self, index: int, now_s: float, work_s: float) -> bool:
        """Whether work that begins now meets no outage: most does, and is looked at no further.

        Args:
            index: the first outage that ends after `now_s`.
            now_s: when it begins.
            work_s: how long a healthy server takes.
        """
        return index == len(self.outages) or work_s < self.outages[index].start_s - now_s

    def _within(self, fate: Fate, now_s: float, timeout_s: float) -> Fate:
        """The fate of a call that server and driver give up after a time.

        The server gives it up first, and says so. One that is frozen does not: the driver does,
        and the server finds the call when it wakes, and does it.
        """
        given_up_s = now_s + SERVER_SHARE * timeout_s
        if fate.answered_s <= given_up_s:
            return fate
        outage = self.at(given_up_s)
        if outage is not None and outage.mode in _FREEZES:
            if fate.answered_s <= now_s + timeout_s:
                return fate
            return Fate(now_s + timeout_s, "no answer in time", fate.committed_s, True)
        done = fate.committed_s is not None and fate.committed_s <= given_up_s
        committed_s = fate.committed_s if done else None
        return Fate(given_up_s, "57014: canceled due to statement timeout", committed_s)

    def _done_s(
        self,
        now_s: float,
        work_s: float,
        index: int,
        *,
        ends: frozenset[OutageMode],
        waits: frozenset[OutageMode] = _BLOCKS,
    ) -> float | None:
        """When this much work is done; `None` if an outage ends it before that.

        Args:
            now_s: when it begins.
            work_s: how long a healthy server takes.
            index: the first outage that ends after `now_s`.
            ends: the modes that end it.
            waits: the modes in which nothing of it is done.
        """
        began_s = now_s
        while index < len(self.outages):
            outage = self.outages[index]
            healthy_s = max(0.0, outage.start_s - now_s)
            if work_s <= healthy_s + ROUNDING_S:
                break
            if outage.mode in ends:
                return None
            work_s -= healthy_s
            now_s = max(now_s, outage.start_s)
            slowness = self._slowness(outage, began_s, waits)
            if work_s * slowness <= outage.end_s - now_s + ROUNDING_S:
                return now_s + work_s * slowness
            work_s -= (outage.end_s - now_s) / slowness
            now_s = outage.end_s
            index += 1
        return now_s + work_s

    def _slowness(self, outage: Outage, began_s: float, waits: frozenset[OutageMode]) -> float:
        if outage.mode in waits:
            # Who locks the table waits himself for the calls that were there before.
            locked_out = outage.mode is not OutageMode.LOCKED or outage.start_s <= began_s
            return math.inf if locked_out else 1.0
        return self._slow_factor if outage.mode is OutageMode.SLOW else 1.0

    def _cut_s(self, now_s: float, index: int) -> float:
        while self.outages[index].mode not in _CUTS:
            index += 1
        return max(now_s, self.outages[index].start_s)
