"""A settings file with every setting in it, at its default, under what it means.

It is made from the settings themselves: the text is that of their documentation.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from ftrepo.postgres.health import HealthSettings
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.service.settings import (
    ClientSettings,
    LimitSettings,
    PeerSettings,
    ProviderSettings,
    ServiceSettings,
)
from ftrepo.settings import NONE, table

_LINE_CHARACTERS = 100

_HEAD = """\
# Settings of the token-exchange service: python -m ftrepo serve --config THIS-FILE
#
# A line that begins with "#" and a space is an explanation. One that begins with "#" alone is a
# setting that is not set, or an example. Each setting can also be given in the environment, which
# comes first: [server] port is FTREPO_SERVER__PORT. Secrets belong there, or in a file that
# FTREPO_DSN_FILE or FTREPO_PEERS__SECRET_FILE names.
"""

_EXAMPLES: Mapping[type[BaseModel], Mapping[str, object]] = {
    ServiceSettings: {
        "issuer": "https://tokens.example",
        "audiences": ["orders", "billing"],
        "dsn": "postgresql://ftrepo:password@db.example:5432/ftrepo",
        "folder": "/var/lib/ftrepo",
        "policy": "policy.toml",
        "migrate": True,
        "log_format": "json",
    },
    ProviderSettings: {
        "name": "example",
        "issuer": "https://login.example",
        "audience": ["token-exchange"],
        "jwks_url": "https://login.example/jwks.json",
        "jwks_file": None,
        "scopes": ["orders:read"],
        "audiences": ["orders"],
    },
    ClientSettings: {
        "id": "billing-job",
        "secret_sha256": "0" * 64,
        "next_secret_sha256": "1" * 64,
        "audiences": ["orders"],
        "scopes": ["orders:read"],
    },
    PeerSettings: {
        "urls": ["http://ftrepo-1.example:8080", "http://ftrepo-2.example:8080"],
        "secret": "at-least-32-characters-of-chance",
        "next_secret": "another-32-characters-of-chance!",
    },
}
"""What stands where there is no default. Whoever removes the "#" of all has settings that fit."""


def example_toml() -> str:
    """Return the text of the file. Read as it is, it changes nothing."""
    settings = ServiceSettings()
    tables = {
        name: value
        for name in ServiceSettings.model_fields
        if isinstance(value := getattr(settings, name), BaseModel)
    }
    lines = [_HEAD, *_settings(ServiceSettings, settings, leave_out={*tables, *_LAST})]
    for name, values in tables.items():
        if name != "limits":
            lines += [*_title(type(values)), f"[{name}]", *_settings(type(values), values)]
    lines += [*_title(LimitSettings), *_comment(_meanings(LimitSettings))]
    for name in type(settings.limits).model_fields:
        lines += [f"[limits.{name}]", *_settings(LimitSettings, getattr(settings.limits, name))]
    for head, model in (
        ("[[providers]]", ProviderSettings),
        ("[[clients]]", ClientSettings),
        ("[peers]", PeerSettings),
    ):
        lines += [*_title(model), f"#{head}", *_settings(model, None)]
    for name, cls in _OPEN.items():
        lines += [*_title(cls), f"#[{name}]", *_open_settings(cls), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


_OPEN: Mapping[str, type[Any]] = {
    "connection": ConnectionSettings,
    "pool": PoolSettings,
    "health": HealthSettings,
}

_LAST = ("providers", "clients", "peers", *_OPEN)


def _settings(
    model: type[BaseModel], values: BaseModel | None, *, leave_out: object = ()
) -> Iterator[str]:
    """Lines for each setting of a table; those of an example if there are no values."""
    meanings = _meanings(model) if model is not LimitSettings else {}
    examples = _EXAMPLES.get(model, {})
    for name, field in model.model_fields.items():
        if name in leave_out:  # type: ignore[operator]
            continue
        yield from _comment({name: meanings[name]} if name in meanings else {}, named=False)
        value = getattr(values, name) if values is not None else field.default
        if name in examples and (value in (None, ()) or name == "folder" or values is None):
            if examples[name] is not None:
                yield f"#{name} = {json.dumps(examples[name])}"
        else:
            yield f"{'' if values is not None else '#'}{name} = {json.dumps(value)}"
        if meanings:
            yield ""
    if not meanings:
        yield ""


def _open_settings(cls: type[Any]) -> Iterator[str]:
    for row in table(cls):
        if row.name != "dsn":
            value = NONE if row.default is None else row.default
            yield f"#{row.name} = {json.dumps(value)}"


def _title(cls: type[Any]) -> list[str]:
    """The first sentence of the documentation."""
    text = inspect.getdoc(cls) or ""
    return list(_wrapped(text.split("\n\n")[0]))


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What each setting means, from the section `Attributes` of the documentation."""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w[\w, ]*): ((?:.+\n?(?:        .*\n?)*))", section, re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def _comment(meanings: Mapping[str, str], *, named: bool = True) -> Iterator[str]:
    for name, text in meanings.items():
        said = f"{name}: {text}" if named else text[:1].upper() + text[1:]
        yield from _wrapped(said)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        _LINE_CHARACTERS,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
