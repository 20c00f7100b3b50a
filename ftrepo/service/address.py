"""Where the service can be reached: what it is called where nobody has given it a name."""

from __future__ import annotations

_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are looked for.
"""What stands for every address of a machine, and one that leads there from the machine itself."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that lead nowhere but to the machine itself."""


def url_at(host: str, port: int) -> str:
    """Return how a program on this machine reaches a service that listens there."""
    host = _ALL.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
