"""The kinds of problems that are answered, and which error is of which kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi.exceptions import RequestValidationError

from ftrepo.errors import (
    CallRefusedError,
    FallbackFailedError,
    JournalError,
    KeyConflictError,
    KeyNotFoundError,
    KeyUnavailableError,
    PendingFullError,
    PrimaryUnavailableError,
    TimeLimitError,
)
from ftrepo.service.errors import (
    InvalidClientError,
    NoSigningKeyError,
    NotServedError,
    ProviderUnavailableError,
    TokenRequestError,
)
from ftrepo.service.http.errors import (
    BodyTooLargeError,
    HeadersTooLargeError,
    KeyAbsentError,
    PeerNotAuthenticatedError,
    RequestTimeLimitError,
    RequestTooSlowError,
    TooManyInFlightError,
    TooManyRequestsError,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        slug: its name, the end of its type.
        status: of the answer.
        title: the same whenever it occurs.
        detail: what the caller can do; empty for nothing.
        tells_message: whether the error's message is the detail instead. Only for errors whose
            messages are written for whoever asks.
        headers: what the answer has besides.
    """

    slug: str
    status: int
    title: str
    detail: str = ""
    tells_message: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


_LATER = "Ask again after the time in Retry-After."

INTERNAL = Kind(
    "internal-error",
    500,
    "The service failed",
    "The fault is the service's. Its operator finds the cause by the instance.",
)
MALFORMED = Kind("malformed-request", 400, "The request is malformed", "See /openapi.json.")
_CLOSE = {"Connection": "close"}
"""What still comes of the request is not read."""

BODY_TOO_LARGE = Kind(
    "body-too-large", 413, "The body is too large", "Send a shorter one.", headers=_CLOSE
)
KEY_NOT_FOUND = Kind("key-not-found", 404, "There is no such key", "No valid key has this id.")
UNAVAILABLE = Kind("unavailable", 503, "This cannot be served now", _LATER)

OF_ERROR: Mapping[type[Exception], Kind] = {
    HeadersTooLargeError: Kind(
        "headers-too-large", 431, "The headers are too large", "Send fewer or shorter ones."
    ),
    BodyTooLargeError: BODY_TOO_LARGE,
    RequestTooSlowError: Kind(
        "request-too-slow",
        408,
        "The body did not come in time",
        "Send it in one go.",
        headers=_CLOSE,
    ),
    TooManyRequestsError: Kind("too-many-requests", 429, "Too many requests", _LATER),
    TooManyInFlightError: Kind("too-many-in-flight", 503, "The service is busy", _LATER),
    RequestTimeLimitError: Kind("timed-out", 503, "The answer took too long", _LATER),
    PeerNotAuthenticatedError: Kind(
        "peer-not-authenticated",
        401,
        "Only other instances may ask this",
        headers={"WWW-Authenticate": 'Bearer realm="ftrepo-peers"'},
    ),
    InvalidClientError: Kind(
        "invalid-client",
        401,
        "The client is not authenticated",
        tells_message=True,
        headers={"WWW-Authenticate": 'Basic realm="ftrepo", charset="UTF-8"'},
    ),
    TokenRequestError: Kind(
        "token-request-refused", 400, "The request for a token is refused", tells_message=True
    ),
    ProviderUnavailableError: Kind(
        "provider-unavailable", 503, "The provider's keys cannot be had now", tells_message=True
    ),
    NoSigningKeyError: Kind(
        "no-signing-key", 503, "No key may sign at present", tells_message=True
    ),
    NotServedError: UNAVAILABLE,
    KeyUnavailableError: Kind(
        "key-unavailable",
        503,
        "The key cannot be looked up now",
        f"Whether there is such a key is not known. {_LATER}",
    ),
    KeyNotFoundError: KEY_NOT_FOUND,
    KeyAbsentError: KEY_NOT_FOUND,
    KeyConflictError: Kind("key-conflict", 409, "The id belongs to another key", "Use another id."),
    PrimaryUnavailableError: UNAVAILABLE,
    CallRefusedError: UNAVAILABLE,
    FallbackFailedError: UNAVAILABLE,
    TimeLimitError: UNAVAILABLE,
    PendingFullError: UNAVAILABLE,
    JournalError: UNAVAILABLE,
    RequestValidationError: MALFORMED,
}
"""The kind of each error; of a class that is not listed, that of its nearest base."""

OF_STATUS: Mapping[int, Kind] = {
    400: MALFORMED,
    404: Kind("not-found", 404, "There is nothing here", "See /openapi.json."),
    405: Kind("method-not-allowed", 405, "The method is not allowed", "Allow says which are."),
    406: Kind("not-acceptable", 406, "There is no acceptable form of the answer"),
    413: BODY_TOO_LARGE,
    415: Kind("unsupported-media-type", 415, "The body is not of the type that it must be"),
}
"""The kind of a refusal by the framework, which names a status only."""


def kind_of(error: BaseException) -> Kind:
    """Return the kind of an error: internal if nothing is known of it."""
    return next((OF_ERROR[each] for each in type(error).__mro__ if each in OF_ERROR), INTERNAL)


def kind_of_status(status: int) -> Kind:
    """Return the kind of a refusal by the framework."""
    if status >= 500:
        return INTERNAL
    return OF_STATUS.get(status) or Kind(f"http-{status}", status, "The request is refused")
