"""Every error becomes one answer, which says what the caller may know and nothing else."""

from __future__ import annotations

import json

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from ftrepo.errors import (
    BulkheadFullError,
    CircuitOpenError,
    FallbackFailedError,
    InvalidKeyMaterialError,
    JournalFullError,
    KeyConflictError,
    KeyNotFoundError,
    KeyUnavailableError,
    PendingFullError,
    PoolExhaustedError,
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
    TimeLimitError,
)
from ftrepo.service.errors import (
    InvalidClientError,
    InvalidTokenError,
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
from ftrepo.service.http.problems import RETRY_AFTER_S_MAX, answer, problem_of, retry_after

STATUSES: list[tuple[Exception, int, str]] = [
    (KeyUnavailableError("host db-7"), 503, "key-unavailable"),
    (KeyNotFoundError("host db-7"), 404, "key-not-found"),
    (KeyAbsentError(max_age_s=0), 404, "key-not-found"),
    (KeyConflictError("host db-7"), 409, "key-conflict"),
    (PrimaryUnavailableError("host db-7"), 503, "unavailable"),
    (PrimaryNotAskedError("host db-7", retry_after_s=2.0), 503, "unavailable"),
    (PrimaryRejectedError("host db-7"), 503, "unavailable"),
    (PoolExhaustedError("host db-7"), 503, "unavailable"),
    (CircuitOpenError("host db-7", "open", 2.0), 503, "unavailable"),
    (BulkheadFullError("host db-7", "full", 0.0), 503, "unavailable"),
    (FallbackFailedError("host db-7", errors=()), 503, "unavailable"),
    (TimeLimitError("host db-7"), 503, "unavailable"),
    (PendingFullError("host db-7"), 503, "unavailable"),
    (JournalFullError("host db-7"), 503, "unavailable"),
    (NotServedError("later"), 503, "unavailable"),
    (ProviderUnavailableError("later"), 503, "provider-unavailable"),
    (NoSigningKeyError("later"), 503, "no-signing-key"),
    (InvalidClientError(), 401, "invalid-client"),
    (TokenRequestError("no"), 400, "token-request-refused"),
    (TokenRequestError("no", reason="unsupported-media-type"), 415, "unsupported-media-type"),
    (InvalidTokenError("no", reason="expired"), 400, "token-request-refused"),
    (BodyTooLargeError("host db-7"), 413, "body-too-large"),
    (HeadersTooLargeError("host db-7"), 431, "headers-too-large"),
    (RequestTooSlowError("host db-7"), 408, "request-too-slow"),
    (TooManyRequestsError("host db-7", retry_after_s=0.2), 429, "too-many-requests"),
    (TooManyInFlightError("host db-7", retry_after_s=1.0), 503, "too-many-in-flight"),
    (RequestTimeLimitError("host db-7"), 503, "timed-out"),
    (PeerNotAuthenticatedError("host db-7"), 401, "peer-not-authenticated"),
    (RequestValidationError([{"input": "host db-7"}]), 400, "malformed-request"),
    (HTTPException(404, detail="host db-7"), 404, "not-found"),
    (HTTPException(405, detail="host db-7"), 405, "method-not-allowed"),
    (HTTPException(406, detail="host db-7"), 406, "not-acceptable"),
    (HTTPException(418, detail="host db-7"), 418, "http-418"),
    (HTTPException(502, detail="host db-7"), 500, "internal-error"),
    (InvalidKeyMaterialError("host db-7"), 500, "internal-error"),
    (ValueError("host db-7"), 500, "internal-error"),
    (OSError("host db-7"), 500, "internal-error"),
]


@pytest.mark.parametrize(("error", "status", "slug"), STATUSES, ids=lambda each: repr(each)[:60])
def test_each_error_has_its_status_and_its_kind(error: Exception, status: int, slug: str) -> None:
    """And no text of an error gets out that was not written for whoever asks."""
    response = answer(problem_of(error), "id-1")
    document = json.loads(response.body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert document["type"] == f"urn:ftrepo:problem:{slug}"
    assert document["status"] == status
    assert document["instance"] == "urn:ftrepo:request:id-1"
    assert document["title"]
    assert b"db-7" not in response.body
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert ("www-authenticate" in response.headers) == (status == 401)


def test_a_refused_token_has_the_members_of_oauth() -> None:
    """A client that knows RFC 6749 and not RFC 9457 can tell what is wrong."""
    error = TokenRequestError("no such scope", error="invalid_scope", reason="unknown-scope")
    document = json.loads(answer(problem_of(error), "id-1").body)
    assert document["error"] == "invalid_scope"
    assert document["error_description"] == "no such scope"
    assert document["reason"] == "unknown-scope"


@given(st.text())
def test_an_error_description_has_the_characters_that_it_may_have(text: str) -> None:
    """RFC 6749, section 5.2, leaves out quotes and the backslash, and all that is not ASCII."""
    description = problem_of(TokenRequestError(text)).extensions["error_description"]
    assert all(" " <= each <= "~" and each not in '"\\' for each in description)


@pytest.mark.parametrize(
    ("seconds", "header"),
    [
        (None, "5"),
        (float("nan"), "5"),
        (0.0, "1"),
        (-3.0, "1"),
        (0.001, "1"),
        (1.0, "1"),
        (1.001, "2"),
        (float("inf"), str(RETRY_AFTER_S_MAX)),
        (1e300, str(RETRY_AFTER_S_MAX)),
    ],
)
def test_retry_after_is_whole_seconds_rounded_up(seconds: float | None, header: str) -> None:
    """Who waits for so long does not come too early; nobody is sent away for good."""
    assert retry_after(seconds) == header


def test_a_failed_fallback_says_when_the_call_itself_may_be_made() -> None:
    """The error of the call is the cause."""
    error = FallbackFailedError("both failed", errors=())
    error.__cause__ = CircuitOpenError("billing", "open", 7.5)
    assert problem_of(error).headers["Retry-After"] == "8"


def test_an_absent_key_may_be_kept_for_as_long_as_the_operator_says() -> None:
    """Nothing else of what is refused is kept by anybody."""
    response = answer(problem_of(KeyAbsentError(max_age_s=7)), "id-1")
    assert response.headers.getlist("cache-control") == ["public, max-age=7"]
