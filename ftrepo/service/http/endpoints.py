"""The paths of the service, and which one a request is for, before anything is routed.

Limits, metrics and logs name a request by its endpoint: there are few, whatever callers ask for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

EXCHANGE = "/token/exchange"
SERVICE = "/token/service"
KEY = "/keys/{key_id}"
KEY_SET = "/.well-known/jwks.json"
HEALTH = "/health"
HEALTH_DETAILED = "/health/detailed"
LIVE = "/health/live"
READY = "/health/ready"
METRICS = "/metrics"
PEER_KEY = "/internal/keys/{key_id}"
PEER_KEYS = "/internal/keys"
OPENAPI = "/openapi.json"

UNKNOWN = "(unknown)"
"""Every path that is none of the service's."""

NEVER_LIMITED = frozenset({HEALTH, HEALTH_DETAILED, LIVE, READY, METRICS})
"""Whoever looks after the service must see it most of all when it is busy. Each of them is answered
from memory, between two turns of the event loop."""

_EXACT = frozenset({EXCHANGE, SERVICE, KEY_SET, PEER_KEYS, OPENAPI, *NEVER_LIMITED})
_BEFORE_ID = {template.removesuffix("{key_id}"): template for template in (KEY, PEER_KEY)}


def endpoint_of(path: str) -> str:
    """Return the endpoint that a path belongs to, `UNKNOWN` if to none."""
    if path in _EXACT:
        return path
    folder, slash, key_id = path.rpartition("/")
    if not key_id:
        return UNKNOWN
    return _BEFORE_ID.get(folder + slash, UNKNOWN)


def endpoint_of_scope(scope: Scope) -> str:
    """Return the endpoint of a request, from its ASGI scope."""
    return endpoint_of(scope["path"])
