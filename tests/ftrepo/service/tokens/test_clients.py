"""Clients: who is believed, and that a refusal says nothing of who exists."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftrepo.service.errors import InvalidClientError, TokenRequestError
from ftrepo.service.tokens import Clients, new_secret
from ftrepo.service.tokens.clients import SECRET_LENGTH_MAX
from tests.ftrepo.service.tokens.exchanges import SECRET, client, form

EMPTY = form()
CLIENTS = Clients([client(), client("reports", secret_sha256=hashlib.sha256(b"other").hexdigest())])
VISIBLE = st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=32, exclude_characters="\x7f"),
    min_size=1,
    max_size=60,
)


def basic(name: str, secret: str) -> str:
    """The header as RFC 6749, section 2.3.1, wants it."""
    pair = f"{quote_plus(name)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def raw_basic(pair: bytes) -> str:
    """The header as a client sends it that leaves out the inner encoding."""
    return f"Basic {base64.b64encode(pair).decode()}"


@given(VISIBLE)
def test_any_secret_survives_both_encodings(secret: str) -> None:
    """Colons, percent signs, plus signs and letters of any script are part of a secret."""
    hashed = hashlib.sha256(secret.encode()).hexdigest()
    clients = Clients([client(secret_sha256=hashed)])
    assert clients.authenticate(basic("billing", secret), EMPTY).id == "billing"
    sent = form(client_id="billing", client_secret=secret)
    assert clients.authenticate(None, sent).id == "billing"


@given(VISIBLE, VISIBLE)
def test_nobody_else_is_believed(name: str, secret: str) -> None:
    """Whatever is made up, in the header or in the form."""
    assume((name, secret) not in [("billing", SECRET), ("reports", "other")])
    with pytest.raises(InvalidClientError):
        CLIENTS.authenticate(basic(name, secret), EMPTY)
    with pytest.raises(InvalidClientError):
        CLIENTS.authenticate(None, form(client_id=name, client_secret=secret))


@given(st.text(max_size=60) | st.binary(max_size=60).map(raw_basic))
def test_any_header_is_believed_or_refused(authorization: str) -> None:
    """No header raises anything but a refusal, and its secret is not kept for a traceback."""
    with pytest.raises(InvalidClientError) as caught:
        CLIENTS.authenticate(authorization, EMPTY)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        f"Bearer {SECRET}",
        basic("billing", SECRET).replace("Basic", "Digest"),
        raw_basic(b"billing"),
        raw_basic(b"billing:"),
        raw_basic(b":" + SECRET.encode()),
        raw_basic(b"billing:%zz"),
        raw_basic(b"billing:\xff"),
        basic("reports", SECRET),
        basic("Billing", SECRET),
        basic("billing", SECRET).rstrip("=") + "*",
    ],
)
def test_a_wrong_header_is_refused_alike(authorization: str) -> None:
    """Whatever is wrong with it, the answer is the same."""
    with pytest.raises(InvalidClientError) as caught:
        CLIENTS.authenticate(authorization, EMPTY)
    assert str(caught.value) == "client authentication failed"
    assert caught.value.error == "invalid_client"


def test_a_secret_has_a_length() -> None:
    """At the bound it is believed; beyond, not even if it is right."""
    for length in (SECRET_LENGTH_MAX, SECRET_LENGTH_MAX + 1):
        secret = "x" * length
        clients = Clients([client(secret_sha256=hashlib.sha256(secret.encode()).hexdigest())])
        if length == SECRET_LENGTH_MAX:
            assert clients.authenticate(basic("billing", secret), EMPTY).id == "billing"
        else:
            with pytest.raises(InvalidClientError):
                clients.authenticate(basic("billing", secret), EMPTY)


def test_a_client_that_leaves_out_the_inner_encoding_is_understood() -> None:
    """With an id and a secret of ours it makes no difference."""
    sent = raw_basic(f"billing:{SECRET}".encode()).replace("Basic", "bAsIc")
    assert CLIENTS.authenticate(sent, EMPTY).id == "billing"


@pytest.mark.parametrize("name", ["client_secret", "client_assertion", "client_assertion_type"])
def test_two_ways_to_prove_who_it_is_are_one_too_many(name: str) -> None:
    """Even if both are right (RFC 6749, section 2.3); the code is that of section 5.2."""
    sent = form(client_id="billing", **{name: SECRET})
    with pytest.raises(TokenRequestError) as caught:
        CLIENTS.authenticate(basic("billing", SECRET), sent)
    assert (caught.value.error, caught.value.reason) == ("invalid_request", "two-authentications")


def test_a_name_in_the_form_must_be_that_of_the_header() -> None:
    """The same name twice is no second proof; another one is a lie."""
    header = basic("billing", SECRET)
    assert CLIENTS.authenticate(header, form(client_id="billing")).id == "billing"
    with pytest.raises(InvalidClientError):
        CLIENTS.authenticate(header, form(client_id="reports"))


@pytest.mark.parametrize("sent", [{}, {"client_id": "billing"}, {"client_secret": SECRET}])
def test_a_client_must_name_itself_and_prove_it(sent: dict[str, str]) -> None:
    """Half of it is nothing."""
    with pytest.raises(InvalidClientError):
        CLIENTS.authenticate(None, form(**sent))


def test_an_unknown_client_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash and two comparisons of the same length, whether or not the id is known."""
    compared: list[int] = []
    compare = hmac.compare_digest

    def counted(expected: str, offered: str) -> bool:
        compared.append(len(expected) + len(offered))
        return compare(expected, offered)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for name in ("billing", "nobody"):
        with pytest.raises(InvalidClientError):
            CLIENTS.authenticate(basic(name, "wrong"), EMPTY)
    assert compared == [128] * 4


def test_a_secret_is_changed_without_a_gap() -> None:
    """Until the client has the next one, either is accepted; no other is."""
    secret, hashed = new_secret()
    changing = Clients([client(next_secret_sha256=hashed)])
    for accepted in (SECRET, secret):
        assert changing.authenticate(basic("billing", accepted), EMPTY).id == "billing"
    with pytest.raises(InvalidClientError):
        changing.authenticate(basic("billing", secret + "x"), EMPTY)
    with pytest.raises(InvalidClientError):
        CLIENTS.authenticate(basic("billing", secret), EMPTY)


def test_a_new_secret_is_long_random_and_fits_its_hash() -> None:
    """256 bits, in characters that no encoding changes; the settings take the hash."""
    secret, hashed = new_secret()
    assert len(secret) == 43
    assert quote_plus(secret) == secret
    assert hashed == hashlib.sha256(secret.encode()).hexdigest()
    assert new_secret() != (secret, hashed)
    fresh = Clients([client(secret_sha256=hashed)])
    assert fresh.authenticate(basic("billing", secret), EMPTY).id == "billing"
