"""When a breaker trips, how long it stays open and how it probes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a breaker trips, how long it stays open and how it probes.

    It trips at whichever comes first of what is switched on: failures in a row, a rate of failures,
    a rate of slow calls. The defaults are those of consecutive-failure breakers in general use
    (gobreaker's `Settings`, with five failures, as its `ReadyToTrip` has it).

    Attributes:
        failure_threshold: failures in a row, at least 1, that trip the breaker. `None`: they alone
            never do.
        count_interval_s: while closed, the count of failures in a row starts again from zero every
            so many seconds; zero means that only a success clears it.
        failure_rate: the share of calls in the window, above 0 and at most 1, that trips the
            breaker when they fail. `None`: no share does.
        slow_rate: the share of calls in the window, above 0 and at most 1, that trips the breaker
            when they are slow, whether they fail or not. A probe that is slow then counts as
            failed. `None`: slow calls are counted, and trip nothing.
        slow_call_s: a call that took at least so long is slow; above zero. The default is how long
            people wait without losing their thread (Nielsen, Usability Engineering, 1993).
        window_s: how far back both rates look; above zero. The window moves on by a tenth of its
            length at a time (see `RollingCounts`). The default and that of `window_calls_min` are
            the requirements of the service.
        window_calls_min: how many calls, at least 1, there must be in the window before a share of
            them means anything.
        normal_rate_memory_s: `None`: `failure_rate` is a share of all calls. Otherwise the breaker
            learns, while closed, which failure rate is normal, with this time constant in seconds,
            above zero; and `failure_rate` is the share of the calls which would normally succeed
            that must fail: (rate − normal) / (1 − normal), which is Abbott's formula (Journal of
            Economic Entomology 18, 1925). A call is learnt from once it has left the window. A rate
            that rises more slowly than this time passes for normal: choose it long, an hour or
            more.
        open_s: how long the breaker rejects everything before it admits probes. Zero means that
            the next call is a probe.
        open_factor: each opening that follows a failed probe lasts so many times as long as the one
            before, at least 1; a closing starts again from `open_s`.
        open_max_s: an opening does not grow beyond this; at least zero. An `open_s` above it stays
            as it is.
        open_jitter: the share of an opening, from 0 to 1, that is drawn: it lasts anything from
            (1 − open_jitter) of its time to the whole, so that instances which tripped together do
            not probe together.
        half_open_max_calls: how many probes are admitted when half-open, at least 1. The breaker
            closes when so many have succeeded, and opens again at the first that fails.
        probe_timeout_s: how long a probe holds its place without reporting an outcome. After that
            the place goes to the next caller, so that a probe that never returns jams nothing, and
            the outcome of the late one changes nothing. Above zero.

    Raises:
        ValueError: a setting is out of its range or not finite; the message names it.
    """

    failure_threshold: int | None = 5
    count_interval_s: float = 60.0
    failure_rate: float | None = None
    slow_rate: float | None = None
    slow_call_s: float = 1.0
    window_s: float = 10.0
    window_calls_min: int = 5
    normal_rate_memory_s: float | None = None
    open_s: float = 30.0
    open_factor: float = 1.0
    open_max_s: float = 300.0
    open_jitter: float = 0.0
    half_open_max_calls: int = 2
    probe_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if (value := getattr(self, field.name)) is not None:
                _check(field.name, value)
        if self.normal_rate_memory_s is not None and self.failure_rate is None:
            raise ValueError(
                "normal_rate_memory_s is set and failure_rate is not: nothing would be judged by "
                "what is normal"
            )

    @property
    def has_window(self) -> bool:
        """Whether a rate can trip the breaker."""
        return self.failure_rate is not None or self.slow_rate is not None

    @classmethod
    def consecutive(cls) -> BreakerSettings:
        """5 failures in a row, counted afresh every 60 s; open for 30 s; 2 probes: the defaults."""
        return cls()

    @classmethod
    def conservative(cls) -> BreakerSettings:
        """Slow to trip, and slow to try again: 10 failures in a row; open for 60 s."""
        return cls(failure_threshold=10, open_s=60.0)

    @classmethod
    def aggressive(cls) -> BreakerSettings:
        """Quick to trip, and quick to try again: 3 failures in a row; open for 15 s."""
        return cls(failure_threshold=3, open_s=15.0)

    @classmethod
    def half_failed(cls) -> BreakerSettings:
        """Half of at least 5 calls within 10 s, in a row or not; open for 30 s; 3 probes."""
        return cls(failure_threshold=None, failure_rate=0.5, half_open_max_calls=3)


_LEAST = {
    "failure_threshold": 1,
    "count_interval_s": 0,
    "window_calls_min": 1,
    "open_s": 0,
    "open_factor": 1,
    "open_max_s": 0,
    "open_jitter": 0,
    "half_open_max_calls": 1,
}
"""Settings that may be so small; the others must be above zero."""

_SHARES = ("failure_rate", "slow_rate", "open_jitter")


def _check(name: str, value: float) -> None:
    least = _LEAST.get(name)
    if least is not None and not value >= least:
        raise ValueError(f"{name} is {value!r}; it must be at least {least}")
    if least is None and not value > 0:
        raise ValueError(f"{name} is {value!r}; it must be above zero")
    if name in _SHARES and not value <= 1:
        raise ValueError(f"{name} is {value!r}; it must be at most 1")
    if value == math.inf:
        raise ValueError(f"{name} is {value!r}; it must be finite")


PRESETS: Mapping[str, BreakerSettings] = MappingProxyType(
    {
        "consecutive": BreakerSettings.consecutive(),
        "conservative": BreakerSettings.conservative(),
        "aggressive": BreakerSettings.aggressive(),
        "half-failed": BreakerSettings.half_failed(),
    }
)
"""The settings that the requirements of the service name, by name."""
