"""Retries, in virtual time: what is repeated, when, and what of it others see."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from ftrepo.errors import (
    AmbiguousCommitError,
    BulkheadFullError,
    CircuitOpenError,
    InvalidKeyIdError,
    KeyConflictError,
    KeyNotFoundError,
    PoolClosedError,
    PoolExhaustedError,
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
    RateLimitedError,
    TimeLimitError,
)
from ftrepo.events import RetryScheduled
from ftrepo.resilience import CONNECTING, BackoffSettings, Retry, RetryBudget
from ftrepo.resilience.retry import BUDGET_USED_UP
from ftrepo.resilience.transient import is_transient, nothing_was_done
from sim.loop import VirtualTimeLoop, run_virtual

T = TypeVar("T")

STEADY = BackoffSettings(attempts_max=3, first_s=1.0, factor=1.0, pause_max_s=10.0)


def play(story: Callable[[], Awaitable[T]]) -> T:
    """Play a story in virtual time."""

    async def main(_: VirtualTimeLoop) -> T:
        return await story()

    return run_virtual(main)


def now_s() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


class Failing:
    """Raises these errors, one a call, then returns "done"; notes when it was called."""

    def __init__(self, *errors: BaseException, takes_s: float = 0.0) -> None:
        self.errors = list(errors)
        self.takes_s = takes_s
        self.called_s: list[float] = []

    async def __call__(self, suffix: str = "") -> str:
        self.called_s.append(now_s())
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        return "done" + suffix


def down(times: int) -> list[BaseException]:
    """So many refused connections."""
    return [ConnectionRefusedError(f"attempt {number}") for number in range(1, times + 1)]


def test_an_observer_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged; the call goes on, and in the end gives its value or its own error."""

    def observe(_: RetryScheduled) -> None:
        raise RuntimeError("observer: postgresql://alice:hunter2@db")

    async def story() -> None:
        retry = Retry(STEADY, idempotent=True, operation="load", observe=observe)
        assert await retry.call(Failing(*down(1))) == "done"
        with pytest.raises(ConnectionRefusedError, match="attempt 3"):
            await retry.call(Failing(*down(3)))
        assert now_s() == 3.0

    play(story)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert all(text.startswith("an observer of 'load' failed: RuntimeError: ") for text in texts)
    assert "hunter2" not in caplog.text


def test_it_goes_on_until_success_and_tells() -> None:
    """Two failures, two pauses of 100 and 200 ms, then the result; each pause is announced."""
    told: list[RetryScheduled] = []
    errors = down(2)

    async def story() -> None:
        action = Failing(*errors)
        retry = Retry(CONNECTING, idempotent=True, operation="connect", observe=told.append)
        assert await retry.call(action, suffix="!") == "done!"
        assert action.called_s == pytest.approx([0.0, 0.1, 0.3])
        assert (retry.attempts, retry.retries) == (3, 2)

    play(story)
    assert told == [
        RetryScheduled(operation="connect", attempt=1, error=errors[0], pause_s=0.1),
        RetryScheduled(operation="connect", attempt=2, error=errors[1], pause_s=0.2),
    ]


def test_it_gives_up_with_the_last_error() -> None:
    """After the last attempt there is no pause, and its error is raised as it is."""

    async def story() -> None:
        retry = Retry(CONNECTING, idempotent=True)
        with pytest.raises(ConnectionRefusedError, match="attempt 5") as raised:
            await retry.call(Failing(*down(9)))
        assert now_s() == pytest.approx(1.5)
        assert raised.value.__context__ is None
        assert not hasattr(raised.value, "__notes__")

    play(story)


def test_each_call_begins_with_the_first_pause() -> None:
    """One object serves any number of calls at once; their attempts are their own."""

    async def story() -> None:
        retry = Retry(CONNECTING, idempotent=True)
        actions = [Failing(*down(2)) for _ in range(10)]
        await asyncio.gather(*(retry.call(action) for action in actions))
        assert all(each.called_s == pytest.approx([0.0, 0.1, 0.3]) for each in actions)
        assert (retry.attempts, retry.retries) == (30, 20)

    play(story)


def test_it_decorates() -> None:
    """A function keeps its name and arguments."""

    async def story() -> None:
        action = Failing(*down(1))

        @Retry(CONNECTING, idempotent=True)
        async def load(suffix: str) -> str:
            return await action(suffix)

        assert load.__name__ == "load"
        assert asyncio.iscoroutinefunction(load)
        assert await load(suffix="!") == "done!"
        assert len(action.called_s) == 2

    play(story)


def test_one_must_say_whether_a_call_is_idempotent() -> None:
    """Whoever forgets has an error at once, not a write that is done twice."""
    with pytest.raises(TypeError, match="idempotent"):
        Retry(CONNECTING)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeLimitError("no answer within 0.5 s"),
        PrimaryUnavailableError("it may have been committed"),
        AmbiguousCommitError("nobody knows"),
    ],
)
def test_a_write_that_may_have_been_done_is_not_repeated(error: Exception) -> None:
    """Whatever `when` says; the same error is repeated if the call is idempotent."""

    async def story() -> None:
        write, read = Failing(error), Failing(error)
        with pytest.raises(type(error)):
            await Retry(idempotent=False, when=lambda _: True).call(write)
        assert (len(write.called_s), now_s()) == (1, 0.0)
        assert await Retry(idempotent=True).call(read) == "done"

    play(story)


def test_a_write_that_was_never_sent_may_be_repeated() -> None:
    """No connection was free, or the limit was reached: nothing was done."""

    async def story() -> None:
        action = Failing(PoolExhaustedError("all 10 in use"), RateLimitedError("limit", "full", 0))
        assert await Retry(CONNECTING, idempotent=False).call(action) == "done"

    play(story)


TRANSIENT_ERRORS = [
    ConnectionRefusedError(),
    BrokenPipeError(),
    TimeoutError(),
    OSError(errno.ENETUNREACH, "no network"),
    OSError("Multiple exceptions: ..."),
    socket.gaierror(socket.EAI_AGAIN, "no name server"),
    PrimaryUnavailableError("down"),
    PoolExhaustedError("busy"),
    AmbiguousCommitError("lost"),
    RateLimitedError("limit", "full", 0.5),
]

LASTING_ERRORS = [
    ValueError("validation"),
    KeyError("bug"),
    PermissionError("business"),
    FileNotFoundError(),
    OSError(errno.ENOSPC, "disk full"),
    ssl.SSLCertVerificationError(),
    InvalidKeyIdError("wrong"),
    KeyConflictError("bound"),
    KeyNotFoundError("unknown"),
    PrimaryRejectedError("too long"),
    PrimaryNotAskedError("open", retry_after_s=1.0),
    PoolClosedError("closed"),
    CircuitOpenError("breaker", "open", 1.0),
    BulkheadFullError("bulkhead", "full", 0.0),
]


@pytest.mark.parametrize("error", TRANSIENT_ERRORS, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """Network, time-outs, a primary that is away, a limit that says when to come back."""
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING_ERRORS, ids=repr)
def test_what_does_not_pass_is_tried_once(error: Exception) -> None:
    """Validation, permission, business, bugs, an open breaker: one attempt, and no time."""

    async def story() -> None:
        action = Failing(error)
        with pytest.raises(type(error)):
            await Retry(idempotent=True).call(action)
        assert (len(action.called_s), now_s()) == (1, 0.0)

    play(story)


@pytest.mark.parametrize("error", [*TRANSIENT_ERRORS, *LASTING_ERRORS], ids=repr)
def test_only_what_says_so_was_never_sent(error: Exception) -> None:
    """A refused connection is not among them: an action may have made another before."""
    unsent = (PrimaryNotAskedError, PrimaryRejectedError, PoolExhaustedError, PoolClosedError)
    refused = (CircuitOpenError, BulkheadFullError, RateLimitedError)
    assert nothing_was_done(error) is isinstance(error, (*unsent, *refused))


def test_a_told_time_is_heeded() -> None:
    """The pause comes on top of it, so that those who were told the same spread."""

    async def story() -> None:
        action = Failing(RateLimitedError("limit", "full", 4.0))
        await Retry(STEADY, idempotent=True, draw=lambda: 0.25).call(action)
        assert action.called_s == [0.0, 4.25]

    play(story)


def test_a_told_time_beyond_every_pause_ends_it() -> None:
    """To come back earlier would be for nothing."""

    async def story() -> None:
        with pytest.raises(RateLimitedError):
            await Retry(STEADY, idempotent=True).call(Failing(RateLimitedError("x", "full", 10.1)))
        assert now_s() == 0.0

    play(story)


def test_no_attempt_begins_after_the_total() -> None:
    """What the attempts take counts too: with 2 s each and 1 s between, two fit into 5 s."""

    async def story() -> None:
        action = Failing(*down(9), takes_s=2.0)
        with pytest.raises(ConnectionRefusedError, match="attempt 2"):
            await Retry(replace(STEADY, total_max_s=5.0), idempotent=True).call(action)
        assert (action.called_s, now_s()) == ([0.0, 3.0], 5.0)

    play(story)


def test_a_cancellation_ends_the_pause_at_once() -> None:
    """Neither an attempt nor the rest of a pause comes after it."""

    async def story() -> None:
        action = Failing(*down(9))
        settings = BackoffSettings(first_s=10, pause_max_s=10)
        task = asyncio.create_task(Retry(settings, idempotent=True).call(action))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (action.called_s, now_s()) == ([0.0], 5)

    play(story)


def test_a_cancelled_attempt_is_no_failure() -> None:
    """It is not repeated, even if every error is worth it."""

    async def story() -> None:
        action = Failing(asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await Retry(idempotent=True, when=lambda _: True).call(action)
        assert len(action.called_s) == 1

    play(story)


def test_a_shared_budget_bounds_the_retries_of_all() -> None:
    """Of 1000 calls that fail, by two who share it, one in ten is repeated, and what was saved."""

    async def story() -> None:
        budget = RetryBudget(ratio=0.1, per_s_min=0.0, balance_max=7.0)
        retries = [Retry(STEADY, idempotent=True, budget=budget) for _ in range(2)]
        actions = [Failing(*down(9)) for _ in range(1000)]
        calls = (retries[number % 2].call(action) for number, action in enumerate(actions))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        made = sum(len(action.called_s) for action in actions)
        assert made == 1000 + 7 + 100 - 1  # A full one has no room for the first tenth.
        assert sum(retry.attempts for retry in retries) == made
        assert sum(retry.retries for retry in retries) == budget.granted == made - 1000
        assert sum(retry.budget_refusals for retry in retries) == budget.refused
        refused = [each for each in outcomes if BUDGET_USED_UP in getattr(each, "__notes__", ())]
        assert len(refused) == budget.refused
        assert all(isinstance(each, ConnectionRefusedError) for each in outcomes)

    play(story)


def test_notes_on_one_error_do_not_pile_up() -> None:
    """An error object that is raised again and again says once that the budget is used up."""

    async def story() -> None:
        error = ConnectionRefusedError()
        budget = RetryBudget(ratio=0.0, per_s_min=0.0, balance_max=1.0)
        budget.withdraw(0.0)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await Retry(idempotent=True, budget=budget).call(Failing(error))
        assert error.__notes__ == [BUDGET_USED_UP]

    play(story)


def test_a_call_that_is_not_worth_it_costs_no_budget() -> None:
    """Neither a wrong request nor the last attempt takes what others could use."""

    async def story() -> None:
        budget = RetryBudget(ratio=0.0, per_s_min=0.0, balance_max=10.0)
        retry = Retry(STEADY, idempotent=True, budget=budget)
        with pytest.raises(ValueError, match="wrong"):
            await retry.call(Failing(ValueError("wrong")))
        assert budget.balance(0.0) == 10.0
        with pytest.raises(ConnectionRefusedError):
            await retry.call(Failing(*down(9)))
        assert budget.balance(0.0) == 8.0

    play(story)
