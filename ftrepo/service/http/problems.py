"""Every error becomes an answer here, and nowhere else: problem details of RFC 9457.

A type is `urn:ftrepo:problem:<slug>`: the same on every instance, whatever its address is, and
nothing to look up there. Titles and details are the service's own words; the message of an error is
shown only if it was written for whoever asks. The instance is the request's id, by which an
operator finds the line of the log. If a token is refused, `error` and `error_description` of OAuth
2.0 come along (RFC 6749, section 5.2).

Whatever is malformed is 400, never 422: OAuth asks for it, and one status is easier to handle.
Retry-After is in whole seconds, rounded up, and not jittered: those who return together meet rate
limits, and a breaker, a budget and a ramp in front of the primary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ftrepo.service.errors import TokenRequestError
from ftrepo.service.http.errors import KeyAbsentError
from ftrepo.service.http.problem_kinds import Kind, kind_of, kind_of_status

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:ftrepo:problem:"
INSTANCE_PREFIX = "urn:ftrepo:request:"

UNREADABLE_MEDIA_TYPE = "unsupported-media-type"
"""The one reason that has a status of HTTP: 415. Every other refusal of a token is 400 or 401."""

RETRY_AFTER_DEFAULT_S = 5
"""When nobody knows better: `Policy.breaker_open_s`, after which the primary is next probed."""

RETRY_AFTER_S_MAX = 3600
"""The longest that a caller is sent away for: nobody knows what will be in an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error, as it is answered and as it is logged.

    Attributes:
        kind: what it is.
        detail: for whoever asked; empty for none.
        reason: for logs and metrics: a short name, never made from what was sent.
        headers: of the answer, besides those that every problem has.
        extensions: further members of the document.
    """

    kind: Kind
    detail: str
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: BaseException) -> Problem:
    """Return what is answered to an error. One that nobody foresaw says nothing of itself."""
    if isinstance(error, HTTPException):
        kind = kind_of_status(error.status_code)
        headers = dict(error.headers or {})
        return Problem(kind=kind, detail=kind.detail, reason=kind.slug, headers=headers)
    kind = kind_of(error)
    detail = str(error) if kind.tells_message else kind.detail
    if isinstance(error, TokenRequestError) and error.reason == UNREADABLE_MEDIA_TYPE:
        kind = kind_of_status(415)
    headers = dict(kind.headers)
    if kind.status in (429, 503):
        headers["Retry-After"] = retry_after(getattr(error, "retry_after_s", None))
    if isinstance(error, KeyAbsentError) and error.max_age_s > 0:
        headers["Cache-Control"] = f"public, max-age={error.max_age_s}"
    if not isinstance(error, TokenRequestError):
        return Problem(kind=kind, detail=detail, reason=kind.slug, headers=headers)
    extensions = {
        "error": error.error,
        "error_description": _description(detail),
        "reason": error.reason,
    }
    return Problem(
        kind=kind, detail=detail, reason=error.reason, headers=headers, extensions=extensions
    )


def answer(problem: Problem, request_id: str) -> Response:
    """Return the answer. No cache stores it, unless the problem's own headers say otherwise."""
    kind = problem.kind
    document: dict[str, str | int] = {
        "type": TYPE_PREFIX + kind.slug,
        "title": kind.title,
        "status": kind.status,
        "instance": INSTANCE_PREFIX + request_id,
        **problem.extensions,
    }
    if problem.detail:
        document["detail"] = problem.detail
    return Response(
        json.dumps(document).encode(),
        status_code=kind.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=MEDIA_TYPE,
    )


def retry_after(seconds: float | None) -> str:
    """Return the header: whole seconds, rounded up, from 1 to `RETRY_AFTER_S_MAX`.

    Args:
        seconds: until it is worth asking again; `None` when nobody knows.
    """
    if seconds is None or math.isnan(seconds):
        return str(RETRY_AFTER_DEFAULT_S)
    return str(max(1, math.ceil(min(seconds, RETRY_AFTER_S_MAX))))


def _description(text: str) -> str:
    """The text with no other characters than `error_description` may have."""
    plain = text.replace('"', "'").replace("\\", "/")
    return "".join(each if " " <= each <= "~" else "?" for each in plain)
