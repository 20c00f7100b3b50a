"""What the tests of the use cases share: a provider that is believed, keys, and an issuer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import jwt

from ftrepo.keys import Algorithm, SigningKey
from ftrepo.service.errors import InvalidTokenError
from ftrepo.service.settings import ClientSettings, ProviderSettings, ServiceSettings, TokenSettings
from ftrepo.service.tokens import Form, IssuedToken, TokenIssuer
from ftrepo.service.verified import VerifiedToken
from sim.world.issuers import EPOCH

ISSUER = "https://tokens.example"
HOUR = timedelta(hours=1)
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
SECRET = "a-secret-that-is-the-same-in-every-run-of-the-tests"
SECRET_SHA256 = hashlib.sha256(SECRET.encode()).hexdigest()


@cache
def signing_key(algorithm: Algorithm = Algorithm.ED25519, name: str = "key-1") -> SigningKey:
    """The same pair for every test that asks: RSA keys take long to make."""
    return SigningKey.generate(algorithm, created=EPOCH, lifetime=3 * HOUR, key_id=name)


def provider(name: str = "corp", **changes: Any) -> ProviderSettings:
    """A provider whose issuer is made of its name."""
    given = {
        "name": name,
        "issuer": f"https://{name}.example",
        "audience": ("tokens",),
        "jwks_file": "keys.json",
        "scopes": ("read", "write"),
    }
    return ProviderSettings.model_validate(given | changes)


def client(name: str = "billing", **changes: Any) -> ClientSettings:
    """A client that knows `SECRET`."""
    given = {
        "id": name,
        "secret_sha256": SECRET_SHA256,
        "audiences": ("orders",),
        "scopes": ("read", "write"),
    }
    return ClientSettings.model_validate(given | changes)


def service_settings(**changes: Any) -> ServiceSettings:
    """Two audiences, one of them an address, and one client."""
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": ("orders", "https://stock.example/api"),
        "clients": (client(),),
    }
    return ServiceSettings(**(given | changes))


def verified(subject: str = "alice", **changes: Any) -> VerifiedToken:
    """A token that was found to be good; `claims` over those that every token has."""
    whose: ProviderSettings = changes.pop("provider", None) or provider()
    claims = {"iss": whose.issuer, "sub": subject} | changes.pop("claims", {})
    given = {"expires": EPOCH + HOUR, "scopes": None} | changes
    return VerifiedToken(provider=whose, subject=subject, claims=claims, **given)


@dataclass
class KnownTokens:
    """A verifier that accepts the tokens it was told of."""

    tokens: dict[str, VerifiedToken]
    asked: list[str] = field(default_factory=list)

    async def verify(self, token: str) -> VerifiedToken:
        self.asked.append(token)
        if token not in self.tokens:
            raise InvalidTokenError("the signature is wrong", reason="bad-signature")
        return self.tokens[token]


def issuer(key: SigningKey | None = None, *, now: datetime = EPOCH, **settings: Any) -> TokenIssuer:
    """An issuer whose clock stands still."""
    used = signing_key() if key is None else key
    return TokenIssuer(
        lambda: used, issuer=ISSUER, settings=TokenSettings(**settings), now=lambda: now
    )


def form(**parameters: str | tuple[str, ...]) -> Form:
    """The parameters of a request, a tuple for those given more than once."""
    return Form({k: v if isinstance(v, tuple) else (v,) for k, v in parameters.items()})


def claims_of(issued: IssuedToken) -> dict[str, Any]:
    """What a token says, whoever signed it and whenever."""
    return jwt.decode(issued.token, options={"verify_signature": False})
