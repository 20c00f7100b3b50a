"""What a circuit breaker decides: a pure state machine that awaits nothing and is told the time.

::

             failures in a row, a rate of failures or of slow calls
    CLOSED ───────────────────────────────────────────────────────▶ OPEN
       ▲                                                            │  ▲
       │ half_open_max_calls successes                 open_s       │  │ one failure
       │                                               passed       ▼  │
       └─────────────────────────────────────────────────────── HALF_OPEN

Every admitted call holds a `Permit` and reports its outcome with it. Permits do what a generation
number does: each state has its own, and an outcome that comes with one of an earlier state changes
nothing. A late success cannot close a breaker that has since opened.

Most outcomes are successes of a healthy dependency. Such a one only adds one to a number on the
permit, which all calls of a closed state share, as long as nothing else could come of it: until
`Permit.plain_until_s`. Everything else first brings that number to the books.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience.breaker_listeners import BreakerListeners
from ftrepo.resilience.breaker_settings import BreakerSettings
from ftrepo.resilience.breaker_state import NEVER_S, BreakerCounts, BreakerState, Permit
from ftrepo.resilience.rolling import RollingCounts

_DEFAULT = BreakerSettings()

QUICK_REJECTIONS = 256
"""How many calls in a row an open breaker may reject for which it looks at nothing but its clock.

They are counted down, and brought to the books together; no more, because Python keeps the integers
up to this one ready. At the next one it looks whether another event loop runs now, whose clock may
be another.
"""


class BreakerMachine(BreakerListeners):
    """Decides which calls may be made, from the outcomes of those before.

    Times are seconds of any clock that does not go backwards, such as `loop.time()`. One that does
    go backwards prolongs what it measures, and breaks nothing.

    Args:
        settings: when to trip and how to probe; the defaults if `None`.
        name: for errors, logs and metrics.
        on_change: called with the old and the new state after each change: a first listener, for
            who has one breaker only.
        draw: returns random numbers in [0, 1) for `open_jitter`; without it every opening lasts as
            long as it may.

    Attributes:
        changed_at_s: when the state last changed; `None`: never yet.
    """

    __slots__ = (
        "__weakref__",
        "_closed_permit",
        "_counting_since_s",
        "_draw",
        "_failures",
        "_failures_in_row",
        "_is_forced",
        "_late",
        "_neither",
        "_open_for_s",
        "_open_until_s",
        "_probes",
        "_quick_rejections",
        "_rejected",
        "_slow",
        "_state",
        "_successes",
        "_successes_in_row",
        "_trips",
        "_window",
        "changed_at_s",
        "settings",
    )

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        *,
        name: str = "breaker",
        on_change: Callable[[BreakerState, BreakerState], object] | None = None,
        draw: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(name)
        self.settings = settings = settings or _DEFAULT
        self.changed_at_s: float | None = None
        self._draw = draw
        if on_change is not None:
            self.add_listener(lambda _, old, new: on_change(old, new))
        self._state = BreakerState.CLOSED
        self._closed_permit: Permit | None = Permit(settings.slow_call_s)
        self._window = (
            RollingCounts(
                settings.window_s,
                memory_s=settings.normal_rate_memory_s,
                doubt_calls=settings.window_calls_min,
            )
            if settings.has_window
            else None
        )
        self._counting_since_s: float | None = None
        self._open_for_s = settings.open_s
        self._open_until_s = NEVER_S
        self._is_forced = False
        self._probes: list[Permit] | None = None
        self._successes = self._failures = self._slow = self._trips = 0
        self._quick_rejections = 0
        self._rejected = self._neither = self._late = 0
        self._successes_in_row = self._failures_in_row = 0

    @property
    def state(self) -> BreakerState:
        """The state after the last call or outcome; it does not change by time alone."""
        return self._state

    @property
    def is_forced_open(self) -> bool:
        """Whether the breaker is open because of `force_open`."""
        return self._is_forced

    @property
    def consecutive_failures(self) -> int:
        """Failures since the last success, change of state or clearing."""
        return self.counts.consecutive_failures

    @property
    def normal_failure_rate(self) -> float:
        """The share of failures that was learnt to be usual; zero if none is learnt."""
        return 0.0 if self._window is None else self._window.normal_rate

    @property
    def counts(self) -> BreakerCounts:
        """What was counted so far."""
        self._book()
        window = self._window
        return BreakerCounts(
            successes=self._successes,
            failures=self._failures,
            slow=self._slow,
            rejected=self._rejected,
            neither=self._neither,
            late=self._late,
            trips=self._trips,
            consecutive_successes=self._successes_in_row,
            consecutive_failures=self._failures_in_row,
            window_calls=0 if window is None else window.calls,
            window_failures=0 if window is None else window.failures,
            window_slow=0 if window is None else window.slow,
        )

    def retry_after_s(self, now: float) -> float:
        """Seconds until a probe may be admitted; zero unless open.

        A breaker that was forced open stays so until `reset`, which nobody can foresee: it says
        `open_s`, so that callers ask again at a sensible pace.
        """
        if self._state is not BreakerState.OPEN:
            return 0.0
        if self._is_forced:
            return self.settings.open_s
        return max(0.0, self._open_until_s - now)

    def acquire(self, now: float) -> Permit:
        """Admit a call.

        Raises:
            CircuitOpenError: the breaker is open, or half-open with every place taken.
        """
        if self._closed_permit is not None:
            return self._closed_permit
        if self._state is BreakerState.OPEN:
            # A clock that went back by more than the whole opening is another clock.
            self._open_until_s = min(self._open_until_s, now + self._open_for_s)
            if self._is_forced or now < self._open_until_s:
                raise self._rejection(now)
            self._change_to(BreakerState.HALF_OPEN, now)
        probes = self._probes
        if probes is None:
            # A listener that was told of the half-open state has ended it.
            return self.acquire(now)
        probes[:] = [probe for probe in probes if now < probe.lease_until_s]
        if len(probes) + self._successes_in_row >= self.settings.half_open_max_calls:
            raise self._rejection(now)
        probe = Permit(self.settings.slow_call_s, now + self.settings.probe_timeout_s)
        probes.append(probe)
        return probe

    def reject(self, now: float) -> CircuitOpenError:
        """Note a call that was not made because of the state, and return the error for its caller.

        For who lets only some of the calls probe; `acquire` rejects by itself.
        """
        return self._rejection(now)

    def succeed(self, permit: Permit, now: float, duration_s: float = 0.0) -> None:
        """Report that the call succeeded, and how long it took."""
        if now < permit.plain_until_s and duration_s < permit.slow_call_s:
            permit.plain_successes += 1
        elif self._is_in_time(permit, now):
            self._book()
            self._successes += 1
            self._successes_in_row += 1
            self._failures_in_row = 0
            is_slow = duration_s >= permit.slow_call_s
            self._slow += is_slow
            if permit is self._closed_permit:
                self._judge(now, is_slow=is_slow)
            elif is_slow and self.settings.slow_rate is not None:
                self._reopen(now)
            elif self._successes_in_row >= self.settings.half_open_max_calls:
                self._change_to(BreakerState.CLOSED, now)

    def fail(self, permit: Permit, now: float, duration_s: float = 0.0) -> None:
        """Report that the call failed or ran out of time, and how long it took."""
        if not self._is_in_time(permit, now):
            return
        self._book()
        self._failures += 1
        self._successes_in_row = 0
        is_slow = duration_s >= permit.slow_call_s
        self._slow += is_slow
        if permit is not self._closed_permit:
            self._reopen(now)
            return
        interval_s = self.settings.count_interval_s
        if self._counting_since_s is None or (
            interval_s > 0 and now - self._counting_since_s >= interval_s
        ):
            self._failures_in_row, self._counting_since_s = 0, now
        self._failures_in_row += 1
        self._judge(now, failed=True, is_slow=is_slow)

    def release(self, permit: Permit) -> None:
        """Report that the call was cancelled, or that its end says nothing.

        That is neither a success nor a failure. The place of a probe is free again.
        """
        if permit is self._closed_permit or self._leaves_its_place(permit):
            self._neither += 1
        else:
            self._late += 1

    def force_open(self, now: float) -> None:
        """Reject every call until `reset`, whatever the time and the outcomes say."""
        self._is_forced = True
        if self._state is not BreakerState.OPEN:
            self._change_to(BreakerState.OPEN, now)
        # Nothing that looks only at the time may take this for an opening that ends.
        self._open_until_s = NEVER_S

    def reset(self, now: float) -> None:
        """Close the breaker, and begin a row, a window and the growth of openings anew.

        Outcomes of calls from before change nothing. The totals stay, and so does the failure rate
        that was learnt to be normal.
        """
        self._change_to(BreakerState.CLOSED, now)

    def _is_in_time(self, permit: Permit, now: float) -> bool:
        """Say whether an outcome counts. A probe's place is free after it."""
        if permit is self._closed_permit:
            return True
        if self._leaves_its_place(permit) and now < permit.lease_until_s:
            return True
        self._late += 1
        return False

    def _leaves_its_place(self, probe: Permit) -> bool:
        """Free the place of a probe, and say whether it had one."""
        if self._probes is None or probe not in self._probes:
            return False
        self._probes.remove(probe)
        return True

    def _book(self) -> None:
        """Bring to the books what was only counted."""
        if self._state is BreakerState.OPEN:
            self._rejected += QUICK_REJECTIONS - self._quick_rejections
            self._quick_rejections = QUICK_REJECTIONS
        permit = self._closed_permit
        if permit is None or not permit.plain_successes:
            return
        count, permit.plain_successes = permit.plain_successes, 0
        self._successes += count
        self._successes_in_row += count
        if self._window is not None:
            # They came before their bucket's end, and nothing has moved the window since.
            self._window.add(NEVER_S, calls=count)

    def _judge(self, now: float, *, failed: bool = False, is_slow: bool) -> None:
        """Count a call of the closed state in the window, and trip if that is too much."""
        settings, window = self.settings, self._window
        if window is not None:
            window.add(now, failures=failed, slow=is_slow)
        threshold = settings.failure_threshold
        in_row = threshold is not None and self._failures_in_row >= threshold
        if in_row or (window is not None and _is_rate_high(settings, window)):
            self._change_to(BreakerState.OPEN, now)
            return
        permit = self._closed_permit
        assert permit is not None
        if self._failures_in_row:
            # The next success has a row to end.
            permit.plain_until_s = NEVER_S
        elif window is None:
            permit.plain_until_s = math.inf
        else:
            # Further successes only lower a rate that was judged just now, until the window moves.
            # Only the one that makes its calls enough to be judged must be looked at.
            is_plain = window.calls >= settings.window_calls_min or not (
                window.failures or window.slow
            )
            permit.plain_until_s = window.ends_s if is_plain else NEVER_S

    def _reopen(self, now: float) -> None:
        settings = self.settings
        grown_s = min(self._open_for_s * settings.open_factor, settings.open_max_s)
        self._open_for_s = max(settings.open_s, grown_s)
        self._change_to(BreakerState.OPEN, now)

    def _rejection(self, now: float) -> CircuitOpenError:
        self._book()
        self._rejected += 1
        return CircuitOpenError(self.name, self._state.value, self.retry_after_s(now))

    def _change_to(self, new: BreakerState, now: float) -> None:
        self._book()
        if self._closed_permit is not None:
            self._closed_permit.plain_until_s = NEVER_S
        old, self._state = self._state, new
        self._closed_permit = None
        self._probes = None
        self._successes_in_row = self._failures_in_row = 0
        self._counting_since_s = None
        self._open_until_s = NEVER_S
        self._quick_rejections = 0
        if new is BreakerState.OPEN:
            self._quick_rejections = QUICK_REJECTIONS
            self._trips += 1
            self._open_until_s = now + self._drawn_open_s()
        elif new is BreakerState.HALF_OPEN:
            self._probes = []
        else:
            self._closed_permit = Permit(self.settings.slow_call_s)
            self._open_for_s = self.settings.open_s
            self._is_forced = False
            if self._window is not None:
                self._window.clear()
        if old is not new:
            self.changed_at_s = now
            self._tell_listeners(old, new)

    def _drawn_open_s(self) -> float:
        jitter = self.settings.open_jitter
        if not jitter or self._draw is None:
            return self._open_for_s
        return self._open_for_s * (1.0 - jitter * self._draw())


def _is_rate_high(settings: BreakerSettings, window: RollingCounts) -> bool:
    calls = window.calls
    if calls < settings.window_calls_min:
        return False
    if settings.slow_rate is not None and window.slow / calls >= settings.slow_rate:
        return True
    if settings.failure_rate is None:
        return False
    rate, normal = window.failures / calls, window.normal_rate
    return normal < 1 and (rate - normal) / (1 - normal) >= settings.failure_rate
