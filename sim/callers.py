"""Whoever calls `get` in a run: one task for each request, with the patience of its caller.

Callers arrive on their own account, or are a closed population (`sim.world.callers`). Either way a
request is one or more attempts: the real `ftrepo.resilience.Retry` repeats them, and all callers
share one retry budget, if the scenario has one, as if they called through one gateway.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError
from ftrepo.keys import PublicKey
from ftrepo.resilience import Retry, RetryBudget
from sim.history import GetOutcome
from sim.instance import KILLED
from sim.world.callers import Closed
from sim.world.primary import CALL_DRAW
from sim.world.requests import Request, Requests, requests_of_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sim.instance import Instance
    from sim.recorder import Recorder
    from sim.stage import RunClock
    from sim.world.condense import Timeline
    from sim.world.faults import CallDraw
    from sim.world.issuers import Issuer
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams

_AT_ONCE = 1_024

_WORTH_REPEATING = (GetOutcome.UNAVAILABLE, GetOutcome.GAVE_UP, GetOutcome.ERROR)


class _FailedAttemptError(Exception):
    """An attempt at a request came to nothing, and may be worth another."""

    def __init__(self, outcome: GetOutcome) -> None:
        super().__init__(outcome.name)
        self.outcome = outcome


class Callers:
    """All callers of `get` in one run.

    Args:
        clock: the time of the run.
        scenario: how they come, what they ask for, and how patient they are.
        streams: the run's random numbers.
        timeline: when it happens.
        issuers: whose tokens they hold.
        balance: returns the instance that an attempt is sent to, for a number in [0, 1); `None`
            if there is none.
        recorder: takes note of what they come away with.

    Attributes:
        under_way: how many requests have no answer yet.
    """

    def __init__(
        self,
        clock: RunClock,
        *,
        scenario: Scenario,
        streams: Streams,
        timeline: Timeline,
        issuers: Sequence[Issuer],
        balance: Callable[[float], Instance | None],
        recorder: Recorder,
    ) -> None:
        self.under_way = 0
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._scenario = scenario
        self._settings = scenario.caller
        self._backoff = scenario.caller.backoff
        self._streams = streams
        self._duration_s = timeline.duration_s
        self._issuers = issuers
        self._balance = balance
        self._recorder = recorder
        ratio = scenario.caller.retry_budget_ratio
        self._budget = None if ratio is None else RetryBudget(ratio=ratio, per_s_min=0.0)
        self._made = 0
        self._skew_max = timedelta(seconds=2 * scenario.service.clock_skew_max_s)
        self._clients: list[asyncio.Task[None]] = []
        arrivals_s = scenario.draw_arrivals(streams, timeline)
        self._arrivals_s = _one_by_one(arrivals_s)
        self._requests = iter(Requests(scenario, streams.generator, len(arrivals_s)))

    def begin(self) -> None:
        """Let them come from now on."""
        traffic = self._scenario.traffic
        if isinstance(traffic, Closed):
            self._clients = [
                self._loop.create_task(self._be_client(traffic, number))
                for number in range(traffic.clients)
            ]
        else:
            self._next_arrival()

    def end(self) -> None:
        """Send everybody away."""
        for client in self._clients:
            client.cancel()

    def _next_arrival(self) -> None:
        moment_s = next(self._arrivals_s, None)
        if moment_s is not None:
            self._loop.call_at(self._clock.loop_time(moment_s), self._arrive)

    def _arrive(self) -> None:
        self._next_arrival()
        self._make(next(self._requests))

    async def _be_client(self, population: Closed, number: int) -> None:
        requests = requests_of_client(self._scenario, self._streams, number)
        for think_s in population.thinks_s(self._streams, number):
            await asyncio.sleep(think_s)
            if self._clock.time() >= self._duration_s:
                break
            call = self._make(next(requests))
            if call is not None:
                await asyncio.wait([call])

    def _make(self, request: Request) -> asyncio.Task[None] | None:
        wanted = self._wanted(request)
        number, self._made = self._made, self._made + 1
        if wanted is None:
            return None
        self.under_way += 1
        # Nobody else has to hold this task: the timer of its deadline or of its pause does.
        return self._loop.create_task(self._ask(number, request, wanted))

    def _wanted(self, request: Request) -> PublicKey | str | None:
        """The key that this caller's token was signed with, or the id that a forger made up."""
        if request.unknown:
            return f"forged-{request.label}"
        signed_s = self._clock.time() - request.token_age_s
        key = self._issuers[request.issuer].key_used_at(signed_s)
        # A token cannot outlive its key in a healthy world; if a key could not be replaced in time,
        # its issuer signs nothing that anybody would have to verify.
        return None if key is None or key.has_expired(self._clock.now()) else key

    async def _ask(self, number: int, request: Request, wanted: PublicKey | str) -> None:
        started_s = self._clock.time()
        patience_s = self._settings.patience_s
        until_s = None if patience_s is None else started_s + patience_s
        eligible = isinstance(wanted, PublicKey)
        luck = zip(request.luck, request.balance, strict=True)
        attempt = partial(self._attempt, number, luck, wanted, until_s)
        try:
            outcome = await self._with_retries(attempt, request)
        except _FailedAttemptError as failed:
            outcome = failed.outcome
        except asyncio.CancelledError:
            # A call that died with the instance is no failure of the primary or of the policy.
            outcome, eligible = GetOutcome.GAVE_UP, False
        if eligible and isinstance(wanted, PublicKey) and outcome is not GetOutcome.RIGHT:
            eligible = not wanted.has_expired(self._clock.now())
        if isinstance(wanted, str) and outcome in (GetOutcome.UNAVAILABLE, GetOutcome.UNKNOWN):
            outcome = GetOutcome.RIGHT
        latency_s = self._clock.time() - started_s
        self._recorder.gets.append((number, started_s, latency_s, outcome, eligible))
        self.under_way -= 1

    async def _with_retries(
        self, attempt: Callable[[], Awaitable[GetOutcome]], request: Request
    ) -> GetOutcome:
        if self._settings.attempts_max == 1:
            return await attempt()
        retry = Retry(
            self._backoff,
            idempotent=True,
            operation="get",
            when=_is_worth_repeating,
            budget=self._budget,
            draw=iter(request.pauses).__next__,
        )
        return await retry.call(attempt)

    async def _attempt(
        self,
        number: int,
        luck: Iterator[tuple[CallDraw, float]],
        wanted: PublicKey | str,
        until_s: float | None,
    ) -> GetOutcome:
        """Make one attempt, and note it if callers make several.

        Raises:
            _FailedAttemptError: it is worth another.
            asyncio.CancelledError: the instance was killed.
        """
        call_draw, balance = next(luck)
        CALL_DRAW.set(call_draw)
        started_s = self._clock.time()
        deadline_s = self._settings.deadline_s
        if until_s is not None:
            deadline_s = max(0.0, min(deadline_s, until_s - started_s))
        instance = self._balance(balance)
        outcome = await self._get(instance, wanted, deadline_s)
        if outcome is not GetOutcome.RIGHT and isinstance(wanted, PublicKey):
            since_s = math.nan if instance is None else instance.started_s
            self._recorder.failed[number] = (wanted.id, since_s)
        if self._settings.attempts_max > 1:
            latency_s = self._clock.time() - started_s
            self._recorder.attempts.append((started_s, latency_s, outcome))
        if outcome in _WORTH_REPEATING:
            raise _FailedAttemptError(outcome)
        return outcome

    async def _get(
        self, instance: Instance | None, wanted: PublicKey | str, deadline_s: float
    ) -> GetOutcome:
        task = asyncio.current_task()
        if instance is None:
            return GetOutcome.UNAVAILABLE
        assert task is not None
        timer = self._loop.call_later(deadline_s, task.cancel)
        instance.calls.add(task)
        try:
            key = await instance.repository.get(wanted if isinstance(wanted, str) else wanted.id)
        except KeyUnavailableError:
            return GetOutcome.UNAVAILABLE
        except KeyNotFoundError:
            return GetOutcome.UNKNOWN
        except asyncio.CancelledError as cancelled:
            if KILLED in cancelled.args:
                raise
            task.uncancel()  # It was the deadline, and there may be another attempt.
            return GetOutcome.GAVE_UP
        except Exception:
            return GetOutcome.ERROR
        finally:
            timer.cancel()
            instance.calls.discard(task)
        right = (key is wanted or key == wanted) and not self._is_long_expired(key)
        return GetOutcome.RIGHT if right else GetOutcome.WRONG

    def _is_long_expired(self, key: PublicKey) -> bool:
        """Whether a key has expired by more than the clocks of maker and server may be off."""
        return key.has_expired(self._clock.now() - self._skew_max)


def _one_by_one(moments: NDArray[np.float64]) -> Iterator[float]:
    """Plain numbers of an array that is too long to be made a list of."""
    for start in range(0, len(moments), _AT_ONCE):
        yield from moments[start : start + _AT_ONCE].tolist()


def _is_worth_repeating(error: Exception) -> bool:
    return isinstance(error, _FailedAttemptError)
