"""Service tokens: a client gets one about itself, within what its settings say."""

from __future__ import annotations

from typing import Any

import pytest

from ftrepo.service.errors import InvalidClientError, TokenRequestError
from ftrepo.service.tokens import CLIENT_CREDENTIALS_GRANT, Clients, Form, ServiceTokens
from tests.ftrepo.service.tokens.exchanges import (
    ISSUER,
    SECRET,
    claims_of,
    client,
    form,
    issuer,
    service_settings,
)

BOTH = ("orders", "https://stock.example/api")


def service_tokens(**changes: Any) -> ServiceTokens:
    """The use case, with one client."""
    settings = service_settings(clients=(client(**changes),))
    return ServiceTokens(Clients(settings.clients), issuer(), settings)


def request(**changes: str | tuple[str, ...]) -> Form:
    """The least that a client has to send."""
    least: dict[str, str | tuple[str, ...]] = {
        "grant_type": CLIENT_CREDENTIALS_GRANT,
        "client_id": "billing",
        "client_secret": SECRET,
    }
    return form(**(least | changes))


def refusal_of(sent: Form, **changes: Any) -> tuple[str, str]:
    """The code and the reason by which it is refused."""
    with pytest.raises(TokenRequestError) as caught:
        service_tokens(**changes).issue(None, sent)
    return caught.value.error, caught.value.reason


def test_a_client_gets_a_token_about_itself() -> None:
    """With its only audience and all of its scopes, as it asks for none in particular."""
    claims = claims_of(service_tokens().issue(None, request()))
    assert {name: claims.pop(name) for name in ("iat", "nbf", "exp", "jti")}
    assert claims == {
        "iss": ISSUER,
        "sub": "billing",
        "client_id": "billing",
        "aud": "orders",
        "scope": "read write",
    }


def test_a_client_gets_what_it_asks_for() -> None:
    """Of what its settings allow."""
    sent = request(resource=BOTH[1], scope="write")
    issued = service_tokens(audiences=BOTH).issue(None, sent)
    assert (issued.audiences, issued.scopes) == ((BOTH[1],), ("write",))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"grant_type": "password"}, ("unsupported_grant_type", "unsupported-grant-type")),
        ({"grant_type": ""}, ("unsupported_grant_type", "unsupported-grant-type")),
        ({"audience": "payroll"}, ("invalid_target", "audience")),
        ({"audience": BOTH[1]}, ("invalid_target", "audience")),
        ({"scope": "admin"}, ("invalid_scope", "scope")),
        ({"scope": "read  write"}, ("invalid_scope", "malformed-scope")),
        ({"resource": "orders"}, ("invalid_target", "malformed-resource")),
    ],
)
def test_anything_more_is_refused_by_name(
    changes: dict[str, str], refusal: tuple[str, str]
) -> None:
    """With the codes of RFC 6749 and RFC 8707."""
    assert refusal_of(request(**changes)) == refusal


def test_with_several_audiences_one_must_be_named() -> None:
    """A token for all of them would be worth more to a thief."""
    assert refusal_of(request(), audiences=BOTH) == ("invalid_target", "missing-audience")


def test_a_client_must_prove_who_it_is() -> None:
    """Before it learns what it might ask for."""
    for sent in (request(client_secret="wrong"), request(client_id="x", audience="payroll")):
        with pytest.raises(InvalidClientError):
            service_tokens().issue(None, sent)
