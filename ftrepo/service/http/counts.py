"""Counts requests and tokens, and reads the rest of the service when Prometheus asks."""

from __future__ import annotations

import asyncio
import platform
from typing import TYPE_CHECKING, Literal

from ftrepo.service.http.metric_table import (
    BUILD_INFO,
    LOOP_LAG,
    PROVIDER_FETCHES,
    PROVIDER_KEYS_AGE,
    PROVIDER_KEYS_STATE,
    READY,
    REQUEST_DURATION,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
    REQUESTS_IN_FLIGHT_MAX,
    SCHEMA_OUTDATED,
    SIGNING_KEY_REMAINING,
    TOKEN_REFUSALS,
    TOKENS_ISSUED,
)
from ftrepo.service.http.resources import VERSION, LoopLag
from ftrepo.telemetry.label_names import NAMES_MAX, LabelNames
from ftrepo.telemetry.reading import Histogram, Reading, Series

if TYPE_CHECKING:
    from ftrepo.service.running import Service
    from ftrepo.telemetry.metric import Metric

TokenKind = Literal["exchange", "service"]

KEYS_STATES = {"fresh": 0.0, "stale": 1.0, "unusable": 2.0, "never": 2.0}
"""The number of each state of a provider's keys: the greater, the worse."""


class ServiceCounts:
    """What `/metrics` shows of the service, besides what the repository's own `Metrics` has.

    Used by the event loop alone. Labels are bounded: endpoints, reasons and providers are named in
    code and settings, and whatever comes beyond `NAMES_MAX` of them is "other".

    Args:
        service: is read when somebody asks.
        lag: the loop's.

    Attributes:
        in_flight: requests under way.
    """

    def __init__(self, service: Service, lag: LoopLag) -> None:
        self.in_flight = 0
        self._service = service
        self._lag = lag
        self._names = LabelNames(NAMES_MAX)
        self._counters: dict[Series, float] = {}
        self._durations: dict[Series, Histogram] = {}
        for kind in ("exchange", "service"):  # Or the first would not show up as an increase.
            self._counters[TOKENS_ISSUED, (kind,)] = 0.0

    def answered(self, endpoint: str, method: str, status: int, duration_s: float) -> None:
        """Count a request that has ended."""
        self._count(REQUESTS, endpoint, method, str(status))
        series = REQUEST_DURATION, self._names.of(REQUEST_DURATION, (endpoint,))
        self._durations.setdefault(series, Histogram()).add(duration_s)

    def token_issued(self, kind: TokenKind) -> None:
        """Count a token."""
        self._count(TOKENS_ISSUED, kind)

    def token_refused(self, kind: TokenKind, reason: str) -> None:
        """Count a request for a token that was not granted."""
        self._count(TOKEN_REFUSALS, kind, reason)

    def read(self) -> Reading:
        """Return every series as it is now."""
        values = self._counters | self._gauges() | self._of_providers()
        distributions = {series: each.distribution() for series, each in self._durations.items()}
        return Reading(asyncio.get_running_loop().time(), values, distributions)

    def _count(self, metric: Metric, *labels: str) -> None:
        series = metric, self._names.of(metric, labels)
        self._counters[series] = self._counters.get(series, 0.0) + 1.0

    def _gauges(self) -> dict[Series, float]:
        service = self._service
        return {
            (REQUESTS_IN_FLIGHT, ()): self.in_flight,
            (REQUESTS_IN_FLIGHT_MAX, ()): service.settings.server.requests_in_flight_max,
            (SIGNING_KEY_REMAINING, ()): service.key_life.may_sign_for_s,
            (SCHEMA_OUTDATED, ()): float(service.schema.is_outdated),
            (READY, ()): float(service.is_ready and not service.stopping),
            (LOOP_LAG, ()): self._lag.worst_s,
            (BUILD_INFO, (VERSION, platform.python_version())): 1.0,
        }

    def _of_providers(self) -> dict[Series, float]:
        values: dict[Series, float] = {}
        for status in self._service.providers.statuses():
            name = (status.name,)
            if status.age_s is not None:
                values[PROVIDER_KEYS_AGE, name] = status.age_s
            values[PROVIDER_KEYS_STATE, name] = KEYS_STATES[status.state]
            values[PROVIDER_FETCHES, (*name, "success")] = status.fetches - status.failures
            values[PROVIDER_FETCHES, (*name, "failure")] = status.failures
        return values
