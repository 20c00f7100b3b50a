"""What is known of a token once a provider's key has verified it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ftrepo.service.settings import ProviderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken:
    """An external token whose signature, issuer, audience and times are as they must be.

    Attributes:
        provider: whose it is.
        subject: the claim `sub`.
        expires: the claim `exp`.
        scopes: what the claim `scope` names (RFC 8693, section 4.2), or `scp`, as some providers
            call it; `None` if it has neither.
        claims: all of them.
    """

    provider: ProviderSettings
    subject: str
    expires: datetime
    scopes: tuple[str, ...] | None
    claims: Mapping[str, object]


class TokenVerifier(Protocol):
    """Whoever can tell whether an external token is to be believed."""

    async def verify(self, token: str) -> VerifiedToken:
        """Return what the token says.

        Raises:
            InvalidTokenError: it is not accepted; the reason says why.
            ProviderUnavailableError: nobody knows, because the provider's keys cannot be had.
        """
        ...
