"""Addresses of databases: checked early, and shown without their passwords."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from ftrepo.errors import PolicyError

SCHEMES = ("postgresql", "postgres")

_HIDDEN = "***"
_USER_INFO = re.compile(r"(?<=://)(?P<user>[^:@/?#]*):(?P<password>.*)@", re.DOTALL)
_SECRET_OPTION = re.compile(r"(?<=[?&])(?P<name>(?:ssl)?password)=[^&]*", re.IGNORECASE)


def redacted(dsn: str) -> str:
    """Return the address with every password in it replaced by `***`.

    It hides too much rather than too little: whatever stands between the first colon after the
    user's name and the last `@` is taken for the password, also where a `/`, `#` or `@` in it
    should have been percent-encoded and was not.
    """
    shown = _USER_INFO.sub(rf"\g<user>:{_HIDDEN}@", dsn)
    return _SECRET_OPTION.sub(rf"\g<name>={_HIDDEN}", shown)


def check_dsn(dsn: object) -> None:
    """Refuse an address that no connection can be made with, without repeating its secrets.

    Raises:
        PolicyError: it is not text, has another scheme or an impossible port, or cannot be read.
    """
    if not isinstance(dsn, str):
        raise PolicyError(f"dsn must be text, and is of the type {type(dsn).__name__}")
    try:
        parts = urlsplit(dsn)
        hosts = parts.netloc.rpartition("@")[2]
        ports = [found for found in re.findall(r":([^,:\]]*)(?:,|$)", hosts) if found]
        readable = all(port.isdecimal() and 0 < int(port) < 2**16 for port in ports)
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        # The parser's own message may quote what it stumbled over: a password.
        readable = False
    if not readable:
        raise PolicyError(
            "dsn cannot be read as postgresql://user:password@host:port/database?option=value; "
            "are special characters of the password percent-encoded?"
        )
    if parts.scheme not in SCHEMES:
        raise PolicyError("dsn must begin with postgresql:// or postgres://")


def option_of(dsn: str, name: str) -> str | None:
    """Return the last value of an option of the address, such as `sslmode`; `None` without one."""
    return dict(parse_qsl(urlsplit(dsn).query)).get(name)
