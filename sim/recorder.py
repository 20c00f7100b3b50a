"""Collects what happens in a run, and hands it over as a `History`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ftrepo.events import Event, PendingDropped
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey
from ftrepo.resilience import BreakerState
from sim.history import (
    Attempts,
    BreakerChanges,
    BreakerCode,
    Creates,
    Failures,
    GetOutcome,
    Gets,
    History,
    KeyEnd,
    Keys,
    Samples,
    Span,
)
from sim.rows import Rows
from sim.stage import Ledger
from sim.world.condense import Timeline
from sim.world.issuers import EPOCH
from sim.world.outages import SEVERED, Schedule

if TYPE_CHECKING:
    from sim.instance import Instance

_CODES = {
    BreakerState.CLOSED: BreakerCode.CLOSED,
    BreakerState.HALF_OPEN: BreakerCode.HALF_OPEN,
    BreakerState.OPEN: BreakerCode.OPEN,
}


@dataclass(slots=True)
class Recorder:
    """Rows in the making; `history` turns them into columns."""

    gets: Rows = field(
        default_factory=lambda: Rows(
            number="i8", at_s="f8", latency_s="f8", outcome="u1", eligible="?"
        )
    )
    attempts: Rows = field(default_factory=lambda: Rows(at_s="f8", latency_s="f8", outcome="u1"))
    creates: Rows = field(default_factory=lambda: Rows(at_s="f8", latency_s="f8", outcome="u1"))
    breaker: list[tuple[float, BreakerState]] = field(default_factory=list)
    samples: Rows = field(
        default_factory=lambda: Rows(
            at_s="f8",
            cache_entries="i8",
            cache_bytes="i8",
            pending="i8",
            oldest_pending_age_s="f8",
        )
    )
    acknowledged: dict[str, tuple[PublicKey, float]] = field(default_factory=dict)
    dropped: dict[str, PendingDropped] = field(default_factory=dict)
    first_keys: set[str] = field(default_factory=set)
    failed: dict[int, tuple[str, float]] = field(default_factory=dict)
    """By the number of the request: which key was asked for, and since when the instance ran."""

    def sample(self, now_s: float, repositories: Sequence[FaultTolerantRepository]) -> None:
        """Note the state of the instances' repositories."""
        entries = nbytes = pending = 0
        oldest_age_s = 0.0
        for each in repositories:
            cache = each.cache
            entries = max(entries, len(cache))
            nbytes = max(nbytes, cache.nbytes)
            if each.pending:
                pending += len(each.pending)
                oldest_age_s = max(oldest_age_s, each.oldest_pending_age_s)
        self.samples.append((now_s, entries, nbytes, pending, oldest_age_s))

    def observe(self, event: Event) -> None:
        """Note what the repository tells of keys that it gave up."""
        if isinstance(event, PendingDropped):
            self.dropped[event.key_id] = event

    def history(
        self,
        *,
        warmup_s: float,
        timeline: Timeline,
        ledger: Ledger,
        instances: Sequence[Instance],
    ) -> History:
        """Return the columns, when the run is over."""
        return History(
            warmup_s=warmup_s,
            duration_s=timeline.duration_s,
            gets=self._gets(),
            failures=self._failures(ledger),
            creates=Creates(**self.creates.columns()),
            keys=self._keys(ledger, instances, Schedule(timeline.outages)),
            samples=Samples(**self.samples.columns()),
            outages=_intervals([(o.start_s, o.end_s) for o in timeline.outages]),
            attempts_s=np.array(ledger.attempts_s),
            attempts=Attempts(**self.attempts.columns()) if self.attempts else None,
            breaker=BreakerChanges(
                at_s=np.array([at_s for at_s, _ in self.breaker]),
                state=np.array([_CODES[state] for _, state in self.breaker], dtype=np.uint8),
            ),
            spans=tuple(
                Span(
                    start_s=segment.run_start_s,
                    end_s=segment.run_start_s + segment.duration_s,
                    weight=segment.weight,
                )
                for segment in timeline.segments
            ),
        )

    def _gets(self) -> Gets:
        columns = self.gets.columns()
        in_order = np.argsort(columns.pop("number"))
        return Gets(**{name: column[in_order] for name, column in columns.items()})

    def _failures(self, ledger: Ledger) -> Failures:
        columns = self.gets.columns()
        failed = columns.pop("eligible") & (columns["outcome"] != GetOutcome.RIGHT)
        columns = {name: column[failed] for name, column in columns.items()}
        in_order = np.argsort(columns["number"])
        columns = {name: column[in_order] for name, column in columns.items()}
        asked = [self.failed[number] for number in columns.pop("number").tolist()]
        committed_s = [ledger.committed_s.get(key_id, math.nan) for key_id, _ in asked]
        return Failures(
            **columns,
            committed_s=np.array(committed_s, dtype=np.float64),
            started_s=np.array([since_s for _, since_s in asked], dtype=np.float64),
            first_key=np.array([key_id in self.first_keys for key_id, _ in asked], dtype=np.bool_),
        )

    def _keys(self, ledger: Ledger, instances: Sequence[Instance], outages: Schedule) -> Keys:
        rows = [
            (acknowledged_s, *self._end_of(key, ledger, instances))
            for key, acknowledged_s in self.acknowledged.values()
        ]
        acknowledged_s = np.array([row[0] for row in rows])
        settled_s = np.array([row[1] for row in rows])
        end = np.array([row[2] for row in rows], dtype=np.uint8)
        visible_s = acknowledged_s
        if len(instances) > 1:
            visible_s = np.where(end == KeyEnd.COMMITTED, settled_s, np.nan)
            visible_s = np.array([_readable_s(outages, at_s) for at_s in visible_s.tolist()])
            visible_s = np.maximum(acknowledged_s, visible_s)
        return Keys(
            acknowledged_s=acknowledged_s, settled_s=settled_s, visible_s=visible_s, end=end
        )

    def _end_of(
        self, key: PublicKey, ledger: Ledger, instances: Sequence[Instance]
    ) -> tuple[float, KeyEnd]:
        committed_s = ledger.committed_s.get(key.id)
        if committed_s is not None:
            return committed_s, KeyEnd.COMMITTED
        dropped = self.dropped.get(key.id)
        if dropped is not None and dropped.reason == "expired":
            return (key.expires - EPOCH).total_seconds(), KeyEnd.EXPIRED
        if any(instance.holds(key.id) for instance in instances):
            return math.nan, KeyEnd.PENDING
        return math.nan, KeyEnd.LOST


def _readable_s(outages: Schedule, at_s: float) -> float:
    """The first moment from then on at which the primary can be read; NaN stays NaN."""
    while not math.isnan(at_s) and (outage := outages.at(at_s)) and outage.mode in SEVERED:
        at_s = outage.end_s
    return at_s


def _intervals(
    pairs: Sequence[tuple[float, float]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Pairs of start and end, those that touch joined, as an array of shape (n, 2)."""
    joined: list[list[float]] = []
    for start_s, end_s in pairs:
        if joined and joined[-1][1] == start_s:
            joined[-1][1] = end_s
        else:
            joined.append([start_s, end_s])
    return np.array(joined).reshape(-1, 2)
