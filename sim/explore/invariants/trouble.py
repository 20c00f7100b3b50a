"""What went wrong for a process, as far as that can be told from outside: its calls, and outages.

The repository's own breaker and counters are not asked. So an invariant that holds only while the
primary is well does not depend on what the repository makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sim.explore.happenings import Outcome
from sim.explore.hostile_world import OperationKind
from sim.explore.invariants.record import ROUNDING_S

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.invariants.record import Call, Record, Request

ANSWERS = frozenset({"", "KeyConflictError", "KeyExpiredError", "KeyNotFoundError"})
"""How a call of the primary ends that was answered."""

USEFUL = ANSWERS - {"KeyNotFoundError"}
"""How a call ends that brought something."""

CANCELLED = "CancelledError"
"""How a call ends that ran out of time, or whose caller gave up."""

PROBE = "ping"


def has_failed(record: Record, call: Call) -> bool:
    """Whether the primary did not answer a call: an error, or no answer in time.

    A call that was cancelled because its caller gave up, or because the process ended, says nothing
    of the primary. One that is still under way at the end has not been answered; nor, for all that
    its caller knows, one whose answer came at the very moment at which its time was up.
    """
    if call.ended is None or took_its_timeout(record.policy, call):
        return True
    if call.ended.error in ANSWERS:
        return False
    return call.ended.error != CANCELLED or not was_given_up(record, call)


def was_given_up(record: Record, call: Call) -> bool:
    """Whether a caller gave up, or the process ended, while the call was under way."""
    process = call.began.instance, call.began.process
    life = record.lives[process]
    began_s, ended_s = call.began.at_s, call.ended_s
    if began_s <= life.stopped_s <= ended_s:
        return True
    # One who gave up as the call began gave up an earlier one, unless this one ended at once.
    return any(
        request.process == process
        and request.outcome is Outcome.CANCELLED
        and (began_s < request.told_s <= ended_s or began_s == request.told_s == ended_s)
        for request in record.requests
    )


def timeout_s(policy: Policy, call: Call) -> float | None:
    """The time-out of a call; a `get` that began for another caller may have less."""
    match call.began.name:
        case "create" | "create_many":
            return policy.insert_timeout_s
        case "list_valid":
            return policy.load_timeout_s
        case "delete_expired":
            return policy.delete_timeout_s
        case _:
            return policy.select_timeout_s


def took_its_timeout(policy: Policy, call: Call) -> bool:
    """Whether a call went on for as long as it may."""
    most_s = timeout_s(policy, call)
    return most_s is not None and call.ended_s - call.began.at_s >= most_s - ROUNDING_S


def is_in_outage(record: Record, from_s: float, to_s: float) -> bool:
    """Whether there is an outage at any time in [from_s, to_s]."""
    return any(each.start_s <= to_s and each.end_s >= from_s for each in record.world.outages)


def may_be_refused(record: Record, request: Request) -> bool:
    """Whether the repository may have refused to call the primary for a request, or called in vain.

    It may if a call failed meanwhile; if as many have failed, since the process began, as it takes
    to trip the breaker; or if there may have been no place, or no token, for another call. A caller
    who gave up is no reason, nor is an outage of which the process has seen nothing.
    """
    policy, failed = record.policy, 0
    calls = [each for each in record.calls[request.process] if each.began.at_s <= request.told_s]
    needed = _failures_to_trip(policy)
    for call in calls:
        is_doubtful = may_have_failed(record, call)
        if is_doubtful and call.ended_s >= request.asked.at_s:
            return True
        failed += is_doubtful or was_slow(policy, call)
    return failed >= needed or may_be_full(record, request, calls)


def may_be_full(record: Record, request: Request, calls: Sequence[Call]) -> bool:
    """Whether the calls under way, and those that brought nothing, may have left room for no more.

    Every call holds a place and a token while it is under way, those that were left behind
    included. One that brings nothing does not give its token back; tokens come back with time.
    """
    policy, asked_s = record.policy, request.asked.at_s
    # Who was asked at the same time may hold a place before its call begins, or without making one.
    held = sum(each.ended_s >= asked_s for each in calls) + sum(
        each.process == request.process
        and each.asked.at_s <= request.told_s
        and each.told_s >= asked_s
        for each in record.requests
        if each is not request
    )
    if held >= policy.calls_in_flight_max:
        return True
    rate_per_s = policy.futile_calls_per_s_max
    if rate_per_s is None or held + len(calls) < policy.calls_in_flight_max:
        return False
    spent, before_s = 0.0, -math.inf
    futile_s = (each.ended_s for each in calls if _may_have_brought_nothing(record, each))
    for ended_s in sorted(each for each in futile_s if each < asked_s):
        spent = max(0.0, spent - rate_per_s * (ended_s - before_s)) + 1.0
        before_s = ended_s
    spent -= rate_per_s * (asked_s - before_s)
    # A call needs a whole token.
    return spent > 0 and held + spent > policy.calls_in_flight_max - 1.0 - ROUNDING_S * rate_per_s


def _may_have_brought_nothing(record: Record, call: Call) -> bool:
    """Whether a call may have spent its token: anything but an answer that was of use."""
    return (
        call.ended is None
        or call.ended.error not in USEFUL
        or took_its_timeout(record.policy, call)
        or was_given_up(record, call)
    )


def _failures_to_trip(policy: Policy) -> float:
    """How many failures it takes, at least, to trip the breaker."""
    if not policy.breaker:
        return math.inf
    if policy.breaker_failure_rate is not None or policy.breaker_slow_rate is not None:
        return 1
    return policy.breaker_failure_threshold or math.inf


def may_have_failed(record: Record, call: Call) -> bool:
    """Whether a call may have been a failure for the breaker: anything but an answer in time.

    That a cancelled call was given up by its caller is believed only if its time was not up. The
    time of a `get` may have been up early: it may have begun for one who waited for another's.
    """
    if call.ended is None or took_its_timeout(record.policy, call):
        return True
    if call.ended.error in ANSWERS:
        return False
    if call.ended.error != CANCELLED:
        return True
    return call.began.name == "get" and not any(
        request.outcome is Outcome.CANCELLED
        and request.asked.kind is OperationKind.GET
        and request.asked.at_s == call.began.at_s
        and request.told_s == call.ended_s
        for request in record.requests
        if request.process == (call.began.instance, call.began.process)
    )


def was_slow(policy: Policy, call: Call) -> bool:
    """Whether the breaker may hold against a call how long it took."""
    took_s = call.ended_s - call.began.at_s
    is_judged = policy.breaker and policy.breaker_slow_rate is not None
    return is_judged and took_s >= policy.breaker_slow_call_s - ROUNDING_S
