"""Public keys as PEM, DER and JWK, all read into one canonical form.

The canonical form is the DER SubjectPublicKeyInfo that `cryptography` writes: two encodings of one
key give the same bytes, so "the same material" is an equality of bytes. Nothing else in the
package parses untrusted key material.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_public_key,
)

from ftrepo.errors import InvalidKeyMaterialError, UnsupportedAlgorithmError

RSA_BITS_MIN = 2048
"""The smallest RSA key accepted. Source: RFC 7518, section 3.3."""

RSA_BITS_MAX = 8192
"""The largest RSA key accepted: verifying costs time that grows with the size, and whoever makes
the key chooses that. Source: the limit that Go's TLS adopted against CVE-2023-29409."""

_COORDINATE_BYTES = 32
_PRIVATE_JWK_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

SupportedKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Algorithm(enum.Enum):
    """The signature algorithms that a key can be made for."""

    ED25519 = "Ed25519"
    """EdDSA on edwards25519 (RFC 8037). The default: small, fast, nothing to choose wrongly."""
    ES256 = "ES256"
    """ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4)."""
    RS256 = "RS256"
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3), 2048 bits or more."""

    @property
    def jwa_name(self) -> str:
        """The name that goes into a JWK or a token's header.

        Ed25519 is written `EdDSA` (RFC 8037), which every verifier knows, and read under that name
        or its newer one, `Ed25519` (RFC 9864).
        """
        return "EdDSA" if self is Algorithm.ED25519 else self.value


class ParsedKey(NamedTuple):
    """A public key that has been read and is of an accepted kind."""

    key: SupportedKey
    algorithm: Algorithm

    def material(self) -> bytes:
        """Return the canonical form: DER SubjectPublicKeyInfo."""
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def pem(self) -> str:
        """Return the canonical form as PEM text."""
        pem = self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode("ascii")

    def jwk_members(self) -> dict[str, str]:
        """Return the required members of the JWK, in the lexicographic order of RFC 7638."""
        key = self.key
        if isinstance(key, ed25519.Ed25519PublicKey):
            return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
        if isinstance(key, ec.EllipticCurvePublicKey):
            point = key.public_numbers()
            x, y = (n.to_bytes(_COORDINATE_BYTES, "big") for n in (point.x, point.y))
            return {"crv": "P-256", "kty": "EC", "x": _base64url(x), "y": _base64url(y)}
        numbers = key.public_numbers()
        e, n = (v.to_bytes((v.bit_length() + 7) // 8, "big") for v in (numbers.e, numbers.n))
        return {"e": _base64url(e), "kty": "RSA", "n": _base64url(n)}

    def thumbprint(self) -> str:
        """Return the JWK thumbprint: 43 characters of base64url.

        Source: RFC 7638 with SHA-256; RFC 8037, appendix A.3, for Ed25519.
        """
        members = json.dumps(self.jwk_members(), separators=(",", ":"))
        return _base64url(hashlib.sha256(members.encode()).digest())


def parse_pem(pem: str | bytes) -> ParsedKey:
    """Read one public key from PEM text, which may have lines of comment around it.

    Raises:
        InvalidKeyMaterialError: there is no PEM block, more than one, a private key or a
            certificate, or the block is damaged.
        UnsupportedAlgorithmError: the key can be read, but is not one of `Algorithm`.
    """
    if not isinstance(pem, str | bytes):
        raise InvalidKeyMaterialError(f"PEM must be text or bytes, not {type(pem).__name__}")
    try:
        text = pem.encode() if isinstance(pem, str) else pem
    except UnicodeEncodeError as error:
        raise InvalidKeyMaterialError("the PEM text has a lone surrogate") from error
    labels = _PEM_LABEL.findall(text)
    if not labels:
        raise InvalidKeyMaterialError("no PEM block: expected '-----BEGIN PUBLIC KEY-----'")
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        raise InvalidKeyMaterialError(
            "the PEM holds a private key where a public one belongs; it may now be in a log or a "
            "file where it should not be"
        )
    if len(labels) > 1:
        raise InvalidKeyMaterialError(f"the PEM holds {len(labels)} blocks; give exactly one")
    if labels[0] not in (b"PUBLIC KEY", b"RSA PUBLIC KEY"):
        raise InvalidKeyMaterialError(
            f"the PEM block is a {labels[0].decode().lower()}, not a public key"
        )
    return _accepted(_loaded(lambda: load_pem_public_key(text), "the PEM block is damaged"))


def parse_der(der: bytes) -> ParsedKey:
    """Read one public key from DER bytes (SubjectPublicKeyInfo, or PKCS #1 for RSA).

    Raises:
        InvalidKeyMaterialError: the bytes are truncated, damaged or a private key.
        UnsupportedAlgorithmError: the key can be read, but is not one of `Algorithm`.
    """
    if not isinstance(der, bytes):
        raise InvalidKeyMaterialError(f"DER must be bytes, not {type(der).__name__}")
    try:
        return _accepted(_loaded(lambda: load_der_public_key(der), "the DER cannot be read"))
    except InvalidKeyMaterialError:
        if _is_private_der(der):
            raise InvalidKeyMaterialError(
                "the DER is a private key where a public one belongs"
            ) from None
        raise


def parse_jwk(jwk: Mapping[str, object]) -> ParsedKey:
    """Read one public key from a JSON Web Key that has been decoded from JSON.

    Raises:
        InvalidKeyMaterialError: a member is missing, of the wrong type, length or encoding, names
            a point off the curve, or is private.
        UnsupportedAlgorithmError: `kty`, `crv`, `alg` or `use` is not one that we accept.
    """
    if not isinstance(jwk, Mapping):
        raise InvalidKeyMaterialError(f"a JWK must be a mapping, not {type(jwk).__name__}")
    if private := sorted(_PRIVATE_JWK_MEMBERS.intersection(jwk)):
        raise InvalidKeyMaterialError(
            f"the JWK holds private members ({', '.join(private)}) where a public key belongs"
        )
    if jwk.get("use", "sig") != "sig":
        raise UnsupportedAlgorithmError(f"the JWK's use is {_shown(jwk['use'])}, not 'sig'")
    parsed = _accepted(_loaded(lambda: _key_of_jwk(jwk), "the JWK's numbers are not a valid key"))
    named = jwk.get("alg", parsed.algorithm.value)
    if named not in (parsed.algorithm.value, parsed.algorithm.jwa_name):
        raise UnsupportedAlgorithmError(
            f"the JWK says alg {_shown(named)}, but its key is for {parsed.algorithm.jwa_name}"
        )
    return parsed


def _loaded(load: Callable[[], object], failure: str) -> object:
    """Call a loader of `cryptography` and translate what it raises."""
    try:
        return load()
    except (InvalidKeyMaterialError, UnsupportedAlgorithmError):
        raise
    except UnsupportedAlgorithm as error:
        raise UnsupportedAlgorithmError("a key of a kind or curve that is not accepted") from error
    # Older releases let errors of OpenSSL through that they have no name for.
    except (ValueError, TypeError, OverflowError, InternalError) as error:
        raise InvalidKeyMaterialError(f"{failure}: {str(error).split('. See ')[0]}") from error


def _accepted(key: object) -> ParsedKey:
    """Check that a loaded key is of one of our algorithms."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return ParsedKey(key, Algorithm.ED25519)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise UnsupportedAlgorithmError(
                f"an elliptic-curve key on {key.curve.name}; only P-256 (secp256r1) is accepted"
            )
        return ParsedKey(key, Algorithm.ES256)
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise UnsupportedAlgorithmError(
                f"an RSA key of {key.key_size} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted"
            )
        return ParsedKey(key, Algorithm.RS256)
    kind = type(key).__name__.removesuffix("PublicKey")
    raise UnsupportedAlgorithmError(
        f"a key for {kind}; the algorithms are {', '.join(a.value for a in Algorithm)}"
    )


def _key_of_jwk(jwk: Mapping[str, object]) -> SupportedKey:
    match jwk.get("kty"), jwk.get("crv"):
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(_coordinate(jwk, "x"))
        case "EC", "P-256":
            point = b"\x04" + _coordinate(jwk, "x") + _coordinate(jwk, "y")
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        case "RSA", None:
            n, e = (int.from_bytes(_octets(jwk, member), "big") for member in "ne")
            return rsa.RSAPublicNumbers(e, n).public_key()
    raise UnsupportedAlgorithmError(
        f"the JWK has kty {_shown(jwk.get('kty'))} and crv {_shown(jwk.get('crv'))}; "
        "OKP with Ed25519, EC with P-256, and RSA are accepted"
    )


def _coordinate(jwk: Mapping[str, object], member: str) -> bytes:
    octets = _octets(jwk, member)
    if len(octets) != _COORDINATE_BYTES:
        raise InvalidKeyMaterialError(
            f"the JWK's member {member!r} has {len(octets)} bytes, not {_COORDINATE_BYTES}"
        )
    return octets


def _octets(jwk: Mapping[str, object], member: str) -> bytes:
    """Decode one member: base64url without padding, and only its one canonical spelling."""
    text = jwk.get(member)
    if not isinstance(text, str):
        raise InvalidKeyMaterialError(f"the JWK's member {member!r} is missing or not text")
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        octets = b""
    if not octets or _base64url(octets) != text:
        raise InvalidKeyMaterialError(f"the JWK's member {member!r} is not unpadded base64url")
    return octets


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _is_private_der(der: bytes) -> bool:
    try:
        load_der_private_key(der, password=None)
    except TypeError:
        return True  # it can be read as a private key, and is encrypted
    except (ValueError, UnsupportedAlgorithm, InternalError):
        return False
    return True


def _shown(value: object) -> str:
    """Show a value that may be anything, of any length, within an error message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
