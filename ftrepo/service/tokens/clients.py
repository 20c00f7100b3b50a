"""Which service asks for a token: it names itself and proves it with a secret.

The secret comes in the header, as HTTP Basic, or in the form (RFC 6749, section 2.3.1), not in
both. Nothing else is accepted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftrepo.service.errors import InvalidClientError, TokenRequestError
from ftrepo.service.tokens.forms import Form, decoded

if TYPE_CHECKING:
    from ftrepo.service.settings import ClientSettings

SECRET_LENGTH_MAX = 1024
"""The most characters of a secret that is brought: it bounds what is hashed for anybody."""

_NOBODY = "0" * 64
"""What the secret of an unknown client is compared with; nobody knows a text with this hash."""

_IN_FORM = ("client_secret", "client_assertion", "client_assertion_type")
"""Parameters by which a client would prove who it is."""


def new_secret() -> tuple[str, str]:
    """Return a new secret for a client, and its SHA-256 for the settings of the service.

    The secret has 256 random bits, in 43 characters that are the same in every encoding. So nobody
    finds it by trying, however fast the hash; that is why a plain one is enough.
    """
    secret = secrets.token_urlsafe(32)
    return secret, _sha256(secret)


def brings_credentials(authorization: str | None, form: Form) -> bool:
    """Say whether a request tries to prove who it is from. A name alone proves nothing."""
    return authorization is not None or any(form.one(name) is not None for name in _IN_FORM)


class Clients:
    """The services that may ask for tokens of their own.

    Args:
        settings: of each; no id is there twice.
    """

    def __init__(self, settings: Sequence[ClientSettings]) -> None:
        self._by_id = {each.id: each for each in settings}

    def authenticate(self, authorization: str | None, form: Form) -> ClientSettings:
        """Return the client that a request is from.

        An unknown client takes the same steps as a wrong secret, and hashes are compared in
        constant time: neither the answer nor its time says which ids there are.

        Args:
            authorization: the header; `None` if there is none.
            form: the parameters of the request.

        Raises:
            InvalidClientError: nobody is named, the client is unknown, or its secret is wrong.
            TokenRequestError: there are credentials in the header and in the form, which RFC 6749,
                section 2.3, forbids.
        """
        client_id, secret = _credentials(authorization, form)
        client = self._by_id.get(client_id)
        offered = _sha256(secret)
        matches = [hmac.compare_digest(each, offered) for each in _accepted(client)]
        if client is None or not any(matches):
            raise InvalidClientError
        return client


def _accepted(client: ClientSettings | None) -> tuple[str, str]:
    """The hashes of the client's secrets, two for everybody."""
    if client is None:
        return _NOBODY, _NOBODY
    first, second = client.secret_sha256, client.next_secret_sha256
    return first.get_secret_value(), _NOBODY if second is None else second.get_secret_value()


def _credentials(authorization: str | None, form: Form) -> tuple[str, str]:
    """The id and the secret; neither is empty."""
    client_id, secret = form.one("client_id"), form.one("client_secret")
    if authorization is not None:
        if brings_credentials(None, form):
            raise TokenRequestError(
                "the client proves who it is in two ways; use the header or the form",
                reason="two-authentications",
            )
        named, secret = _basic(authorization)
        if client_id not in (None, named):
            raise InvalidClientError
        client_id = named
    if not client_id or not secret or len(secret) > SECRET_LENGTH_MAX:
        raise InvalidClientError
    return client_id, secret


def _basic(authorization: str) -> tuple[str, str]:
    """The id and the secret of HTTP Basic (RFC 7617), each encoded like a form's value.

    Some clients leave that second encoding out. It makes no difference to the ids that the settings
    accept, nor to the secrets of `new_secret`.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClientError
    try:
        pair = base64.b64decode(value.strip(" ").encode("ascii"), validate=True)
        client_id, colon, secret = pair.partition(b":")
        if not colon:
            raise InvalidClientError
        return decoded(client_id), decoded(secret)
    except ValueError:  # Not base64, or not what an encoder would write.
        raise InvalidClientError from None


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8")).hexdigest()
