"""What was asked of the service, request by request, and what that says."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from sim.history import GetOutcome
from sim.measures import weighted_quantile
from sim.study.intervals import CONFIDENCE
from sim.study.nines import unlike_share


class Asked(enum.Enum):
    """What a caller did."""

    TOKEN = "POST /token/service"  # noqa: S105 - a path.
    KEY = "GET /keys/{id}"
    FRESH = "PyJWKClient, new each time"
    CACHED = "PyJWKClient, long-lived"
    FIRST = "PyJWKClient, at a key's first token"


VERIFICATIONS = (Asked.FRESH, Asked.CACHED, Asked.FIRST)
"""By each of these a public client verifies a token from its signature to its audience."""


class Noted(NamedTuple):
    """One request and its end.

    Attributes:
        phase: what the database was going through when it was made.
        asked: what the caller did.
        at_s: when, in seconds since the load began.
        latency_s: how long it took.
        instance: the number of the instance that was asked.
        maker: the number of the instance that made the key, or was to.
        key_id: of the key; empty for a token that was not issued.
        outcome: what came of it; `RIGHT` for a token too.
        counts: whether the token was still valid when this ended; one that was not may be refused.
        said: what was answered in place of what was asked for; empty if it was right.
    """

    phase: str
    asked: Asked
    at_s: float
    latency_s: float
    instance: int
    maker: int
    key_id: str
    outcome: GetOutcome
    counts: bool = True
    said: str = ""

    @property
    def failed(self) -> bool:
        """Whether it should have succeeded and did not."""
        return self.counts and self.outcome is not GetOutcome.RIGHT


@dataclass(frozen=True, kw_only=True)
class Row:
    """All requests of one kind in one phase.

    Attributes:
        phase: as in `Noted`; likewise `asked`.
        requests: how many there were.
        failed: how many should have succeeded and did not.
        unpredicted: of these, how many the policy does not predict.
        p50_s: half of them took no longer; likewise `p99_s`, and `max_s` for all.
    """

    phase: str
    asked: Asked
    requests: int
    failed: int
    unpredicted: int
    p50_s: float
    p99_s: float
    max_s: float

    @property
    def failed_share_max(self) -> float:
        """The share that may fail, with 95% confidence; see `failed_share_max`."""
        return failed_share_max(self.failed, self.requests)


def failed_share_max(failed: int, requests: int) -> float:
    """The largest share of failures with which no more than so many would be a surprise.

    Clopper's and Pearson's one-sided limit at 95% (Biometrika 26, 1934): about 3/n where none of n
    failed. It takes requests to be independent, which those of one outage are not: it speaks of
    more requests in the same outage, not of other outages.

    Args:
        failed: how many failed.
        requests: of how many; NaN is returned for none.
    """
    if not requests:
        return math.nan
    if not failed:
        return unlike_share(requests)
    if failed == requests:
        return 1.0
    return float(special.betaincinv(failed + 1, requests - failed, CONFIDENCE))


def rows(noted: Sequence[Noted], is_predicted: Callable[[Noted], bool]) -> list[Row]:
    """Return a row for each phase and kind of request, in the order in which they came.

    Args:
        noted: every request.
        is_predicted: whether the policy says that this one, which failed, may.
    """
    groups: dict[tuple[str, Asked], list[Noted]] = {}
    for phase in dict.fromkeys(each.phase for each in noted):
        for asked in Asked:
            groups[phase, asked] = []
    for each in noted:
        groups[each.phase, each.asked].append(each)
    return [
        _row(phase, asked, group, is_predicted) for (phase, asked), group in groups.items() if group
    ]


def _row(
    phase: str, asked: Asked, group: Sequence[Noted], is_predicted: Callable[[Noted], bool]
) -> Row:
    counted = [each for each in group if each.counts]
    failed = [each for each in counted if each.failed]
    latencies_s = np.array([each.latency_s for each in counted])
    weights = np.ones(len(counted))
    p50_s, p99_s, max_s = (weighted_quantile(latencies_s, weights, q) for q in (0.5, 0.99, 1.0))
    return Row(
        phase=phase,
        asked=asked,
        requests=len(counted),
        failed=len(failed),
        unpredicted=sum(not is_predicted(each) for each in failed),
        p50_s=p50_s,
        p99_s=p99_s,
        max_s=max_s,
    )


def failures_in_words(noted: Iterable[Noted]) -> list[str]:
    """One line for each kind of failure, with its number and its first moment."""
    kinds: dict[tuple[str, str, str, str, str], list[Noted]] = {}
    for each in noted:
        if each.failed:
            whose = "its own" if each.instance == each.maker else "another's"
            outcome = each.outcome.name.lower()
            kind = (each.phase, each.asked.value, outcome, each.said, whose)
            kinds.setdefault(kind, []).append(each)
    return [
        f"{phase}: {asked}: {len(group)} {outcome} ({said}), asked for {whose} key, "
        f"{group[0].at_s:.1f} to {group[-1].at_s:.1f} s"
        for (phase, asked, outcome, said, whose), group in kinds.items()
    ]
