"""Where the service's settings come from: a TOML file, the environment, and files with secrets.

Each source gives plain values, as a nest of dicts; the stronger is laid over the weaker, table by
table. No error repeats a value: it may be a secret.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from ftrepo.errors import PolicyError
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.settings import read_toml

ENVIRONMENT_PREFIX = "FTREPO_"

SECRET_FILES: Mapping[str, tuple[str, ...]] = {
    "FTREPO_DSN_FILE": ("dsn",),
    "FTREPO_PEERS__SECRET_FILE": ("peers", "secret"),
    "FTREPO_PEERS__NEXT_SECRET_FILE": ("peers", "next_secret"),
}
"""Variables that name a file with a secret, as Docker and Kubernetes hand secrets out, and the
setting that it is. An environment is easier to look into than a file."""

OPEN_TABLES = ("connection", "pool", "health")
"""Tables whose values the environment gives as text, since nobody here knows their types."""

_SIMILARITY_MIN = 0.75


def read_file(path: Path) -> dict[str, Any]:
    """Read a TOML file. Files that it names are taken to lie beside it.

    Raises:
        ServiceSettingsError: it cannot be read, or is not TOML; the message has the line.
    """
    try:
        values, _ = read_toml(path)
    except PolicyError as error:
        raise ServiceSettingsError(str(error)) from None
    beside = path.absolute().parent
    _resolve(values, ("policy", "folder"), beside)
    providers = values.get("providers")
    for provider in providers if isinstance(providers, list) else ():
        if isinstance(provider, dict):
            _resolve(provider, ("jwks_file",), beside)
    return values


def read_environment(settings: type[BaseSettings]) -> dict[str, Any]:
    """Read the variables that begin with `FTREPO_`, and the files with secrets that they name.

    Raises:
        ServiceSettingsError: one is not JSON where it must be, or a file cannot be read.
    """
    try:
        found: dict[str, Any] = EnvSettingsSource(settings)()
    except SettingsError as error:
        raise ServiceSettingsError(_not_json(error)) from None
    for name in OPEN_TABLES:
        if isinstance(table := found.get(name), dict):
            found[name] = {key: _plain(value) for key, value in table.items()}
    for variable, setting in SECRET_FILES.items():
        if variable in os.environ:
            _take_secret(found, variable, setting)
    return found


def merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay each layer over those before it. Tables are merged; a list replaces a list."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            before = result.get(name)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                result[name] = merged((before, value))
            else:
                result[name] = value
    return result


def mistyped_variables(settings: type[BaseSettings]) -> tuple[str, ...]:
    """Return a line for each variable that is no setting but is spelt much like one.

    Others are left alone: `FTREPO_POSTGRES_BIN` and more are not settings of the service.
    """
    known = [name.upper() for name in settings.model_fields]
    lines = []
    for variable in sorted(os.environ):
        if not variable.upper().startswith(ENVIRONMENT_PREFIX) or variable in SECRET_FILES:
            continue
        first, joint, rest = variable.upper().removeprefix(ENVIRONMENT_PREFIX).partition("__")
        near = difflib.get_close_matches(first, known, n=1, cutoff=_SIMILARITY_MIN)
        if near and near[0] != first:
            meant = f"{ENVIRONMENT_PREFIX}{near[0]}{joint}{rest}"
            lines.append(f"the variable {variable} is no setting; did you mean {meant}?")
    return tuple(lines)


def _resolve(values: dict[str, Any], names: Iterable[str], beside: Path) -> None:
    for name in names:
        if isinstance(value := values.get(name), str):
            values[name] = str(beside / Path(value).expanduser())


def _not_json(error: SettingsError) -> str:
    named = re.search(r'field "(\w+)"', str(error))
    field = f"{ENVIRONMENT_PREFIX}{named[1].upper()}" if named else ENVIRONMENT_PREFIX
    given = [name for name in sorted(os.environ) if name.upper().startswith(field)]
    why = error.__cause__
    detail = f": {why.msg} at character {why.pos}" if isinstance(why, json.JSONDecodeError) else ""
    return (
        f"{' or '.join(given) or field} must be JSON, as a list or a table is, and is not{detail}"
    )


def _plain(value: object) -> object:
    """A number or a truth value that was written as text."""
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return read if isinstance(read, bool | int | float) else value


def _take_secret(found: dict[str, Any], variable: str, setting: tuple[str, ...]) -> None:
    table = found
    for name in setting[:-1]:
        table = table.setdefault(name, {})
    table.pop(f"{setting[-1]}_file", None)  # The environment took it for a setting of that name.
    if setting[-1] in table:
        other = variable.removesuffix("_FILE")
        raise ServiceSettingsError(f"{other} and {variable} are both given; which is meant?")
    try:
        secret = Path(os.environ[variable]).read_text(encoding="utf-8")
    except OSError as error:
        raise ServiceSettingsError(f"{variable}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ServiceSettingsError(f"{variable}: not UTF-8 text, or no file name") from None
    table[setting[-1]] = secret.rstrip("\r\n")
