"""A signed token in its compact form (RFC 7515, section 3.1): read strictly, not yet believed."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ftrepo.service.providers.refusals import refused
from ftrepo.service.providers.strict_json import parse_object

KEY_ID_CHARS_MAX = 256
"""The longest `kid`: real ones are thumbprints and names of at most some dozen characters."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_UNSUPPORTED = frozenset({"crit", "b64", "zip", "enc"})
_TYPES = frozenset({"jwt", "at+jwt"})
_SECURITY_EVENTS = "events"
"""The claim that tells a security event, such as a logout, from an access or ID token: RFC 8417,
section 4.6. Its type need not (OpenID Connect Back-Channel Logout 1.0, section 2.4)."""

_ONE_ALGORITHM = {"Ed25519": "EdDSA"}
"""Names that RFC 9864 gives to what settings and older headers call otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactToken:
    """What a token says of itself. Nothing of it is verified.

    Attributes:
        algorithm: `alg`, by the name that settings use.
        key_id: `kid`, up to `KEY_ID_CHARS_MAX` characters; `None` if there is none.
        claims: the payload.
        signing_input: what was signed: the first two parts, as they came.
        signature: may be empty.
    """

    algorithm: str
    key_id: str | None = field(repr=False)
    claims: Mapping[str, object] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse_token(token: str, *, bytes_max: int) -> CompactToken:
    """Read a token.

    Raises:
        InvalidTokenError: it is too large, encrypted or malformed, its header has an unsupported
            member, or it is of a wrong type.
    """
    if len(token) > bytes_max:
        raise refused("too-large")
    parts = token.split(".", 5)
    if len(parts) == 5:
        raise refused("encrypted")
    if len(parts) != 3:
        raise refused("malformed")
    header, claims = _object(parts[0]), _object(parts[1])
    if _UNSUPPORTED & header.keys():
        raise refused("unsupported-header")
    if not _is_type_accepted(header) or _SECURITY_EVENTS in claims:
        raise refused("wrong-type")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise refused("malformed")
    return CompactToken(
        algorithm=canonical_algorithm(algorithm),
        key_id=_key_id(header),
        claims=claims,
        signing_input=f"{parts[0]}.{parts[1]}".encode("ascii"),
        signature=_octets(parts[2]),
    )


def canonical_algorithm(name: str) -> str:
    """Return the name that settings use for an algorithm."""
    return _ONE_ALGORITHM.get(name, name)


def _key_id(header: Mapping[str, object]) -> str | None:
    # It is looked up in a dict and nothing else: whatever it is, it is no path and no query.
    if "kid" not in header:
        return None
    value = header["kid"]
    if not isinstance(value, str) or len(value) > KEY_ID_CHARS_MAX:
        raise refused("malformed")
    return value


def _is_type_accepted(header: Mapping[str, object]) -> bool:
    # Without regard to case, and with the prefix that may be left out: RFC 7515, section 4.1.9.
    kind = header.get("typ", "JWT")
    return isinstance(kind, str) and kind.lower().removeprefix("application/") in _TYPES


def _object(part: str) -> dict[str, object]:
    octets = _octets(part)
    try:
        return parse_object(octets)
    except ValueError:
        raise refused("malformed") from None


def _octets(part: str) -> bytes:
    """Decode base64url without padding, and only its one canonical spelling.

    Otherwise the same token could be spelled in several ways, and none be recognized as the other.
    """
    if len(part) % 4 == 1 or not _BASE64URL.fullmatch(part):
        raise refused("malformed")
    octets = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != part.encode("ascii"):
        raise refused("malformed")
    return octets
