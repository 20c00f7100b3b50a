"""Restraint: the primary is called at a bounded rate while it is down, however many ask.

Three bounds, as docs/resilience.md states them, each for one process:

* Calls that bring nothing, of those begun in any stretch of time, number no more than a burst, and
  `futile_calls_per_s_max` times its length.
* No more than `calls_in_flight_max` calls are under way at once, abandoned ones included.
* While no call succeeds, the breaker opens after `breaker_failure_threshold` failures in a row.
  From then on there are only probes: one, and the next one no sooner than the breaker's shortest
  time open after it failed; never more than `breaker_half_open_max_calls` at once.

The breaker is not asked for its state. That it must be open is concluded from how calls ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from sim.explore.invariants.invariant import Finding, Invariant
from sim.explore.invariants.record import ROUNDING_S
from sim.explore.invariants.trouble import (
    ANSWERS,
    CANCELLED,
    PROBE,
    USEFUL,
    has_failed,
    timeout_s,
    was_given_up,
)
from sim.world.outages import OutageMode, merge

if TYPE_CHECKING:
    from sim.explore.invariants.record import Call, Process, Record

_RESERVE_SHARE = 0.1
"""What is kept back for writes, and as much again for background work: docs/resilience.md."""

_TOTAL = frozenset(
    {
        OutageMode.REFUSE,
        OutageMode.STARTING,
        OutageMode.RESET,
        OutageMode.HANG,
        OutageMode.LOCKED,
        OutageMode.FULL_POOL,
    }
)
"""Modes in which no call that is begun succeeds before the end of the outage."""


def _find(record: Record) -> Iterator[Finding]:
    for process, calls in record.calls.items():
        yield from _too_many_futile(record, process, calls)
        yield from _too_many_at_once(record, process, calls)
        if record.policy.breaker:
            yield from _too_many_probes(record, process, calls)
            for start_s, end_s in total_outages(record):
                yield from _calls_of_an_open_breaker(record, process, start_s, end_s)


def total_outages(record: Record) -> Iterator[tuple[float, float]]:
    """Stretches of time in which no call that is begun succeeds before their end."""
    start_s = end_s = -1.0
    for outage in merge(record.world.outages):
        if outage.mode not in _TOTAL:
            continue
        if outage.start_s > end_s:
            if end_s > 0:
                yield start_s, end_s
            start_s = outage.start_s
        end_s = outage.end_s
    if end_s > 0:
        yield start_s, end_s


def _too_many_futile(record: Record, process: Process, calls: list[Call]) -> Iterator[Finding]:
    """A stretch of time with more calls that brought nothing than the budget has tokens."""
    policy = record.policy
    rate_per_s = policy.futile_calls_per_s_max
    if rate_per_s is None or policy.read_policy == "primary-only":
        return
    burst = policy.calls_in_flight_max
    capacity = burst + 2 * math.ceil(_RESERVE_SHARE * burst)
    excess, before_s = 0.0, -math.inf
    for call in calls:
        if call.ended is not None and call.ended.error in USEFUL:
            continue
        began_s = call.began.at_s
        # The most by which any stretch that ends now exceeds the rate times its length.
        excess = max(0.0, excess - rate_per_s * (began_s - before_s)) + 1.0
        before_s = began_s
        if excess > capacity + ROUNDING_S * rate_per_s * len(calls):
            said = (
                f"{excess:.1f} calls that brought nothing, beyond {rate_per_s:g} a second; at most "
                f"{capacity}"
            )
            yield Finding(began_s, said, instance=process[0])
            return


def _too_many_at_once(record: Record, process: Process, calls: list[Call]) -> Iterator[Finding]:
    most, under_way = record.policy.calls_in_flight_max, 0
    changes = sorted(
        [(each.began_at, 1, each.began.at_s) for each in calls]
        + [(each.ended_at, -1, each.ended_s) for each in calls]
    )
    for _, change, at_s in changes:
        under_way += change
        if under_way > most:
            said = f"{under_way} calls of the primary were under way; calls_in_flight_max is {most}"
            yield Finding(at_s, said, instance=process[0])
            return


def _too_many_probes(record: Record, process: Process, calls: list[Call]) -> Iterator[Finding]:
    """More probes at once than a half-open breaker has places.

    A probe that ran out of time has left its place, though its call may go on; so has one that did
    not report for `breaker_probe_timeout_s`.
    """
    policy, changes = record.policy, []
    for call in calls:
        if call.began.name == PROBE:
            began_s, most_s = call.began.at_s, policy.breaker_probe_timeout_s
            most_s = min(most_s, timeout_s(policy, call) or most_s)
            left_s = min(call.ended_s, began_s + most_s - ROUNDING_S)
            changes += [(began_s, 1), (left_s, -1)]
    under_way, places = 0, policy.breaker_half_open_max_calls
    for at_s, change in sorted(changes):
        under_way += change
        if under_way > places:
            said = f"{under_way} probes were under way; breaker_half_open_max_calls is {places}"
            yield Finding(at_s, said, instance=process[0])
            return


def _calls_of_an_open_breaker(
    record: Record, process: Process, start_s: float, end_s: float
) -> Iterator[Finding]:
    """Calls in a total outage that a breaker should have refused."""
    policy = record.policy
    calls = [c for c in record.calls[process] if start_s < c.began.at_s < end_s - ROUNDING_S]
    spans = list(_must_be_open(record, process, start_s, end_s))
    for call in calls:
        began_s = call.began.at_s
        for opened_s, until_s in spans:
            if call.began.name != PROBE and opened_s + ROUNDING_S < began_s < until_s:
                said = (
                    f"{call.began.name} was called, though {policy.breaker_failure_threshold} "
                    f"calls in a row had failed by {opened_s:.3f} s and none succeeded since"
                )
                yield Finding(began_s, said, instance=process[0])
                return
    shortest_s = policy.breaker_open_s * (1.0 - policy.breaker_open_jitter)
    probes = [each for each in calls if each.began.name == PROBE]
    for before, probe in pairwise(probes):
        # Only one that failed has opened the breaker again; one that was given up says nothing.
        waited_s = probe.began.at_s - before.began.at_s
        if has_failed(record, before) and waited_s < shortest_s - ROUNDING_S:
            said = (
                f"a probe came {waited_s:.3f} s after one that failed; an open breaker waits "
                f"{shortest_s:g} s at least"
            )
            yield Finding(probe.began.at_s, said, instance=process[0])
            return


def _must_be_open(
    record: Record, process: Process, start_s: float, end_s: float
) -> Iterator[tuple[float, float]]:
    """Yield from when to when the breaker must not be closed, in a stretch of total outages.

    A call that was begun in one outage may succeed as it ends, though the next one has begun.
    """
    policy = record.policy
    if policy.breaker_failure_threshold is None:
        return
    interval_s = policy.breaker_count_interval_s
    # The counts of a closed breaker begin anew at moments that cannot be seen from outside. There
    # is at most one in a span shorter than the interval; one of its two sides is long enough.
    needed = policy.breaker_failure_threshold
    if interval_s > 0:
        needed = 2 * needed - 1
    failures_s: list[float] = []
    opened_s = math.inf
    for at_s, failed in sorted(_outcomes(record, process)):
        if not start_s < at_s < end_s:
            continue
        if not failed:
            if opened_s < at_s:
                yield opened_s, at_s
            failures_s.clear()
            opened_s = math.inf
            continue
        failures_s.append(at_s)
        if opened_s == math.inf and len(failures_s) >= needed:
            span_s = at_s - failures_s[-needed]
            if interval_s == 0 or span_s < interval_s - ROUNDING_S:
                opened_s = at_s
    if opened_s < end_s:
        yield opened_s, end_s


def _outcomes(record: Record, process: Process) -> Iterator[tuple[float, bool]]:
    """When calls succeeded or failed for their caller, of those where that is certain."""
    for call in record.calls[process]:
        if call.ended is not None and call.ended.error in ANSWERS:
            yield call.ended_s, False
        elif not was_given_up(record, call):
            failed_s = _failed_s(record, call)
            if failed_s is not None:
                yield failed_s, True


def _failed_s(record: Record, call: Call) -> float | None:
    """When a call certainly was a failure for its caller; `None` if that cannot be told."""
    most_s = timeout_s(record.policy, call)
    if most_s is None or call.ended_s < call.began.at_s + most_s - ROUNDING_S:
        return call.ended_s if call.ended and call.ended.error != CANCELLED else None
    # It was left behind at its time-out. That of a `get` may have been up before: it may have
    # waited for another one's call first.
    is_sure = call.began.name != "get" or record.world.primary.driver_honours_cancellation
    return call.began.at_s + most_s if is_sure else None


RESTRAINT = Invariant(
    "restraint",
    "However many ask, calls that bring nothing stay within their budget, and an open breaker lets "
    "through nothing but its probes.",
    _find,
)
