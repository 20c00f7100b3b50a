"""Keys: the public half that is stored and found by id, the private half that never leaves memory.

::

    PublicKey   id, material, algorithm, created, expires; immutable; to and from PEM, DER and JWK
    SigningKey  a fresh key pair; signs; refuses to be printed, pickled or copied
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ftrepo.errors import (
    InvalidKeyIdError,
    InvalidKeyMaterialError,
    InvalidLifetimeError,
    UnsupportedAlgorithmError,
)
from ftrepo.key_encoding import (
    RSA_BITS_MIN,
    Algorithm,
    ParsedKey,
    parse_der,
    parse_jwk,
    parse_pem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KEY_ID_LENGTH_MAX", "Algorithm", "PublicKey", "SigningKey", "is_key_id"]

KEY_ID_LENGTH_MAX = 128
"""Characters in the longest key id. The id travels in the header of every token and in every row
and log line, so it is short; a SHA-512 thumbprint (86 characters) with a prefix still fits."""

# The unreserved characters of RFC 3986, section 2.3: they need no escaping in a path, a query or a
# header. "." and ".." are left out because a client drops them from a path (section 5.2.4).
_KEY_ID = re.compile(rf"(?!\.\.?$)[A-Za-z0-9._~-]{{1,{KEY_ID_LENGTH_MAX}}}")

_RSA_PUBLIC_EXPONENT = 65537

_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def is_key_id(value: object) -> bool:
    """Say whether a value could be the id of a key; no store need be asked for one that is not."""
    return isinstance(value, str) and _KEY_ID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key under an id, for a span of time. Safe to share, log and send anywhere.

    The constructor checks what is cheap to check: the id, the types and the times. It does not
    parse `material`, so that a simulation can make many thousands a second; use `from_pem`,
    `from_der` or `from_jwk` for anything that comes from outside.

    Attributes:
        id: 1 to `KEY_ID_LENGTH_MAX` of the characters `A-Z a-z 0-9 . _ ~ -`, not `.` or `..`.
        material: the DER SubjectPublicKeyInfo.
        algorithm: what the key signs with.
        created: from when on it exists; kept in UTC.
        expires: from when on it is no longer valid, this moment included; kept in UTC.

    Raises:
        InvalidKeyIdError: the id is empty, too long, or has a forbidden character.
        InvalidKeyMaterialError: the material is empty or not bytes.
        UnsupportedAlgorithmError: the algorithm is not an `Algorithm`.
        InvalidLifetimeError: a time has no time zone, or `expires` is not after `created`.
    """

    id: str
    material: bytes
    algorithm: Algorithm
    created: datetime
    expires: datetime

    def __post_init__(self) -> None:
        if not is_key_id(self.id):
            raise InvalidKeyIdError(_why_not_an_id(self.id))
        if type(self.material) is not bytes or not self.material:
            raise InvalidKeyMaterialError("the key material must be bytes, and not empty")
        if not isinstance(self.algorithm, Algorithm):
            raise UnsupportedAlgorithmError(
                f"the algorithm must be an Algorithm, not {self.algorithm!r}"
            )
        # One time zone for all: comparisons are then fast, and exact where clocks go back an hour.
        if getattr(self.created, "tzinfo", None) is not UTC:
            object.__setattr__(self, "created", _in_utc(self.created, "created"))
        if getattr(self.expires, "tzinfo", None) is not UTC:
            object.__setattr__(self, "expires", _in_utc(self.expires, "expires"))
        if self.expires <= self.created:
            raise InvalidLifetimeError(
                f"the expiry {self.expires.isoformat()} is not after the creation "
                f"{self.created.isoformat()}"
            )

    @classmethod
    def from_pem(
        cls, pem: str | bytes, *, created: datetime, expires: datetime, key_id: str | None = None
    ) -> PublicKey:
        """Read a key from PEM text.

        Args:
            pem: one `PUBLIC KEY` or `RSA PUBLIC KEY` block, with or without text around it.
            created: from when on the key exists.
            expires: when it stops being valid.
            key_id: `None` for the RFC 7638 thumbprint.

        Raises:
            InvalidKeyError: one of its kinds, which names the cause.
        """
        return cls._of(parse_pem(pem), created, expires, key_id)

    @classmethod
    def from_der(
        cls, der: bytes, *, created: datetime, expires: datetime, key_id: str | None = None
    ) -> PublicKey:
        """Read a key from DER SubjectPublicKeyInfo; arguments and errors as of `from_pem`."""
        return cls._of(parse_der(der), created, expires, key_id)

    @classmethod
    def from_jwk(
        cls,
        jwk: Mapping[str, object],
        *,
        created: datetime,
        expires: datetime,
        key_id: str | None = None,
    ) -> PublicKey:
        """Read a key from a JWK; arguments and errors as of `from_pem`.

        The id is `key_id`, else the JWK's own `kid`, else the thumbprint.
        """
        parsed = parse_jwk(jwk)
        named = jwk.get("kid")
        if named is not None and not isinstance(named, str):
            raise InvalidKeyIdError(_why_not_an_id(named))
        return cls._of(parsed, created, expires, named if key_id is None else key_id)

    @classmethod
    def _of(
        cls, parsed: ParsedKey, created: datetime, expires: datetime, key_id: str | None
    ) -> PublicKey:
        named = parsed.thumbprint() if key_id is None else key_id
        return cls(named, parsed.material(), parsed.algorithm, created, expires)

    def to_pem(self) -> str:
        """Return the key as PEM SubjectPublicKeyInfo.

        Raises:
            InvalidKeyError: the key was made by the constructor from material that is not a key.
        """
        return self._parsed().pem()

    def to_jwk(self) -> dict[str, str]:
        """Return the key as a JWK with `kid`, `alg` and `use`, ready for a JWKS.

        Raises:
            InvalidKeyError: the key was made by the constructor from material that is not a key.
        """
        members = self._parsed().jwk_members()
        return {**members, "kid": self.id, "alg": self.algorithm.jwa_name, "use": "sig"}

    def _parsed(self) -> ParsedKey:
        parsed = parse_der(self.material)
        if parsed.algorithm is not self.algorithm:
            raise InvalidKeyMaterialError(
                f"key {self.id!r} says {self.algorithm.value}, "
                f"but its material is for {parsed.algorithm.value}"
            )
        return parsed

    def has_expired(self, now: datetime) -> bool:
        """Say whether the key is no longer valid at `now`; at `expires` itself it is not."""
        return now >= self.expires

    def same_material(self, other: PublicKey) -> bool:
        """Say whether both are the same key, whatever their ids and times."""
        return self.material == other.material and self.algorithm is other.algorithm


class SigningKey:
    """A key pair whose private half exists in this object only.

    It shows nothing secret when printed, and refuses to be pickled or copied. Make one with
    `generate`.
    """

    __slots__ = ("_private", "public")

    public: PublicKey
    """The half to publish."""

    def __init__(self, private: _PrivateKey, public: PublicKey) -> None:
        self._private = private
        self.public = public

    @classmethod
    def generate(
        cls,
        algorithm: Algorithm = Algorithm.ED25519,
        *,
        created: datetime,
        lifetime: timedelta,
        key_id: str | None = None,
    ) -> SigningKey:
        """Make a key pair from the randomness of the operating system.

        Args:
            algorithm: what to sign with. RSA keys get 2048 bits.
            created: from when on the key exists.
            lifetime: how long it is valid; more than zero.
            key_id: `None` for the RFC 7638 thumbprint of the public half.

        Raises:
            InvalidLifetimeError: `created` has no time zone, or the lifetime is not positive, or
                so long that its end has no date.
            InvalidKeyIdError: `key_id` is malformed.
            UnsupportedAlgorithmError: the algorithm is not an `Algorithm`.
        """
        if not _is_positive(lifetime):
            raise InvalidLifetimeError(f"the lifetime must be a positive timedelta, not {lifetime}")
        try:
            expires = _in_utc(created, "created") + lifetime
        except OverflowError as error:
            raise InvalidLifetimeError(f"a lifetime of {lifetime} has no end date") from error
        private = _generated(algorithm)
        public = ParsedKey(private.public_key(), algorithm)
        named = public.thumbprint() if key_id is None else key_id
        return cls(private, PublicKey(named, public.material(), algorithm, created, expires))

    def sign(self, data: bytes) -> bytes:
        """Return the signature in the form of a JWS.

        For ES256 that is the two numbers of 32 bytes each (RFC 7518, section 3.4), not DER.
        """
        private = self._private
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return private.sign(data)
        if isinstance(private, rsa.RSAPrivateKey):
            return private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"SigningKey(id={self.public.id!r}, algorithm={self.public.algorithm.value})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a SigningKey cannot be pickled or copied: it lives in one memory only")


def _generated(algorithm: Algorithm) -> _PrivateKey:
    match algorithm:
        case Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case Algorithm.ES256:
            return ec.generate_private_key(ec.SECP256R1())
        case Algorithm.RS256:
            return rsa.generate_private_key(_RSA_PUBLIC_EXPONENT, RSA_BITS_MIN)
    raise UnsupportedAlgorithmError(f"the algorithm must be an Algorithm, not {algorithm!r}")


def _is_positive(lifetime: object) -> bool:
    return isinstance(lifetime, timedelta) and lifetime > timedelta(0)


def _in_utc(time: datetime, name: str) -> datetime:
    if not isinstance(time, datetime):
        raise InvalidLifetimeError(f"{name} must be a datetime, not {type(time).__name__}")
    if time.utcoffset() is None:
        raise InvalidLifetimeError(f"{name} ({time.isoformat()}) has no time zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise InvalidLifetimeError(f"{name} ({time.isoformat()}) has no date in UTC") from error


def _why_not_an_id(value: object) -> str:
    if not isinstance(value, str):
        return f"a key id must be text, not {type(value).__name__}"
    if not value:
        return "a key id must not be empty"
    if len(value) > KEY_ID_LENGTH_MAX:
        return f"a key id has at most {KEY_ID_LENGTH_MAX} characters; this one has {len(value)}"
    if value in (".", ".."):
        return f"the key id {value!r} would vanish from the path of a URL"
    wrong = next(c for c in value if not re.fullmatch(r"[A-Za-z0-9._~-]", c))
    return f"the key id has the character {wrong!r}; allowed are A-Z a-z 0-9 . _ ~ -"
