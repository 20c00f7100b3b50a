"""What an outage does to one call, decided when the call reaches the server. Pure.

The schedule of outages is known whole, so the fate of a call can be worked out at once: when the
answer comes, whether it is an error, and when (if ever) a write is committed. A write and its
answer are separate things: an answer may be lost after the commit, and a call that its caller has
given up may still commit later.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sim.world.outages import Outage, OutageMode


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one call.

    Attributes:
        answered_s: when the caller has an answer or an error.
        error: what the driver raises then; `None` if the call succeeds.
        committed_s: when the write is committed; `None` if it never is.
    """

    answered_s: float
    error: str | None
    committed_s: float | None


@dataclass(frozen=True, slots=True)
class CallDraw:
    """The random numbers of one call, drawn before it is made.

    Attributes:
        work_s: how long a healthy server takes for it.
        failure: uniform in [0, 1); the call fails in an error-rate outage of a greater severity.
        commit_share: uniform in [0, 1); the share of the work after which a write is committed.
        lost_reply: uniform in [0, 1); decides whether a failing write had in fact committed.
    """

    work_s: float
    failure: float
    commit_share: float
    lost_reply: float


class Faults:
    """The schedule of outages, asked one call at a time.

    Args:
        outages: sorted and not overlapping.
        slow_factor: how many times longer the work takes in mode `SLOW`.
        lost_reply_share: share of the writes failing under mode `ERROR_RATE` that committed.
    """

    def __init__(
        self, outages: Sequence[Outage], *, slow_factor: float, lost_reply_share: float
    ) -> None:
        self._outages = tuple(outages)
        self._starts = [outage.start_s for outage in outages]
        self._slow_factor = slow_factor
        self._lost_reply_share = lost_reply_share

    def at(self, now_s: float) -> Outage | None:
        """The outage under way, or `None`."""
        index = bisect_right(self._starts, now_s) - 1
        if index >= 0 and now_s < self._outages[index].end_s:
            return self._outages[index]
        return None

    def is_refusing(self, now_s: float) -> bool:
        """Whether a new connection is refused."""
        outage = self.at(now_s)
        return outage is not None and outage.mode is OutageMode.REFUSE

    def fate(self, now_s: float, draw: CallDraw) -> Fate:
        """What becomes of a call whose work begins now; not while refusing."""
        after = bisect_right(self._starts, now_s)
        outage = self.at(now_s)
        error: str | None = None
        commits = True
        if outage is not None:
            after -= 1
            if outage.mode is OutageMode.ERROR_RATE and draw.failure < outage.severity:
                error = "the server closed the connection unexpectedly"
                commits = draw.lost_reply < self._lost_reply_share
        committed_s = self._done_s(now_s, draw.work_s * draw.commit_share, after)
        answered_s = self._done_s(now_s, draw.work_s, after)
        if answered_s is None:
            error = "the connection was reset by the server"
            answered_s = self._reset_s(now_s, after)
        return Fate(answered_s, error, committed_s if commits else None)

    def _done_s(self, now_s: float, work_s: float, index: int) -> float | None:
        """When this much work is done; `None` if the server refuses before that.

        Args:
            now_s: when it begins.
            work_s: how long a healthy server takes.
            index: the first outage that ends after `now_s`.
        """
        while index < len(self._outages):
            outage = self._outages[index]
            healthy_s = max(0.0, outage.start_s - now_s)
            if work_s <= healthy_s:
                break
            if outage.mode is OutageMode.REFUSE:
                return None
            work_s -= healthy_s
            now_s = max(now_s, outage.start_s)
            slowness = self._slowness(outage.mode)
            if work_s * slowness <= outage.end_s - now_s:
                return now_s + work_s * slowness
            work_s -= (outage.end_s - now_s) / slowness
            now_s = outage.end_s
            index += 1
        return now_s + work_s

    def _slowness(self, mode: OutageMode) -> float:
        if mode is OutageMode.HANG:
            return math.inf
        return self._slow_factor if mode is OutageMode.SLOW else 1.0

    def _reset_s(self, now_s: float, index: int) -> float:
        while self._outages[index].mode is not OutageMode.REFUSE:
            index += 1
        return max(now_s, self._outages[index].start_s)
