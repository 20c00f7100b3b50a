"""Whoever calls `get` in a run: one task for each request, with the patience of its caller.

Callers arrive on their own account, or are a closed population (`sim.world.callers`). Either way a
request is one or more attempts: the real `ftrepo.resilience.Retry` repeats them, and all callers
share one retry budget, if the scenario has one, as if they called through one gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ftrepo.errors import KeyNotFoundError, KeyUnavailableError
from ftrepo.keys import PublicKey
from ftrepo.resilience import Retry, RetryBudget
from sim.history import GetOutcome
from sim.world.callers import Closed
from sim.world.primary import CALL_DRAW
from sim.world.requests import Request, Requests, requests_of_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftrepo.fault_tolerant import FaultTolerantRepository
    from sim.recorder import Recorder
    from sim.stage import RunClock
    from sim.world.condense import Timeline
    from sim.world.faults import CallDraw
    from sim.world.issuers import Issuer
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams

KILLED = "the instance was killed"
"""Why a call was cancelled that died with the instance."""

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
        repository: returns the instance that answers now; `None` while it starts.
        recorder: takes note of what they come away with.

    Attributes:
        under_way: the requests that have no answer yet.
    """

    def __init__(
        self,
        clock: RunClock,
        *,
        scenario: Scenario,
        streams: Streams,
        timeline: Timeline,
        issuers: Sequence[Issuer],
        repository: Callable[[], FaultTolerantRepository | None],
        recorder: Recorder,
    ) -> None:
        self.under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._scenario = scenario
        self._settings = scenario.caller
        self._backoff = scenario.caller.backoff
        self._streams = streams
        self._duration_s = timeline.duration_s
        self._issuers = issuers
        self._repository = repository
        self._recorder = recorder
        ratio = scenario.caller.retry_budget_ratio
        self._budget = None if ratio is None else RetryBudget(ratio=ratio, per_s_min=0.0)
        self._made = 0
        self._clients: list[asyncio.Task[None]] = []
        self._arrivals_s = scenario.draw_arrivals(streams, timeline).tolist()
        self._requests = Requests(scenario, streams.generator, len(self._arrivals_s))

    def begin(self) -> None:
        """Let them come from now on."""
        traffic = self._scenario.traffic
        if isinstance(traffic, Closed):
            self._clients = [
                self._loop.create_task(self._be_client(traffic, number))
                for number in range(traffic.clients)
            ]
        else:
            self._next_arrival(0)

    def end(self) -> None:
        """Send everybody away."""
        for client in self._clients:
            client.cancel()

    def die_with_the_instance(self) -> None:
        """Cut off every request, as the death of the instance that works on it does."""
        for call in self.under_way:
            call.cancel(KILLED)

    def _next_arrival(self, number: int) -> None:
        if number < len(self._arrivals_s):
            moment_s = self._clock.loop_time(self._arrivals_s[number])
            self._loop.call_at(moment_s, self._arrive, number)

    def _arrive(self, number: int) -> None:
        self._next_arrival(number + 1)
        self._make(self._requests[number])

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
        call = self._loop.create_task(self._ask(number, request, wanted))
        self.under_way.add(call)
        call.add_done_callback(self.under_way.discard)
        return call

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
        attempt = partial(self._attempt, iter(request.luck), wanted, until_s)
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
        self, luck: Iterator[CallDraw], wanted: PublicKey | str, until_s: float | None
    ) -> GetOutcome:
        """Make one attempt, and note it if callers make several.

        Raises:
            _FailedAttemptError: it is worth another.
            asyncio.CancelledError: the instance was killed.
        """
        CALL_DRAW.set(next(luck))
        started_s = self._clock.time()
        deadline_s = self._settings.deadline_s
        if until_s is not None:
            deadline_s = max(0.0, min(deadline_s, until_s - started_s))
        outcome = await self._get(wanted, deadline_s)
        if self._settings.attempts_max > 1:
            latency_s = self._clock.time() - started_s
            self._recorder.attempts.append((started_s, latency_s, outcome))
        if outcome in _WORTH_REPEATING:
            raise _FailedAttemptError(outcome)
        return outcome

    async def _get(self, wanted: PublicKey | str, deadline_s: float) -> GetOutcome:
        repository, task = self._repository(), asyncio.current_task()
        if repository is None:
            return GetOutcome.UNAVAILABLE
        assert task is not None
        timer = self._loop.call_later(deadline_s, task.cancel)
        try:
            key = await repository.get(wanted if isinstance(wanted, str) else wanted.id)
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
        right = (key is wanted or key == wanted) and not key.has_expired(self._clock.now())
        return GetOutcome.RIGHT if right else GetOutcome.WRONG


def _is_worth_repeating(error: Exception) -> bool:
    return isinstance(error, _FailedAttemptError)
