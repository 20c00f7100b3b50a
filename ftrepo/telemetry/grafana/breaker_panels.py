"""The panels of breakers, limits and retries, and those by which to see whether all is well."""

from __future__ import annotations

from ftrepo.telemetry.grafana.panel import Panel, most, rate

_ASKED = ((0, "not asked", "red"), (1, "asked", "green"))
_UP = ((0, "down", "red"), (1, "up", "green"))
_STATES = ((0, "closed", "green"), (1, "half-open", "yellow"), (2, "open", "red"))

_CHOSEN = ',breaker=~"$breaker"'
_SUCCESSES = rate("circuit_breaker_successes_total", "breaker", only=_CHOSEN)
_FAILURES = rate("circuit_breaker_failures_total", "breaker", only=_CHOSEN)
_STATE = most("circuit_breaker_state", "instance", "breaker", only=_CHOSEN)
_FAILED_PROBES = ',from="half-open",to="open"'
_WINDOW_FAILURES = f"circuit_breaker_window_failures{{$here{_CHOSEN}}}"
_WINDOW_CALLS = f"circuit_breaker_window_calls{{$here{_CHOSEN}}}"
_CALLS = f"({rate('circuit_breaker_successes_total')} + {rate('circuit_breaker_failures_total')})"


def _increase(name: str, only: str = "") -> str:
    return f"sum by (breaker) (increase({name}{{$here{_CHOSEN}{only}}}[5m]))"


HEALTH = (
    Panel(
        title="Primary",
        reading="Whether every chosen instance asks its primary. 'Not asked' means that a breaker "
        "is not closed: memory answers, and new keys wait. Look at Breakers next.",
        queries=[("min(ftrepo_primary_up{$here})", "")],
        form="stat",
        names=_ASKED,
        width=4,
    ),
    Panel(
        title="Database",
        reading="What the health monitor found last. Up while the primary is not asked: the "
        "breaker is stuck, or the path of the calls is at fault and not the server.",
        queries=[("min(ftrepo_database_up{$here})", "")],
        form="stat",
        names=_UP,
        width=4,
    ),
    Panel(
        title="Breakers not closed",
        reading="How many, over all instances. Which ones is under Breakers.",
        queries=[("count(circuit_breaker_state{$here} > 0) or vector(0)", "")],
        form="stat",
        steps=[1],
        width=4,
    ),
    Panel(
        title="Oldest pending write",
        reading="How long a key has waited for the primary that was acknowledged without it. It "
        "grows during an outage and must fall to 0 within seconds of its end.",
        queries=[(most("ftrepo_pending_oldest_age_seconds"), "")],
        unit="s",
        form="stat",
        steps=[5, 60],
        width=4,
    ),
    Panel(
        title="Keys dropped",
        reading="Acknowledged keys that the primary will never have, in the time shown. Anything "
        "but 0 is to be explained: look at Keys dropped below, and for their ids in the log.",
        queries=[("sum(increase(ftrepo_keys_dropped_total{$here}[$__range]))", "")],
        form="stat",
        steps=[1],
        width=4,
    ),
    Panel(
        title="Age of these figures",
        reading="Above 0 if the event loop of a service did not answer within a second: it is "
        "blocked or has ended, and all its other figures are as old as this says.",
        queries=[(most("ftrepo_readings_age_seconds"), "")],
        unit="s",
        form="stat",
        steps=[1],
        width=4,
    ),
)

BREAKERS = (
    Panel(
        title="State",
        reading="A short red piece, a thin yellow one and green again is a breaker that works. Red "
        "and yellow in turn for long: its probes fail, so the dependency is still away, or the "
        "breaker is stuck. Many short red pieces: it flaps.",
        queries=[(_STATE, "{{instance}} {{breaker}}")],
        form="states",
        names=_STATES,
        width=24,
    ),
    Panel(
        title="Share of time not closed",
        reading="Of the last 5 minutes. 1 is a breaker that has not been closed once.",
        queries=[(f"avg_over_time(({_STATE} > bool 0)[5m:15s])", "{{instance}} {{breaker}}")],
        unit="percentunit",
    ),
    Panel(
        title="Time in the present state",
        reading="A saw with teeth as long as the open time is a breaker whose probes fail.",
        queries=[
            (
                most("circuit_breaker_state_age_seconds", "instance", "breaker"),
                "{{instance}} {{breaker}}",
            )
        ],
        unit="s",
    ),
    Panel(
        title="Trips and failed probes, per 5 minutes",
        reading="A trip opens a closed breaker; a failed probe opens a half-open one again. Trips "
        "without failed probes are false if they come again and again: the threshold is too low, "
        "or one kind of call fails that should not count.",
        queries=[
            (_increase("circuit_breaker_trips_total"), "{{breaker}}: opened"),
            (
                _increase("circuit_breaker_state_changes_total", _FAILED_PROBES),
                "{{breaker}}: failed probes",
            ),
        ],
    ),
    Panel(
        title="Calls by outcome",
        reading="Rejections in place of failures are what a breaker is for. Uncounted calls were "
        "cancelled, or failed in a way that is not the dependency's fault.",
        queries=[
            (
                rate(f"circuit_breaker_{name}_total", "breaker", only=_CHOSEN),
                f"{{{{breaker}}}}: {name.replace('_', ' ')}",
            )
            for name in ("successes", "failures", "rejections", "uncounted_calls", "slow_calls")
        ],
        unit="reqps",
        width=12,
    ),
    Panel(
        title="Share of failures",
        reading="Of the calls that were made, and of those in the breaker's own window if it has "
        "one. A breaker that trips while this is low trips falsely.",
        queries=[
            (f"{_FAILURES} / ({_SUCCESSES} + {_FAILURES})", "{{breaker}}"),
            (
                f"max by (breaker) ({_WINDOW_FAILURES} / ({_WINDOW_CALLS} > 0))",
                "{{breaker}}: window",
            ),
        ],
        unit="percentunit",
        width=12,
    ),
)

RETRIES = (
    Panel(
        title="Attempts made again",
        reading="A hump at an outage is right. A plateau that outlives it is a storm.",
        queries=[(rate("retry_attempts_total", "operation"), "{{operation}}")],
        unit="reqps",
    ),
    Panel(
        title="Retries per call through a breaker",
        reading="Above 0.1 retries are a load of their own: give them a budget.",
        queries=[(f"{rate('retry_attempts_total')} / {_CALLS}", "retries per call")],
        unit="percentunit",
    ),
    Panel(
        title="Budgets",
        reading="At 0 retries are refused: the error of the first attempt goes to the caller.",
        queries=[
            ("min by (budget) (retry_budget_balance{$here})", "{{budget}}: left"),
            (rate("retry_budget_refusals_total", "budget"), "{{budget}}: refused a second"),
        ],
    ),
)

_LIMIT = ("instance", "limit", "kind")
_LIMIT_NAME = "{{instance}} {{limit}} ({{kind}})"

LIMITS = (
    Panel(
        title="Calls under way, by limit",
        reading="A bulkhead at its limit: what is called has become slow, or the limit is too low. "
        "Calls left behind took too long and do not end: something hangs, and each may hold a "
        "connection.",
        queries=[
            (most("call_limit_under_way", *_LIMIT), _LIMIT_NAME),
            (most("call_limit_under_way_max", *_LIMIT), f"{_LIMIT_NAME}: limit"),
            (most("call_limit_left_behind", *_LIMIT), f"{_LIMIT_NAME}: left behind"),
        ],
    ),
    Panel(
        title="Callers that wait",
        reading="For a place in a bulkhead, or their turn at a rate limiter. A short hump takes up "
        "a burst. A queue that stays full makes every caller late and helps nobody.",
        queries=[(most("call_limit_waiting", *_LIMIT), _LIMIT_NAME)],
    ),
    Panel(
        title="Calls admitted and refused, by limit",
        reading="Refusals while what is called is well: the limit is too low, or one caller asks "
        "too much. A rate that may be 0 follows a breaker that is open.",
        queries=[
            (rate("call_limit_admitted_total", *_LIMIT), f"{_LIMIT_NAME}: admitted"),
            (rate("call_limit_refusals_total", *_LIMIT), f"{_LIMIT_NAME}: refused"),
            (rate("call_limit_timeouts_total", *_LIMIT), f"{_LIMIT_NAME}: too late"),
            (most("call_limit_calls_per_second", *_LIMIT), f"{_LIMIT_NAME}: allowed"),
        ],
        unit="reqps",
    ),
)
