"""Makes every token that the service issues: its times, its id, and the key in use right now."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ftrepo.rotation import REPEAT_CREATE_S
from ftrepo.service.errors import InvalidTokenError, NoSigningKeyError
from ftrepo.service.tokens.jws import compact_jws
from ftrepo.service.tokens.token_types import TokenType

if TYPE_CHECKING:
    from ftrepo.interface import Clock
    from ftrepo.keys import SigningKey
    from ftrepo.service.settings import TokenSettings

OWN_CLAIMS = frozenset({"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "scope"})
"""What the issuer writes itself, and nobody may give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A token and what whoever asked for it has to know. It does not show the token when printed.

    Attributes:
        token: the JWT; a secret of whoever holds it.
        expires_in_s: how long it is valid, in whole seconds; 1 or more.
        scopes: what it may be used for; empty for nothing in particular.
        audiences: for whom it is; at least one.
        key_id: of the key that signed it.
        token_id: its claim `jti`, which may be logged.
        issued_token_type: as what it was asked for (RFC 8693, section 2.2.1).
    """

    token: str = field(repr=False)
    expires_in_s: int
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    key_id: str
    token_id: str
    issued_token_type: TokenType = TokenType.ACCESS_TOKEN


def random_token_id() -> str:
    """Return 128 bits from the randomness of the operating system, in 22 characters."""
    return secrets.token_urlsafe(16)


class TokenIssuer:
    """Issues tokens. Says nothing of who may have one: the use cases do.

    Args:
        signing_key: returns the key to sign with, `None` if there is none. It is asked once a
            token, so the key id in the header is that of the key that signed, also while keys
            change.
        issuer: the claim `iss`.
        settings: `lifetime_s` and `leeway_s`.
        now: the calendar time.
        token_id: returns the claim `jti`; what nobody can guess and nothing repeats.
    """

    def __init__(
        self,
        signing_key: Callable[[], SigningKey | None],
        *,
        issuer: str,
        settings: TokenSettings,
        now: Clock,
        token_id: Callable[[], str] = random_token_id,
    ) -> None:
        self._signing_key = signing_key
        self._issuer = issuer
        self._lifetime = timedelta(seconds=settings.lifetime_s)
        self._leeway_s = settings.leeway_s
        self._now = now
        self._token_id = token_id

    def issue(
        self,
        *,
        subject: str,
        audiences: Sequence[str],
        scopes: Sequence[str] = (),
        claims: Mapping[str, object] | None = None,
        expires_max: datetime | None = None,
    ) -> IssuedToken:
        """Sign a token.

        Args:
            subject: the claim `sub`; unique in this service, whoever named it.
            audiences: the claim `aud`: text if it is one, for verifiers that accept nothing else
                (RFC 7519, section 4.1.3), else a list.
            scopes: the claim `scope`, which is left out if there are none.
            claims: whatever else it says; `None` for nothing.
            expires_max: when it ends at the latest; `None` for its full lifetime.

        Raises:
            NoSigningKeyError: no key may sign; worth another try once a key has been published.
            InvalidTokenError: `expires_max` is less than a second away, or over: what was brought
                has expired, be it within the leeway.
            ValueError: there is no audience, or `claims` has one of `OWN_CLAIMS`.
        """
        claims = {} if claims is None else claims
        if not audiences or claims.keys() & OWN_CLAIMS:
            raise ValueError("a token needs an audience, and claims that are not the issuer's own")
        key = self._signing_key()
        if key is None:
            raise _no_signing_key()
        now = self._now()
        issued_at_s = math.floor(now.timestamp())
        expires_s = self._expires_s(key, now, expires_max)
        token_id = self._token_id()
        own = {
            "iss": self._issuer,
            "sub": subject,
            "aud": audiences[0] if len(audiences) == 1 else list(audiences),
            "iat": issued_at_s,
            # A verifier may be behind, and is not obliged to any leeway of its own.
            "nbf": math.floor(issued_at_s - self._leeway_s),
            "exp": expires_s,
            "jti": token_id,
        }
        if scopes:
            own["scope"] = " ".join(scopes)
        return IssuedToken(
            token=compact_jws({**own, **claims}, key),
            expires_in_s=expires_s - issued_at_s,
            scopes=tuple(scopes),
            audiences=tuple(audiences),
            key_id=key.public.id,
            token_id=token_id,
        )

    def _expires_s(self, key: SigningKey, now: datetime, expires_max: datetime | None) -> int:
        """The claim `exp`: rounded down, so that a token never outlives what it depends on."""
        ends = min(now + self._lifetime, key.public.expires)
        expires_s = math.floor(ends.timestamp())
        if expires_s <= now.timestamp():
            raise _no_signing_key()
        if expires_max is not None:
            expires_s = min(expires_s, math.floor(expires_max.timestamp()))
        if expires_s <= now.timestamp():
            raise InvalidTokenError("the token that was brought has expired", reason="expired")
        return expires_s


def _no_signing_key() -> NoSigningKeyError:
    # The rotation tries again to publish a key after this time.
    return NoSigningKeyError(
        "the service has no key to sign with at the moment", retry_after_s=REPEAT_CREATE_S
    )
