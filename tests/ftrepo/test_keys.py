"""Keys: encodings, thumbprints, refusals, and that the private half stays where it is."""

from __future__ import annotations

import base64
import contextlib
import copy
import pickle
import string
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftrepo.errors import (
    InvalidKeyError,
    InvalidKeyIdError,
    InvalidKeyMaterialError,
    InvalidLifetimeError,
    UnsupportedAlgorithmError,
)
from ftrepo.keys import KEY_ID_LENGTH_MAX, Algorithm, PublicKey, SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
EXPIRES = CREATED + timedelta(days=1)
TIMES: dict[str, Any] = {"created": CREATED, "expires": EXPIRES}

RSA_JWK = {  # RFC 7638, section 3.1
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP"
        "ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY"
        "368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f"
        "M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
    "alg": "RS256",
}
ED25519_JWK = {  # RFC 8037, appendix A.2
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
P256_JWK = {  # RFC 9449, section 4.2
    "kty": "EC",
    "crv": "P-256",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
}

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
algorithms = pytest.mark.parametrize("algorithm", list(Algorithm), ids=lambda a: a.value)


@cache
def signing_key(algorithm: Algorithm) -> SigningKey:
    """One key pair for each algorithm: making an RSA key takes long."""
    return SigningKey.generate(algorithm, created=CREATED, lifetime=timedelta(days=1))


FOREIGN_KEYS: dict[str, Callable[[], Any]] = {
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "X25519": x25519.X25519PrivateKey.generate,
    "RSA of 1024 bits": lambda: rsa.generate_private_key(65537, 1024),
}


def b64(octets: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def ed25519_keys() -> st.SearchStrategy[PublicKey]:
    """Ed25519 keys from any seed."""

    def of(seed: bytes) -> PublicKey:
        raw = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        return PublicKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}, **TIMES)

    return st.binary(min_size=32, max_size=32).map(of)


def p256_keys() -> st.SearchStrategy[PublicKey]:
    """P-256 keys from any secret number."""

    def of(secret: int) -> PublicKey:
        point = ec.derive_private_key(secret, ec.SECP256R1()).public_key().public_numbers()
        x, y = (b64(n.to_bytes(32, "big")) for n in (point.x, point.y))
        return PublicKey.from_jwk({"kty": "EC", "crv": "P-256", "x": x, "y": y}, **TIMES)

    return st.integers(1, 2**255).map(of)


def any_keys() -> st.SearchStrategy[PublicKey]:
    """Keys of every algorithm; RSA keys are slow to make, so there is one."""
    return st.one_of(
        ed25519_keys(), p256_keys(), st.builds(lambda: signing_key(Algorithm.RS256).public)
    )


class TestThumbprint:
    @pytest.mark.parametrize(
        ("jwk", "thumbprint"),
        [
            pytest.param(RSA_JWK, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", id="RFC 7638"),
            pytest.param(ED25519_JWK, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", id="RFC 8037"),
            pytest.param(P256_JWK, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", id="RFC 9449"),
        ],
    )
    def test_published_vectors(self, jwk: dict[str, object], thumbprint: str) -> None:
        """The default id is the thumbprint that the RFC prints for its example key."""
        assert PublicKey.from_jwk(jwk, **TIMES).id == thumbprint

    @unhurried
    @given(key=any_keys())
    def test_does_not_depend_on_the_encoding(self, key: PublicKey) -> None:
        """PEM, DER and JWK of one key give the same default id."""
        bare = {k: v for k, v in key.to_jwk().items() if k != "kid"}
        ids = {
            PublicKey.from_pem(key.to_pem(), **TIMES).id,
            PublicKey.from_der(key.material, **TIMES).id,
            PublicKey.from_jwk(bare, **TIMES).id,
        }
        assert ids == {key.id}

    def test_other_spellings_of_one_key_have_one_material(self) -> None:
        """A compressed point, PKCS #1 and a padded JWK number are read into the same bytes."""
        point = load_der_public_key(signing_key(Algorithm.ES256).public.material)
        assert isinstance(point, ec.EllipticCurvePublicKey)
        compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
        read = PublicKey.from_der(prefix + compressed, **TIMES)
        assert read == signing_key(Algorithm.ES256).public

        pkcs1 = load_der_public_key(signing_key(Algorithm.RS256).public.material).public_bytes(
            Encoding.PEM, PublicFormat.PKCS1
        )
        assert PublicKey.from_pem(pkcs1, **TIMES) == signing_key(Algorithm.RS256).public

        n = base64.urlsafe_b64decode(RSA_JWK["n"] + "==")
        padded = {**RSA_JWK, "n": b64(b"\0" + n)}
        assert PublicKey.from_jwk(padded, **TIMES) == PublicKey.from_jwk(RSA_JWK, **TIMES)


class TestRoundTrips:
    @unhurried
    @given(key=any_keys())
    def test_pem_der_and_jwk(self, key: PublicKey) -> None:
        """A key written and read again is equal, in each encoding."""
        assert PublicKey.from_pem(key.to_pem(), **TIMES) == key
        assert PublicKey.from_pem(key.to_pem().encode(), **TIMES) == key
        assert PublicKey.from_der(key.material, **TIMES) == key
        assert PublicKey.from_jwk(key.to_jwk(), **TIMES) == key

    @unhurried
    @given(key_id=st.text(string.ascii_letters + string.digits + "_~-", min_size=1, max_size=128))
    def test_a_chosen_id_is_kept(self, key_id: str) -> None:
        """An id that the caller chooses wins over the thumbprint, and travels as the JWK's kid."""
        key = PublicKey.from_jwk(ED25519_JWK, key_id=key_id, **TIMES)
        assert key.id == key_id
        assert PublicKey.from_jwk(key.to_jwk(), **TIMES).id == key_id
        assert PublicKey.from_jwk(key.to_jwk(), key_id="other", **TIMES).id == "other"

    def test_jwk_says_what_a_verifier_needs(self) -> None:
        """A JWK carries kid, alg under its widely known name, and use."""
        jwk = signing_key(Algorithm.ED25519).public.to_jwk()
        assert (jwk["kid"], jwk["alg"], jwk["use"]) == (
            signing_key(Algorithm.ED25519).public.id,
            "EdDSA",
            "sig",
        )

    @pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
    def test_both_names_of_ed25519_are_read(self, alg: str) -> None:
        """RFC 8037 and RFC 9864 name the algorithm differently; both mean the same key."""
        assert PublicKey.from_jwk({**ED25519_JWK, "alg": alg}, **TIMES).algorithm is (
            Algorithm.ED25519
        )

    def test_text_around_the_block_is_ignored(self) -> None:
        """A PEM file may have comments before and after its block, in any script."""
        key = signing_key(Algorithm.ED25519).public
        assert PublicKey.from_pem(f"Schlüssel\n{key.to_pem()}\nfin ✓\n", **TIMES) == key

    def test_survives_pickling(self) -> None:
        """A public key crosses processes unchanged."""
        key = signing_key(Algorithm.ES256).public
        assert pickle.loads(pickle.dumps(key)) == key


class TestPublicKey:
    @pytest.mark.parametrize(
        ("key_id", "says"),
        [
            ("", "must not be empty"),
            ("a" * (KEY_ID_LENGTH_MAX + 1), "at most 128 characters; this one has 129"),
            ("a/b", "the character '/'"),
            ("a\n", r"the character '\\n'"),
            ("ключ", "the character 'к'"),
            ("٣", "the character '٣'"),
            (".", "vanish from the path"),
            ("..", "vanish from the path"),
            (None, "must be text, not NoneType"),
            (b"a", "must be text, not bytes"),
        ],
    )
    def test_bad_ids_are_refused(self, key_id: str, says: str) -> None:
        """A malformed or oversized id is refused, and the message names what is wrong with it."""
        with pytest.raises(InvalidKeyIdError, match=says):
            PublicKey(key_id, b"m", Algorithm.ED25519, CREATED, EXPIRES)

    @pytest.mark.parametrize("key_id", ["a", "...", ".a", "A-Z_~.9", "a" * KEY_ID_LENGTH_MAX])
    def test_good_ids_are_taken(self, key_id: str) -> None:
        """Every unreserved character and every length up to the bound is allowed."""
        assert PublicKey(key_id, b"m", Algorithm.ED25519, CREATED, EXPIRES).id == key_id

    @pytest.mark.parametrize(
        ("created", "expires", "says"),
        [
            (CREATED, CREATED, "is not after the creation"),
            (EXPIRES, CREATED, "is not after the creation"),
            (CREATED.replace(tzinfo=None), EXPIRES, r"created \(.*\) has no time zone"),
            (CREATED, EXPIRES.replace(tzinfo=None), r"expires \(.*\) has no time zone"),
            ("2026-01-01", EXPIRES, "created must be a datetime, not str"),
            (CREATED, 1.0, "expires must be a datetime, not float"),
            (
                CREATED,
                datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
                r"expires \(.*\) has no date in UTC",
            ),
        ],
    )
    def test_bad_times_are_refused(self, created: datetime, expires: datetime, says: str) -> None:
        """A naive time, or an expiry that is not after the creation, is refused by name."""
        with pytest.raises(InvalidLifetimeError, match=says):
            PublicKey("a", b"m", Algorithm.ED25519, created, expires)

    @pytest.mark.parametrize("material", [b"", bytearray(b"m"), "text", None])
    def test_material_must_be_bytes(self, material: bytes) -> None:
        """Material that is empty, mutable or not bytes at all is refused."""
        with pytest.raises(InvalidKeyMaterialError, match="must be bytes"):
            PublicKey("a", material, Algorithm.ED25519, CREATED, EXPIRES)

    def test_algorithm_must_be_one_of_ours(self) -> None:
        """A name in place of an `Algorithm` is refused."""
        with pytest.raises(UnsupportedAlgorithmError, match="must be an Algorithm, not 'HS256'"):
            PublicKey("a", b"m", "HS256", CREATED, EXPIRES)  # type: ignore[arg-type]

    def test_times_are_kept_in_utc(self) -> None:
        """The same moment in another time zone makes an equal key."""
        zone = timezone(timedelta(hours=5, minutes=30))
        key = PublicKey("a", b"m", Algorithm.ED25519, CREATED, EXPIRES)
        moved = PublicKey(
            "a", b"m", Algorithm.ED25519, CREATED.astimezone(zone), EXPIRES.astimezone(zone)
        )
        assert moved == key
        assert moved.expires.tzinfo is UTC

    def test_expired_at_the_moment_itself(self) -> None:
        """A key is valid until just before `expires`, and no longer at `expires`."""
        key = PublicKey("a", b"m", Algorithm.ED25519, CREATED, EXPIRES)
        assert not key.has_expired(EXPIRES - timedelta(microseconds=1))
        assert key.has_expired(EXPIRES)

    def test_same_material_ignores_id_and_times(self) -> None:
        """Two keys are the same material if bytes and algorithm agree, whatever else differs."""
        key = PublicKey("a", b"m", Algorithm.ED25519, CREATED, EXPIRES)
        later = EXPIRES + timedelta(days=1)
        assert key.same_material(PublicKey("b", b"m", Algorithm.ED25519, EXPIRES, later))
        assert not key.same_material(PublicKey("a", b"n", Algorithm.ED25519, CREATED, EXPIRES))
        assert not key.same_material(PublicKey("a", b"m", Algorithm.ES256, CREATED, EXPIRES))

    def test_material_that_is_no_key_cannot_be_encoded(self) -> None:
        """A key made from arbitrary bytes, as a simulation does, has no PEM and no JWK."""
        fake = PublicKey("a", b"m", Algorithm.ED25519, CREATED, EXPIRES)
        with pytest.raises(InvalidKeyMaterialError, match="the DER cannot be read"):
            fake.to_pem()
        wrong = PublicKey(
            "a", signing_key(Algorithm.ES256).public.material, Algorithm.ED25519, CREATED, EXPIRES
        )
        with pytest.raises(InvalidKeyMaterialError, match=r"says Ed25519, but its .* for ES256"):
            wrong.to_jwk()


class TestParsing:
    @pytest.mark.parametrize(
        ("pem", "says"),
        [
            ("", "no PEM block"),
            ("hello", "no PEM block"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA", "is damaged"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "is damaged"),
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", "is a certificate"),
            ("\ud800", "lone surrogate"),
            (7, "must be text or bytes, not int"),
        ],
    )
    def test_bad_pem(self, pem: str, says: str) -> None:
        """Text that is not one public key in PEM is refused with its cause."""
        with pytest.raises(InvalidKeyMaterialError, match=says):
            PublicKey.from_pem(pem, **TIMES)

    def test_two_blocks_are_refused(self) -> None:
        """A bundle of two keys is refused: nobody could say which one was meant."""
        pem = signing_key(Algorithm.ED25519).public.to_pem()
        with pytest.raises(InvalidKeyMaterialError, match="holds 2 blocks"):
            PublicKey.from_pem(pem + pem, **TIMES)

    @pytest.mark.parametrize("encrypted", [False, True])
    @pytest.mark.parametrize("wrapped", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
    def test_a_private_key_is_called_what_it_is(
        self, wrapped: PrivateFormat, encrypted: bool
    ) -> None:
        """A private key where a public one belongs is refused in those words, and not shown."""
        private = ec.generate_private_key(ec.SECP256R1())
        guard = BestAvailableEncryption(b"x") if encrypted else NoEncryption()
        pem = private.private_bytes(Encoding.PEM, wrapped, guard)
        beside = signing_key(Algorithm.ES256).public.to_pem().encode()
        for text in (pem, beside + pem):
            with pytest.raises(InvalidKeyMaterialError, match="private key where a") as caught:
                PublicKey.from_pem(text, **TIMES)
            assert pem.splitlines()[-2].decode() not in str(caught.value)
        if not (encrypted and wrapped is PrivateFormat.TraditionalOpenSSL):
            der = private.private_bytes(Encoding.DER, wrapped, guard)
            with pytest.raises(InvalidKeyMaterialError, match="private key"):
                PublicKey.from_der(der, **TIMES)

    @pytest.mark.parametrize(
        ("kind", "says"),
        [
            ("P-384", "on secp384r1; only P-256"),
            ("secp256k1", "on secp256k1; only P-256"),
            ("X25519", "a key for X25519; the algorithms are Ed25519, ES256, RS256"),
            ("RSA of 1024 bits", "RSA key of 1024 bits; 2048 to 8192"),
        ],
    )
    def test_other_algorithms_are_refused_by_name(self, kind: str, says: str) -> None:
        """A readable key of another algorithm, curve or size is refused by that name."""
        key = FOREIGN_KEYS[kind]().public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(UnsupportedAlgorithmError, match=says):
            PublicKey.from_der(der, **TIMES)
        with pytest.raises(UnsupportedAlgorithmError, match=says):
            PublicKey.from_pem(pem, **TIMES)

    @pytest.mark.parametrize(
        ("change", "error", "says"),
        [
            ({"x": None}, InvalidKeyMaterialError, "'x' is missing or not text"),
            ({"x": "AAAA"}, InvalidKeyMaterialError, "'x' has 3 bytes, not 32"),
            ({"x": ED25519_JWK["x"] + "="}, InvalidKeyMaterialError, "not unpadded base64url"),
            ({"x": ED25519_JWK["x"].replace("_", "/")}, InvalidKeyMaterialError, "base64url"),
            ({"x": ED25519_JWK["x"][:-1] + "p"}, InvalidKeyMaterialError, "base64url"),
            ({"d": "AAAA"}, InvalidKeyMaterialError, r"private members \(d\)"),
            ({"use": "enc"}, UnsupportedAlgorithmError, "use is 'enc'"),
            ({"alg": "RS256"}, UnsupportedAlgorithmError, "says alg 'RS256'"),
            ({"crv": "Ed448"}, UnsupportedAlgorithmError, "crv 'Ed448'"),
            ({"kty": ["OKP"]}, UnsupportedAlgorithmError, r"kty \['OKP'\]"),
            ({"kty": "x" * 1000}, UnsupportedAlgorithmError, "kty 'x{39}… and"),
            ({"kid": 7}, InvalidKeyIdError, "must be text, not int"),
            ({"kid": "a b"}, InvalidKeyIdError, "the character ' '"),
        ],
    )
    def test_bad_jwk(self, change: dict[str, object], error: type[Exception], says: str) -> None:
        """A JWK with one wrong member is refused, and the message names the member."""
        with pytest.raises(error, match=says):
            PublicKey.from_jwk({**ED25519_JWK, **change}, **TIMES)

    def test_bad_jwk_numbers(self) -> None:
        """A point off the curve, an even exponent and a huge modulus are refused."""
        off_curve = {**P256_JWK, "y": P256_JWK["x"]}
        with pytest.raises(InvalidKeyMaterialError, match="numbers are not a valid key"):
            PublicKey.from_jwk(off_curve, **TIMES)
        with pytest.raises(InvalidKeyMaterialError, match="e must be odd"):
            PublicKey.from_jwk({**RSA_JWK, "e": "BA"}, **TIMES)
        with pytest.raises(UnsupportedAlgorithmError, match="of 80000 bits"):
            PublicKey.from_jwk({**RSA_JWK, "n": b64(b"\xff" * 10_000)}, **TIMES)

    @unhurried
    @given(
        text=st.one_of(
            st.binary(),
            st.text(st.characters()),
            st.binary().map(
                lambda raw: (
                    b"-----BEGIN PUBLIC KEY-----\n"
                    + base64.b64encode(raw)
                    + b"\n-----END PUBLIC KEY-----\n"
                )
            ),
        )
    )
    def test_arbitrary_pem_and_der(self, text: str | bytes) -> None:
        """Whatever the bytes or text, reading them ends in a key or in an `InvalidKeyError`."""
        for read in (PublicKey.from_pem, PublicKey.from_der):
            with pytest.raises(InvalidKeyError):
                read(text, **TIMES)  # type: ignore[arg-type]

    @unhurried
    @given(st.data())
    def test_damaged_der(self, data: st.DataObject) -> None:
        """One changed byte in the DER of a key ends in a key or in an `InvalidKeyError`."""
        algorithm = data.draw(st.sampled_from(Algorithm))
        der = bytearray(signing_key(algorithm).public.material)
        der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
        with contextlib.suppress(InvalidKeyError):
            PublicKey.from_der(bytes(der), **TIMES)

    @unhurried
    @given(
        base=st.sampled_from([{}, RSA_JWK, ED25519_JWK, P256_JWK]),
        change=st.dictionaries(
            st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "kid", "d"]),
            st.one_of(
                st.none(),
                st.integers(),
                st.text(),
                st.sampled_from(["OKP", "EC", "RSA", "P-256", "Ed25519"]),
                st.binary(min_size=30, max_size=300).map(b64),
                st.lists(st.text(), max_size=2),
            ),
        ),
    )
    def test_arbitrary_jwk(self, base: dict[str, object], change: dict[str, object]) -> None:
        """Whatever a JWK's members are, reading it ends in a key or in an `InvalidKeyError`."""
        with contextlib.suppress(InvalidKeyError):
            PublicKey.from_jwk({**base, **change}, **TIMES)

    @pytest.mark.parametrize("jwk", [None, "text", [], 7])
    def test_a_jwk_is_a_mapping(self, jwk: dict[str, object]) -> None:
        """A JWK that is not an object is refused."""
        with pytest.raises(InvalidKeyMaterialError, match="must be a mapping"):
            PublicKey.from_jwk(jwk, **TIMES)


class TestSigningKey:
    @algorithms
    def test_signs_what_its_public_half_verifies(self, algorithm: Algorithm) -> None:
        """A signature verifies under the published material, and under no other data."""
        key = signing_key(algorithm)
        verify(key.public, key.sign(b"data"), b"data")
        with pytest.raises(InvalidSignature):
            verify(key.public, key.sign(b"data"), b"Data")

    def test_es256_signs_as_a_jws_does(self) -> None:
        """An ES256 signature is two numbers of 32 bytes, always 64 in all."""
        assert {len(signing_key(Algorithm.ES256).sign(b"%d" % i)) for i in range(50)} == {64}

    @algorithms
    def test_shows_nothing_secret(self, algorithm: Algorithm) -> None:
        """Its repr and str name the id and the algorithm only."""
        key = signing_key(algorithm)
        expected = f"SigningKey(id={key.public.id!r}, algorithm={algorithm.value})"
        assert repr(key) == str(key) == expected
        assert not hasattr(key, "__dict__")

    @pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_refuses_to_leave_memory(self, take: Callable[[SigningKey], object]) -> None:
        """A signing key cannot be pickled or copied."""
        with pytest.raises(TypeError, match="lives in one memory only"):
            take(signing_key(Algorithm.ED25519))

    def test_generate_sets_the_lifetime_and_the_id(self) -> None:
        """The public half lives for `lifetime`, under its thumbprint or a chosen id."""
        key = SigningKey.generate(created=CREATED, lifetime=timedelta(hours=2)).public
        assert (key.created, key.expires) == (CREATED, CREATED + timedelta(hours=2))
        assert key.id == PublicKey.from_der(key.material, **TIMES).id
        chosen = SigningKey.generate(created=CREATED, lifetime=timedelta(hours=2), key_id="mine")
        assert chosen.public.id == "mine"
        assert chosen.public.material != key.material

    @pytest.mark.parametrize(
        ("change", "error", "says"),
        [
            ({"lifetime": timedelta(0)}, InvalidLifetimeError, "positive timedelta"),
            ({"lifetime": 3600}, InvalidLifetimeError, "positive timedelta, not 3600"),
            ({"lifetime": timedelta.max}, InvalidLifetimeError, "has no end date"),
            ({"created": datetime(2026, 1, 1)}, InvalidLifetimeError, "no time zone"),  # noqa: DTZ001
            ({"key_id": "a b"}, InvalidKeyIdError, "the character ' '"),
            ({"algorithm": "HS256"}, UnsupportedAlgorithmError, "not 'HS256'"),
        ],
    )
    def test_generate_refuses(
        self, change: dict[str, object], error: type[Exception], says: str
    ) -> None:
        """Bad arguments of `generate` are refused with the errors of a key."""
        arguments = {"created": CREATED, "lifetime": timedelta(hours=1), **change}
        with pytest.raises(error, match=says):
            SigningKey.generate(**arguments)  # type: ignore[arg-type]


def verify(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Verify as a reader of a JWS does, with nothing but the published material."""
    public = load_der_public_key(key.material)
    match public:
        case ed25519.Ed25519PublicKey():
            public.verify(signature, data)
        case rsa.RSAPublicKey():
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePublicKey():
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            public.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
