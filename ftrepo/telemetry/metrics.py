"""Counts what the events tell and reads what is watched: one object for every exporter.

`Metrics` is an observer, so counting costs what an observer costs. Everything else is read when an
exporter asks, from its own thread as a rule. The reading itself is then done by the event loop, in
between two callbacks, so that nothing changes under it; if the loop does not answer in time, or is
closed, the exporter gets the last figures, and how old they are.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Protocol

from ftrepo.events import BreakerChanged, Event
from ftrepo.failure_log import log_failure
from ftrepo.telemetry.counted import CHANGES, COUNTED, COUNTED_METRICS, STATE_CHANGES
from ftrepo.telemetry.database_readings import HEALTH, POOL
from ftrepo.telemetry.label_names import NAMES_MAX, LabelNames
from ftrepo.telemetry.limit_readings import LIMIT, Limit, with_labels
from ftrepo.telemetry.metric import Kind, Metric
from ftrepo.telemetry.reading import Histogram, Labels, Reading, Series
from ftrepo.telemetry.readings import (
    BREAKER,
    READINGS_AGE,
    REPOSITORY,
    RETRY_BUDGET,
    BreakerNow,
)
from ftrepo.telemetry.watched import Counted, Watched

if TYPE_CHECKING:
    from ftrepo.fault_tolerant import FaultTolerantRepository
    from ftrepo.postgres.health import HealthMonitor
    from ftrepo.postgres.pool import Pool
    from ftrepo.resilience.breaker import BreakerState, CircuitBreaker
    from ftrepo.resilience.retry_budget import RetryBudget

METRICS: tuple[Metric, ...] = (
    *COUNTED_METRICS,
    *REPOSITORY,
    *BREAKER,
    *RETRY_BUDGET,
    *LIMIT,
    *POOL,
    *HEALTH,
    READINGS_AGE,
)
"""The table of everything that is measured."""

ANSWER_S_MAX = 1.0
"""How long an exporter in another thread waits for the event loop."""

_log = logging.getLogger(__name__)

Recorder = Callable[[Metric, Labels, float], None]
"""Is given each duration as it is measured."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class Metrics:
    """An observer that counts, and a reader of what it is told to watch.

    Counters only grow: when a repository is made anew, or a breaker is dropped and made again under
    its name, the counts go on from where they were. What a breaker counted between the last reading
    and its being dropped is missing then.

    Args:
        names_max: how many names each label may have that does not come from this package's code,
            such as a breaker's; at least 1. The first ones that come have a series of their own,
            all others share one called "other": its counters are their sum, its state is the worst.

    Raises:
        ValueError: `names_max` is below 1.
    """

    def __init__(self, *, names_max: int = NAMES_MAX) -> None:
        self._labels = LabelNames(names_max)
        self._counters: dict[Series, float] = {}
        self._histograms: dict[Series, Histogram] = {}
        self._recorders: list[Recorder] = []
        self._watched: dict[str, Watched] = {}
        self._counted: dict[int, Counted] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._latest: Reading | None = None
        for metric in COUNTED_METRICS:
            self._begin_at_zero(metric)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        for count in COUNTED.get(type(event), ()):
            metric, amount = count.metric, count.amount(event)
            series = metric, self._labels.of(metric, count.labels(event))
            if metric.kind is Kind.HISTOGRAM:
                self._histograms.setdefault(series, Histogram()).add(amount)
                for record in self._recorders:
                    record(*series, amount)
            else:
                self._counters[series] = self._counters.get(series, 0.0) + amount

    def watch(self, repository: FaultTolerantRepository) -> None:
        """Read a repository from now on, and its breaker; one that was watched before no longer.

        The repository also needs this object among its observers. It may be closed at any time.

        Raises:
            RuntimeError: no event loop runs here.
        """
        breakers = () if repository.breaker is None else (repository.breaker,)
        self._watch("repository", Watched(REPOSITORY, lambda: [((), repository)]))
        self._watch("its breaker", _breakers(breakers))

    def watch_breakers(self, breakers: Iterable[CircuitBreaker]) -> None:
        """Read these breakers too, instead of those that were given here before.

        Their changes of state are counted if this object is told: `breaker_changed` is a listener.

        Args:
            breakers: is iterated anew at each reading, so a registry may gain and lose breakers.

        Raises:
            RuntimeError: no event loop runs here.
        """
        self._watch("breakers", _breakers(breakers))

    def watch_retry_budgets(self, budgets: Iterable[RetryBudget]) -> None:
        """Read these budgets too, instead of those that were given here before.

        Raises:
            RuntimeError: no event loop runs here.
        """
        things = partial(_named, budgets)
        self._watch("budgets", Watched(RETRY_BUDGET, things))

    def watch_limits(self, limits: Iterable[Limit]) -> None:
        """Read these bulkheads, rate limiters and time limits, instead of those given here before.

        Raises:
            RuntimeError: no event loop runs here.
        """
        self._watch("limits", Watched(LIMIT, partial(with_labels, limits)))

    def watch_pool(self, pool: Pool, *, name: str = "primary") -> None:
        """Read a pool of connections too, instead of one that had this name before.

        Raises:
            RuntimeError: no event loop runs here.
        """
        watched = Watched(POOL, lambda: [((name,), pool)], methodcaller("statistics"))
        self._watch(f"pool {name}", watched)

    def watch_health(self, monitor: HealthMonitor) -> None:
        """Read what a health monitor found last, instead of one that was watched before.

        Raises:
            RuntimeError: no event loop runs here.
        """
        self._watch("health", Watched(HEALTH, lambda: [((), monitor)]))

    def breaker_changed(
        self, breaker: CircuitBreaker, old: BreakerState, new: BreakerState
    ) -> None:
        """Count a change of state: a listener for breakers that belong to no repository."""
        self(BreakerChanged(breaker=breaker.name, old=old, new=new))

    def record_with(self, recorder: Recorder) -> None:
        """Give each duration to this as well, for an exporter with histograms of its own."""
        self._recorders.append(recorder)

    def read(self) -> Reading:
        """Return every series as it is now. Any thread may call this; it does not raise."""
        loop = self._loop
        if loop is None:
            return self._read(None)
        if loop.is_running() and loop is not _running_loop():
            self._ask(loop)
        elif loop.is_running() or self._latest is None:
            self._latest = self._read(loop.time())
        latest = self._latest
        if latest is None or latest.at_s is None:
            return Reading(None, {}, {})
        age_s = loop.time() - latest.at_s
        # A loop answers within milliseconds; that much is not called an age.
        shown_s = age_s if age_s > ANSWER_S_MAX / 2 else 0.0
        return replace(latest, values={**latest.values, (READINGS_AGE, ()): shown_s})

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        answered: Future[None] = Future()

        def answer() -> None:
            self._latest = self._read(loop.time())
            answered.set_result(None)

        # Closed in this moment, or busy: the last figures stand.
        with suppress(RuntimeError, TimeoutError):
            loop.call_soon_threadsafe(answer)
            answered.result(ANSWER_S_MAX)

    def _watch(self, key: str, watched: Watched) -> None:
        loop = asyncio.get_running_loop()
        if key in self._watched:
            self._read(loop.time())  # for the last time, as far as this one is concerned
        self._loop = loop
        self._watched[key] = watched

    def _read(self, now_s: float | None) -> Reading:
        gauges: dict[Series, float] = {}
        counted: dict[int, Counted] = {}
        for watched in self._watched.values():
            try:
                for names, thing in watched.things():
                    if id(thing) in counted:
                        continue  # A breaker may be watched by itself and with its repository.
                    before = self._counted.get(id(thing)) or Counted(thing)
                    counted[id(thing)] = before
                    self._take(watched, names, before, now_s or 0.0, gauges)
            except Exception as error:
                # An exporter must not fail as a whole because one thing cannot be read.
                log_failure(_log, "cannot read %s", watched.metrics[0].name, error=error)
                counted = self._counted | counted
        self._counted = counted
        distributions = {
            series: histogram.distribution() for series, histogram in list(self._histograms.items())
        }
        return Reading(now_s, dict(self._counters) | gauges, distributions)

    def _take(
        self,
        watched: Watched,
        names: Labels,
        counted: Counted,
        now_s: float,
        gauges: dict[Series, float],
    ) -> None:
        """Read one thing: set its gauges, and add to its counters what has come since last time."""
        seen = watched.look(counted.thing)
        labels = self._labels.of(
            watched.metrics[0], names
        )  # All rows of a kind have the same ones.
        for metric, more_labels in watched.begin:
            self._counters.setdefault((metric, labels + more_labels), 0.0)
        for metric in watched.metrics:
            assert metric.read is not None
            value = metric.read(seen, now_s)
            if value is None:
                continue
            series = metric, labels
            if metric.kind is Kind.COUNTER:
                more = value - counted.values.get(metric, 0.0)
                counted.values[metric] = value
                self._counters[series] = self._counters.get(series, 0.0) + more
            elif series in gauges:
                gauges[series] = metric.merged(gauges[series], value)
            else:
                gauges[series] = value

    def _begin_at_zero(self, metric: Metric) -> None:
        # Otherwise the first of anything would not show up as an increase.
        values = [allowed for allowed in metric.labels.values() if allowed is not None]
        if len(values) == len(metric.labels):
            for labels in itertools.product(*values):
                if metric.kind is Kind.HISTOGRAM:
                    self._histograms[metric, labels] = Histogram()
                else:
                    self._counters[metric, labels] = 0.0


def _breakers(breakers: Iterable[CircuitBreaker]) -> Watched:
    begin = [(STATE_CHANGES, change) for change in CHANGES]
    return Watched(BREAKER, partial(_named, breakers), BreakerNow.of, begin)


def _named(things: Iterable[_Named]) -> list[tuple[Labels, object]]:
    return [((each.name,), each) for each in things]


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
