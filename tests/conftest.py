"""Holds for every test: no network beyond this machine, and no deadline that a slow one breaks."""

from __future__ import annotations

import os
import sys
from typing import Any

from hypothesis import settings

pytest_plugins = ["postgres"]

LOCAL = ("127.", "::1", "localhost")


def refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail whoever looks up or connects to another host, and say which."""
    if event not in ("socket.connect", "socket.getaddrinfo"):
        return
    host = arguments[1] if event == "socket.connect" else arguments[0]
    if isinstance(host, tuple):
        host = host[0]
    elif event == "socket.connect":
        return  # A socket of the file system.
    if host and not str(host).startswith(LOCAL):
        raise AssertionError(f"a test may not use the network, and asked for {host}")


def pytest_configure() -> None:
    """Set up each worker."""
    sys.addaudithook(refuse_the_network)
    settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("project")
