"""Fault tolerance for any awaitable: decisions as pure state machines, told the time."""

from ftrepo.resilience.breaker import BreakerSettings, BreakerState, CircuitBreaker, Permit

__all__ = ["BreakerSettings", "BreakerState", "CircuitBreaker", "Permit"]
