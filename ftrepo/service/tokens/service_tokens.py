"""Gives a service that proves who it is a token of its own: RFC 6749, section 4.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftrepo.service.errors import TokenRequestError
from ftrepo.service.tokens.clients import Clients
from ftrepo.service.tokens.forms import Form
from ftrepo.service.tokens.issuer import IssuedToken, TokenIssuer
from ftrepo.service.tokens.targets import (
    scopes_asked,
    scopes_granted,
    targets_asked,
    targets_granted,
)

if TYPE_CHECKING:
    from ftrepo.service.settings import ServiceSettings

CLIENT_CREDENTIALS_GRANT = "client_credentials"
"""The `grant_type` of a service that asks for itself (RFC 6749, section 4.4.2)."""


class ServiceTokens:
    """The use case.

    The token is about the client itself: its id is the claim `sub` as well as `client_id` (RFC
    9068, section 2.2). No exchanged token has such a subject.

    Args:
        clients: who may ask.
        issuer: signs.
        settings: `audiences`, to which those of a client are held.
    """

    def __init__(self, clients: Clients, issuer: TokenIssuer, settings: ServiceSettings) -> None:
        self._clients = clients
        self._issuer = issuer
        self._audiences = frozenset(settings.audiences)

    def issue(self, authorization: str | None, form: Form) -> IssuedToken:
        """Return a token for the client that asks.

        The audience is named by `audience` or `resource` (RFC 8707), though RFC 6749 has neither: a
        token must be for somebody.

        Args:
            authorization: the request's header; `None` if there is none.
            form: the request's parameters.

        Raises:
            TokenRequestError: the request is refused; the code and the reason say why.
            InvalidClientError: the client does not prove who it is.
            NoSigningKeyError: the service has no key that may sign.
        """
        if form.required("grant_type") != CLIENT_CREDENTIALS_GRANT:
            raise TokenRequestError(
                f"the grant_type must be {CLIENT_CREDENTIALS_GRANT}",
                error="unsupported_grant_type",
                reason="unsupported-grant-type",
            )
        targets, scopes = targets_asked(form), scopes_asked(form)
        client = self._clients.authenticate(authorization, form)
        allowed = [each for each in client.audiences if each in self._audiences]
        return self._issuer.issue(
            subject=client.id,
            audiences=targets_granted(targets, allowed),
            scopes=scopes_granted(scopes, client.scopes),
            claims={"client_id": client.id},
        )
