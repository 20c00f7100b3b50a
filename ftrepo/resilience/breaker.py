"""A circuit breaker: a pure state machine that awaits nothing and is told the time.

::

             failure_threshold failures in a row
    CLOSED ───────────────────────────────────────▶ OPEN
       ▲                                            │  ▲
       │ half_open_max_calls successes      open_s  │  │ one failure
       │                                    passed  ▼  │
       └──────────────────────────────────────── HALF_OPEN

Every admitted call holds a `Permit` and reports its outcome with it. A permit remembers the
*generation* in which it was given; each change of state begins a new one, and an outcome from an
earlier generation changes nothing: a late success cannot close a breaker that has since opened.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ftrepo.errors import CircuitOpenError


class BreakerState(enum.Enum):
    """Where the breaker stands."""

    CLOSED = "closed"
    """Every call is admitted."""
    OPEN = "open"
    """Every call is rejected, until `open_s` has passed."""
    HALF_OPEN = "half-open"
    """A fixed number of probes is admitted; what becomes of them decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When the breaker trips and how it probes.

    The defaults are those of consecutive-failure breakers in general use (gobreaker's `Settings`,
    with five failures, as its `ReadyToTrip` has it).

    Attributes:
        failure_threshold: failures in a row, at least 1, that trip the breaker.
        count_interval_s: while closed, the count of failures starts again from zero every so many
            seconds; zero means that only a success clears it.
        open_s: how long the breaker rejects everything before it admits probes. Zero means that
            the next call is a probe.
        half_open_max_calls: how many probes are admitted when half-open, at least 1. The breaker
            closes when so many have succeeded, and opens again at the first that fails.
        probe_timeout_s: how long a probe holds its place without reporting an outcome. After that
            the place goes to the next caller, so that a probe that never returns jams nothing.
    """

    failure_threshold: int = 5
    count_interval_s: float = 60.0
    open_s: float = 30.0
    half_open_max_calls: int = 2
    probe_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for name, least in (
            ("failure_threshold", 1),
            ("count_interval_s", 0),
            ("open_s", 0),
            ("half_open_max_calls", 1),
            ("probe_timeout_s", 0),
        ):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")


class Permit:
    """The right to make one call. Give it back with the outcome, exactly once."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class CircuitBreaker:
    """Decides which calls may be made, from the outcomes of those before.

    Times are seconds of any clock that does not go backwards, such as `loop.time()`.

    Args:
        settings: when to trip and how to probe.
        on_change: called with the old and the new state, after each change.
    """

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        *,
        on_change: Callable[[BreakerState, BreakerState], None] | None = None,
    ) -> None:
        self.settings = settings or BreakerSettings()
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._generation = 0
        # One permit serves every call of a closed generation: admission then allocates nothing.
        self._closed_permit = Permit(0)
        self._failures = 0
        self._counting_since: float | None = None
        self._open_until = 0.0
        self._probe_deadlines: dict[Permit, float] = {}
        self._probe_successes = 0

    @property
    def state(self) -> BreakerState:
        """The state after the last call or outcome; it does not change by time alone."""
        return self._state

    @property
    def consecutive_failures(self) -> int:
        """Failures since the last success or clearing, while closed."""
        return self._failures

    def retry_after_s(self, now: float) -> float:
        """Seconds until a probe may be admitted; zero unless open."""
        if self._state is BreakerState.OPEN:
            return max(0.0, self._open_until - now)
        return 0.0

    def acquire(self, now: float) -> Permit:
        """Admit a call.

        Raises:
            CircuitOpenError: the breaker is open, or half-open with every place taken.
        """
        if self._state is BreakerState.CLOSED:
            return self._closed_permit
        if self._state is BreakerState.OPEN:
            if now < self._open_until:
                raise self._rejection(now)
            self._change_to(BreakerState.HALF_OPEN, now)
        overdue = [permit for permit, until in self._probe_deadlines.items() if until <= now]
        for permit in overdue:
            del self._probe_deadlines[permit]
        taken = len(self._probe_deadlines) + self._probe_successes
        if taken >= self.settings.half_open_max_calls:
            raise self._rejection(now)
        permit = Permit(self._generation)
        self._probe_deadlines[permit] = now + self.settings.probe_timeout_s
        return permit

    def rejection(self, now: float) -> CircuitOpenError | None:
        """The error for a caller that must not probe, or `None` if the breaker is closed."""
        return None if self._state is BreakerState.CLOSED else self._rejection(now)

    def succeed(self, permit: Permit, now: float) -> None:
        """Report that the call succeeded."""
        if permit.generation != self._generation:
            return
        if self._state is BreakerState.CLOSED:
            self._failures = 0
        elif self._probe_deadlines.pop(permit, None) is not None:
            self._probe_successes += 1
            if self._probe_successes >= self.settings.half_open_max_calls:
                self._change_to(BreakerState.CLOSED, now)

    def fail(self, permit: Permit, now: float) -> None:
        """Report that the call failed or ran out of time."""
        if permit.generation != self._generation:
            return
        if self._state is BreakerState.CLOSED:
            interval_s = self.settings.count_interval_s
            if self._counting_since is None or (
                interval_s > 0 and now - self._counting_since >= interval_s
            ):
                self._failures, self._counting_since = 0, now
            self._failures += 1
            if self._failures >= self.settings.failure_threshold:
                self._change_to(BreakerState.OPEN, now)
        elif permit in self._probe_deadlines:
            self._change_to(BreakerState.OPEN, now)

    def release(self, permit: Permit) -> None:
        """Report that the call was cancelled: neither a success nor a failure."""
        self._probe_deadlines.pop(permit, None)

    def _rejection(self, now: float) -> CircuitOpenError:
        retry_after_s = self.retry_after_s(now)
        return CircuitOpenError(
            f"the breaker is {self._state.value}; next probe in {retry_after_s:.1f} s",
            retry_after_s=retry_after_s,
        )

    def _change_to(self, new: BreakerState, now: float) -> None:
        old, self._state = self._state, new
        self._generation += 1
        self._failures = 0
        self._counting_since = None
        self._probe_deadlines.clear()
        self._probe_successes = 0
        if new is BreakerState.OPEN:
            self._open_until = now + self.settings.open_s
        elif new is BreakerState.CLOSED:
            self._closed_permit = Permit(self._generation)
        if self._on_change is not None:
            self._on_change(old, new)
