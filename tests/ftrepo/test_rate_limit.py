"""The rate limiter, in virtual time: turns, waiting, and the rate that follows a breaker."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from fractions import Fraction
from typing import TypeVar

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ftrepo.errors import CircuitOpenError, RateLimitedError
from ftrepo.resilience import (
    BreakerSettings,
    BreakerShares,
    BreakerState,
    CircuitBreaker,
    RateLimiter,
    RateLimitSettings,
)
from sim.loop import VirtualTimeLoop, run_virtual

T = TypeVar("T")


def play(story: Callable[[], Awaitable[T]], seed: int | None = None) -> T:
    """Play a story in virtual time; with a seed, in an order of callbacks that the seed picks."""
    order = None if seed is None else np.random.default_rng(seed)
    return run_virtual(lambda _: story(), order=order)  # type: ignore[arg-type, return-value]


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


async def when() -> float:
    """A call that says when it was made."""
    return now_s()


async def admitted_at(limiter: RateLimiter, times_s: list[float]) -> list[float]:
    """Ask at each of these times; at which of them the call was made at once."""
    admitted = []
    for time_s in times_s:
        await asyncio.sleep(time_s - now_s())
        try:
            admitted.append(await limiter.call(when))
        except RateLimitedError:
            continue
    return admitted


def test_beyond_the_rate_a_call_is_refused_with_the_time_to_come_back() -> None:
    """Of 4 a second, two at once; then the error says 250 ms, and that is true."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=4.0, burst=2), name="search")
        assert [await limiter.call(when) for _ in range(2)] == [0.0, 0.0]
        with pytest.raises(
            RateLimitedError,
            match=r"search refuses the call: too many calls lately; try again in 0\.25 s",
        ) as raised:
            await limiter.call(when)
        await asyncio.sleep(raised.value.retry_after_s)
        assert await limiter.call(when) == 0.25
        assert (limiter.admitted, limiter.refused) == (3, 1)

    play(story)


def test_who_waits_has_a_turn_in_the_order_of_asking() -> None:
    """Ten callers at 4 a second are served a quarter of a second apart, first come first."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=4.0, wait_max_s=10.0))
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(10)]
        assert await asyncio.gather(*calls) == pytest.approx([n / 4 for n in range(10)])
        assert limiter.waiting == 0

    play(story)


def test_who_would_wait_too_long_is_refused_at_once() -> None:
    """The queue holds those who can be served in time, and the next knows when it would be."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=4.0, wait_max_s=0.6))
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError) as raised:
            await limiter.call(when)
        assert raised.value.retry_after_s == pytest.approx(0.75)
        assert await asyncio.gather(*calls) == pytest.approx([0.0, 0.25, 0.5])

    play(story)


def test_the_queue_is_bounded() -> None:
    """However long they would wait, no more than so many do."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=1.0, wait_max_s=1e6, queue_max=3))
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(10)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[:4] == [0.0, 1.0, 2.0, 3.0]
        assert all(isinstance(each, RateLimitedError) for each in outcomes[4:])

    play(story)


@pytest.mark.parametrize("seed", range(20))
def test_cancelled_callers_take_no_turn(seed: int) -> None:
    """Those that remain are served as if the others had never asked, or a moment later."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=4.0, wait_max_s=100.0))
        draws = np.random.default_rng(seed)
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(30)]
        for number in draws.permutation(30)[:20]:
            # Some in the very moment of their turn.
            asyncio.get_running_loop().call_at(0.25 * int(draws.integers(4)), calls[number].cancel)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        served = sorted(each for each in outcomes if isinstance(each, float))
        # No turn is lost: one every quarter of a second.
        assert served == pytest.approx([n / 4 for n in range(len(served))])
        assert limiter.waiting == 0
        assert limiter._timer is None

    play(story, seed)


def test_nobody_overtakes_a_waiter() -> None:
    """Who comes as a turn is due, so that there is a token, has the next one all the same."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=4.0, wait_max_s=10.0))
        await limiter.acquire()
        waiter = asyncio.create_task(limiter.call(when))
        await asyncio.sleep(0.25 - 5e-7)
        assert await limiter.call(when) == pytest.approx(0.5)
        assert await waiter == pytest.approx(0.25)

    play(story)


@pytest.mark.parametrize("seed", range(20))
def test_a_turn_at_the_very_end_of_the_wait_counts(seed: int) -> None:
    """Who was let into the queue because the wait is just short enough is served."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=4.0, wait_max_s=0.5))
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(3)]
        assert sorted(await asyncio.gather(*calls)) == pytest.approx([0.0, 0.25, 0.5])

    play(story, seed)


def test_it_is_a_context_and_a_decorator() -> None:
    """Both take one turn."""

    async def story() -> None:
        limiter = RateLimiter(RateLimitSettings(rate_per_s=1.0, wait_max_s=10.0))

        @limiter
        async def load(offset: float) -> float:
            return now_s() + offset

        async with limiter:
            assert now_s() == 0.0
        assert await load(offset=10.0) == 11.0
        assert load.__name__ == "load"

    play(story)


def tripped(breaker: CircuitBreaker) -> None:
    """Let the breaker trip, now."""
    breaker.fail(breaker.acquire(now_s()), now_s())


def recovered(breaker: CircuitBreaker) -> None:
    """Let a probe succeed, now."""
    breaker.succeed(breaker.acquire(now_s()), now_s())


BREAKER = BreakerSettings(failure_threshold=1, open_s=10.0, half_open_max_calls=1)


def test_the_rate_follows_the_breaker() -> None:
    """Full; none while open; a tenth while half-open; then an even ramp to full."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=100.0), follow=breaker)
        rates = [limiter.rate_per_s(now_s())]
        tripped(breaker)
        rates.append(limiter.rate_per_s(now_s()))
        await asyncio.sleep(10.0)
        rates.append(limiter.rate_per_s(now_s()))
        recovered(breaker)
        for _ in range(4):
            rates.append(limiter.rate_per_s(now_s()))
            await asyncio.sleep(5.0)
        assert rates == pytest.approx([100, 0, 10, 10, 55, 100, 100])

    play(story)


def test_while_open_nobody_is_let_through_until_a_probe_may_be() -> None:
    """The error says when; then one call is let through at once, though the breaker is as it was.

    Without that nothing would ever reach the breaker, which leaves its state only when it is asked.
    """

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=100.0, burst=50), follow=breaker)
        tripped(breaker)
        await asyncio.sleep(3.0)
        with pytest.raises(RateLimitedError) as raised:
            await limiter.call(when)
        assert raised.value.retry_after_s == 7.0
        tenths = [n / 10 for n in range(31, 120)]
        admitted = await admitted_at(limiter, tenths)
        assert breaker.state is BreakerState.OPEN
        assert admitted == pytest.approx([n / 10 for n in range(100, 120)])

    play(story)


def test_after_closing_the_load_ramps_up() -> None:
    """Asked 1000 times a second: 10 calls in the first second, 19 in the next, … then 100."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        shares = BreakerShares(after_closing=0.1, ramp_s=10.0)
        limiter = RateLimiter(
            RateLimitSettings(rate_per_s=100.0, burst=3), follow=breaker, shares=shares
        )
        tripped(breaker)
        await asyncio.sleep(10.0)
        recovered(breaker)
        admitted = await admitted_at(limiter, [10 + n / 1000 for n in range(15_000)])
        seconds = np.histogram(admitted, bins=np.arange(10, 26))[0]
        ramp = [100 * (0.1 + 0.9 * (n + 0.5) / 10) for n in range(10)]
        assert seconds == pytest.approx([*ramp, *[100] * 5], abs=2)

    play(story)


def test_who_waits_when_the_breaker_opens_is_not_forgotten() -> None:
    """Those for whom the time is too short are told so; the others have their turn later."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiters = [
            RateLimiter(RateLimitSettings(rate_per_s=1.0, wait_max_s=wait_s), follow=breaker)
            for wait_s in (5.0, 25.0)
        ]
        calls = [asyncio.create_task(each.call(when)) for each in limiters for _ in range(3)]
        await asyncio.sleep(0.5)
        tripped(breaker)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[0] == outcomes[3] == 0.0
        assert all(isinstance(each, RateLimitedError) for each in outcomes[1:3])
        # One when the breaker may be probed, the next at a tenth of the rate.
        assert outcomes[4:] == pytest.approx([10.5, 20.5])

    play(story)


def test_who_waits_when_the_breaker_closes_is_served_sooner() -> None:
    """The turn that was 10 s away at the rate of probing is a second away at the full rate."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(
            RateLimitSettings(rate_per_s=1.0, wait_max_s=100.0),
            follow=breaker,
            shares=BreakerShares(after_closing=1.0, ramp_s=0.0),
        )
        tripped(breaker)
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(3)]
        await asyncio.sleep(12.0)
        recovered(breaker)
        # A fifth of the second one had come by then.
        assert await asyncio.gather(*calls) == pytest.approx([10.0, 12.8, 13.8])

    play(story)


def test_a_probe_that_fails_stops_the_load_again() -> None:
    """The tokens that had come while half-open are gone with it."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=100.0, burst=50), follow=breaker)
        tripped(breaker)
        await asyncio.sleep(13.0)
        await limiter.acquire()
        permit = breaker.acquire(now_s())
        assert breaker.state is BreakerState.HALF_OPEN
        with pytest.raises(RateLimitedError):
            await limiter.acquire()  # That the breaker is half-open was known: no second probe.
        breaker.fail(permit, now_s())
        assert await admitted_at(limiter, [13.0 + n for n in range(10)]) == []
        assert await admitted_at(limiter, [23.0]) == [23.0]

    play(story)


def test_a_trickle_may_go_on_while_open() -> None:
    """With a share of its own, and the error says when the next comes."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(
            RateLimitSettings(rate_per_s=100.0),
            follow=breaker,
            shares=BreakerShares(while_open=0.005),
        )
        tripped(breaker)
        with pytest.raises(RateLimitedError) as raised:
            await limiter.acquire()
        assert raised.value.retry_after_s == 2.0
        assert await admitted_at(limiter, [n / 10 for n in range(99)]) == [2.0, 4.0, 6.0, 8.0]

    play(story)


def test_one_forced_open_lets_nobody_through() -> None:
    """It stays so, and whoever waits is told in the end rather than spun for."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=1.0, wait_max_s=30.0), follow=breaker)
        breaker.force_open(now_s())
        with pytest.raises(RateLimitedError):
            await limiter.acquire()
        assert now_s() == pytest.approx(30.0, abs=1e-5)
        breaker.reset(now_s())
        await limiter.acquire()

    play(story)


def test_one_made_late_or_closed_early() -> None:
    """A limiter finds a breaker that is open already; a closed one has its full rate at once."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        await asyncio.sleep(5.0)
        tripped(breaker)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=100.0), follow=breaker)
        assert limiter.rate_per_s(now_s()) == 0.0
        limiter.close()
        limiter.close()
        assert limiter.rate_per_s(now_s()) == 100.0
        with pytest.raises(RateLimitedError) as raised:
            await limiter.acquire()
        assert raised.value.retry_after_s == 0.01
        another = RateLimiter(RateLimitSettings(rate_per_s=100.0), follow=breaker)
        await asyncio.sleep(10.0)
        recovered(breaker)
        assert another.rate_per_s(now_s()) == 10.0
        assert limiter.rate_per_s(now_s()) == 100.0

    play(story)


def test_who_waits_when_the_limiter_is_closed_is_served() -> None:
    """At the full rate from that moment on, though the breaker is forced open for ever."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=1.0, wait_max_s=30.0), follow=breaker)
        breaker.force_open(now_s())
        calls = [asyncio.create_task(limiter.call(when)) for _ in range(2)]
        await asyncio.sleep(5.0)
        limiter.close()
        assert await asyncio.gather(*calls) == pytest.approx([6.0, 7.0])

    play(story)


def test_one_can_be_closed_after_its_loop() -> None:
    """No time is known then; in the next loop the full rate is there."""
    breaker = CircuitBreaker(BREAKER)
    limiter = RateLimiter(RateLimitSettings(rate_per_s=1.0), follow=breaker)

    async def before() -> None:
        breaker.force_open(now_s())

    async def after() -> None:
        await asyncio.sleep(1.0)
        await limiter.acquire()
        assert limiter.rate_per_s(now_s()) == 1.0

    play(before)
    limiter.close()
    play(after)


def test_who_comes_as_the_breaker_may_be_probed_does_not_wait() -> None:
    """The first caller has its turn within its own step, though nobody may wait or queue."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=100.0), follow=breaker)
        tripped(breaker)
        await asyncio.sleep(10.0)
        with pytest.raises(StopIteration):
            limiter.acquire().send(None)
        assert (limiter.admitted, limiter.waiting) == (1, 0)

    play(story)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["trip", "force", "reset", "probe", "wait", "close"]), max_size=8),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from([0.0, 5.0]),
)
def test_every_refusal_says_a_time_that_comes(
    steps: list[str], while_open: float, ramp_s: float
) -> None:
    """Whatever becomes of the breaker, `retry_after_s` is finite: a header is made of it."""

    async def story() -> None:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(
            RateLimitSettings(rate_per_s=10.0),
            follow=breaker,
            shares=BreakerShares(while_open=while_open, after_closing=0.0, ramp_s=ramp_s),
        )
        acts: dict[str, Callable[[], object]] = {
            "trip": lambda: tripped(breaker),
            "force": lambda: breaker.force_open(now_s()),
            "reset": lambda: breaker.reset(now_s()),
            "probe": lambda: recovered(breaker),
            "wait": lambda: None,
            "close": limiter.close,
        }
        for step in steps:
            with suppress(CircuitOpenError):
                acts[step]()
            if step == "wait":
                await asyncio.sleep(7.0)
            for _ in range(3):
                try:
                    await limiter.acquire()
                except RateLimitedError as refused:
                    assert 0 <= refused.retry_after_s < math.inf  # noqa: PT017

    play(story)


def test_asking_for_the_rate_changes_nothing() -> None:
    """Whoever watches a limiter brings no more calls to a server that is to be probed."""

    async def calls_at_the_end(*, watched: bool) -> int:
        breaker = CircuitBreaker(BREAKER)
        limiter = RateLimiter(RateLimitSettings(rate_per_s=10.0, burst=5.0), follow=breaker)
        tripped(breaker)
        for _ in range(30):
            await asyncio.sleep(1.0)
            if watched:
                limiter.rate_per_s(now_s())
        assert limiter.rate_per_s(now_s()) == 1.0
        for _ in range(10):
            with suppress(RateLimitedError):
                await limiter.acquire()
        return limiter.admitted

    async def story() -> None:
        assert await calls_at_the_end(watched=True) == await calls_at_the_end(watched=False) == 1

    play(story)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (RateLimitSettings, {"rate_per_s": 0.0}),
        (RateLimitSettings, {"burst": 0.5, "rate_per_s": 1.0}),
        (RateLimitSettings, {"wait_max_s": -1.0, "rate_per_s": 1.0}),
        (RateLimitSettings, {"queue_max": 0, "rate_per_s": 1.0}),
        (BreakerShares, {"while_open": 1.5}),
        (BreakerShares, {"while_half_open": 0.0}),
        (BreakerShares, {"ramp_s": math.inf}),
    ],
)
def test_impossible_settings_are_refused_by_name(
    kind: Callable[..., object], wrong: dict[str, float]
) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


class LimiterAgainstModel(RuleBasedStateMachine):
    """The model serves a list in steps of an eighth of a second, counting in fractions."""

    RATE, BURST, WAIT_MAX_S, QUEUE = Fraction(4), 3, 2.0, 5

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop(simpy.Environment())
        self.limiter = RateLimiter(
            RateLimitSettings(
                rate_per_s=float(self.RATE),
                burst=self.BURST,
                wait_max_s=self.WAIT_MAX_S,
                queue_max=self.QUEUE,
            )
        )
        self.tokens = Fraction(self.BURST)
        self.tasks: list[asyncio.Task[float]] = []
        self.waiting: list[int] = []
        self.expected: dict[int, float | type[BaseException]] = {}

    def run_for(self, seconds: float) -> None:
        """Let time pass on the loop, and what is due at its end be done."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule()
    def call(self) -> None:
        number = len(self.tasks)
        self.tasks.append(self.loop.create_task(self.limiter.call(when)))
        wait_s = (len(self.waiting) + 1 - self.tokens) / self.RATE
        if wait_s <= 0:
            self.tokens -= 1
            self.expected[number] = self.loop.time()
        elif wait_s <= self.WAIT_MAX_S and len(self.waiting) < self.QUEUE:
            self.waiting.append(number)
        else:
            self.expected[number] = RateLimitedError
        self.run_for(0.0)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9))
    def one_who_waits_is_cancelled(self, which: int) -> None:
        number = self.waiting.pop(which % len(self.waiting))
        self.tasks[number].cancel()
        self.expected[number] = asyncio.CancelledError
        self.run_for(0.0)

    @rule(eighths=st.integers(1, 20))
    def time_passes(self, eighths: int) -> None:
        for _ in range(eighths):
            self.run_for(0.125)
            self.tokens = min(Fraction(self.BURST), self.tokens + self.RATE / 8)
            if self.waiting and self.tokens >= 1:
                self.tokens -= 1
                self.expected[self.waiting.pop(0)] = self.loop.time()

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        assert self.limiter.waiting == len(self.waiting)
        for number, expected in self.expected.items():
            task = self.tasks[number]
            assert task.done()
            if task.cancelled():
                assert expected is asyncio.CancelledError
            elif (error := task.exception()) is not None:
                assert type(error) is expected
            else:
                assert task.result() == expected

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.run_for(1.0)
        assert self.limiter.waiting == 0
        self.loop.close()


TestLimiterAgainstModel = LimiterAgainstModel.TestCase
TestLimiterAgainstModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
