"""Reads that are tried again when the database was not fit to answer."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from ftrepo.errors import CircuitOpenError
from ftrepo.postgres.failures import is_worth_repeating
from ftrepo.resilience.backoff import BackoffSettings
from ftrepo.resilience.retry import OnRetry, retry

P = ParamSpec("P")
T = TypeVar("T")

READ_RETRIES = BackoffSettings(attempts_max=3, first_s=1.0, pause_max_s=10.0)
"""The requirements of the service: 3 attempts, 1 s, ×2, at most 10 s."""


def retry_reads(
    settings: BackoffSettings = READ_RETRIES,
    *,
    draw: Callable[[], float] | None = None,
    on_retry: OnRetry | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Return a decorator that tries a read again after a failure that may pass.

    For reads only: a write that timed out may have taken effect. Tried again are failures of the
    kinds `UNAVAILABLE` and `TRANSIENT`; never errors of validation, authorization or the business,
    an open breaker (which spares the database the very attempt), or a cancellation.

    It makes its caller wait, for seconds. A `FaultTolerantRepository` answers from memory instead,
    so this is for jobs, reports and administration.

    Args:
        settings: how often, and with what pauses.
        draw: random numbers in [0, 1) for the jitter.
        on_retry: is told of every repetition.
    """

    def decorate(read: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(read)
        async def tried_again(*arguments: P.args, **named: P.kwargs) -> T:
            return await retry(
                lambda: read(*arguments, **named),
                settings,
                when=_may_pass,
                draw=draw,
                on_retry=on_retry,
            )

        return tried_again

    return decorate


def _may_pass(error: Exception) -> bool:
    return not isinstance(error, CircuitOpenError) and is_worth_repeating(error)
