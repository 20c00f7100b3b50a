"""Tokens: a stranger can verify them, they end in time, and they show no private key."""

from __future__ import annotations

import json
import pickle
import traceback
from datetime import datetime, timedelta

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.keys import Algorithm, SigningKey
from ftrepo.service.errors import InvalidTokenError, NoSigningKeyError
from ftrepo.service.settings import TokenSettings
from ftrepo.service.tokens import TokenIssuer, compact_jws
from ftrepo.service.tokens.issuer import OWN_CLAIMS
from sim.world.issuers import EPOCH
from tests.ftrepo.service.tokens.exchanges import HOUR, ISSUER, claims_of, issuer, signing_key

REQUIRED = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_stranger_verifies_a_token(algorithm: Algorithm) -> None:
    """PyJWT, with nothing but the published JWK, for each algorithm; another key is refused."""
    key = signing_key(algorithm)
    issued = issuer(key).issue(subject="corp|alice", audiences=["orders"], scopes=["read", "write"])
    name = algorithm.jwa_name
    with time_machine.travel(EPOCH, tick=False):
        claims = jwt.decode(
            issued.token,
            jwt.PyJWK(key.public.to_jwk()),
            algorithms=[name],
            audience="orders",
            issuer=ISSUER,
            options={"require": REQUIRED, "strict_aud": True},
        )
        other = SigningKey.generate(algorithm, created=EPOCH, lifetime=HOUR)
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(issued.token, jwt.PyJWK(other.public.to_jwk()), algorithms=[name])
    assert jwt.get_unverified_header(issued.token) == {"alg": name, "kid": "key-1", "typ": "at+jwt"}
    assert claims == {
        "iss": ISSUER,
        "sub": "corp|alice",
        "aud": "orders",
        "iat": int(EPOCH.timestamp()),
        "nbf": int(EPOCH.timestamp()) - 30,
        "exp": int(EPOCH.timestamp()) + 300,
        "jti": issued.token_id,
        "scope": "read write",
    }
    assert (issued.expires_in_s, issued.key_id) == (300, "key-1")
    assert (issued.audiences, issued.scopes) == (("orders",), ("read", "write"))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), max_size=3))
def test_claims_of_any_text_come_back_as_they_were(claims: dict[str, object]) -> None:
    """Lone surrogates, line breaks, quotes: nothing leaves the part of the token it is in."""
    token = compact_jws(claims, signing_key())
    assert token.isascii()
    assert token.count(".") == 2
    public = jwt.PyJWK(signing_key().public.to_jwk())
    assert json.loads(jwt.PyJWS().decode(token, public, algorithms=["EdDSA"])) == claims


@given(
    now_s=st.floats(0, 3600),
    lifetime_s=st.floats(1, 10_000),
    leeway_s=st.floats(0, 300),
    expires_max_s=st.none() | st.floats(0, 20_000),
)
def test_a_token_outlives_nothing_that_it_depends_on(
    now_s: float, lifetime_s: float, leeway_s: float, expires_max_s: float | None
) -> None:
    """Not its lifetime, nor its key, nor the token that was brought; and it is valid at once."""
    now = EPOCH + timedelta(seconds=now_s)
    most = None if expires_max_s is None else EPOCH + timedelta(seconds=expires_max_s)
    tokens = issuer(now=now, lifetime_s=lifetime_s, leeway_s=leeway_s)
    try:
        issued = tokens.issue(subject="a", audiences=["b"], expires_max=most)
    except InvalidTokenError:
        assert most is not None
        assert most < now + timedelta(seconds=1)
        return
    claims = claims_of(issued)
    ends = [now + timedelta(seconds=lifetime_s), signing_key().public.expires]
    assert claims["exp"] <= min(ends if most is None else [*ends, most]).timestamp()
    assert claims["nbf"] <= claims["iat"] - leeway_s <= claims["iat"] <= now.timestamp()
    assert claims["exp"] > now.timestamp()
    assert issued.expires_in_s == claims["exp"] - claims["iat"] >= 1


def test_what_expired_within_the_leeway_is_not_exchanged() -> None:
    """A verifier may accept it; a token that ends no later would be of no use."""
    with pytest.raises(InvalidTokenError) as caught:
        issuer().issue(subject="a", audiences=["b"], expires_max=EPOCH - timedelta(seconds=5))
    assert caught.value.reason == "expired"


def test_without_a_key_nothing_is_issued() -> None:
    """The error says when the rotation will have tried again."""
    tokens = TokenIssuer(lambda: None, issuer=ISSUER, settings=TokenSettings(), now=lambda: EPOCH)
    with pytest.raises(NoSigningKeyError) as caught:
        tokens.issue(subject="a", audiences=["b"])
    assert caught.value.retry_after_s == 5.0


def test_a_key_that_has_expired_signs_nothing() -> None:
    """Even if whoever holds the keys still offers it."""
    with pytest.raises(NoSigningKeyError):
        issuer(now=EPOCH + 3 * HOUR).issue(subject="a", audiences=["b"])


def test_a_token_names_the_key_in_use_while_keys_change() -> None:
    """Each token carries the id of the key that signed it, and is verified by that one alone."""
    keys = {name: signing_key(name=name) for name in ("old", "new")}
    current = ["old"]
    tokens = TokenIssuer(
        lambda: keys[current[0]], issuer=ISSUER, settings=TokenSettings(), now=lambda: EPOCH
    )
    issued = [tokens.issue(subject="a", audiences=["b"])]
    current[0] = "new"
    issued.append(tokens.issue(subject="a", audiences=["b"]))
    assert [each.key_id for each in issued] == ["old", "new"]
    assert issued[0].token_id != issued[1].token_id
    for each in issued:
        kid = jwt.get_unverified_header(each.token)["kid"]
        assert kid == each.key_id
        jwt.PyJWS().decode(each.token, jwt.PyJWK(keys[kid].public.to_jwk()), algorithms=["EdDSA"])


def test_a_key_is_asked_for_once_a_token() -> None:
    """Or a token could be signed by one key and named after another."""
    asked: list[SigningKey] = []

    def signing() -> SigningKey:
        asked.append(signing_key())
        return asked[-1]

    tokens = TokenIssuer(signing, issuer=ISSUER, settings=TokenSettings(), now=lambda: EPOCH)
    tokens.issue(subject="a", audiences=["b"])
    assert len(asked) == 1


def everything_said_with(key: SigningKey) -> list[str]:
    """Whatever an issuer and its tokens, answers and errors may put in front of people."""
    tokens = issuer(key)
    issued = tokens.issue(subject="a", audiences=["b"])
    said = [
        repr(tokens),
        repr(vars(tokens)),
        repr(issued),
        issued.token,
        repr(pickle.dumps(issued)),
    ]
    for bad in (object(), float("nan")):
        try:
            tokens.issue(subject="a", audiences=["b"], claims={"bad": bad})
        except (TypeError, ValueError) as error:
            with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
            said.append("".join(with_locals.format()))
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(tokens)
    return said


def test_the_private_key_shows_nowhere() -> None:
    """Not in what is printed, pickled or signed, nor in a traceback with every local variable."""
    key = signing_key()
    said = everything_said_with(key)
    assert len(said) == 7
    assert "SigningKey(id='key-1'" in said[-1], "the traceback got as far as the key"
    raw = key._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    shapes = [raw.hex(), repr(raw)[2:-1], jwt.utils.base64url_encode(raw).decode()]
    assert not [shape for shape in shapes for text in said if shape in text]


def test_an_issued_token_is_not_printed() -> None:
    """Its id is, which is what a log needs."""
    issued = issuer().issue(subject="a", audiences=["b"])
    assert issued.token not in repr(issued)
    assert issued.token_id in repr(issued)


def test_several_audiences_are_a_list_and_no_scope_is_no_claim() -> None:
    """One audience is text, for verifiers that take nothing else."""
    claims = claims_of(issuer().issue(subject="a", audiences=["b", "c"]))
    assert claims["aud"] == ["b", "c"]
    assert "scope" not in claims


@pytest.mark.parametrize("name", sorted(OWN_CLAIMS))
def test_nobody_overrides_what_the_issuer_writes(name: str) -> None:
    """A use case that tried would be wrong, and is told so."""
    with pytest.raises(ValueError, match="the issuer's own"):
        issuer().issue(subject="a", audiences=["b"], claims={name: "x"})


def test_a_token_is_for_somebody() -> None:
    """Without an audience it would be for everybody."""
    with pytest.raises(ValueError, match="needs an audience"):
        issuer().issue(subject="a", audiences=[])


def test_the_clock_is_read_in_any_time_zone() -> None:
    """A claim is in seconds since the epoch, whatever the clock shows."""
    later = datetime.fromisoformat("2026-01-01T09:00:00+09:00")
    assert claims_of(issuer(now=later).issue(subject="a", audiences=["b"]))["iat"] == int(
        later.timestamp()
    )
