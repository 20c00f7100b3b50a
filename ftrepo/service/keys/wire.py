"""A public key as instances tell each other: a JSON object with the JWK and the key's times.

::

    {"kid": "...", "jwk": {"kty": "OKP", ...}, "created": "<RFC 3339>", "expires": "<RFC 3339>"}

A JWK alone does not say when its key expires, and who serves a key must know.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ftrepo.errors import InvalidKeyError
from ftrepo.keys import PublicKey

TIME_CHARACTERS_MAX = 40
"""Longer than any time in RFC 3339 with microseconds."""


def to_wire(key: PublicKey) -> dict[str, object]:
    """Return what another instance is told of a key.

    Raises:
        InvalidKeyError: its material is not that of a key.
    """
    return {
        "kid": key.id,
        "jwk": key.to_jwk(),
        "created": key.created.isoformat(),
        "expires": key.expires.isoformat(),
    }


def from_wire(told: object) -> PublicKey:
    """Return the key that another instance tells of; every part of it is checked.

    Raises:
        ValueError: it is no such object, or no key that is accepted.
    """
    if not isinstance(told, Mapping):
        raise ValueError("not an object")
    kid, jwk = told.get("kid"), told.get("jwk")
    if not isinstance(kid, str) or not isinstance(jwk, Mapping):
        raise ValueError("kid or jwk is missing")
    if jwk.get("kid", kid) != kid:
        raise InvalidKeyError("kid and the JWK's own differ")
    created, expires = (_time(told.get(name)) for name in ("created", "expires"))
    return PublicKey.from_jwk(jwk, created=created, expires=expires, key_id=kid)


def _time(text: object) -> datetime:
    if not isinstance(text, str) or len(text) > TIME_CHARACTERS_MAX:
        raise ValueError("a time is missing")
    return datetime.fromisoformat(text)  # Without a zone it is refused where the key is made.
