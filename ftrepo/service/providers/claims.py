"""The claims of a token: who, for whom, and when. Told the time; verifies no signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from ftrepo.service.providers.refusals import refused
from ftrepo.service.scope import SCOPE_PATTERN
from ftrepo.service.settings import ProviderSettings
from ftrepo.service.verified import VerifiedToken

SUBJECT_CHARS_MAX = 255
"""The longest `sub`. Source: OpenID Connect Core 1.0, section 2."""

_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last that has a `datetime`."""

_SCOPE = re.compile(SCOPE_PATTERN)
"""RFC 6749, section 3.3."""


def check_claims(
    claims: Mapping[str, object], provider: ProviderSettings, *, now: datetime, leeway_s: float
) -> VerifiedToken:
    """Return what the claims say, if they may be believed; whether they are, a signature tells.

    Args:
        claims: of the token; the issuer has been compared.
        provider: whose audience is asked for.
        now: the time.
        leeway_s: by how much the provider's clock may be off.

    Raises:
        InvalidTokenError: a claim is missing, malformed or wrong; `refusals` has the reasons.
    """
    if "cnf" in claims:
        # A thief of the token has no use for it without the key, and would have for the new one.
        raise refused("sender-constrained")
    if any(claims.get(name) in (None, "", []) for name in ("exp", "sub", "aud")):
        raise refused("missing-claim")
    expires_s = _check_times(claims, now.timestamp(), leeway_s)
    _check_audience(claims["aud"], provider)
    return VerifiedToken(
        provider=provider,
        subject=_subject(claims["sub"]),
        expires=datetime.fromtimestamp(expires_s, UTC),
        scopes=_scopes(claims),
        claims=MappingProxyType(dict(claims)),
    )


def _check_times(claims: Mapping[str, object], now_s: float, leeway_s: float) -> float:
    expires_s, not_before_s, issued_s = (_seconds(claims, each) for each in ("exp", "nbf", "iat"))
    assert expires_s is not None
    if now_s >= expires_s + leeway_s:
        raise refused("expired")
    if not_before_s is not None and now_s + leeway_s < not_before_s:
        raise refused("not-yet-valid")
    if issued_s is not None and now_s + leeway_s < issued_s:
        raise refused("issued-in-future")
    return expires_s


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate of RFC 7519, section 2, from 1970 to 9999; `None` if it is not there."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):  # `true` is an int here.
        raise refused("malformed-claim")
    if not 0 <= value <= _LAST_SECOND:
        raise refused("malformed-claim")
    return float(value)


def _check_audience(audience: object, provider: ProviderSettings) -> None:
    names = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(each, str) for each in names):
        raise refused("malformed-claim")
    if not set(provider.audience).intersection(names):
        raise refused("wrong-audience")


def _subject(subject: object) -> str:
    if not isinstance(subject, str) or len(subject) > SUBJECT_CHARS_MAX:
        raise refused("malformed-claim")
    if not subject.isprintable():
        raise refused("malformed-claim")
    return subject


def _scopes(claims: Mapping[str, object]) -> tuple[str, ...] | None:
    """`scope`, text with spaces between (RFC 8693, section 4.2); some call it `scp`, or list it."""
    value = claims.get("scope", claims.get("scp"))
    if value is None:
        return None
    names = value.split(" ") if isinstance(value, str) else value
    if not isinstance(names, list):
        raise refused("malformed-claim")
    names = [each for each in names if each != ""]
    if not all(isinstance(each, str) and _SCOPE.fullmatch(each) for each in names):
        raise refused("malformed-claim")
    return tuple(dict.fromkeys(names))
