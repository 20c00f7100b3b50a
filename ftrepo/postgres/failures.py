"""What kind of failure an error is: the one place that knows the codes of PostgreSQL.

Sources: PostgreSQL's appendix A, "PostgreSQL Error Codes" (the first two characters of an SQLSTATE
are its class); what PostgreSQL 18 and asyncpg 0.32 were seen to raise while the server was stopped,
frozen, starting, full or read-only.
"""

from __future__ import annotations

import enum
import ssl

import asyncpg

from ftrepo.errors import PrimaryRejectedError, PrimaryUnavailableError


class FailureKind(enum.Enum):
    """What a failure says about trying again."""

    UNAVAILABLE = "unavailable"
    """The server, or the way to it, is not fit to serve. Later, or elsewhere, it may be."""
    TRANSIENT = "transient"
    """The server is well and undid this transaction for the sake of another: run it again."""
    CONFLICT = "conflict"
    """The data contradict a constraint. The server is well; the same data fail again."""
    PERMANENT = "permanent"
    """The request, the configuration or the code is wrong, and stays wrong however often it is
    repeated."""


_UNAVAILABLE = FailureKind.UNAVAILABLE
_TRANSIENT = FailureKind.TRANSIENT
_CONFLICT = FailureKind.CONFLICT
_PERMANENT = FailureKind.PERMANENT

KIND_OF_CLASS = {
    "08": _UNAVAILABLE,  # connection exception; poolers refuse with it too
    "23": _CONFLICT,  # integrity constraint violation
    "40": _TRANSIENT,  # transaction rollback: serialization failure, deadlock
    "53": _UNAVAILABLE,  # insufficient resources: connections, memory, disk
    "57": _UNAVAILABLE,  # operator intervention: shutdown, starting up, statement time-out
    "58": _UNAVAILABLE,  # error outside PostgreSQL: input and output
}
"""The kind of a whole class of SQLSTATE. A class that is not listed is `PERMANENT`."""

KIND_OF_CODE = {
    "25006": _UNAVAILABLE,  # read-only: a standby, seen for a moment before its promotion
    "25P03": _UNAVAILABLE,  # the session was idle in a transaction for too long, and was ended
    "25P04": _UNAVAILABLE,  # transaction time-out; the session was ended
    "40002": _CONFLICT,  # a constraint, found at the end of a transaction
    "40003": _UNAVAILABLE,  # statement completion unknown: as a lost connection
    "55P03": _UNAVAILABLE,  # a lock was not to be had in time
    "57P04": _PERMANENT,  # the database was dropped
    "58P01": _PERMANENT,  # no such file, ...
    "58P02": _PERMANENT,  # ... a second one of the name, ...
    "58P03": _PERMANENT,  # ... or too long a name: they come from what a statement asked for
    "72000": _TRANSIENT,  # snapshot too old: a new transaction has a new one
    "HV00N": _UNAVAILABLE,  # a foreign server cannot be reached
}
"""Codes that differ from their class."""


def failure_kind(error: BaseException) -> FailureKind:
    """Say what kind of failure this is.

    An error that is not known is `PERMANENT`: it is most likely a bug in the caller's own code,
    which a retry would only repeat. That costs no availability, because `FaultTolerantRepository`
    falls back to memory after any error.

    A `PrimaryUnavailableError` is judged by its cause, if it has one.

    Raises:
        TypeError: this is a cancellation, or another `BaseException` that ends a program. It is
            nobody's failure and must be passed on.
    """
    if not isinstance(error, Exception):
        raise TypeError(f"{type(error).__name__} is not a failure: pass it on") from error
    if isinstance(error, PrimaryUnavailableError):
        if error.__cause__ is not None:
            return failure_kind(error.__cause__)
        return _PERMANENT if isinstance(error, PrimaryRejectedError) else _UNAVAILABLE
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        # The schema changed under a connection that remembered the old one. It forgets on this.
        return _TRANSIENT
    if isinstance(error, asyncpg.PostgresError):
        return kind_of_sqlstate(getattr(error, "sqlstate", None))
    return _kind_of_client_error(error)


def kind_of_sqlstate(code: str | None) -> FailureKind:
    """Say what kind of failure a five-character code stands for; `None` is an unknown one."""
    if code is None:
        return _PERMANENT
    return KIND_OF_CODE.get(code) or KIND_OF_CLASS.get(code[:2], _PERMANENT)


def is_worth_repeating(error: BaseException) -> bool:
    """Say whether the same call may succeed later: the failure is unavailable or transient."""
    return isinstance(error, Exception) and failure_kind(error) in (_UNAVAILABLE, _TRANSIENT)


def _kind_of_client_error(error: Exception) -> FailureKind:
    """Judge what was raised on this side of the connection."""
    if isinstance(error, ssl.SSLCertVerificationError | ssl.CertificateError):
        return _PERMANENT  # The wrong certificate does not become right by asking again.
    if isinstance(error, OSError):
        return _UNAVAILABLE  # Refused, reset, unreachable, no such name, and `TimeoutError`.
    if isinstance(
        error, asyncpg.UnsupportedClientFeatureError | asyncpg.UnsupportedServerFeatureError
    ):
        return _PERMANENT
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        # Both are also how asyncpg reports a connection that was lost between two steps, without
        # any code. Its wrong arguments and wrong configuration are `ValueError`s as well.
        return _PERMANENT if isinstance(error, ValueError) else _UNAVAILABLE
    return _PERMANENT
