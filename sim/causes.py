"""Why a `get` failed: what the instance that was asked lacked, and since when.

A key is in two places as a rule, in the memory of its maker and in the primary. So a failure has a
short list of causes, and every failed call that counts has exactly one of them::

    no answer in time ─▶ DEADLINE
    the primary had no such key yet ─▶ made by a process that had just started ─▶ START_KEY
                                    └▶ made on schedule ─▶ NOT_FLUSHED
    the primary had it ─▶ since before the instance started ─▶ EMPTY_MEMORY
                       └▶ since then, and the instance had not learned of it ─▶ NOT_LEARNED
    nobody to ask, or an error ─▶ OTHER
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import numpy as np

from sim.history import Codes, Failures, GetOutcome, History


class FailureCause(enum.IntEnum):
    """Why a `get` for a key that existed failed."""

    NOT_FLUSHED = 0
    """The key, made on schedule, was in the memory of its maker alone."""
    START_KEY = 1
    """Likewise, but it was the first of a process, which has no older one to sign with."""
    NOT_LEARNED = 2
    """The primary had it, and the instance asked had run since before, without learning of it."""
    EMPTY_MEMORY = 3
    """The primary had it before the instance asked was started, which began without it."""
    DEADLINE = 4
    """No answer within the caller's deadline."""
    OTHER = 5
    """No instance was ready to be asked, or the answer was an error that must never be."""


CAUSE_WORDS = {
    FailureCause.NOT_FLUSHED: "failed because only its maker had the key, made on schedule",
    FailureCause.START_KEY: "failed because only its maker had the key, its first",
    FailureCause.NOT_LEARNED: "failed because the instance had not learned of the key",
    FailureCause.EMPTY_MEMORY: "failed because the instance had started without the key",
    FailureCause.DEADLINE: "not answered within the caller's deadline",
    FailureCause.OTHER: "failed because no instance was ready, or with an error",
}
"""What happened to calls that failed for each cause."""


def measure_of(cause: FailureCause) -> str:
    """The name of the measure that says which share of the calls failed for a cause."""
    return f"failed_{cause.name.lower()}_share"


def causes(failures: Failures) -> Codes:
    """Return the `FailureCause` of each failure.

    Args:
        failures: of one run.
    """
    outcome, ended_s = failures.outcome, failures.at_s + failures.latency_s
    # Not a number, for a key that was never committed, is not below anything.
    committed = failures.committed_s <= ended_s
    conditions = [
        outcome == GetOutcome.GAVE_UP,
        np.isin(outcome, (GetOutcome.WRONG, GetOutcome.ERROR)) | np.isnan(failures.started_s),
        ~committed & failures.first_key,
        ~committed,
        failures.committed_s < failures.started_s,
    ]
    found = (
        FailureCause.DEADLINE,
        FailureCause.OTHER,
        FailureCause.START_KEY,
        FailureCause.NOT_FLUSHED,
        FailureCause.EMPTY_MEMORY,
    )
    return np.select(conditions, found, FailureCause.NOT_LEARNED).astype(np.uint8)


def failed_share(cause: FailureCause) -> Callable[[History], float]:
    """Return what computes the share of eligible `get` calls that failed for one cause.

    The shares of all causes add up to 1 - `availability`.
    """

    def compute(history: History) -> float:
        gets, failures = history.gets, history.failures
        counted = gets.eligible & (gets.at_s >= history.warmup_s)
        weight = history.weights(gets.at_s[counted]).sum()
        if not weight:
            return float("nan")
        ours = (causes(failures) == cause) & (failures.at_s >= history.warmup_s)
        return float(history.weights(failures.at_s[ours]).sum() / weight)

    return compute
