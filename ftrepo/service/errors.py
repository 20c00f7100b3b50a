"""What may go wrong with a request for a token, as the use cases say it.

::

    FtrepoError
    ├── ServiceSettingsError (ValueError)   a setting of the service is wrong; names it
    ├── TokenRequestError                   the request is refused, and always will be
    │   ├── InvalidClientError              who asks is not who it says
    │   └── InvalidTokenError               the token it brought is not accepted, and why
    └── NotServedError                      it may be served later; says when
        ├── ProviderUnavailableError        the provider's keys cannot be had
        └── NoSigningKeyError               the service has no key that may sign

Every message is fit for whoever asked: it says nothing of other requests, settings or machines.
`http.problems` turns these, and every other error, into answers.
"""

from __future__ import annotations

from typing import Literal

from ftrepo.errors import FtrepoError

OAuthError = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
]
"""The codes of RFC 6749, section 5.2, and RFC 8693, section 2.2.2."""


class ServiceSettingsError(FtrepoError, ValueError):
    """A setting of the service is unknown, missing or impossible; the message names it."""


class TokenRequestError(FtrepoError):
    """A request for a token is refused. The same request would be refused again.

    Args:
        message: for whoever asked.
        error: the code of OAuth 2.0.
        reason: a short name of the cause, in words joined by hyphens, e.g. "unknown-audience": for
            metrics, logs and whoever handles it by program. Never made from what was sent.
    """

    def __init__(
        self, message: str, *, error: OAuthError = "invalid_request", reason: str = "malformed"
    ) -> None:
        super().__init__(message)
        self.error: OAuthError = error
        self.reason = reason


class InvalidClientError(TokenRequestError):
    """The client is unknown, or its secret is wrong; which of both is not said."""

    def __init__(self, message: str = "client authentication failed") -> None:
        super().__init__(message, error="invalid_client", reason="client-not-authenticated")


class InvalidTokenError(TokenRequestError):
    """A token that was brought is not accepted.

    The code is `invalid_request`, as RFC 8693, section 2.2.2, requires.

    Args:
        message: for whoever brought it.
        reason: such as "expired", "wrong-issuer", "wrong-audience", "algorithm-not-allowed",
            "bad-signature", "unknown-key", "malformed", "too-large".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message, error="invalid_request", reason=reason)


class NotServedError(FtrepoError):
    """A request cannot be served now, and may be later: the answer is 503 with Retry-After.

    Args:
        message: for whoever asked.
        retry_after_s: seconds until it is worth asking again; `None` when nobody knows.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProviderUnavailableError(NotServedError):
    """The keys of a provider cannot be had, and those at hand are too old to be trusted."""


class NoSigningKeyError(NotServedError):
    """There is no key that may sign a token: the service has just started, or cannot rotate."""
