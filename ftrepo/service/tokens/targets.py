"""For whom and for what a token is: what was asked, and what of it is granted.

Asking for more than is allowed is refused and not cut down. RFC 6749, section 3.3, permits both;
but whoever silently gets less fails later, elsewhere, and cannot tell why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ftrepo.service.errors import TokenRequestError
from ftrepo.service.scope import SCOPE_PATTERN
from ftrepo.service.tokens.forms import Form

SCOPE_LENGTH_MAX = 4096
"""The most characters of the parameter `scope`."""

_SCOPE = re.compile(rf"{SCOPE_PATTERN}(?: {SCOPE_PATTERN})*+")
"""RFC 6749, section 3.3."""

_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[!-\"$-~]+")
"""An absolute URI, a query included and a fragment not (RFC 8693, section 2.1)."""


def targets_asked(form: Form) -> tuple[str, ...]:
    """Return each audience and resource that a request names, once; empty if it names none.

    Both name a target: an audience by its name, a resource by where it is. Here a resource is an
    audience that is a URI.

    Raises:
        TokenRequestError: a resource is not an absolute URI, or has a fragment; with the code
            `invalid_target` (RFC 8707, section 2).
    """
    resources = form.every("resource")
    if not all(_RESOURCE.fullmatch(each) for each in resources):
        raise TokenRequestError(
            "a resource must be an absolute URI without a fragment",
            error="invalid_target",
            reason="malformed-resource",
        )
    return _each_once((*form.every("audience"), *resources))


def targets_granted(asked: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Return for whom a token is: what was asked; else the only one that is allowed.

    With several allowed and none named, none is taken: a token for everybody is worth more to a
    thief than one for somebody.

    Raises:
        TokenRequestError: with the code `invalid_target`: none was named, or one that is not
            allowed. Whether that one exists for others is not said.
    """
    if not asked and len(allowed) == 1:
        return tuple(allowed)
    if not asked:
        raise TokenRequestError(
            "the audience is missing", error="invalid_target", reason="missing-audience"
        )
    if not set(asked) <= set(allowed):
        raise TokenRequestError(
            "no token is issued for this audience", error="invalid_target", reason="audience"
        )
    return tuple(asked)


def scopes_asked(form: Form) -> tuple[str, ...] | None:
    """Return each scope that a request names, once; `None` if it names none.

    Raises:
        TokenRequestError: the parameter is not a list of scopes with a space between each two, or
            is longer than `SCOPE_LENGTH_MAX`; with the code `invalid_scope`.
    """
    scope = form.one("scope")
    if scope is None:
        return None
    if len(scope) > SCOPE_LENGTH_MAX or not _SCOPE.fullmatch(scope):
        raise TokenRequestError(
            "the scope cannot be read", error="invalid_scope", reason="malformed-scope"
        )
    return _each_once(scope.split(" "))


def scopes_granted(asked: Sequence[str] | None, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return what a token may be used for: what was asked; everything that is allowed if nothing.

    Raises:
        TokenRequestError: one that was asked for is not allowed; with the code `invalid_scope`.
    """
    if asked is None:
        return tuple(allowed)
    if not set(asked) <= set(allowed):
        raise TokenRequestError(
            "more scopes are asked for than may be granted", error="invalid_scope", reason="scope"
        )
    return tuple(asked)


def _each_once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
