"""What tests of the breaker share: its settings, and ways to bring it where a test begins."""

from __future__ import annotations

from ftrepo.resilience import BreakerSettings, BreakerState, CircuitBreaker

SETTINGS = BreakerSettings(
    failure_threshold=3,
    count_interval_s=60,
    open_s=10,
    half_open_max_calls=2,
    probe_timeout_s=5,
)


CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def tripped(at_s: float = 0.0, settings: BreakerSettings = SETTINGS) -> CircuitBreaker:
    """A breaker that has just opened."""
    breaker = CircuitBreaker(settings)
    trip(breaker, at_s)
    return breaker


def trip(breaker: CircuitBreaker, at_s: float) -> None:
    """Let calls fail until it opens."""
    for _ in range(3):
        breaker.fail(breaker.acquire(at_s), at_s)
    assert breaker.state is OPEN


def fail_probe(breaker: CircuitBreaker, at_s: float) -> None:
    """Let one probe through, and let it fail."""
    breaker.fail(breaker.acquire(at_s), at_s)
    assert breaker.state is OPEN
