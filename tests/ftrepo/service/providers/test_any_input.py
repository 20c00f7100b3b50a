"""Whatever strangers send, the answer is an error with a name, or it is as it must be."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftrepo.service.errors import InvalidTokenError
from ftrepo.service.providers.claims import check_claims
from ftrepo.service.providers.compact_token import parse_token
from ftrepo.service.providers.fetch_error import FetchError
from ftrepo.service.providers.jwks import VerificationKey, parse_jwks
from ftrepo.service.providers.refusals import MESSAGES
from ftrepo.service.providers.strict_json import parse_object
from sim.world.issuers import EPOCH
from tests.ftrepo.service.providers.issuers import (
    claims_at,
    encoded,
    jwk,
    jwks,
    private_key,
    settings,
    token,
)

EVERY = ("EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256")

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)

GOOD = token()
KEYS = {each: jwk(private_key(each), each) for each in ("EdDSA", "ES256", "ES512", "RS256")}


def key(algorithm: str) -> VerificationKey:
    """The key for an algorithm, as it is read from a set."""
    found = parse_jwks(jwks(KEYS[algorithm]), [algorithm]).find("a", algorithm)
    assert found is not None
    return found


def check(whole: str) -> None:
    """Read a token and its claims, and take no other error than one from the table."""
    try:
        parsed = parse_token(whole, bytes_max=16_384)
        check_claims(parsed.claims, settings(), now=EPOCH, leeway_s=30.0)
    except InvalidTokenError as error:
        refusal = error
    else:
        return
    assert str(refusal) == MESSAGES[refusal.reason]  # type: ignore[index]


@given(st.text())
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    """Nothing else is raised."""
    check(text)
    check(f"{text}.{text}.{text}")


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "x"]), ANY_JSON), ANY_JSON)
def test_any_header_and_claims_are_read_or_refused_by_name(
    header: dict[str, object], claims: object
) -> None:
    """Whatever JSON they are."""
    parts = (encoded(json.dumps(each).encode()) for each in (header, claims))
    check(f"{'.'.join(parts)}.AAAA")


@given(st.sampled_from(["exp", "nbf", "iat", "sub", "aud", "scope", "scp", "iss"]), ANY_JSON)
@example("exp", 253_402_300_799)
@example("exp", 253_402_300_798.9999999)
@example("exp", 5e-324)
def test_any_claim_is_taken_or_refused_by_name(name: str, value: object) -> None:
    """Each of those that are looked at, in an otherwise good token."""
    check(token(claims=claims_at() | {name: value}))


@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_no_token_with_another_character_is_accepted(place: int, character: str) -> None:
    """Wherever it is: a token can be spelled in one way only."""
    if character == GOOD[place]:
        return
    with contextlib.suppress(InvalidTokenError):
        parsed = parse_token(GOOD[:place] + character + GOOD[place + 1 :], bytes_max=16_384)
        assert not key("EdDSA").has_signed(parsed.signing_input, parsed.signature)


@given(st.sampled_from(sorted(KEYS)), st.binary(max_size=300))
def test_any_signature_is_refused_and_none_raises(algorithm: str, signature: bytes) -> None:
    """Of any length and content."""
    assert not key(algorithm).has_signed(b"data", signature)


@given(
    st.sampled_from(sorted(KEYS)),
    st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops", "x5c"]),
    ANY_JSON,
)
def test_any_member_of_a_key_is_read_or_skipped(algorithm: str, name: str, value: object) -> None:
    """A set with it is read, and the other key serves."""
    body = jwks(KEYS[algorithm] | {name: value}, jwk(private_key("EdDSA"), "EdDSA", "other"))
    with contextlib.suppress(FetchError):  # NaN and lone surrogates are refused with their set.
        assert parse_jwks(body, EVERY).find("other", "EdDSA") is not None


@given(ANY_JSON)
def test_any_json_is_a_set_or_an_error(value: object) -> None:
    """Nothing else is raised, whatever was sent."""
    for body in (json.dumps(value).encode(), json.dumps({"keys": value}).encode()):
        with pytest.raises(FetchError):
            parse_jwks(body, EVERY)


@given(st.dictionaries(st.text(max_size=4), ANY_JSON, max_size=3))
def test_what_strict_json_reads_can_be_written_again(value: dict[str, object]) -> None:
    """As JSON that anybody reads, and in UTF-8: nothing that is copied from it fails later."""
    try:
        read = parse_object(json.dumps(value).encode())
    except ValueError:
        return
    again = json.dumps(read, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert json.loads(again) == value


def test_the_last_moment_of_all_has_a_date() -> None:
    """The largest expiry that is accepted is one."""
    claims = claims_at(exp=253_402_300_799)
    verified = check_claims(claims, settings(), now=EPOCH, leeway_s=0.0)
    assert verified.expires == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
