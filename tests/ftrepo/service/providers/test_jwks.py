"""Which keys of a JWK set may verify, and with which algorithm."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448

from ftrepo.service.providers.fetch_error import FetchError
from ftrepo.service.providers.jwks import KEYS_MAX, VerificationKeys, parse_jwks
from tests.ftrepo.service.providers.issuers import ALGORITHMS, jwk, jwks, private_key

EVERY = ("EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256")

GOOD = jwk(private_key("EdDSA"), "EdDSA", "good")


def private_jwk() -> dict[str, object]:
    """A key that its owner has lost."""
    return ALGORITHMS["EdDSA"].to_jwk(private_key("EdDSA", "lost"), as_dict=True) | {"kid": "x"}


def ed448_jwk() -> dict[str, object]:
    """A key for the other algorithm of RFC 8037."""
    public = ed448.Ed448PrivateKey.generate().public_key()
    return ALGORITHMS["EdDSA"].to_jwk(public, as_dict=True) | {"kid": "x"}


def ec(**members: object) -> dict[str, object]:
    """A key for ES256, with these members."""
    return jwk(private_key("ES256"), "ES256", "x", **members)


def rsa(bits: int = 2048, **members: object) -> dict[str, object]:
    """An RSA key, with these members; one that is `None` is left out."""
    return jwk(private_key("RS256", bits=bits), "RS256", **{"kid": "x", **members})


SKIPPED = {
    "no object": lambda: "key",
    "an empty object": dict,
    "for encryption": lambda: rsa(use="enc"),
    "a use that is a list": lambda: rsa(use=["sig"]),
    "for signing alone": lambda: rsa(key_ops=["sign"]),
    "for nothing": lambda: rsa(key_ops=[]),
    "operations that are no list": lambda: rsa(key_ops="verify"),
    "a private key": private_jwk,
    "an RSA key with d": lambda: rsa(d="AQAB"),
    "a symmetric key": lambda: {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "x"},
    "a symmetric key without an algorithm": lambda: {"kty": "oct", "k": "c2VjcmV0", "kid": "x"},
    "for HS256": lambda: rsa(alg="HS256"),
    "an algorithm that is no text": lambda: rsa(alg=256),
    "an RSA key for an elliptic algorithm": lambda: rsa(alg="ES256"),
    "RSA of 1024 bits": lambda: rsa(1024),
    "RSA of 8200 bits": lambda: rsa(n="_" * 1367),
    "RSA of a million bits": lambda: rsa(n="_" * 200_000),
    "an exponent of a thousand bits": lambda: rsa(e="_" * 167),
    "an exponent of 1": lambda: rsa(e="AQ"),
    "an even exponent": lambda: rsa(e="Ag"),
    "no modulus": lambda: rsa(n=None),
    "a modulus that is no base64url": lambda: rsa(n="*" * 342),
    "a modulus that is a number": lambda: rsa(n=17),
    "a modulus beyond ASCII": lambda: rsa(n="é" * 300),
    "a point that is not on the curve": lambda: ec(x="A" * 43),
    "another curve": lambda: ec(crv="secp256k1"),
    "a curve that is a list": lambda: ec(crv=["P-256"]),
    "a point of another curve": lambda: ec(crv="P-384"),
    "Ed448": ed448_jwk,
    "X25519": lambda: {**GOOD, "crv": "X25519"},
    "an id that is a number": lambda: rsa(kid=7),
    "an id of 257 characters": lambda: rsa(kid="k" * 257),
}


@pytest.mark.parametrize("what", SKIPPED)
def test_an_unusable_key_is_skipped_and_counted(what: str) -> None:
    """It is left out, whatever is wrong with it, and the others of its set serve."""
    keys = parse_jwks(jwks(SKIPPED[what](), GOOD), EVERY)
    assert (len(keys), keys.skipped) == (1, 1)
    assert keys.find("good", "EdDSA") is not None
    assert all(keys.find(name, each) is None for name in ("x", "k" * 257) for each in EVERY)


@pytest.mark.parametrize(
    "usable",
    [
        pytest.param(lambda: rsa(use="sig", key_ops=["verify"]), id="for signatures"),
        pytest.param(lambda: rsa(x5c=["MII"], x5t="x", jku="https://evil.example"), id="more"),
        pytest.param(lambda: rsa(alg="RS256"), id="with its algorithm"),
    ],
)
def test_what_does_not_matter_is_ignored(usable: object) -> None:
    """Certificates and addresses in a key change nothing."""
    keys = parse_jwks(jwks(usable()), EVERY)  # type: ignore[operator]
    assert keys.find("x", "RS256") is not None


def test_the_newer_name_of_ed25519_is_known() -> None:
    """A key for "Ed25519" (RFC 9864) is one for EdDSA."""
    keys = parse_jwks(jwks({**GOOD, "alg": "Ed25519"}), ("EdDSA",))
    assert keys.find("good", "EdDSA") is not None


def test_a_key_serves_the_providers_algorithms_alone() -> None:
    """An RSA key that names none serves those of its kind that the provider may use."""
    keys = parse_jwks(jwks(rsa()), ("RS256", "PS256", "ES256"))
    assert len(keys) == 1
    assert {each for each in EVERY if keys.find("x", each)} == {"RS256", "PS256"}


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    """But keys of two kinds may share an id, for they serve different algorithms."""
    first, second = (jwk(private_key("EdDSA", name), "EdDSA", "x") for name in "ab")
    keys = parse_jwks(jwks(first, second, rsa()), ("EdDSA", "RS256"))
    found = keys.find("x", "EdDSA")
    assert found is not None
    assert found.has_signed(b"data", private_key("EdDSA", "a").sign(b"data"))
    assert keys.find("x", "RS256") is not None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-a-key-set"),
        (b"<html>", "not-a-key-set"),
        (b"[]", "not-a-key-set"),
        (b"{}", "not-a-key-set"),
        (b'{"keys": {}}', "not-a-key-set"),
        (b'{"keys": [], "keys": []}', "not-a-key-set"),
        (jwks(GOOD)[:-5], "not-a-key-set"),
        (b"[" * 100_000, "not-a-key-set"),
        (jwks(), "no-usable-keys"),
        (jwks({}, {"kty": "oct", "k": "c2VjcmV0"}), "no-usable-keys"),
        (jwks(*[GOOD] * (KEYS_MAX + 1)), "too-many-keys"),
    ],
)
def test_what_cannot_replace_keys_is_an_error(body: bytes, reason: str) -> None:
    """No set, none that is usable and one that is too long each have a name, and quote nothing."""
    with pytest.raises(FetchError) as caught:
        parse_jwks(body, EVERY)
    assert caught.value.reason == reason
    assert not any(str(each) in str(caught.value) for each in ("html", "oct", "c2VjcmV0"))


def test_the_bound_on_keys_is_exact() -> None:
    """So many are read."""
    assert len(parse_jwks(jwks(*[GOOD] * KEYS_MAX), EVERY)) == KEYS_MAX


def test_a_key_shows_neither_its_material_nor_its_set() -> None:
    """What is printed of a key is its id and its algorithm."""
    key = parse_jwks(jwks(GOOD), EVERY).find("good", "EdDSA")
    assert str(json.dumps(GOOD["x"])).strip('"') not in repr(key)
    assert "good" in repr(key)


def test_no_keys_are_found_among_none() -> None:
    """A provider that was never asked has none, with an id or without."""
    assert len(VerificationKeys()) == 0
    assert VerificationKeys().find(None, "EdDSA") is VerificationKeys().find("x", "EdDSA") is None
