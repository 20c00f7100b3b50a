"""The service over HTTP in virtual time, before a primary that fails on schedule."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from fastapi import FastAPI
from laboratory import Laboratory, run_laboratory

from ftrepo.service.http.app import create_app
from ftrepo.service.running import Service
from ftrepo.service.settings import ServiceSettings
from sim.world.outages import Outage

T = TypeVar("T")

CLIENT = "billing"
SECRET = "a-secret-that-nobody-may-ever-read-anywhere"
PEER_SECRET = "another-secret-that-only-instances-know"

SERVICE_FORM = {
    "grant_type": "client_credentials",
    "client_id": CLIENT,
    "client_secret": SECRET,
}


@dataclass
class Served:
    """A running service and a client of it."""

    lab: Laboratory
    service: Service
    app: FastAPI
    client: httpx2.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Ask, with headers whose names have underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers=named)

    async def token(self, **form: str) -> httpx2.Response:
        """Ask for a service token."""
        return await self.client.post("/token/service", data=SERVICE_FORM | form)

    def another(self, address: str) -> httpx2.AsyncClient:
        """A client at another address."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 1))
        return httpx2.AsyncClient(transport=transport, base_url="http://service")


def service_settings(folder: str, **given: Any) -> ServiceSettings:
    """Settings with one client; nothing is kept on the disk, for threads have no virtual time."""
    policy = Path(folder) / "policy.toml"
    policy.write_text('snapshot_interval_s = "none"\n')
    client = {
        "id": CLIENT,
        "secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
        "audiences": ["api"],
        "scopes": ["read"],
    }
    values: dict[str, Any] = {
        "folder": folder,
        "policy": policy,
        "journal": False,
        "audiences": ("api",),
        "clients": (client,),
        "peers": {"secret": PEER_SECRET},
    }
    return ServiceSettings(**(values | given))


def serve(
    story: Callable[[Served], Awaitable[T]], outages: Sequence[Outage] = (), **given: Any
) -> T:
    """Play a story with a service that runs, in virtual time."""

    async def main(lab: Laboratory) -> T:
        with tempfile.TemporaryDirectory() as folder:
            settings = service_settings(folder, **given)
            service = Service(
                settings,
                now=lab.now,
                primary=lab.primary,
                draw=lambda: 0.0,
            )
            app = create_app(service)
            transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
            async with (
                app.router.lifespan_context(app),
                httpx2.AsyncClient(transport=transport, base_url="http://service") as client,
            ):
                return await story(Served(lab, service, app, client))

    return run_laboratory(main, outages)
