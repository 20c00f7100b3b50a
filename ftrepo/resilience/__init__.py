"""Fault tolerance for any awaitable: decisions as pure state machines, told the time."""

from ftrepo.resilience.backoff import Backoff, BackoffSettings, longest_pause_s
from ftrepo.resilience.breaker import BreakerSettings, BreakerState, CircuitBreaker, Permit
from ftrepo.resilience.retry import OnRetry, retry

__all__ = [
    "Backoff",
    "BackoffSettings",
    "BreakerSettings",
    "BreakerState",
    "CircuitBreaker",
    "OnRetry",
    "Permit",
    "longest_pause_s",
    "retry",
]
