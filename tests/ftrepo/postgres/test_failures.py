"""What kind of failure an error is."""

from __future__ import annotations

import asyncio
import socket
import ssl

import asyncpg
import asyncpg.exceptions
import pytest

from ftrepo.errors import PrimaryNotAskedError, PrimaryRejectedError, PrimaryUnavailableError
from ftrepo.postgres.failures import FailureKind, failure_kind, is_worth_repeating, kind_of_sqlstate

U, T, C, P = (
    FailureKind.UNAVAILABLE,
    FailureKind.TRANSIENT,
    FailureKind.CONFLICT,
    FailureKind.PERMANENT,
)

KIND_OF_CLASS = {
    **dict.fromkeys(["08", "53", "57", "58"], U),
    **dict.fromkeys(["40"], T),
    **dict.fromkeys(["23"], C),
    **dict.fromkeys(
        [
            "01",
            "02",
            "03",
            "09",
            "0A",
            "0B",
            "0F",
            "0L",
            "0P",
            "0Z",
            "10",
            "20",
            "21",
            "22",
            "24",
            "25",
            "26",
            "27",
            "28",
            "2B",
            "2D",
            "2F",
            "34",
            "38",
            "39",
            "3B",
            "3D",
            "3F",
            "42",
            "44",
            "54",
            "55",
            "F0",
            "HV",
            "P0",
            "XX",
        ],
        P,
    ),
}
"""Written out a second time, so that no class can change or appear without being noticed."""

EXCEPTIONS = {
    "25006": U, "25P03": U, "25P04": U, "40002": C, "40003": U, "55P03": U, "57P04": P, "58P01": P,
    "58P02": P, "58P03": P, "72000": T, "HV00N": U,
}  # fmt: skip

WITHOUT_CODE = {
    "ClientConfigurationError": P,
    "FatalPostgresError": P,
    "InterfaceError": U,
    "InternalClientError": U,
    "OutdatedSchemaCacheError": T,
    "PostgresError": P,
    "ProtocolError": U,
    "TargetServerAttributeNotMatched": U,
    "UnknownPostgresError": P,
    "UnsupportedClientFeatureError": P,
    "UnsupportedServerFeatureError": P,
    "InterfaceWarning": P,
}

ERRORS = [
    found
    for name in asyncpg.exceptions.__all__
    if issubclass(found := getattr(asyncpg.exceptions, name), Exception)
]


def expected(error: type[Exception]) -> FailureKind:
    """The kind that was decided for a class of errors."""
    code = getattr(error, "sqlstate", None)
    if error.__name__ == "InvalidCachedStatementError":
        return T
    if issubclass(error, Warning):
        return P
    if code is None:
        return WITHOUT_CODE[error.__name__]
    return EXCEPTIONS.get(code) or KIND_OF_CLASS[code[:2]]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_driver_has_the_kind_that_was_decided(error: type[Exception]) -> None:
    """No class of asyncpg is left to chance, whatever a new release adds."""
    assert failure_kind(error("said the server")) is expected(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("57P03", U),  # starting up
        ("57P01", U),  # shutting down
        ("57014", U),  # statement time-out
        ("53300", U),  # too many connections
        ("25006", U),  # read-only
        ("40001", T),
        ("40P01", T),
        ("23505", C),
        ("22001", P),
        ("28P01", P),
        ("3D000", P),
        ("42P01", P),
        ("57P99", U),  # a code to come, of a known class
        ("ZZ999", P),  # of an unknown class
        (None, P),
    ],
)
def test_a_code_has_the_kind_of_its_class_unless_it_is_listed(
    code: str | None, kind: FailureKind
) -> None:
    """The codes that decide about outages, by name."""
    assert kind_of_sqlstate(code) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("no route"), U),
        (TimeoutError(), U),
        (ConnectionRefusedError(), U),
        (ConnectionResetError(), U),
        (FileNotFoundError("no socket"), U),
        (socket.gaierror("no such name"), U),
        (ssl.SSLError("handshake"), U),
        (ssl.SSLEOFError("gone"), U),
        (ssl.SSLCertVerificationError("another's"), P),
        (ValueError("a bug"), P),
        (KeyError("a bug"), P),
        (PrimaryUnavailableError("no cause"), U),
        (PrimaryRejectedError("no cause"), P),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_from_elsewhere(error: Exception, kind: FailureKind) -> None:
    """The network's errors may pass; a wrong certificate and a bug do not."""
    assert failure_kind(error) is kind


def test_wrong_arguments_are_not_an_outage() -> None:
    """An InterfaceError that is a ValueError is the caller's: a value that cannot be encoded."""
    from asyncpg.exceptions import _base

    assert failure_kind(_base.DataError("not a number")) is P


def test_a_wrapped_failure_has_the_kind_of_its_cause() -> None:
    """What a repository raises is judged by what the driver raised."""
    outer = PrimaryUnavailableError("insert failed")
    outer.__cause__ = asyncpg.DeadlockDetectedError("40P01")
    assert failure_kind(outer) is T
    outer.__cause__ = asyncpg.CheckViolationError("23514")
    assert failure_kind(outer) is C


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()])
def test_a_cancellation_is_not_a_failure(error: BaseException) -> None:
    """It has no kind, and is never worth repeating."""
    with pytest.raises(TypeError, match="not a failure"):
        failure_kind(error)
    assert not is_worth_repeating(error)


def test_only_what_may_pass_is_worth_repeating() -> None:
    """Unavailable and transient are; conflicts and permanent failures are not."""
    assert is_worth_repeating(ConnectionRefusedError())
    assert is_worth_repeating(asyncpg.SerializationError("40001"))
    assert not is_worth_repeating(asyncpg.UniqueViolationError("23505"))
    assert not is_worth_repeating(asyncpg.InvalidPasswordError("28P01"))
    assert is_worth_repeating(PrimaryNotAskedError("open", retry_after_s=1.0))
