"""What is read from running things, when somebody looks: the rows that cost nothing otherwise.

Each reading takes constant time, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ftrepo.resilience.breaker import BreakerState
from ftrepo.telemetry.metric import STATES, Kind, Metric, Value

if TYPE_CHECKING:
    from ftrepo.fault_tolerant import FaultTolerantRepository
    from ftrepo.resilience.breaker import BreakerCounts, CircuitBreaker


def _gauge(name: str, unit: str, text: str, read: Callable[[Any, float], Value]) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, unit=unit, help=text, read=read)


def _counter(name: str, unit: str, text: str, read: Callable[[Any, float], Value]) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, unit=unit, help=text, read=read)


def _primary_up(repository: FaultTolerantRepository, _: float) -> float | None:
    breaker = repository.breaker
    return None if breaker is None else float(breaker.state is BreakerState.CLOSED)


def _oldest_pending_s(repository: FaultTolerantRepository, now_s: float) -> float:
    since_s = repository.pending.oldest_since_s()
    return 0.0 if since_s is None else max(0.0, now_s - since_s)


REPOSITORY = (
    _gauge(
        "ftrepo.primary.up",
        "",
        "1 while the breaker in front of the primary is closed, so that the primary is asked, and "
        "0 otherwise; absent without a breaker.",
        _primary_up,
    ),
    _gauge(
        "ftrepo.primary.calls_in_flight",
        "{call}",
        "Calls to the primary under way, those included that were given up at their time-out.",
        lambda r, _: r.calls_in_flight,
    ),
    _gauge(
        "ftrepo.primary.calls_in_flight_max",
        "{call}",
        "The most calls to the primary that may be under way.",
        lambda r, _: r.policy.calls_in_flight_max,
    ),
    _counter(
        "ftrepo.budget.refusals",
        "{call}",
        "Calls to the primary that were not made, because too many had brought nothing.",
        lambda r, _: None if r.budget is None else r.budget.refused,
    ),
    _gauge(
        "ftrepo.budget.tokens",
        "{call}",
        "Calls that bring nothing which the primary may get at once.",
        lambda r, now_s: None if r.budget is None else r.budget.level(now_s),
    ),
    _gauge(
        "ftrepo.cache.entries",
        "{key}",
        "Keys in memory, those that wait for the primary included.",
        lambda r, _: len(r.cache),
    ),
    _gauge(
        "ftrepo.cache.entries_max",
        "{key}",
        "The most keys in memory, besides those that wait for the primary; absent without a bound.",
        lambda r, _: r.policy.cache_entries_max,
    ),
    _gauge(
        "ftrepo.cache.size",
        "By",
        "An estimate of the memory that the keys take.",
        lambda r, _: r.cache.nbytes,
    ),
    _counter(
        "ftrepo.cache.hits",
        "{lookup}",
        "How often memory was asked for a key and had it.",
        lambda r, _: r.lookup.hits,
    ),
    _counter(
        "ftrepo.cache.misses",
        "{lookup}",
        "How often memory was asked for a key and did not have it.",
        lambda r, _: r.lookup.misses,
    ),
    _counter(
        "ftrepo.cache.absent_hits",
        "{lookup}",
        "How often the primary was not asked, because it had just said that it lacks the key.",
        lambda r, _: r.lookup.absent_hits,
    ),
    _gauge(
        "ftrepo.pending.keys",
        "{key}",
        "Acknowledged keys that wait for the primary.",
        lambda r, _: len(r.pending),
    ),
    _gauge(
        "ftrepo.pending.keys_max",
        "{key}",
        "The most keys that may wait for the primary; absent without a bound.",
        lambda r, _: r.policy.pending_max,
    ),
    _gauge(
        "ftrepo.pending.oldest_age",
        "s",
        "How long the oldest acknowledged key has waited for the primary; 0 if none waits.",
        _oldest_pending_s,
    ),
)
"""Read from a `FaultTolerantRepository`."""


class BreakerNow(NamedTuple):
    """A breaker at one moment, taken once for all its rows."""

    state: BreakerState
    changed_at_s: float | None
    has_window: bool
    counts: BreakerCounts

    @classmethod
    def of(cls, breaker: CircuitBreaker) -> Self:
        """Look at a breaker."""
        has_window = breaker.settings.has_window
        return cls(breaker.state, breaker.changed_at_s, has_window, breaker.counts)


def _of_breaker(
    kind: Kind,
    name: str,
    unit: str,
    text: str,
    read: Callable[[BreakerNow, float], Value],
    *,
    merged: Callable[[float, float], float] = max,
) -> Metric:
    labels = {"breaker": None}
    return Metric(
        name=name, kind=kind, unit=unit, help=text, labels=labels, read=read, merged=merged
    )


BREAKER = (
    _of_breaker(
        Kind.GAUGE,
        "circuit_breaker.state",
        "",
        "0 closed, 1 half-open, 2 open.",
        lambda b, _: STATES[b.state],
    ),
    _of_breaker(
        Kind.GAUGE,
        "circuit_breaker.state_age",
        "s",
        "For how long the breaker has been in its state; absent before the first change.",
        lambda b, now_s: None if b.changed_at_s is None else max(0.0, now_s - b.changed_at_s),
    ),
    _of_breaker(
        Kind.COUNTER,
        "circuit_breaker.successes",
        "{call}",
        "Calls through the breaker that succeeded.",
        lambda b, _: b.counts.successes,
    ),
    _of_breaker(
        Kind.COUNTER,
        "circuit_breaker.failures",
        "{call}",
        "Calls through the breaker that failed.",
        lambda b, _: b.counts.failures,
    ),
    _of_breaker(
        Kind.COUNTER,
        "circuit_breaker.slow_calls",
        "{call}",
        "Calls through the breaker that took its slow_call_s or longer, whether or not they "
        "succeeded.",
        lambda b, _: b.counts.slow,
    ),
    _of_breaker(
        Kind.COUNTER,
        "circuit_breaker.rejections",
        "{call}",
        "Calls that the breaker did not admit.",
        lambda b, _: b.counts.rejected,
    ),
    _of_breaker(
        Kind.COUNTER,
        "circuit_breaker.uncounted_calls",
        "{call}",
        "Calls that were neither a success nor a failure: cancelled, or of an error that is none "
        "of the dependency's.",
        lambda b, _: b.counts.neither,
    ),
    _of_breaker(
        Kind.COUNTER,
        "circuit_breaker.trips",
        "{trip}",
        "How often the breaker has opened.",
        lambda b, _: b.counts.trips,
    ),
    _of_breaker(
        Kind.GAUGE,
        "circuit_breaker.window.calls",
        "{call}",
        "Calls in the rolling window by which the breaker judges rates; absent if it does not.",
        lambda b, _: b.counts.window_calls if b.has_window else None,
        merged=add,
    ),
    _of_breaker(
        Kind.GAUGE,
        "circuit_breaker.window.failures",
        "{call}",
        "Failed calls in the same window.",
        lambda b, _: b.counts.window_failures if b.has_window else None,
        merged=add,
    ),
)
"""Read from each `CircuitBreaker`."""

RETRY_BUDGET = (
    Metric(
        name="retry.budget.balance",
        kind=Kind.GAUGE,
        unit="{attempt}",
        help="Retries that the budget could pay for.",
        labels={"budget": None},
        read=lambda budget, now_s: budget.balance(now_s),
        merged=min,
    ),
    Metric(
        name="retry.budget.refusals",
        kind=Kind.COUNTER,
        unit="{attempt}",
        help="Retries that were not made, because the budget was used up.",
        labels={"budget": None},
        read=lambda budget, _: budget.refused,
    ),
)
"""Read from each `RetryBudget`."""

READINGS_AGE = Metric(
    name="ftrepo.readings.age",
    kind=Kind.GAUGE,
    unit="s",
    help="How old all other figures are: above 0 if the event loop did not answer within a second.",
)
"""What an exporter in another thread can say even if the event loop does not answer."""
