"""The OpenAPI document is the truth: every answer is in it, with the primary up or not."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import jwt
import pytest
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ftrepo.errors import PrimaryUnavailableError
from ftrepo.keys import PublicKey
from ftrepo.memory import InMemoryRepository
from ftrepo.service.http.app import create_app
from ftrepo.service.running import Service
from tests.ftrepo.service.http.serving import PEER_SECRET, SERVICE_FORM, service_settings

Mode = Literal["up", "refusing", "hanging"]


class FaultyPrimary(InMemoryRepository):
    """A primary that answers, refuses or hangs, on the real clock."""

    mode: Mode = "up"

    async def _fault(self) -> None:
        if self.mode == "refusing":
            raise PrimaryUnavailableError("connection to db-7 refused")
        if self.mode == "hanging":
            await asyncio.Event().wait()

    async def create(self, key: PublicKey) -> Any:
        await self._fault()
        return await super().create(key)

    async def get(self, key_id: str) -> PublicKey:
        await self._fault()
        return await super().get(key_id)

    async def list_valid(self, *, after: str | None, limit: int) -> Any:
        await self._fault()
        return await super().list_valid(after=after, limit=limit)

    async def ping(self) -> None:
        await self._fault()


def utc_now() -> datetime:
    """The real time: what calls the service has a loop of its own."""
    return datetime.now(UTC)


@contextmanager
def documented(mode: Mode, folder: Path) -> Iterator[Any]:
    """The document of a running service."""
    plenty = {"rate_per_s": 1e6, "burst": 1e6, "caller_rate_per_s": 1e6, "caller_burst": 1e6}
    chosen = service_settings(
        str(folder),
        providers=[PROVIDER | {"jwks_file": write_key_set(folder)}],
        limits={"keys": plenty, "exchange": plenty, "service": plenty},
        policy=impatient(folder),
    )
    primary = FaultyPrimary(now=utc_now)
    primary.mode = mode
    app = create_app(Service(chosen, now=utc_now, primary=primary))
    try:
        yield schemathesis.openapi.from_asgi("/openapi.json", app)
    finally:
        shutdown_lifespans()


PROVIDER_KEY = Ed25519PrivateKey.generate()
PROVIDER = {"name": "p", "issuer": "i", "audience": ["us"], "algorithms": ["EdDSA"]}


def write_key_set(folder: Path) -> Path:
    """A file with the key of a provider."""
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(PROVIDER_KEY.public_key(), as_dict=True)
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk | {"kid": "k", "alg": "EdDSA", "use": "sig"}]}))
    return file


def external_token() -> str:
    """A token of the provider."""
    claims = {"iss": "i", "aud": "us", "sub": "alice", "exp": utc_now() + timedelta(hours=1)}
    return jwt.encode(claims, PROVIDER_KEY, "EdDSA", headers={"kid": "k"})


def impatient(folder: Path) -> Path:
    """A policy with which a primary that hangs takes little of the test's time."""
    policy = folder / "impatient.toml"
    policy.write_text(
        'snapshot_interval_s = "none"\ninsert_timeout_s = 0.02\nselect_timeout_s = 0.02\n'
        "load_timeout_s = 0.02\ndrain_timeout_s = 0\n"
    )
    return policy


PEER = {"authorization": f"Bearer {PEER_SECRET}"}

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""Not that what fits the schema is accepted: no schema can tell which token is good. Nor that no
status is above 500: 503 is what a service answers to what it cannot know."""


@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_answer_is_documented(mode: Mode, tmp_path: Path) -> None:
    """Its status, its type, its headers and its form; no 5xx but a 503 that is documented."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    with documented(mode, tmp_path) as document:
        operations = [each.ok() for each in document.get_all_operations()]
        key_id = document["/.well-known/jwks.json"]["GET"].Case().call().json()["keys"][0]["kid"]
        for operation in operations:
            for case in (granted(operation, key_id), *cases(operation)):
                headers = PEER if operation.path.startswith("/internal/") else {}
                response = case.call(headers=headers)
                case.validate_response(response, checks=CHECKS)
                assert response.status_code < 500 or response.status_code == 503
                seen[operation.path][response.status_code] += 1
    assert set(seen) == set(document.raw_schema["paths"])
    assert all(statuses[200] for statuses in seen.values()), seen
    assert seen["/keys/{key_id}"].keys() == {200, 404} | ({503} if mode != "up" else set())


def granted(operation: Any, key_id: str) -> schemathesis.Case:
    """A request that is granted, primary up or not."""
    form = {"media_type": "application/x-www-form-urlencoded"}
    match operation.path:
        case "/token/service":
            return operation.Case(body=SERVICE_FORM, **form)
        case "/token/exchange":
            body = {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": external_token(),
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            }
            return operation.Case(body=body, **form)
    if operation.path_parameters:
        return operation.Case(path_parameters={"key_id": key_id})
    return operation.Case()


def cases(operation: Any) -> list[schemathesis.Case]:
    """Requests that fit the schema and such that do not, from a seed that does not change."""
    drawn: list[schemathesis.Case] = []
    if not (operation.body or operation.path_parameters):
        return []  # There is nothing to vary.
    for generation in schemathesis.GenerationMode:

        @given(case=operation.as_strategy(generation_mode=generation))
        @seed(0)
        @settings(
            max_examples=15,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        def draw(case: schemathesis.Case) -> None:
            drawn.append(case)

        draw()
    return drawn
