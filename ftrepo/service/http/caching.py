"""Answers that others may keep: an ETag of the bytes, a time, and 304 where nothing has changed."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Rendered:
    """The bytes of a document, and what they are known by.

    Attributes:
        body: the bytes.
        etag: a strong validator: 128 bits of their SHA-256, in quotes.
    """

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Self:
        """Make the validator."""
        digest = hashlib.sha256(body).digest()[:16]
        return cls(body, f'"{base64.urlsafe_b64encode(digest).decode().rstrip("=")}"')


def cached(
    request: Request,
    rendered: Rendered,
    *,
    media_type: str,
    max_age_s: int,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return the document, or 304 if the caller has it already.

    Args:
        request: whose `If-None-Match` is looked at.
        rendered: the document.
        media_type: of the document.
        max_age_s: for how long anybody may keep it; 0 to have it checked each time.
        headers: further ones, of either answer.
    """
    all_headers = {
        "ETag": rendered.etag,
        # Keys are public: a proxy may keep them for everybody, whoever asked.
        "Cache-Control": f"public, max-age={max_age_s}" if max_age_s > 0 else "no-cache",
        **(headers or {}),
    }
    if _has_it(request, rendered.etag):
        return Response(status_code=304, headers=all_headers)
    return Response(rendered.body, media_type=media_type, headers=all_headers)


def _has_it(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names it; a weak validator will do (RFC 9110, section 13.1.2)."""
    given = ",".join(request.headers.getlist("if-none-match"))
    names = (each.strip().removeprefix("W/") for each in given.split(","))
    return any(name in ("*", etag) for name in names)
