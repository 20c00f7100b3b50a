"""Exchanges an external token for an internal one: RFC 8693.

Whoever holds an accepted token may exchange it: no client has to prove who it is, which section 2.1
leaves to the server. One that does is named in the claim `client_id`, as RFC 9068 wants; that
grants it nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ftrepo.service.errors import TokenRequestError
from ftrepo.service.tokens.clients import Clients, brings_credentials
from ftrepo.service.tokens.delegation import act_claim, name_in_token
from ftrepo.service.tokens.forms import Form
from ftrepo.service.tokens.issuer import IssuedToken, TokenIssuer
from ftrepo.service.tokens.targets import (
    scopes_asked,
    scopes_granted,
    targets_asked,
    targets_granted,
)
from ftrepo.service.tokens.token_types import ACCEPTED, ISSUED, TokenType

if TYPE_CHECKING:
    from ftrepo.service.settings import ServiceSettings
    from ftrepo.service.verified import TokenVerifier, VerifiedToken

EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
"""The `grant_type` of an exchange (RFC 8693, section 2.1)."""

SUBJECT_SEPARATOR = "|"
"""Between a provider's name, which cannot contain it, and its subject, which may."""


class TokenExchange:
    """The use case.

    Args:
        verifier: knows the providers and tells whether a token is one of theirs.
        issuer: signs.
        settings: `audiences`, `clients` for those that prove who they are, and in `tokens` whether
            all must.
    """

    def __init__(
        self, verifier: TokenVerifier, issuer: TokenIssuer, settings: ServiceSettings
    ) -> None:
        self._verifier = verifier
        self._issuer = issuer
        self._audiences = settings.audiences
        self._clients = Clients(settings.clients)
        self._needs_client = settings.tokens.exchange_needs_client

    async def exchange(self, form: Form, *, authorization: str | None = None) -> IssuedToken:
        """Return an internal token for the external one in the form.

        What the form itself says is checked before any token is: that is cheap, and needs no
        provider. Rights are those of the subject and of its provider; an actor adds none. The token
        ends no later than those that were brought.

        Args:
            form: the request's parameters.
            authorization: the request's header. Credentials need not be brought, unless the
                settings say so, but must be right if they are.

        Raises:
            TokenRequestError: the request is refused; the code and the reason say why.
            InvalidClientError: credentials were brought and are wrong, or needed and not brought.
            InvalidTokenError: the subject's or the actor's token is not accepted.
            ProviderUnavailableError: the keys of a provider cannot be had.
            NoSigningKeyError: the service has no key that may sign.
        """
        request = _read(form)
        claims: dict[str, object] = {}
        if self._needs_client or brings_credentials(authorization, form):
            claims["client_id"] = self._clients.authenticate(authorization, form).id
        subject = await self._verifier.verify(request.subject_token)
        provider, name = subject.provider, name_in_token(subject.subject)
        claims |= {"idp": provider.name, "idp_sub": name}
        expires = subject.expires
        actor = None
        if request.actor_token is not None:
            actor = await self._verifier.verify(request.actor_token)
            expires = min(expires, actor.expires)
        if act := act_claim(subject, actor):
            claims["act"] = act
        allowed = self._audiences if provider.audiences is None else provider.audiences
        issued = self._issuer.issue(
            subject=f"{provider.name}{SUBJECT_SEPARATOR}{name}",
            audiences=targets_granted(request.targets, allowed),
            scopes=scopes_granted(request.scopes, _scopes_allowed(subject)),
            claims=claims,
            expires_max=expires,
        )
        return replace(issued, issued_token_type=request.issued_token_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What a form asks for."""

    subject_token: str = field(repr=False)
    actor_token: str | None = field(repr=False)
    issued_token_type: TokenType
    targets: tuple[str, ...]
    scopes: tuple[str, ...] | None


def _read(form: Form) -> _Request:
    if form.required("grant_type") != EXCHANGE_GRANT:
        raise TokenRequestError(
            f"the grant_type must be {EXCHANGE_GRANT}",
            error="unsupported_grant_type",
            reason="unsupported-grant-type",
        )
    subject_token = form.required("subject_token")
    _check_accepted(form.required("subject_token_type"), "subject_token_type")
    actor_token = form.one("actor_token")
    if actor_token is not None:
        _check_accepted(form.required("actor_token_type"), "actor_token_type")
    elif form.one("actor_token_type") is not None:
        raise TokenRequestError(
            "there is an actor_token_type without an actor_token", reason="missing-parameter"
        )
    requested = form.one("requested_token_type") or TokenType.ACCESS_TOKEN
    if requested not in ISSUED:
        raise TokenRequestError(
            "the requested_token_type must be that of a JWT or of an access token",
            reason="token-type-not-issued",
        )
    return _Request(
        subject_token=subject_token,
        actor_token=actor_token,
        issued_token_type=TokenType(requested),
        targets=targets_asked(form),
        scopes=scopes_asked(form),
    )


def _check_accepted(token_type: str, parameter: str) -> None:
    if token_type not in ACCEPTED:
        raise TokenRequestError(
            f"the {parameter} must be that of a JWT, of an access token or of an ID token",
            reason="token-type-not-accepted",
        )


def _scopes_allowed(subject: VerifiedToken) -> tuple[str, ...]:
    """What the provider's tokens may be exchanged for, and this one too if it names scopes.

    A token that names some was restricted by whoever got it, and an exchange must not undo that.
    One that names none, as most ID tokens, leaves it to the settings.
    """
    allowed = subject.provider.scopes
    if subject.scopes is None:
        return allowed
    return tuple(scope for scope in allowed if scope in subject.scopes)
