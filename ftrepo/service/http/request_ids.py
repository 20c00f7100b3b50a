"""The id of a request: in its answer, in its log lines, and in the instance of its problem."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

HEADER = "x-request-id"

SCOPE_KEY = "ftrepo.request_id"
"""Where the ASGI scope has it."""

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~-]{1,64}")
"""Fit for a header, a log line and a URN as it is. A UUID has 36 characters, a trace id 32."""


def new_request_id() -> str:
    """Return an id that no other request has: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def request_id_of(scope: Scope, make: Callable[[], str]) -> str:
    """Return the id that the caller gave, if there is one and it is well-formed; else a new one."""
    given = [value for name, value in scope["headers"] if name == HEADER.encode()]
    if len(given) == 1 and _WELL_FORMED.fullmatch(given[0]):
        return str(given[0], "ascii")
    return make()
