"""What happened in one run, as columns: the only thing that measures are computed from.

A simulated run and a run against a real server fill the same columns, and are then measured by the
same lines. Times are seconds from the start of the run.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class GetOutcome(enum.IntEnum):
    """What a caller of `get` came away with."""

    RIGHT = 0
    """The right key, or the news that there is none where there was none."""
    UNKNOWN = 1
    """`KeyNotFoundError` for a key that exists."""
    UNAVAILABLE = 2
    """`KeyUnavailableError`: ask again later."""
    GAVE_UP = 3
    """Nothing, within the caller's deadline."""
    WRONG = 4
    """An expired key, other material, or a key that nobody made. Must never happen."""
    ERROR = 5
    """Any other error. Must never happen."""


class CreateOutcome(enum.IntEnum):
    """What a caller of `create` came away with."""

    PRIMARY = 0
    JOURNAL = 1
    MEMORY = 2
    FAILED = 3
    """An error: the key was not acknowledged."""


class BreakerCode(enum.IntEnum):
    """Where the breaker in front of the primary stands."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class KeyEnd(enum.IntEnum):
    """Where an acknowledged key of an observed instance ended up."""

    COMMITTED = 0
    """In the primary."""
    EXPIRED = 1
    """It expired before it could be written."""
    PENDING = 2
    """Still waiting when the run ended."""
    LOST = 3
    """No store will ever have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gets:
    """One row for each request of a caller, in the order of the requests.

    A request is one call of `get`, or several where callers repeat what failed.

    Attributes:
        at_s: when it was made.
        latency_s: how long the caller waited, all attempts and pauses together.
        outcome: a `GetOutcome`; that of the last attempt.
        eligible: whether it counts for availability: it asked for a key that was acknowledged
            and had not expired.
    """

    at_s: Floats
    latency_s: Floats
    outcome: Codes
    eligible: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """One row for each request that counts for availability and failed, in their order.

    What is said of an instance is said of the one that the last attempt was sent to.

    Attributes:
        at_s: when the request was made.
        latency_s: how long the caller waited.
        outcome: a `GetOutcome`, never `RIGHT`.
        committed_s: when the primary had the key; NaN if it never did.
        started_s: when the process of the instance began; NaN if none was ready to be asked.
        first_key: whether the key was the first that a process made.
    """

    at_s: Floats
    latency_s: Floats
    outcome: Codes
    committed_s: Floats
    started_s: Floats
    first_key: Flags

    @classmethod
    def none(cls) -> Failures:
        """Return those of a run in which nothing failed."""
        return cls(
            at_s=np.zeros(0),
            latency_s=np.zeros(0),
            outcome=np.zeros(0, dtype=np.uint8),
            committed_s=np.zeros(0),
            started_s=np.zeros(0),
            first_key=np.zeros(0, dtype=np.bool_),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """One row for each attempt of a caller at a `get`, in the order in which they ended.

    Attributes:
        at_s: when it was made.
        latency_s: how long it took.
        outcome: a `GetOutcome`; for an id that nobody made, `UNKNOWN` is the right one.
    """

    at_s: Floats
    latency_s: Floats
    outcome: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanges:
    """One row for each change of the breaker's state; closed before the first.

    Attributes:
        at_s: when.
        state: the new `BreakerCode`.
    """

    at_s: Floats
    state: Codes

    @classmethod
    def none(cls) -> BreakerChanges:
        """Return those of a breaker that never changed, or that is not there."""
        return cls(at_s=np.zeros(0), state=np.zeros(0, dtype=np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Creates:
    """One row for each call of `create`.

    Attributes:
        at_s: when it was made.
        latency_s: how long the caller waited.
        outcome: a `CreateOutcome`.
    """

    at_s: Floats
    latency_s: Floats
    outcome: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """One row for each key that was acknowledged to its maker.

    Attributes:
        acknowledged_s: when `create` returned.
        settled_s: when the primary had committed it, or it expired before; NaN if neither
            happened in the run.
        visible_s: the first moment at which every instance could answer for it: of a single one
            the acknowledgement, of several when the primary had it and could be read; NaN if that
            did not happen.
        end: a `KeyEnd`.
    """

    acknowledged_s: Floats
    settled_s: Floats
    visible_s: Floats
    end: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The state of the service over time: at a fixed pace, and at each change of pending.

    Attributes:
        at_s: when.
        cache_entries: keys in memory, of the instance that has most.
        cache_bytes: their memory, estimated; likewise.
        pending: keys acknowledged and not yet confirmed by the primary, of all instances.
        oldest_pending_age_s: for how long the oldest of them has waited; zero if none.
    """

    at_s: Floats
    cache_entries: NDArray[np.int64]
    cache_bytes: NDArray[np.int64]
    pending: NDArray[np.int64]
    oldest_pending_age_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the run and how much real time each of its seconds stands for."""

    start_s: float
    end_s: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that one run recorded.

    Attributes:
        warmup_s: what came before is recorded, but not measured.
        duration_s: the end of the traffic. Keys may be committed later, for a run ends only when
            nothing is pending, or it is clear that it never will be.
        spans: cover 0 to `duration_s` without gaps; one span of weight 1 if nothing was left out.
        outages: start and end of each, shape (n, 2).
        attempts_s: when each call reached the primary, refused ones included; sorted.
        attempts: those of the callers; `None` if each request was one.
        breaker: the changes of the breaker of the first instance.
        failures: the failed requests of `gets` once more, and what their instance lacked.
    """

    warmup_s: float
    duration_s: float
    gets: Gets
    creates: Creates
    keys: Keys
    samples: Samples
    outages: Floats
    attempts_s: Floats
    spans: tuple[Span, ...] = field(default=())
    attempts: Attempts | None = None
    breaker: BreakerChanges = field(default_factory=BreakerChanges.none)
    failures: Failures = field(default_factory=Failures.none)

    def weights(self, at_s: Floats) -> Floats:
        """How much real time a second of the run stands for, at each of these moments."""
        if not self.spans:
            return np.ones(len(at_s))
        starts = np.array([span.start_s for span in self.spans])
        weights = np.array([span.weight for span in self.spans])
        return weights[np.maximum(np.searchsorted(starts, at_s, side="right") - 1, 0)]

    def in_outage(self, at_s: Floats) -> Flags:
        """Which of these moments fall into an outage."""
        if not len(self.outages):
            return np.zeros(len(at_s), dtype=np.bool_)
        index = np.searchsorted(self.outages[:, 0], at_s, side="right") - 1
        inside: Flags = (index >= 0) & (at_s < self.outages[np.maximum(index, 0), 1])
        return inside
