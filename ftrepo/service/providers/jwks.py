"""A provider's JWK set (RFC 7517, section 5): which of its keys may verify, and with what.

A key serves exactly the algorithms of its own kind that the provider may use, and of these the one
that it names, if it does. So what a token's header says can only ever choose among pairs of a key
and an algorithm that were made beforehand; it cannot bring the two together.

Skipped, and counted: keys for encryption (`use`, `key_ops`), symmetric ones, curves and algorithms
that are not among the provider's, RSA keys below 2048 or above 8192 bits, malformed ones, and
*private* ones: whoever publishes a private key has lost it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from ftrepo.key_encoding import RSA_BITS_MAX, RSA_BITS_MIN
from ftrepo.service.providers.compact_token import KEY_ID_CHARS_MAX, canonical_algorithm
from ftrepo.service.providers.fetch_error import FetchError
from ftrepo.service.providers.refusals import refused
from ftrepo.service.providers.strict_json import parse_object

KEYS_MAX = 100
"""The most keys of a set. Large providers publish about ten. A set is taken whole or not at all:
which of its keys were left out would depend on their order, and show only when one is needed. To
read so many takes about 10 ms of the loop's time, and they are read only when they change."""

_KINDS: Mapping[str, tuple[str, str | None]] = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
}
"""The `kty` and `crv` that an algorithm needs: RFC 7518, sections 3.1 and 6, and RFC 8037."""

_PUBLIC_MEMBERS = {"OKP": ("x",), "EC": ("x", "y"), "RSA": ("n", "e")}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

_CHARS_MAX = {"n": -(-RSA_BITS_MAX // 6), "e": 11, "x": 88, "y": 88}
"""The longest base64url of each number: a modulus of `RSA_BITS_MAX`, an exponent of 64 bits, a
coordinate of 66 bytes. To compute with longer ones takes time before it can be said of what size
they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key together with the one algorithm that it is used with."""

    algorithm: str
    key_id: str | None
    _jwk: PyJWK = field(repr=False)

    def has_signed(self, signing_input: bytes, signature: bytes) -> bool:
        """Say whether this key made this signature. Never raises, whatever the signature is."""
        return bool(self._jwk.Algorithm.verify(signing_input, self._jwk.key, signature))


class VerificationKeys:
    """The usable keys of a set.

    Args:
        keys: each key of the set, with all its algorithms. Of two with one id and one algorithm the
            first counts (RFC 7517, section 4.5, wants ids to be distinct).
        skipped: how many keys of the set are not usable.
    """

    def __init__(self, keys: Sequence[Sequence[VerificationKey]] = (), *, skipped: int = 0) -> None:
        self.skipped = skipped
        self._count = len(keys)
        self._by_id: dict[tuple[str | None, str], VerificationKey] = {}
        self._by_algorithm: dict[str, list[VerificationKey]] = {}
        for key in (pair for pairs in keys for pair in pairs):
            self._by_id.setdefault((key.key_id, key.algorithm), key)
            self._by_algorithm.setdefault(key.algorithm, []).append(key)

    def __len__(self) -> int:
        """How many keys there are, whatever the number of their algorithms."""
        return self._count

    def find(self, key_id: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key of this id for this algorithm; `None` if there is none.

        Without an id the only key for the algorithm is meant. Several are not tried in turn: what
        verifies a token should not depend on what else happens to be published.

        Raises:
            InvalidTokenError: there is no id, and several keys fit.
        """
        if key_id is not None:
            return self._by_id.get((key_id, algorithm))
        fitting = self._by_algorithm.get(algorithm, [])
        if len(fitting) > 1:
            raise refused("no-key-id")
        return fitting[0] if fitting else None


def parse_jwks(body: bytes, algorithms: Collection[str]) -> VerificationKeys:
    """Read a JWK set.

    Args:
        body: what the provider sent.
        algorithms: with which its tokens may be signed.

    Raises:
        FetchError: it is not a JWK set, has more than `KEYS_MAX` keys, or none that is usable. An
            empty set is far more often a fault of the provider than a wish to have every token
            refused, so it must not replace keys that are.
    """
    try:
        listed = parse_object(body).get("keys")
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise FetchError("not-a-key-set", "what it has is not a JWK set")
    if len(listed) > KEYS_MAX:
        raise FetchError("too-many-keys", f"its JWK set has more than {KEYS_MAX} keys")
    usable = [pairs for jwk in listed if (pairs := list(_pairs(jwk, algorithms)))]
    if not usable:
        raise FetchError(
            "no-usable-keys", f"none of the {len(listed)} keys of its JWK set is usable"
        )
    return VerificationKeys(usable, skipped=len(listed) - len(usable))


def _pairs(jwk: object, algorithms: Collection[str]) -> Iterator[VerificationKey]:
    """The key with each algorithm that it may be used with; nothing if it is not usable."""
    if not isinstance(jwk, dict) or not _is_for_signatures(jwk):
        return
    named = jwk.get("alg")
    for algorithm in algorithms:
        if named is not None and (
            not isinstance(named, str) or canonical_algorithm(named) != algorithm
        ):
            continue
        if (jwk.get("kty"), jwk.get("crv")) == _KINDS[algorithm]:
            try:
                parsed = _parsed(jwk, algorithm)
            except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
                return  # The message would quote the key; the count is enough.
            if parsed is None:
                return
            yield VerificationKey(algorithm=algorithm, key_id=jwk.get("kid"), _jwk=parsed)


def _is_for_signatures(jwk: Mapping[str, object]) -> bool:
    key_id, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and not _PRIVATE_MEMBERS & jwk.keys()
        and (key_id is None or (isinstance(key_id, str) and len(key_id) <= KEY_ID_CHARS_MAX))
    )


def _parsed(jwk: Mapping[str, object], algorithm: str) -> PyJWK | None:
    kind, curve = _KINDS[algorithm]
    members = {name: jwk.get(name) for name in _PUBLIC_MEMBERS[kind]}
    for name, value in members.items():
        if not isinstance(value, str) or len(value) > _CHARS_MAX[name]:
            return None
    # Only what has been looked at: nothing else in the JWK can change what becomes of it.
    parsed = PyJWK({"kty": kind, **members, **({"crv": curve} if curve else {})}, algorithm)
    key = parsed.key
    if isinstance(key, RSAPublicKey) and not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        return None
    return parsed
