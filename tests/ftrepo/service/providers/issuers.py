"""An identity provider that tests can bend: its keys, its tokens, and its address."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx2
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from ftrepo.resilience import BreakerRegistry
from ftrepo.service.providers import ProviderEvent, Providers
from ftrepo.service.settings import ProviderSettings, TokenSettings
from sim.loop import VirtualTimeLoop, run_virtual
from sim.world.issuers import EPOCH

T = TypeVar("T")

ISSUER = "https://id.example"
AUDIENCE = "token-exchange"
URL = "https://id.example/keys"

ALGORITHMS = get_default_algorithms()
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


@functools.cache
def private_key(algorithm: str, name: str = "a", bits: int = 2048) -> Any:
    """A key pair; the same one for the same arguments, because RSA keys take long to make."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    return rsa.generate_private_key(65537, bits)


def jwk(key: Any, algorithm: str, kid: object = "a", **members: object) -> dict[str, object]:
    """The public half as a JWK; a member that is `None` is left out."""
    public = ALGORITHMS[algorithm].to_jwk(key.public_key(), as_dict=True)
    public.pop("key_ops", None)
    return {
        name: value
        for name, value in {**public, "kid": kid, **members}.items()
        if value is not None
    }


def jwks(*keys: object, **members: object) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": keys, **members}).encode()


def claims_at(now_s: float = 0.0, **others: object) -> dict[str, object]:
    """Claims that are as they must be, but for the others; one that is `None` is left out."""
    epoch_s = EPOCH.timestamp() + now_s
    whole: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "someone",
        "iat": epoch_s,
        "exp": epoch_s + 3600,
        **others,
    }
    return {name: value for name, value in whole.items() if value is not None}


def token(
    key: Any = None,
    algorithm: str = "EdDSA",
    *,
    kid: object = "a",
    claims: dict[str, object] | bytes | None = None,
    header: dict[str, object] | bytes | None = None,
) -> str:
    """A token that the key has signed; a header and claims as bytes go into it as they are."""
    key = private_key(algorithm) if key is None else key
    named = {} if kid is None else {"kid": kid}
    if not isinstance(header, bytes):
        header = json.dumps({"alg": algorithm, "typ": "JWT", **named, **(header or {})}).encode()
    if not isinstance(claims, bytes):
        claims = json.dumps(claims_at() if claims is None else claims).encode()
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{encoded(ALGORITHMS[algorithm].sign(signed.encode(), key))}"


def encoded(octets: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def settings(**others: Any) -> ProviderSettings:
    """A provider whose tokens are signed with Ed25519, but for what else is given."""
    source = {} if "jwks_file" in others else {"jwks_url": URL}
    return ProviderSettings(
        **{
            "name": "id",
            "issuer": ISSUER,
            "audience": (AUDIENCE,),
            "algorithms": ("EdDSA",),
            **source,
            **others,
        }
    )


@dataclass
class FakeProvider:
    """Answers as a provider's address does, in virtual time.

    Attributes:
        body: what it answers.
        headers: with these headers.
        status: with this status.
        delay_s: after so long.
        error: what it raises in place of an answer.
        asked_s: when it was asked.
    """

    body: bytes = field(default_factory=lambda: jwks(jwk(private_key("EdDSA"), "EdDSA")))
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    delay_s: float = 0.05
    error: Exception | None = None
    asked_s: list[float] = field(default_factory=list)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked_s.append(asyncio.get_running_loop().time())
        # What is asked after the answer was made cannot be in it.
        body = self.body
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return httpx2.Response(self.status, headers=self.headers, content=body)


@dataclass
class World:
    """A provider, whoever accepts its tokens, and what was observed; in virtual time."""

    loop: VirtualTimeLoop
    provider: FakeProvider
    providers: Providers
    breakers: BreakerRegistry
    events: list[ProviderEvent]

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self.loop.time()

    async def until(self, moment_s: float) -> None:
        """Let time pass to this moment."""
        await asyncio.sleep(moment_s - self.loop.time())

    def token(self, **others: Any) -> str:
        """A good token of this moment."""
        return token(claims=claims_at(self.now_s()), **others)


def play(
    story: Callable[[World], Awaitable[T]],
    *,
    provider: FakeProvider | None = None,
    seed: int | None = None,
    token_settings: TokenSettings | None = None,
    observe: Callable[[ProviderEvent], None] | None = None,
    **others: Any,
) -> T:
    """Play a story with one provider, whose settings are given; a seed picks among callbacks."""

    async def main(loop: VirtualTimeLoop) -> T:
        def now() -> datetime:
            return EPOCH + timedelta(seconds=loop.time())

        fake = FakeProvider() if provider is None else provider
        events: list[ProviderEvent] = []
        breakers = BreakerRegistry()
        async with AsyncExitStack() as stack:
            providers = await stack.enter_async_context(
                Providers(
                    [settings(**others)],
                    tokens=token_settings or TokenSettings(),
                    now=now,
                    breakers=breakers,
                    transport=httpx2.MockTransport(fake),
                    observe=observe or events.append,
                )
            )
            return await story(World(loop, fake, providers, breakers, events))

    order = None if seed is None else np.random.default_rng(seed)
    return run_virtual(main, order=order)
