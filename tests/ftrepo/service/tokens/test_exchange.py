"""The exchange: what is granted, to whom, how long, and by which name each refusal goes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftrepo.service.errors import (
    InvalidClientError,
    InvalidTokenError,
    NoSigningKeyError,
    ProviderUnavailableError,
    TokenRequestError,
)
from ftrepo.service.settings import ServiceSettings, TokenSettings
from ftrepo.service.tokens import (
    EXCHANGE_GRANT,
    Form,
    IssuedToken,
    TokenExchange,
    TokenIssuer,
    TokenType,
)
from ftrepo.service.tokens.delegation import NAME_LENGTH_MAX
from ftrepo.service.verified import VerifiedToken
from sim.world.issuers import EPOCH
from tests.ftrepo.service.tokens.exchanges import (
    ISSUER,
    JWT_TYPE,
    SECRET,
    KnownTokens,
    claims_of,
    form,
    issuer,
    provider,
    service_settings,
    verified,
)

URN = "urn:ietf:params:oauth:token-type:"
ONE_AUDIENCE = service_settings(audiences=("orders",), clients=())


def request(**changes: Any) -> Form:
    """The least that an exchange needs; `None` leaves a parameter out."""
    least = {
        "grant_type": EXCHANGE_GRANT,
        "subject_token": "subject",
        "subject_token_type": JWT_TYPE,
        "audience": "orders",
    }
    return form(**{name: each for name, each in (least | changes).items() if each is not None})


def exchange(
    sent: Form | None = None,
    *,
    subject: VerifiedToken | None = None,
    actor: VerifiedToken | None = None,
    service: ServiceSettings | None = None,
    authorization: str | None = None,
) -> IssuedToken:
    """What a request gets that brings these tokens."""
    tokens = {"subject": subject or verified()} | ({"actor": actor} if actor else {})
    use_case = TokenExchange(KnownTokens(tokens), issuer(), service or service_settings())
    return asyncio.run(use_case.exchange(sent or request(), authorization=authorization))


def refusal_of(*arguments: Any, **options: Any) -> tuple[str, str]:
    """The code and the reason by which it is refused."""
    with pytest.raises(TokenRequestError) as caught:
        exchange(*arguments, **options)
    return caught.value.error, caught.value.reason


def test_an_external_token_becomes_an_internal_one() -> None:
    """It says who it is about, who vouches for that, for whom and for what it is, and no more."""
    subject = verified(claims={"email": "alice@corp.example", "roles": ["root"], "scope": "x"})
    issued = exchange(subject=subject)
    claims = claims_of(issued)
    assert {name: claims.pop(name) for name in ("iat", "nbf", "jti")}
    assert claims == {
        "iss": ISSUER,
        "sub": "corp|alice",
        "aud": "orders",
        "exp": int(EPOCH.timestamp()) + 300,
        "scope": "read write",
        "idp": "corp",
        "idp_sub": "alice",
    }
    assert issued.issued_token_type is TokenType.ACCESS_TOKEN


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True)
PRINTABLE = st.characters(exclude_categories=("C", "Z"))
SUBJECTS = st.text(PRINTABLE, min_size=1, max_size=20) | st.text("a|", min_size=1, max_size=5)


@settings(max_examples=50)
@given(st.tuples(NAMES, SUBJECTS), st.tuples(NAMES, SUBJECTS))
def test_subjects_of_two_providers_never_collide(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """Nor with a client's id, in which there is no separator."""
    subjects = [
        claims_of(exchange(subject=verified(subject, provider=provider(name))))["sub"]
        for name, subject in (one, other)
    ]
    assert (subjects[0] == subjects[1]) == (one == other)
    assert all("|" in each for each in subjects)


@pytest.mark.parametrize("requested", [TokenType.JWT, TokenType.ACCESS_TOKEN])
def test_the_answer_says_the_type_that_was_asked_for(requested: TokenType) -> None:
    """Both are the same token."""
    sent = request(requested_token_type=str(requested))
    assert exchange(sent).issued_token_type is requested


@pytest.mark.parametrize("kind", ["jwt", "access_token", "id_token"])
def test_each_kind_of_jwt_is_accepted(kind: str) -> None:
    """The name of the type changes nothing about how it is verified."""
    assert exchange(request(subject_token_type=URN + kind)).token


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"grant_type": None}, ("invalid_request", "missing-parameter")),
        (
            {"grant_type": "client_credentials"},
            ("unsupported_grant_type", "unsupported-grant-type"),
        ),
        ({"subject_token": None}, ("invalid_request", "missing-parameter")),
        ({"subject_token_type": None}, ("invalid_request", "missing-parameter")),
        ({"subject_token_type": URN + "saml2"}, ("invalid_request", "token-type-not-accepted")),
        ({"subject_token_type": "JWT"}, ("invalid_request", "token-type-not-accepted")),
        ({"actor_token": "actor"}, ("invalid_request", "missing-parameter")),
        ({"actor_token_type": JWT_TYPE}, ("invalid_request", "missing-parameter")),
        (
            {"actor_token": "actor", "actor_token_type": URN + "refresh_token"},
            ("invalid_request", "token-type-not-accepted"),
        ),
        ({"requested_token_type": URN + "saml2"}, ("invalid_request", "token-type-not-issued")),
        ({"requested_token_type": URN + "id_token"}, ("invalid_request", "token-type-not-issued")),
        ({"resource": "https://a.example#b"}, ("invalid_target", "malformed-resource")),
        ({"scope": "read  write"}, ("invalid_scope", "malformed-scope")),
    ],
)
def test_a_form_that_is_wrong_is_refused_before_a_token_is_read(
    changes: dict[str, Any], refusal: tuple[str, str]
) -> None:
    """By name, at the price of no signature and no call to a provider."""
    verifier = KnownTokens({})
    use_case = TokenExchange(verifier, issuer(), service_settings())
    with pytest.raises(TokenRequestError) as caught:
        asyncio.run(use_case.exchange(request(**changes)))
    assert (caught.value.error, caught.value.reason) == refusal
    assert not verifier.asked


def test_a_token_that_is_not_accepted_is_refused_by_its_own_reason() -> None:
    """The subject's, or the actor's."""
    for changes in (
        {"subject_token": "forged"},
        {"actor_token": "forged", "actor_token_type": JWT_TYPE},
    ):
        with pytest.raises(InvalidTokenError) as caught:
            exchange(request(**changes))
        assert caught.value.reason == "bad-signature"


def test_an_audience_must_be_allowed_for_the_provider() -> None:
    """Without any of its own, a provider has all of the service's."""
    sent = request(audience=("orders", "https://stock.example/api"))
    assert exchange(sent).audiences == ("orders", "https://stock.example/api")
    few = verified(provider=provider(audiences=("orders",)))
    assert refusal_of(sent, subject=few) == ("invalid_target", "audience")
    assert refusal_of(request(audience="payroll")) == ("invalid_target", "audience")
    none = verified(provider=provider(audiences=()))
    assert refusal_of(subject=none) == ("invalid_target", "audience")


def test_a_resource_is_an_audience_by_its_address() -> None:
    """It must be one of those that are allowed, as any audience."""
    sent = request(audience=None, resource="https://stock.example/api")
    assert claims_of(exchange(sent))["aud"] == "https://stock.example/api"
    other = request(resource="https://stock.example/other")
    assert refusal_of(other) == ("invalid_target", "audience")


def test_the_only_audience_of_a_provider_need_not_be_named() -> None:
    """Whether the service has one, or the provider."""
    sent = request(audience=None)
    assert exchange(sent, service=ONE_AUDIENCE).audiences == ("orders",)
    one = verified(provider=provider(audiences=("orders",)))
    assert exchange(sent, subject=one).audiences == ("orders",)
    assert refusal_of(sent) == ("invalid_target", "missing-audience")


@pytest.mark.parametrize(
    ("of_token", "asked", "granted"),
    [
        (None, None, ("read", "write")),
        (("write", "other"), None, ("write",)),
        ((), None, ()),
        (None, "write", ("write",)),
        (("read", "write"), "write read", ("write", "read")),
        (("read",), "write", None),
        (("read", "other"), "other", None),
        (None, "other", None),
    ],
)
def test_scopes_are_those_of_the_provider_and_of_the_token(
    of_token: tuple[str, ...] | None, asked: str | None, granted: tuple[str, ...] | None
) -> None:
    """A token that names none is held to the provider's alone; an exchange never adds any."""
    sent, subject = request(scope=asked), verified(scopes=of_token)
    if granted is None:
        assert refusal_of(sent, subject=subject) == ("invalid_scope", "scope")
    else:
        issued = exchange(sent, subject=subject)
        assert issued.scopes == granted
        assert claims_of(issued).get("scope", "") == " ".join(granted)


def test_a_token_ends_no_later_than_those_that_were_brought() -> None:
    """The subject's or the actor's, whichever ends first."""
    soon, sooner = EPOCH + timedelta(seconds=90.7), EPOCH + timedelta(seconds=60.7)
    assert exchange(subject=verified(expires=soon)).expires_in_s == 90
    delegated = request(actor_token="actor", actor_token_type=JWT_TYPE)
    for subject_ends, actor_ends in ((soon, sooner), (sooner, soon)):
        issued = exchange(
            delegated,
            subject=verified(expires=subject_ends),
            actor=verified("bot", expires=actor_ends),
        )
        assert issued.expires_in_s == 60


def test_an_actor_is_named_and_adds_no_right() -> None:
    """Subject, scopes and audiences are as without it."""
    shop = provider("shop", scopes=("admin",), audiences=("orders",))
    sent = request(actor_token="actor", actor_token_type=JWT_TYPE)
    claims = claims_of(exchange(sent, actor=verified("bot", provider=shop)))
    assert claims["act"] == {"iss": "https://shop.example", "sub": "bot"}
    assert (claims["sub"], claims["scope"]) == ("corp|alice", "read write")


def test_an_actor_that_may_not_act_is_refused() -> None:
    """By the claim `may_act` of the subject's token."""
    subject = verified(claims={"may_act": {"sub": "desk"}})
    sent = request(actor_token="actor", actor_token_type=JWT_TYPE)
    refusal = refusal_of(sent, subject=subject, actor=verified("bot"))
    assert refusal == ("invalid_request", "actor-not-permitted")


@pytest.mark.parametrize("subject", ["", "a" * (NAME_LENGTH_MAX + 1)])
def test_a_subject_has_a_length(subject: str) -> None:
    """It goes into every log line and table of whoever reads the token."""
    assert refusal_of(subject=verified(subject)) == ("invalid_request", "malformed-name")


def test_a_client_that_proves_who_it_is_is_named() -> None:
    """One that does not is not, whatever it calls itself."""
    named = exchange(request(client_id="billing", client_secret=SECRET))
    assert claims_of(named)["client_id"] == "billing"
    assert claims_of(named)["sub"] == "corp|alice"
    assert "client_id" not in claims_of(exchange(request(client_id="billing")))


def test_wrong_credentials_are_not_passed_over() -> None:
    """Though none would be needed."""
    with pytest.raises(InvalidClientError):
        exchange(request(client_id="billing", client_secret="wrong"))
    with pytest.raises(InvalidClientError):
        exchange(authorization="Bearer something")


def test_a_stolen_token_is_not_enough_where_clients_must_prove_who_they_are() -> None:
    """An operator may ask for it; a name alone does not do, and a client's secret does."""
    strict = service_settings(tokens=TokenSettings(exchange_needs_client=True))
    for sent in (request(), request(client_id="billing")):
        with pytest.raises(InvalidClientError):
            exchange(sent, service=strict)
    named = exchange(request(client_id="billing", client_secret=SECRET), service=strict)
    assert claims_of(named)["client_id"] == "billing"


def test_what_cannot_be_served_now_is_said_so() -> None:
    """A provider that cannot be asked, or a service without a key: worth another try later."""

    class NobodyKnows:
        async def verify(self, token: str) -> VerifiedToken:
            raise ProviderUnavailableError("the provider's keys cannot be had", retry_after_s=3.0)

    service = service_settings()
    with pytest.raises(ProviderUnavailableError):
        asyncio.run(TokenExchange(NobodyKnows(), issuer(), service).exchange(request()))
    keyless = TokenIssuer(lambda: None, issuer=ISSUER, settings=TokenSettings(), now=lambda: EPOCH)
    use_case = TokenExchange(KnownTokens({"subject": verified()}), keyless, service)
    with pytest.raises(NoSigningKeyError):
        asyncio.run(use_case.exchange(request()))
