"""What is read from bulkheads, rate limiters and time limits, when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import add
from typing import TypeAlias

from ftrepo.resilience.bulkhead import Bulkhead
from ftrepo.resilience.rate_limit import RateLimiter
from ftrepo.resilience.time_limit import TimeLimit
from ftrepo.telemetry.metric import Kind, Metric, Value
from ftrepo.telemetry.reading import Labels

Limit: TypeAlias = Bulkhead | RateLimiter | TimeLimit
"""Whatever bounds calls and has a name."""

KINDS: dict[type, str] = {
    Bulkhead: "bulkhead",
    RateLimiter: "rate limiter",
    TimeLimit: "time limit",
}
"""What each is called. A dependency often has one of each, all with its name."""


def with_labels(limits: Iterable[Limit]) -> list[tuple[Labels, object]]:
    """Each limit with its labels."""
    return [((limit.name, _kind_of(limit)), limit) for limit in limits]


def _kind_of(limit: Limit) -> str:
    return next(name for kind, name in KINDS.items() if isinstance(limit, kind))


def _of_limit(
    kind: Kind, name: str, unit: str, text: str, read: Callable[[Limit, float], Value]
) -> Metric:
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        help=text,
        labels={"limit": None, "kind": tuple(KINDS.values())},
        read=read,
        merged=add,
    )


LIMIT = (
    _of_limit(
        Kind.GAUGE,
        "call_limit.under_way",
        "{call}",
        "Calls that have a place in a bulkhead, or that a time limit has not seen end.",
        lambda it, _: None if isinstance(it, RateLimiter) else it.under_way,
    ),
    _of_limit(
        Kind.GAUGE,
        "call_limit.under_way_max",
        "{call}",
        "The most calls that have a place in a bulkhead.",
        lambda it, _: it.settings.concurrency_max if isinstance(it, Bulkhead) else None,
    ),
    _of_limit(
        Kind.GAUGE,
        "call_limit.left_behind",
        "{call}",
        "Calls that took longer than their time limit and have not ended, though nobody waits for "
        "them.",
        lambda it, _: it.left_behind if isinstance(it, TimeLimit) else None,
    ),
    _of_limit(
        Kind.GAUGE,
        "call_limit.waiting",
        "{caller}",
        "Callers that wait for a place in a bulkhead, or for their turn at a rate limiter.",
        lambda it, _: None if isinstance(it, TimeLimit) else it.waiting,
    ),
    _of_limit(
        Kind.COUNTER,
        "call_limit.admitted",
        "{call}",
        "Calls that had a place, or a turn, or were made with a time limit.",
        lambda it, _: it.admitted,
    ),
    _of_limit(
        Kind.COUNTER,
        "call_limit.refusals",
        "{call}",
        "Calls that were not made: there was no place or no turn for them, or none in time, or too "
        "many had been left behind.",
        lambda it, _: it.refused,
    ),
    _of_limit(
        Kind.COUNTER,
        "call_limit.timeouts",
        "{call}",
        "Calls that took longer than their time limit.",
        lambda it, _: it.timed_out if isinstance(it, TimeLimit) else None,
    ),
    _of_limit(
        Kind.GAUGE,
        "call_limit.calls_per_second",
        "{call}",
        "Calls a second that a rate limiter allows now, which may depend on a breaker's state.",
        lambda it, now_s: it.rate_per_s(now_s) if isinstance(it, RateLimiter) else None,
    ),
)
"""Read from each `Limit`."""
