"""Named breakers: calls through them, what stands in for a call that failed, and what is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ftrepo.errors import (
    BulkheadFullError,
    CircuitOpenError,
    FallbackFailedError,
    KeyNotFoundError,
    TimeLimitError,
)
from ftrepo.resilience import BreakerSettings, BreakerState, Outcome
from ftrepo.resilience.registry import BreakerRegistry
from sim.loop import run_virtual

SETTINGS = BreakerSettings(failure_threshold=3, open_s=10, half_open_max_calls=1)


def virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story in virtual time."""
    run_virtual(lambda _loop: story())


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


async def answer() -> str:
    """Be in health."""
    return "answer"


async def fail() -> str:
    """Be down."""
    raise ConnectionError("down")


async def hang() -> str:
    """Not come back."""
    await asyncio.sleep(1e6)
    raise AssertionError("nobody waits so long")


async def stand_in(error: Exception) -> str:
    """Answer in the place of a call."""
    return f"instead of {type(error).__name__}"


async def no_stand_in(error: Exception) -> str:
    """Have no answer either."""
    raise LookupError("not cached")


async def trip(registry: BreakerRegistry, name: str) -> None:
    """Fail until the breaker of this name is open."""
    for _ in range(SETTINGS.failure_threshold or 0):
        with pytest.raises(ConnectionError):
            await registry.execute(name, fail)
    assert registry.get(name).state is BreakerState.OPEN


def test_a_breaker_is_made_on_first_use_and_once() -> None:
    """A hundred callers who come at once with a new name share one breaker."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        answers = [registry.execute("billing", answer) for _ in range(100)]
        assert await asyncio.gather(*answers) == ["answer"] * 100
        assert len(registry) == 1
        assert registry.get("billing").counts.successes == 100

    virtually(story)


def test_a_tenant_trips_nobody_elses_breaker() -> None:
    """The breakers of a dependency's tenants are independent."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        await trip(registry, "billing/acme")
        with pytest.raises(CircuitOpenError) as refused:
            await registry.execute("billing/acme", answer)
        assert refused.value.name == "billing/acme"
        assert refused.value.retry_after_s == 10, "what a service answers as Retry-After"
        assert await registry.execute("billing/other", answer) == "answer"
        await asyncio.sleep(10)
        assert await registry.execute("billing/acme", answer) == "answer"

    virtually(story)


def test_without_a_fallback_the_error_passes_as_it_is() -> None:
    """The caller gets the exception that the call raised."""
    error = ConnectionError("down")

    async def raise_it() -> None:
        raise error

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        for fallback in (None, []):
            with pytest.raises(ConnectionError) as caught:
                await registry.execute("billing", raise_it, fallback=fallback)
            assert caught.value is error

    virtually(story)


@pytest.mark.parametrize("cancels_at_once", [False, True])
def test_a_call_has_three_seconds_by_default(cancels_at_once: bool) -> None:
    """A call that hangs fails in that time, and that counts as a failure of the dependency."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS, cancels_at_once=cancels_at_once)
        for number in range(3):
            with pytest.raises(TimeLimitError):
                await registry.execute("billing", hang)
            assert now_s() == pytest.approx(3.0 * (number + 1))
        assert registry.get("billing").state is BreakerState.OPEN

    virtually(story)


def test_a_call_that_ignores_its_cancellation_keeps_nobody() -> None:
    """The caller goes on after its time-out even if the call does not end."""
    gate = asyncio.Event()

    async def go_on() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        with pytest.raises(TimeLimitError):
            await registry.execute("billing", go_on, timeout_s=0.5)
        assert now_s() == pytest.approx(0.5)
        gate.set()

    virtually(story)


def test_calls_are_refused_by_name_once_so_many_are_left_behind() -> None:
    """When so many hang on, further calls of that name are refused, and of no other."""
    gate = asyncio.Event()

    async def go_on() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async def story() -> None:
        patient = BreakerSettings(failure_threshold=100)
        registry = BreakerRegistry(patient, refuse_at_left_behind=5)
        for _ in range(5):
            with pytest.raises(TimeLimitError):
                await registry.execute("billing", go_on, timeout_s=0.5)
        with pytest.raises(BulkheadFullError, match="billing refuses the call"):
            await registry.execute("billing", answer)
        assert await registry.execute("billing", answer, fallback=stand_in) == (
            "instead of BulkheadFullError"
        )
        assert registry.get("billing").counts.failures == 5, "nothing was called, nothing failed"
        assert await registry.execute("stock", answer) == "answer"
        gate.set()
        await asyncio.sleep(0.1)
        assert await registry.execute("billing", answer) == "answer"

    virtually(story)


def test_a_time_out_of_none_waits_as_long_as_it_takes() -> None:
    """Whoever keeps time by other means can say so."""

    async def slow() -> str:
        await asyncio.sleep(1000)
        return "late"

    async def story() -> None:
        assert await BreakerRegistry(SETTINGS).execute("batch", slow, timeout_s=None) == "late"

    virtually(story)


def test_the_fallbacks_are_tried_in_order_and_one_that_fails_is_skipped() -> None:
    """Each is given the error of the call; the first that answers ends the search."""
    asked: list[str] = []

    async def third(error: Exception) -> str:
        asked.append(str(error))
        return "third"

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        tiers = [no_stand_in, no_stand_in, third, no_stand_in]
        assert await registry.execute("billing", fail, fallback=tiers) == "third"
        assert asked == ["down"]
        assert await registry.execute("billing", fail, fallback=stand_in) == (
            "instead of ConnectionError"
        )
        with pytest.raises(ConnectionError):
            await registry.execute("billing", fail)
        assert await registry.execute("billing", answer, fallback=stand_in) == (
            "instead of CircuitOpenError"
        )
        assert await registry.execute("stock", hang, fallback=stand_in) == (
            "instead of TimeLimitError"
        )

    virtually(story)


def test_a_tier_that_is_down_is_skipped_without_being_asked() -> None:
    """A fallback through a breaker of its own costs nothing while that breaker is open."""
    asked = 0

    async def ask_cache() -> str:
        nonlocal asked
        asked += 1
        raise ConnectionError("the cache is down too")

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        tiers = [lambda error: registry.execute("cache", ask_cache), stand_in]
        for _ in range(10):
            await registry.execute("billing", fail, fallback=tiers)
        assert registry.get("cache").state is BreakerState.OPEN
        assert asked == 3

    virtually(story)


def test_a_failing_fallback_is_no_success() -> None:
    """The error comes from that of the call, and carries those of the fallbacks in order."""

    async def also_fails(error: Exception) -> str:
        raise RuntimeError("no archive") from error

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        with pytest.raises(FallbackFailedError) as failed:
            await registry.execute("billing", fail, fallback=[no_stand_in, also_fails])
        assert isinstance(failed.value.__cause__, ConnectionError)
        assert [type(error) for error in failed.value.errors] == [LookupError, RuntimeError]
        assert str(failed.value) == (
            "billing failed (ConnectionError), and so did what stands in for it "
            "(LookupError, RuntimeError)"
        )
        counts = registry.get("billing").counts
        assert (counts.successes, counts.failures) == (0, 1)

    virtually(story)


def test_a_failed_fallback_says_when_the_call_may_come_back() -> None:
    """As the error of the call does, if it does: a service answers Retry-After all the same."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        with pytest.raises(FallbackFailedError) as failed:
            await registry.execute("billing", fail, fallback=no_stand_in)
        assert failed.value.retry_after_s is None
        registry.get("billing").force_open(now_s())
        with pytest.raises(FallbackFailedError) as failed:
            await registry.answer("billing", answer, fallback=no_stand_in)
        cause = failed.value.__cause__
        assert isinstance(cause, CircuitOpenError)
        assert failed.value.retry_after_s == cause.retry_after_s > 0

    virtually(story)


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.NEITHER])
def test_an_answer_of_the_dependency_has_no_fallback(outcome: Outcome) -> None:
    """An error that is no failure is raised as it is: "unknown" is not "unavailable"."""

    def classify(error: Exception) -> Outcome:
        return outcome if isinstance(error, KeyNotFoundError) else Outcome.FAILURE

    async def look_up() -> str:
        raise KeyNotFoundError("nobody has it")

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS, classify=classify)
        for _ in range(10):
            with pytest.raises(KeyNotFoundError):
                await registry.execute("keys", look_up, fallback=stand_in)
            with pytest.raises(KeyNotFoundError):
                await registry.answer("keys", look_up, fallback=stand_in)
        assert registry.get("keys").state is BreakerState.CLOSED

    virtually(story)


def test_a_time_out_is_a_failure_whatever_classify_says() -> None:
    """A function that knows the dependency's errors need not know ours."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS, classify=lambda error: Outcome.SUCCESS)
        for _ in range(3):
            answered = await registry.execute("billing", hang, fallback=stand_in)
            assert answered == "instead of TimeLimitError"
        assert registry.get("billing").state is BreakerState.OPEN

    virtually(story)


def test_a_cancelled_caller_gets_no_fallback() -> None:
    """A cancellation passes through, and is neither a success nor a failure."""
    asked: list[Exception] = []

    async def note(error: Exception) -> str:
        asked.append(error)
        return "asked"

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        for _ in range(20):
            task = asyncio.ensure_future(registry.execute("billing", hang, fallback=note))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert not asked
        counts = registry.get("billing").counts
        assert (counts.neither, counts.failures, counts.successes) == (20, 0, 0)

    virtually(story)


def test_a_cancelled_fallback_ends_the_search() -> None:
    """Whoever goes away while a fallback is asked does not have the next one asked."""

    async def wait(error: Exception) -> str:
        return await hang()

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        call = registry.execute("billing", fail, fallback=[wait, stand_in])
        task = asyncio.ensure_future(call)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    virtually(story)


def test_an_answer_says_whether_it_is_a_fallbacks() -> None:
    """So that nobody caches what stands in for an answer."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        real = await registry.answer("billing", answer, fallback=stand_in)
        assert (real.value, real.is_fallback, real.error) == ("answer", False, None)
        other = await registry.answer("billing", fail, fallback=stand_in)
        assert (other.value, other.is_fallback) == ("instead of ConnectionError", True)
        assert isinstance(other.error, ConnectionError)
        with pytest.raises(ConnectionError):
            await registry.answer("billing", fail)

    virtually(story)


def test_listeners_hear_of_every_breaker() -> None:
    """Of those that there were before, and of those to come."""
    heard: list[tuple[str, BreakerState]] = []

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        registry.get("before")
        registry.add_listener(lambda breaker, old, new: heard.append((breaker.name, new)))
        await trip(registry, "before")
        await trip(registry, "after")
        await asyncio.sleep(10)
        await registry.execute("after", answer)

    virtually(story)
    opened, half, closed = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED
    assert heard == [("before", opened), ("after", opened), ("after", half), ("after", closed)]


def test_a_snapshot_is_what_a_health_endpoint_shows() -> None:
    """Every breaker in order of name, with state, counts and last change, as JSON takes them."""

    async def story() -> None:
        registry = BreakerRegistry(SETTINGS)
        await registry.execute("stock", answer)
        await trip(registry, "billing")
        await asyncio.sleep(4)
        billing, stock = json.loads(json.dumps(registry.snapshot()))
        assert (billing["name"], billing["state"]) == ("billing", "open")
        assert billing["changed_s_ago"] == pytest.approx(4)
        assert billing["retry_after_s"] == pytest.approx(6)
        assert billing["counts"]["failures"] == 3
        assert billing["is_forced_open"] is False
        assert (stock["state"], stock["changed_s_ago"], stock["retry_after_s"]) == (
            "closed",
            None,
            0,
        )
        assert stock["counts"]["successes"] == 1

    virtually(story)


def test_a_registry_serves_one_loop_after_another() -> None:
    """What was learnt in one run of `asyncio.run` holds in the next."""
    registry = BreakerRegistry(SETTINGS)
    asyncio.run(trip(registry, "billing"))

    async def second() -> None:
        with pytest.raises(CircuitOpenError):
            await registry.execute("billing", answer)
        assert await registry.execute("stock", answer) == "answer"

    asyncio.run(second())
