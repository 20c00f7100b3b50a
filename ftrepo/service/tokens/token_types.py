"""The kinds of token that a request may name."""

from __future__ import annotations

import enum


class TokenType(enum.StrEnum):
    """The identifiers of RFC 8693, section 3, that are for JWTs."""

    ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - no secret.
    JWT = "urn:ietf:params:oauth:token-type:jwt"
    ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - no secret.


ACCEPTED = frozenset(TokenType)
"""What may be brought. All are verified alike: the name only says what whoever brings it thinks."""

ISSUED = frozenset({TokenType.ACCESS_TOKEN, TokenType.JWT})
"""What may be asked for. Both are the same token: an access token that is a JWT."""
