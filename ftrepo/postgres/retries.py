"""Reads that are tried again when the database was not fit to answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ftrepo.errors import CallRefusedError, PrimaryNotAskedError
from ftrepo.events import RetryScheduled
from ftrepo.postgres.failures import is_worth_repeating
from ftrepo.resilience.backoff import DATABASE_READS, BackoffSettings
from ftrepo.resilience.retry import Retry
from ftrepo.resilience.retry_budget import RetryBudget

P = ParamSpec("P")
T = TypeVar("T")


def retry_reads(
    settings: BackoffSettings = DATABASE_READS,
    *,
    draw: Callable[[], float] | None = None,
    budget: RetryBudget | None = None,
    observe: Callable[[RetryScheduled], None] | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Return a decorator that tries a read again after a failure that may pass.

    For reads only: a write that timed out may have taken effect. Tried again are failures of the
    kinds `UNAVAILABLE` and `TRANSIENT`; never errors of validation, authorization or the business,
    an open breaker (which spares the database the very attempt), or a cancellation.

    It makes its caller wait, for seconds. A `FaultTolerantRepository` answers from memory instead,
    so this is for jobs, reports and administration.

    Args:
        settings: how often, and with what pauses.
        draw: random numbers in [0, 1) for the jitter.
        budget: bounds the repetitions of all who share it; `None` for no bound.
        observe: is told of every repetition, by the name of the function.
    """

    def decorate(read: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        retry = Retry(
            settings,
            idempotent=True,
            operation=getattr(read, "__name__", "read"),
            when=_may_pass,
            draw=draw,
            budget=budget,
            observe=observe,
        )
        return retry(read)

    return decorate


def _may_pass(error: Exception) -> bool:
    return not isinstance(error, (CallRefusedError, PrimaryNotAskedError)) and is_worth_repeating(
        error
    )
