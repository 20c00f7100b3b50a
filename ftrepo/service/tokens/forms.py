"""The body of a request for a token: `application/x-www-form-urlencoded`, read strictly.

A lenient reader and a strict one in front of it may disagree on what a request says, and one of
both is then deceived. So whatever could be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ftrepo.service.errors import TokenRequestError

FORM_PARAMETERS_MAX = 32
"""How many parameters a form may have, those that nobody reads included."""

NAME_LENGTH_MAX = 64
"""The most characters in a parameter's name. The longest that is read has 20."""

REPEATABLE = frozenset({"audience", "resource"})
"""What may be given more than once (RFC 8693, section 2.1); RFC 6749, section 3.2, forbids it for
everything else, and for parameters that it does not know."""

_MEDIA_TYPE = "application/x-www-form-urlencoded"
_CHARSETS = frozenset({"", "charset=utf-8", 'charset="utf-8"'})

_ENCODED = re.compile(rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*+")
"""Visible ASCII; a percent sign only before two hexadecimal digits."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""In no parameter of RFC 6749, appendix A; and a line break makes two lines of one in a log."""


@dataclass(frozen=True, slots=True, repr=False)
class Form:
    """The parameters of a request. It shows none of them when printed: they may be secrets.

    Attributes:
        values: by name, in the order of the request; no value is empty.
    """

    values: Mapping[str, tuple[str, ...]]

    def one(self, name: str) -> str | None:
        """Return a parameter; `None` if it was left out, or given without a value."""
        values = self.values.get(name)
        return values[0] if values else None

    def every(self, name: str) -> tuple[str, ...]:
        """Return a parameter that may be repeated; empty if it was left out."""
        return self.values.get(name, ())

    def required(self, name: str) -> str:
        """Return a parameter that must be there.

        Args:
            name: from the code and not from a request, for it is in the error's message.

        Raises:
            TokenRequestError: it was left out, or given without a value.
        """
        value = self.one(name)
        if value is None:
            raise TokenRequestError(f"the parameter {name} is missing", reason="missing-parameter")
        return value

    def __repr__(self) -> str:
        return f"Form({len(self.values)} parameters)"


def parse_form(content_type: str | None, body: bytes) -> Form:
    """Read the body of a request.

    A parameter without a value counts as left out (RFC 6749, section 3.2). One that nobody knows
    is taken, and nobody reads it. The time is linear in the body, whose size is for the caller to
    bound.

    Args:
        content_type: the header; `None` if there is none.
        body: all of it.

    Raises:
        TokenRequestError: with the reason "unsupported-media-type", "too-many-parameters",
            "repeated-parameter", or "malformed": an encoding that is broken, what is not UTF-8,
            control characters, a name that is empty or too long.
    """
    _check_media_type(content_type)
    if body.count(b"&") >= FORM_PARAMETERS_MAX:
        raise TokenRequestError(
            f"the form has more than {FORM_PARAMETERS_MAX} parameters", reason="too-many-parameters"
        )
    values: dict[str, list[str]] = {}
    for part in filter(None, body.split(b"&")):
        encoded_name, _, encoded_value = part.partition(b"=")
        try:
            name, value = decoded(encoded_name), decoded(encoded_value)
        except ValueError as error:
            raise TokenRequestError(f"the form cannot be read: {error}") from None
        if not 0 < len(name) <= NAME_LENGTH_MAX:
            raise TokenRequestError("the form has a name that is empty or too long")
        if name in values and name not in REPEATABLE:
            raise TokenRequestError(
                "a parameter is given more than once; only audience and resource may be",
                reason="repeated-parameter",
            )
        values.setdefault(name, []).extend([value] if value else [])
    return Form({name: tuple(given) for name, given in values.items() if given})


def decoded(part: bytes) -> str:
    """Return a name or a value without its encoding (RFC 6749, appendix B).

    Raises:
        ValueError: it is not what an encoder would write; the message says why and quotes nothing.
    """
    if not _ENCODED.fullmatch(part):
        raise ValueError("its encoding is broken")
    try:
        text = unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if _CONTROL.search(text):
        raise ValueError("it has a control character")
    return text


def _check_media_type(content_type: str | None) -> None:
    kind, _, parameter = (content_type or "").partition(";")
    is_form = kind.strip().lower() == _MEDIA_TYPE
    if not (is_form and parameter.strip().lower() in _CHARSETS):
        raise TokenRequestError(
            f"the body must be {_MEDIA_TYPE}, in UTF-8", reason="unsupported-media-type"
        )
