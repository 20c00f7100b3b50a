"""Which errors may pass by themselves, and after which of them nothing has been done yet."""

from __future__ import annotations

import errno
import socket

from ftrepo.errors import (
    CallRefusedError,
    PoolClosedError,
    PoolExhaustedError,
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
    RateLimitedError,
)

_PASSING = (ConnectionError, TimeoutError, PrimaryUnavailableError, socket.gaierror)

_NEVER = (PrimaryRejectedError, PrimaryNotAskedError, PoolClosedError)
"""The same again would be refused; asking was spared on purpose; it will not open again."""

_PASSING_NUMBERS = frozenset(
    {
        None,  # asyncio, when it could connect to none of several addresses
        errno.EAGAIN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOBUFS,
    }
)
"""What an `OSError` has for a number if it is about the network. Others are about files."""

_NOTHING_DONE = (
    CallRefusedError,
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PoolExhaustedError,
    PoolClosedError,
)


def is_transient(error: Exception) -> bool:
    """Say whether the same call may succeed a little later, as far as the error tells.

    Yes: lost and refused connections, time-outs, an unreachable network, a primary that could not
    be asked or whose answer was lost, and a rate limit, which says when to come back. No: any
    error that is not known here, which is most likely a wrong request, a missing permission or a
    bug; what was refused because of its content; and what was refused to spare somebody the very
    attempt, by an open breaker or a full bulkhead.

    It does not know the errors of a driver: see `ftrepo.postgres.failures.is_worth_repeating`.
    """
    if isinstance(error, CallRefusedError):
        return isinstance(error, RateLimitedError)
    if isinstance(error, _NEVER):
        return False
    if isinstance(error, _PASSING):
        return True
    # The exact class: a subclass says what it is about, a file or a permission or a certificate.
    return type(error) is OSError and error.errno in _PASSING_NUMBERS


def nothing_was_done(error: Exception) -> bool:
    """Say whether the error proves that a call had no effect, because it was never sent.

    That holds for one call. If several make up an action, the first may have been done before the
    second was refused.
    """
    return isinstance(error, _NOTHING_DONE)
