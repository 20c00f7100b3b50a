"""Collects what happens in a run, and hands it over as a `History`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ftrepo.events import Event, PendingDropped
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.keys import PublicKey
from ftrepo.resilience import BreakerState
from sim.history import (
    Attempts,
    BreakerChanges,
    BreakerCode,
    CreateOutcome,
    Creates,
    GetOutcome,
    Gets,
    History,
    KeyEnd,
    Keys,
    Samples,
    Span,
)
from sim.stage import Ledger
from sim.world.condense import Timeline
from sim.world.issuers import EPOCH

_CODES = {
    BreakerState.CLOSED: BreakerCode.CLOSED,
    BreakerState.HALF_OPEN: BreakerCode.HALF_OPEN,
    BreakerState.OPEN: BreakerCode.OPEN,
}


@dataclass(slots=True)
class Recorder:
    """Rows in the making; `history` turns them into columns."""

    gets: list[tuple[int, float, float, GetOutcome, bool]] = field(default_factory=list)
    attempts: list[tuple[float, float, GetOutcome]] = field(default_factory=list)
    creates: list[tuple[float, float, CreateOutcome]] = field(default_factory=list)
    breaker: list[tuple[float, BreakerState]] = field(default_factory=list)
    samples: list[tuple[float, int, int, int, float]] = field(default_factory=list)
    acknowledged: dict[str, tuple[PublicKey, float]] = field(default_factory=dict)
    dropped: dict[str, PendingDropped] = field(default_factory=dict)

    def sample(self, now_s: float, repository: FaultTolerantRepository) -> None:
        """Note the state of the repository."""
        cache = repository.cache
        self.samples.append(
            (
                now_s,
                len(cache),
                cache.nbytes,
                len(repository.pending),
                repository.oldest_pending_age_s,
            )
        )

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
        repository: FaultTolerantRepository,
    ) -> History:
        """Return the columns, when the run is over."""
        return History(
            warmup_s=warmup_s,
            duration_s=timeline.duration_s,
            gets=self._gets(),
            creates=self._creates(),
            keys=self._keys(ledger, repository),
            samples=self._samples(),
            outages=_intervals([(o.start_s, o.end_s) for o in timeline.outages]),
            attempts_s=np.array(ledger.attempts_s),
            attempts=self._attempts(),
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
        rows = sorted(self.gets, key=lambda row: row[0])
        return Gets(
            at_s=np.array([row[1] for row in rows]),
            latency_s=np.array([row[2] for row in rows]),
            outcome=np.array([row[3] for row in rows], dtype=np.uint8),
            eligible=np.array([row[4] for row in rows], dtype=np.bool_),
        )

    def _attempts(self) -> Attempts | None:
        if not self.attempts:
            return None
        return Attempts(
            at_s=np.array([row[0] for row in self.attempts]),
            latency_s=np.array([row[1] for row in self.attempts]),
            outcome=np.array([row[2] for row in self.attempts], dtype=np.uint8),
        )

    def _creates(self) -> Creates:
        return Creates(
            at_s=np.array([row[0] for row in self.creates]),
            latency_s=np.array([row[1] for row in self.creates]),
            outcome=np.array([row[2] for row in self.creates], dtype=np.uint8),
        )

    def _keys(self, ledger: Ledger, repository: FaultTolerantRepository) -> Keys:
        rows = [
            (acknowledged_s, *self._end_of(key, ledger, repository))
            for key, acknowledged_s in self.acknowledged.values()
        ]
        return Keys(
            acknowledged_s=np.array([row[0] for row in rows]),
            settled_s=np.array([row[1] for row in rows]),
            end=np.array([row[2] for row in rows], dtype=np.uint8),
        )

    def _end_of(
        self, key: PublicKey, ledger: Ledger, repository: FaultTolerantRepository
    ) -> tuple[float, KeyEnd]:
        committed_s = ledger.committed_s.get(key.id)
        if committed_s is not None:
            return committed_s, KeyEnd.COMMITTED
        dropped = self.dropped.get(key.id)
        if dropped is not None and dropped.reason == "expired":
            return (key.expires - EPOCH).total_seconds(), KeyEnd.EXPIRED
        if key.id in repository.pending:
            return math.nan, KeyEnd.PENDING
        return math.nan, KeyEnd.LOST

    def _samples(self) -> Samples:
        def column(index: int) -> list[float]:
            return [row[index] for row in self.samples]

        return Samples(
            at_s=np.array(column(0)),
            cache_entries=np.array(column(1), dtype=np.int64),
            cache_bytes=np.array(column(2), dtype=np.int64),
            pending=np.array(column(3), dtype=np.int64),
            oldest_pending_age_s=np.array(column(4)),
        )


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
