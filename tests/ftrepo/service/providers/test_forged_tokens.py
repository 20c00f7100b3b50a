"""Every reason in `refusals`, each with a token that was forged for it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ftrepo.service.errors import InvalidTokenError
from ftrepo.service.providers import TokenAccepted, TokenRefused, refusals
from ftrepo.service.settings import TokenSettings
from ftrepo.service.verified import VerifiedToken
from sim.world.issuers import EPOCH
from tests.ftrepo.service.providers.issuers import (
    AUDIENCE,
    ISSUER,
    FakeProvider,
    World,
    claims_at,
    encoded,
    jwk,
    jwks,
    play,
    private_key,
    token,
)

NOW_S = EPOCH.timestamp()


def with_claims(**others: object) -> str:
    """A token with these claims, and the others as they must be."""
    return token(claims=claims_at(**others))


def with_header(**others: object) -> str:
    """A token with these members in its header."""
    return token(header=others)


def with_raw_claims(members: str) -> str:
    """A token with these members after its claims, written as they are."""
    whole = json.dumps(claims_at())[:-1]
    return token(claims=f"{whole}, {members}}}".encode())


def unsigned(algorithm: str = "none") -> str:
    """A token without a signature."""
    header = json.dumps({"alg": algorithm, "kid": "a"}).encode()
    return f"{encoded(header)}.{encoded(json.dumps(claims_at()).encode())}."


def signed_with_the_public_key() -> str:
    """The classic: what everybody knows, taken for a secret (RFC 8725, section 2.1)."""
    public = private_key("EdDSA").public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = json.dumps({"alg": "HS256", "kid": "a"}).encode()
    signed = f"{encoded(header)}.{encoded(json.dumps(claims_at()).encode())}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def with_own_key(**header: object) -> str:
    """Signed by a stranger, who brings the key along, or says where it is."""
    return token(private_key("EdDSA", "stranger"), header=header)


def broken_signature() -> str:
    """A token of whose signature one character is another."""
    whole = token()
    return whole[:-10] + ("A" if whole[-10] != "A" else "B") + whole[-9:]


STRANGERS = jwk(private_key("EdDSA", "stranger"), "EdDSA")

FORGED: list[tuple[str, str, Callable[[], str]]] = [
    ("too-large", "longer than may be", lambda: with_claims(padding="x" * 16_384)),
    ("too-large", "longer, and no token at all", lambda: "." * 16_385),
    ("encrypted", "a JWE", lambda: "e30.e30.e30.e30.e30"),
    ("malformed", "nothing", lambda: ""),
    ("malformed", "one part", lambda: "e30"),
    ("malformed", "two parts", lambda: "e30.e30"),
    ("malformed", "six parts", lambda: "e30.e30.e30.e30.e30.e30"),
    ("malformed", "dots alone", lambda: "." * 16_384),
    ("malformed", "characters beyond ASCII", lambda: "é" + token()),
    ("malformed", "digits that are not ASCII", lambda: "١" + token()),
    ("malformed", "a line break at its end", lambda: token() + "\n"),
    ("malformed", "padding", lambda: token().replace(".", "=.", 1)),
    ("malformed", "another spelling of the last byte", lambda: token()[:-1] + "B"),
    ("malformed", "no JSON", lambda: token(claims=b"claims")),
    ("malformed", "no UTF-8", lambda: token(claims=b'{"iss": "\xff"}')),
    ("malformed", "a list for claims", lambda: token(claims=b"[]")),
    ("malformed", "a text for a header", lambda: token(header=b'"alg"')),
    ("malformed", "a claim twice", lambda: with_raw_claims('"sub": "admin"')),
    (
        "malformed",
        "a member of the header twice",
        lambda: token(header=b'{"alg":"EdDSA","alg":""}'),
    ),
    ("malformed", "a claim twice within one", lambda: with_raw_claims('"x": {"y": 1, "y": 2}')),
    ("malformed", "NaN", lambda: with_raw_claims('"x": NaN')),
    ("malformed", "infinity", lambda: with_raw_claims('"x": -Infinity')),
    ("malformed", "infinity by its digits", lambda: with_raw_claims('"x": 1e999')),
    ("malformed", "a number of 5,000 digits", lambda: with_raw_claims('"x": ' + "9" * 5000)),
    ("malformed", "half a pair", lambda: with_raw_claims('"x": "\\ud800"')),
    ("malformed", "half a pair in a name", lambda: with_raw_claims('"\\udfff": 1')),
    ("malformed", "5,000 levels", lambda: with_raw_claims('"x": ' + "[" * 5000 + "]" * 5000)),
    ("malformed", "17 levels", lambda: with_raw_claims('"x": ' + "[" * 16 + "]" * 16)),
    ("malformed", "no algorithm", lambda: with_header(alg=None)),
    ("malformed", "a list of algorithms", lambda: with_header(alg=["EdDSA"])),
    ("malformed", "a key id that is a number", lambda: token(kid=1)),
    ("malformed", "a key id that is null", lambda: with_header(kid=None)),
    ("malformed", "a key id of 257 characters", lambda: token(kid="k" * 257)),
    ("unsupported-header", "crit", lambda: with_header(crit=["exp"])),
    ("unsupported-header", "an empty crit", lambda: with_header(crit=[])),
    ("unsupported-header", "a payload as it is", lambda: with_header(b64=False, crit=["b64"])),
    ("unsupported-header", "a payload as it is, not crit", lambda: with_header(b64=False)),
    ("unsupported-header", "compressed", lambda: with_header(zip="DEF")),
    ("unsupported-header", "enc", lambda: with_header(enc="A128GCM")),
    ("wrong-type", "a logout token", lambda: with_header(typ="logout+jwt")),
    ("wrong-type", "a type that is no text", lambda: with_header(typ=1)),
    ("wrong-type", "a logout token that says only JWT", lambda: with_claims(events={})),
    ("sender-constrained", "DPoP", lambda: with_claims(cnf={"jkt": "x"})),
    ("sender-constrained", "nothing to be bound to", lambda: with_raw_claims('"cnf": null')),
    ("wrong-issuer", "no issuer", lambda: with_claims(iss=None)),
    ("wrong-issuer", "another issuer", lambda: with_claims(iss="https://evil.example")),
    ("wrong-issuer", "nearly the issuer", lambda: with_claims(iss=ISSUER + "/")),
    ("wrong-issuer", "a list of issuers", lambda: with_claims(iss=[ISSUER])),
    ("algorithm-not-allowed", "none", unsigned),
    ("algorithm-not-allowed", "nOnE", lambda: unsigned("nOnE")),
    ("algorithm-not-allowed", "HS256 with the public key", signed_with_the_public_key),
    ("algorithm-not-allowed", "not the provider's", lambda: token(algorithm="ES256")),
    ("algorithm-not-allowed", "unknown", lambda: with_header(alg="../../etc/passwd")),
    ("missing-claim", "no exp", lambda: with_claims(exp=None)),
    ("missing-claim", "no sub", lambda: with_claims(sub=None)),
    ("missing-claim", "an empty sub", lambda: with_claims(sub="")),
    ("missing-claim", "no aud", lambda: with_claims(aud=None)),
    ("missing-claim", "an empty aud", lambda: with_claims(aud=[])),
    ("malformed-claim", "exp as text", lambda: with_claims(exp=str(NOW_S + 60))),
    ("malformed-claim", "exp as true", lambda: with_claims(exp=True)),
    ("malformed-claim", "exp beyond all dates", lambda: with_claims(exp=10**18)),
    ("malformed-claim", "exp beyond all floats", lambda: with_claims(exp=10**400)),
    ("malformed-claim", "exp before 1970", lambda: with_claims(exp=-1)),
    ("malformed-claim", "exp in the year 10000", lambda: with_claims(exp=253_402_300_800)),
    ("malformed-claim", "exp as a list", lambda: with_claims(exp=[NOW_S])),
    ("malformed-claim", "nbf as text", lambda: with_claims(nbf="now")),
    ("malformed-claim", "iat as null", lambda: with_raw_claims('"nbf": null')),
    ("malformed-claim", "aud as an object", lambda: with_claims(aud={AUDIENCE: 1})),
    ("malformed-claim", "aud with a number", lambda: with_claims(aud=[AUDIENCE, 1])),
    ("malformed-claim", "sub as a number", lambda: with_claims(sub=7)),
    ("malformed-claim", "a sub of 256 characters", lambda: with_claims(sub="s" * 256)),
    ("malformed-claim", "a sub of two lines", lambda: with_claims(sub="some\none")),
    ("malformed-claim", "a scope with a quote", lambda: with_claims(scope='read "all"')),
    ("malformed-claim", "a scope that is a number", lambda: with_claims(scp=[1])),
    ("malformed-claim", "scopes as an object", lambda: with_claims(scope={})),
    ("expired", "half a minute ago", lambda: with_claims(exp=NOW_S - 30)),
    ("expired", "in 1970", lambda: with_claims(exp=0)),
    ("not-yet-valid", "in half a minute", lambda: with_claims(nbf=NOW_S + 30.5)),
    ("issued-in-future", "in half a minute", lambda: with_claims(iat=NOW_S + 30.5)),
    ("wrong-audience", "somebody else", lambda: with_claims(aud="somebody-else")),
    ("wrong-audience", "nearly the name", lambda: with_claims(aud=[AUDIENCE + "2", ""])),
    ("unknown-key", "a path", lambda: token(kid="../../../dev/null")),
    ("unknown-key", "SQL", lambda: token(kid="a' OR '1'='1")),
    ("unknown-key", "an empty id", lambda: token(kid="")),
    ("unknown-key", "the longest", lambda: token(kid="k" * 256)),
    ("bad-signature", "changed", broken_signature),
    ("bad-signature", "none at all", lambda: unsigned("EdDSA")),
    ("bad-signature", "too short", lambda: token().rpartition(".")[0] + ".AAAA"),
    ("bad-signature", "a stranger's key", with_own_key),
    ("bad-signature", "a stranger's key, in jwk", lambda: with_own_key(jwk=STRANGERS)),
    ("bad-signature", "a stranger's, in jku", lambda: with_own_key(jku="https://evil.example/k")),
    ("bad-signature", "a stranger's, in x5u", lambda: with_own_key(x5u="https://evil.example/c")),
]


def outcome(
    forged: str, provider: FakeProvider | None = None, **others: Any
) -> tuple[VerifiedToken | InvalidTokenError, World]:
    """What becomes of a token, and the world that it came to."""

    async def story(world: World) -> tuple[VerifiedToken | InvalidTokenError, World]:
        try:
            return await world.providers.verify(forged), world
        except InvalidTokenError as error:
            return error, world

    return play(story, provider=provider, **others)


@pytest.mark.parametrize(
    ("reason", "forge"),
    [pytest.param(reason, forge, id=f"{reason}: {what}") for reason, what, forge in FORGED],
)
def test_a_forged_token_is_refused_by_name(reason: str, forge: Callable[[], str]) -> None:
    """What is wrong with the token is said by its name, to the caller and to observers."""
    error, world = outcome(forge())
    assert isinstance(error, InvalidTokenError)
    assert (error.reason, error.error) == (reason, "invalid_request")
    assert str(error) == refusals.MESSAGES[reason]  # type: ignore[index]
    refused = [event for event in world.events if isinstance(event, TokenRefused)]
    anonymous = ("too-large", "encrypted", "malformed", "unsupported-header", "wrong-type")
    anybody = reason in (*anonymous, "wrong-issuer")
    assert refused == [TokenRefused(provider=None if anybody else "id", reason=reason)]


@pytest.mark.parametrize("reason", refusals.MESSAGES)
def test_every_reason_has_a_forged_token_and_a_row(reason: str) -> None:
    """No reason is without a test, a message and a row in the table."""
    elsewhere = {"no-key-id"}
    assert reason in {name for name, _, _ in FORGED} | elsewhere
    assert f"\n`{reason}`" in (refusals.__doc__ or "")


def test_nothing_but_an_unknown_id_has_the_provider_asked() -> None:
    """A token that is refused for anything else costs no fetch; nor do addresses in its header."""
    forged = [forge() for reason, _, forge in FORGED if reason != "unknown-key"]

    async def story(world: World) -> list[float]:
        await world.providers.verify(token())
        for each in forged:
            with pytest.raises(InvalidTokenError):
                await world.providers.verify(each)
        return world.provider.asked_s

    assert play(story) == [0.0]


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(token, id="plain"),
        pytest.param(lambda: token(kid=None), id="no id, and one key that fits"),
        pytest.param(lambda: with_header(typ="at+jwt"), id="an access token"),
        pytest.param(lambda: with_header(typ="application/AT+JWT"), id="its whole type"),
        pytest.param(lambda: with_header(alg="Ed25519"), id="the newer name of the algorithm"),
        pytest.param(lambda: with_claims(exp=NOW_S - 29), id="expired within the leeway"),
        pytest.param(lambda: with_claims(nbf=NOW_S + 29), id="not yet valid within the leeway"),
        pytest.param(lambda: with_claims(iat=NOW_S + 29.5), id="issued within the leeway"),
        pytest.param(lambda: with_claims(iat=None), id="without the time of issue"),
        pytest.param(lambda: with_claims(aud=["x", AUDIENCE]), id="several audiences"),
        pytest.param(lambda: with_raw_claims('"x": ' + "[" * 15 + "]" * 15), id="16 levels"),
        pytest.param(lambda: with_raw_claims('"x": "\\ud83d\\ude00"'), id="a whole pair"),
        pytest.param(lambda: with_header(jku="https://evil.example"), id="an address, ignored"),
    ],
)
def test_a_good_token_is_accepted(good: Callable[[], str]) -> None:
    """What is right is not refused."""
    verified, world = outcome(good())
    assert isinstance(verified, VerifiedToken)
    assert (verified.provider.name, verified.subject) == ("id", "someone")
    assert world.events[-1] == TokenAccepted(provider="id")


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, None),
        ({"scope": "read write read"}, ("read", "write")),
        ({"scope": ""}, ()),
        ({"scope": " read  write "}, ("read", "write")),
        ({"scp": ["read", "write"]}, ("read", "write")),
        ({"scp": "read"}, ("read",)),
        ({"scope": "read", "scp": ["write"]}, ("read",)),
    ],
)
def test_scopes_are_read_as_providers_write_them(
    claims: dict[str, object], scopes: tuple[str, ...] | None
) -> None:
    """`scope` as text, `scp` as a list or text; none at all is told from an empty one."""
    verified, _ = outcome(with_claims(**claims))
    assert isinstance(verified, VerifiedToken)
    assert verified.scopes == scopes


def test_what_is_verified_cannot_be_changed() -> None:
    """The claims are for reading, and the expiry is the token's own, without the leeway."""
    verified, _ = outcome(with_claims(exp=NOW_S + 60))
    assert isinstance(verified, VerifiedToken)
    assert verified.expires.timestamp() == NOW_S + 60
    with pytest.raises(TypeError):
        verified.claims["sub"] = "admin"  # type: ignore[index]


def test_without_an_id_several_keys_are_not_tried() -> None:
    """A token that does not say which of two keys signed it is refused."""
    both = [jwk(private_key("EdDSA", name), "EdDSA", name) for name in "ab"]
    error, world = outcome(token(kid=None), FakeProvider(jwks(*both)))
    assert isinstance(error, InvalidTokenError)
    assert error.reason == "no-key-id"
    assert len(world.provider.asked_s) == 1


def test_keys_are_used_with_the_algorithms_of_their_kind_alone() -> None:
    """A token whose header names another algorithm of the provider's finds no key."""
    body = jwks(jwk(private_key("EdDSA"), "EdDSA"), jwk(private_key("RS256"), "RS256", "r"))
    both = {"algorithms": ("EdDSA", "RS256", "PS256", "ES256")}
    for forged in (
        token(algorithm="RS256", kid="a"),
        token(kid="r"),
        token(algorithm="ES256", kid="a"),
        token(private_key("RS256", "stranger"), "RS256", kid="a"),
    ):
        error, _ = outcome(forged, FakeProvider(body), **both)
        assert isinstance(error, InvalidTokenError)
        assert error.reason == "unknown-key"
    for algorithm in ("RS256", "PS256"):
        good = token(private_key("RS256"), algorithm, kid="r")
        verified, _ = outcome(good, FakeProvider(body), **both)
        assert isinstance(verified, VerifiedToken)


def test_a_key_that_names_its_algorithm_serves_no_other() -> None:
    """An RSA key for RS256 does not verify PS256, though it could."""
    body = jwks(jwk(private_key("RS256"), "RS256", "r", alg="RS256"))
    for algorithm, reason in (("RS256", None), ("PS256", "unknown-key")):
        forged = token(private_key("RS256"), algorithm, kid="r")
        error, _ = outcome(forged, FakeProvider(body), algorithms=("RS256", "PS256"))
        assert getattr(error, "reason", None) == reason


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS384", "RS512"])
def test_every_algorithm_verifies(algorithm: str) -> None:
    """A good token of each is accepted, and the same with its signature shortened is not."""
    body = jwks(jwk(private_key(algorithm), algorithm))
    good = token(algorithm=algorithm)
    verified, _ = outcome(good, FakeProvider(body), algorithms=(algorithm,))
    assert isinstance(verified, VerifiedToken)
    short = f"{good.rpartition('.')[0]}.AAAA"
    error, _ = outcome(short, FakeProvider(body), algorithms=(algorithm,))
    assert isinstance(error, InvalidTokenError)
    assert error.reason == "bad-signature"


def test_ecdsa_signatures_of_zeros_are_refused() -> None:
    """A signature with r = s = 0 verifies nothing (CVE-2022-21449)."""
    signed = token(algorithm="ES256").rpartition(".")[0]
    body = jwks(jwk(private_key("ES256"), "ES256"))
    error, _ = outcome(f"{signed}.{encoded(bytes(64))}", FakeProvider(body), algorithms=("ES256",))
    assert isinstance(error, InvalidTokenError)
    assert error.reason == "bad-signature"


def test_the_bound_on_a_tokens_length_is_exact() -> None:
    """A token of just so many bytes is read, and one more is refused unread."""
    bound = len(token())
    for bytes_max, reason in ((bound, None), (bound - 1, "too-large")):
        error, _ = outcome(token(), token_settings=TokenSettings(token_bytes_max=bytes_max))
        assert getattr(error, "reason", None) == reason


def test_an_error_shows_nothing_of_the_token() -> None:
    """Neither the error nor what it came from quotes what was sent."""
    forged = token(kid="secret-kid", claims=claims_at(sub="secret-sub", aud="secret-aud"))
    error, _ = outcome(forged)
    assert isinstance(error, InvalidTokenError)
    assert "secret" not in f"{error!r}{error.__cause__!r}"
    malformed, _ = outcome(with_raw_claims('"secret": "secret'))
    assert isinstance(malformed, InvalidTokenError)
    assert malformed.__cause__ is None
    assert "secret" not in repr(malformed)
