"""The breaker against a reference model: plain lists of what happened when, counted anew each time.

The model knows nothing of buckets kept up to date, of successes that only count, or of rejections
that look at nothing but the clock. It shares with the breaker only what the documentation promises.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import BreakerSettings, BreakerState, CircuitBreaker, Permit

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


@dataclass
class ModelCall:
    """A call under way: in which period of the breaker it began, and until when its place holds."""

    period: int
    place_until_s: float | None


@dataclass
class ModelBreaker:
    """What a breaker does, said as plainly as possible."""

    settings: BreakerSettings
    state: BreakerState = CLOSED
    period: int = 0
    is_forced: bool = False
    open_for_s: float = 0.0
    open_until_s: float = 0.0
    jitter_draw: float = 0.0
    row: list[float] = field(default_factory=list)
    row_since_s: float | None = None
    seen: list[tuple[float, bool, bool]] = field(default_factory=list)
    left: list[tuple[float, bool]] = field(default_factory=list)
    probes: list[ModelCall] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    successes_in_row: int = 0
    moved_to_s: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)

    def bucket(self, at_s: float) -> int:
        return math.floor(at_s / (self.settings.window_s / 10))

    def window(self, now: float) -> list[tuple[float, bool, bool]]:
        oldest = self.bucket(now) - 9
        return [seen for seen in self.seen if self.bucket(seen[0]) >= oldest]

    def normal(self, now: float) -> float:
        if self.settings.normal_rate_memory_s is None:
            return 0.0
        rate_per_s = 1 / self.settings.normal_rate_memory_s
        bucket_s = self.settings.window_s / 10
        calls, failures = float(self.settings.window_calls_min), 0.0
        for at_s, failed in self.left:
            buckets_ago = self.bucket(now) - (self.bucket(at_s) + 10)
            weight = math.exp(-buckets_ago * bucket_s * rate_per_s)
            calls += weight
            failures += weight * failed
        return failures / calls

    def go_to(self, state: BreakerState, now: float) -> None:
        self.state = state
        self.period += 1
        self.row, self.row_since_s, self.successes_in_row, self.probes = [], None, 0, []
        self.log.append(state.value)
        if state is OPEN:
            share = 1 - self.settings.open_jitter * self.jitter_draw
            self.open_until_s = now + self.open_for_s * share
        if state is CLOSED:
            self.seen, self.is_forced, self.open_for_s = [], False, self.settings.open_s

    def call(self, now: float) -> ModelCall | None:
        if self.state is OPEN:
            if self.is_forced or now < self.open_until_s:
                self.counted["rejected"] += 1
                return None
            self.go_to(HALF_OPEN, now)
        if self.state is CLOSED:
            return ModelCall(self.period, None)
        self.probes = [probe for probe in self.probes if now < (probe.place_until_s or 0)]
        if len(self.probes) + self.successes_in_row >= self.settings.half_open_max_calls:
            self.counted["rejected"] += 1
            return None
        probe = ModelCall(self.period, now + self.settings.probe_timeout_s)
        self.probes.append(probe)
        return probe

    def has_place(self, call: ModelCall) -> bool:
        if call.place_until_s is None:
            return call.period == self.period
        had_place = any(probe is call for probe in self.probes)
        self.probes = [probe for probe in self.probes if probe is not call]
        return had_place

    def release(self, call: ModelCall) -> None:
        self.counted["neither" if self.has_place(call) else "late"] += 1

    def report(self, call: ModelCall, now: float, duration_s: float, *, failed: bool) -> None:
        if not self.has_place(call) or (call.place_until_s or math.inf) <= now:
            self.counted["late"] += 1
            return
        slow = duration_s >= self.settings.slow_call_s
        self.counted["failures" if failed else "successes"] += 1
        self.counted["slow"] += slow
        if call.place_until_s is not None:
            self.probe_ended(now, failed=failed or (slow and self.settings.slow_rate is not None))
        else:
            self.call_ended(now, failed=failed, slow=slow)

    def call_ended(self, now: float, *, failed: bool, slow: bool) -> None:
        if failed:
            interval_s = self.settings.count_interval_s
            if self.row_since_s is None or (interval_s and now - self.row_since_s >= interval_s):
                self.row, self.row_since_s = [], now
            self.row.append(now)
            self.successes_in_row = 0
        else:
            self.row = []
            self.successes_in_row += 1
        self.seen.append((now, failed, slow))
        self.moved_to_s = now
        window = self.window(now)
        self.left += [(at_s, bad) for at_s, bad, _ in self.seen[: len(self.seen) - len(window)]]
        self.seen = window
        if self.must_trip(now):
            self.go_to(OPEN, now)

    def must_trip(self, now: float) -> bool:
        threshold = self.settings.failure_threshold
        if threshold is not None and len(self.row) >= threshold:
            return True
        calls = len(self.seen)
        if calls < self.settings.window_calls_min:
            return False
        slow_rate, failure_rate = self.settings.slow_rate, self.settings.failure_rate
        if slow_rate is not None and sum(slow for *_, slow in self.seen) / calls >= slow_rate:
            return True
        if failure_rate is None:
            return False
        normal = self.normal(now)
        rate = sum(failed for _, failed, _ in self.seen) / calls
        beyond = (rate - normal) / (1 - normal)
        # Sums in another order differ in their last digits: no two programs agree on a tie there.
        assume(normal == 0 or abs(beyond - failure_rate) > 1e-9)
        return beyond >= failure_rate

    def probe_ended(self, now: float, *, failed: bool) -> None:
        if failed:
            grown_s = min(self.open_for_s * self.settings.open_factor, self.settings.open_max_s)
            self.open_for_s = max(grown_s, self.settings.open_s)
            self.go_to(OPEN, now)
            return
        self.successes_in_row += 1
        if self.successes_in_row >= self.settings.half_open_max_calls:
            self.go_to(CLOSED, now)


rates = st.none() | st.sampled_from([0.25, 0.5, 0.75, 1.0])


@st.composite
def breaker_settings(draw: st.DrawFn) -> BreakerSettings:
    """Settings of any kind, small enough that every rule of theirs is met soon."""
    failure_rate = draw(rates)
    return BreakerSettings(
        failure_threshold=draw(st.none() | st.integers(1, 4)),
        count_interval_s=draw(st.sampled_from([0.0, 3.0, 60.0])),
        failure_rate=failure_rate,
        slow_rate=draw(rates),
        slow_call_s=1.0,
        window_s=draw(st.sampled_from([1.0, 10.0, 7.3])),
        window_calls_min=draw(st.integers(1, 6)),
        normal_rate_memory_s=draw(st.sampled_from([None, 5.0, 100.0])) if failure_rate else None,
        open_s=draw(st.sampled_from([0.0, 2.0, 10.0])),
        open_factor=draw(st.sampled_from([1.0, 1.5, 2.0])),
        open_max_s=draw(st.sampled_from([0.0, 15.0, 300.0])),
        open_jitter=draw(st.sampled_from([0.0, 0.5, 1.0])),
        half_open_max_calls=draw(st.integers(1, 3)),
        probe_timeout_s=draw(st.sampled_from([0.5, 5.0])),
    )


class BreakerAgainstModel(RuleBasedStateMachine):
    """Whatever is called, reported and waited for, breaker and model say the same."""

    @initialize(chosen=breaker_settings(), jitter_draw=st.sampled_from([0.0, 0.3, 0.99]))
    def begin(self, chosen: BreakerSettings, jitter_draw: float) -> None:
        self.now = 0.0
        self.heard: list[str] = []
        self.model = ModelBreaker(chosen, open_for_s=chosen.open_s, jitter_draw=jitter_draw)
        self.breaker = CircuitBreaker(
            chosen, draw=lambda: jitter_draw, on_change=lambda _, new: self.heard.append(new.value)
        )
        self.under_way: dict[int, tuple[Permit, ModelCall]] = {}
        self.numbers = count()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        expected = self.model.call(self.now)
        if expected is None:
            with pytest.raises(CircuitOpenError):
                self.breaker.acquire(self.now)
        else:
            self.under_way[next(self.numbers)] = (self.breaker.acquire(self.now), expected)

    @rule(
        times=st.integers(1, 12),
        failed=st.booleans(),
        duration_s=st.sampled_from([0.0, 0.999, 1.0]),
        pause_s=st.sampled_from([0.0, 0.05, 0.4]),
    )
    def call_and_report(self, times: int, failed: bool, duration_s: float, pause_s: float) -> None:
        for _ in range(times):
            self.call()
            if self.under_way:
                self._report(max(self.under_way), "fail" if failed else "succeed", duration_s)
            self.now += pause_s
            self.same_state()

    @precondition(lambda self: self.model.state is OPEN)
    @rule()
    def wait_for_the_end_of_the_opening(self) -> None:
        self.now = max(self.now, self.model.open_until_s)
        self.call()

    @precondition(lambda self: self.under_way)
    @rule(
        which=st.integers(0, 1000),
        how=st.sampled_from(["succeed", "fail", "release"]),
        duration_s=st.sampled_from([0.0, 0.999, 1.0]),
    )
    def report(self, which: int, how: str, duration_s: float) -> None:
        self._report(list(self.under_way)[which % len(self.under_way)], how, duration_s)

    def _report(self, number: int, how: str, duration_s: float) -> None:
        permit, call = self.under_way.pop(number)
        if how == "release":
            self.model.release(call)
            self.breaker.release(permit)
        else:
            self.model.report(call, self.now, duration_s, failed=how == "fail")
            getattr(self.breaker, how)(permit, self.now, duration_s)

    # Rare, because they hide what else would have happened.
    @precondition(lambda self: self.model.state is not CLOSED or len(self.under_way) % 3 == 2)
    @rule()
    def force_open(self) -> None:
        self.model.is_forced = True
        if self.model.state is not OPEN:
            self.model.go_to(OPEN, self.now)
        self.breaker.force_open(self.now)

    @precondition(lambda self: self.model.is_forced or len(self.under_way) % 3 == 2)
    @rule()
    def reset(self) -> None:
        was_closed = self.model.state is CLOSED
        self.model.go_to(CLOSED, self.now)
        if was_closed:
            self.model.log.pop()
        self.breaker.reset(self.now)

    @rule()
    def look(self) -> None:
        """Not an invariant: to look brings the books up to date, and they must do without."""
        counts, model = self.breaker.counts, self.model
        for name in ("successes", "failures", "slow", "rejected", "neither", "late"):
            assert getattr(counts, name) == model.counted[name], name
        assert counts.consecutive_failures == len(model.row)
        assert counts.consecutive_successes == model.successes_in_row
        assert counts.trips == model.log.count("open")
        if model.state is CLOSED and model.settings.has_window:
            expected = (
                len(model.seen),
                sum(failed for _, failed, _ in model.seen),
                sum(slow for *_, slow in model.seen),
            )
            assert counts[-3:] == expected
        if model.left and model.state is CLOSED and model.seen:
            assert self.breaker.normal_failure_rate == pytest.approx(model.normal(model.moved_to_s))

    @invariant()
    def same_state(self) -> None:
        assert self.breaker.state is self.model.state
        assert self.heard == self.model.log
        waits = self.model.state is OPEN and not self.model.is_forced
        wait_s = max(0.0, self.model.open_until_s - self.now) if waits else 0.0
        if self.model.is_forced:
            wait_s = self.model.settings.open_s
        assert self.breaker.retry_after_s(self.now) == wait_s


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
