"""Fault tolerance for any awaitable: decisions as pure state machines, told the time."""

from ftrepo.resilience.backoff import (
    CONNECTING,
    DATABASE_READS,
    TRANSIENT,
    BackoffSettings,
    longest_pause_s,
    pauses_s,
)
from ftrepo.resilience.breaker import (
    PRESETS,
    BreakerCounts,
    BreakerSettings,
    BreakerState,
    CircuitBreaker,
    Outcome,
    Permit,
)
from ftrepo.resilience.bulkhead import Bulkhead, BulkheadSettings
from ftrepo.resilience.call_budget import CallBudget, Urgency
from ftrepo.resilience.fallback import Answer
from ftrepo.resilience.rate_limit import BreakerShares, RateLimiter, RateLimitSettings
from ftrepo.resilience.registry import BreakerRegistry
from ftrepo.resilience.retry import Retry
from ftrepo.resilience.retry_budget import RetryBudget
from ftrepo.resilience.single_flight import SingleFlight
from ftrepo.resilience.time_limit import TimedCalls, TimeLimit
from ftrepo.resilience.token_bucket import TokenBucket
from ftrepo.resilience.transient import is_transient, nothing_was_done

__all__ = [
    "CONNECTING",
    "DATABASE_READS",
    "PRESETS",
    "TRANSIENT",
    "Answer",
    "BackoffSettings",
    "BreakerCounts",
    "BreakerRegistry",
    "BreakerSettings",
    "BreakerShares",
    "BreakerState",
    "Bulkhead",
    "BulkheadSettings",
    "CallBudget",
    "CircuitBreaker",
    "Outcome",
    "Permit",
    "RateLimitSettings",
    "RateLimiter",
    "Retry",
    "RetryBudget",
    "SingleFlight",
    "TimeLimit",
    "TimedCalls",
    "TokenBucket",
    "Urgency",
    "is_transient",
    "longest_pause_s",
    "nothing_was_done",
    "pauses_s",
]
