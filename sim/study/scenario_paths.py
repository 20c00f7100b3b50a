"""Settings of a scenario by their path: `service.instances`, `outages[0].up.mean_s`.

The paths are those of the table of assumptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from sim.world.errors import InputError
from sim.world.scenario import Scenario
from sim.world.settings import as_table, converted

T = TypeVar("T")

Steps = tuple[str | int, ...]
"""A path taken apart: names of fields, and places in lists."""

NO_SETTINGS = ("name", "description")
"""Fields of a scenario that change no run."""

_STEP = re.compile(r"(?:^|\.)(\w+)|\[(\d+)\]")


def paths(scenario: Scenario) -> list[str]:
    """Return the path of everything that can be set, tables and lists as a whole included."""
    return [path for path in _below(scenario, "") if path not in NO_SETTINGS]


def with_paths(scenario: Scenario, changes: Mapping[str, object]) -> Scenario:
    """Return the scenario with other values, all set at once, so that only the whole must fit.

    Args:
        scenario: stays as it is.
        changes: values as a TOML parser returns them, by path; None for a setting that is unset.

    Raises:
        InputError: a path leads nowhere, a value has the wrong type, or the whole is impossible;
            begins with the path.
    """
    return _with(scenario, {_steps(path): value for path, value in changes.items()}, "")


def value_at(scenario: Scenario, path: str) -> object:
    """Return the value at a path: a plain one, or a table."""
    value: Any = scenario
    for step in _steps(path):
        value = value[step] if isinstance(step, int) else getattr(value, step)
    return as_table(value) if is_dataclass(value) else value


def _steps(path: str) -> Steps:
    found = list(_STEP.finditer(path))
    if not found or "".join(each.group() for each in found) != path:
        raise InputError(f"{path} is not a path, such as keys.lifetime_s or outages[0].up.mean_s")
    return tuple(each[1] or int(each[2]) for each in found)


def _below(settings: Any, where: str) -> Iterator[str]:
    for each in fields(settings):
        path = f"{where}.{each.name}" if where else each.name
        value = getattr(settings, each.name)
        yield path
        if is_dataclass(value):
            yield from _below(value, path)
        for at, item in enumerate(value if isinstance(value, tuple) else ()):
            if is_dataclass(item):
                yield f"{path}[{at}]"
                yield from _below(item, f"{path}[{at}]")


def _with(settings: T, changes: Mapping[Steps, object], where: str) -> T:
    by_name: dict[str, dict[Steps, object]] = {}
    for (name, *rest), value in changes.items():
        by_name.setdefault(str(name), {})[tuple(rest)] = value
    made: dict[str, Any] = {}
    for name, below in by_name.items():
        path = f"{where}.{name}" if where else name
        if () in below:
            made[name] = converted(type(settings), name, below[()], where)
        else:
            # Says whether there is such a setting at all.
            present = getattr(settings, name, None)
            made[name] = _inside(present, below, path)
    try:
        return replace(settings, **made)  # type: ignore[type-var]
    except InputError as error:
        raise InputError(f"{where}.{error}" if where else str(error)) from None


def _inside(present: Any, below: Mapping[Steps, object], path: str) -> Any:
    """Return the settings or the list at a path with what lies below it changed."""
    if is_dataclass(present):
        return _with(present, below, path)
    if not isinstance(present, tuple):
        raise InputError(f"there is nothing below {path}, which is {present!r}")
    items = list(present)
    by_place: dict[int, dict[Steps, object]] = {}
    for (place, *rest), value in below.items():
        if not isinstance(place, int) or place >= len(items):
            raise InputError(f"{path} has no [{place}]; it has {len(items)}, counted from 0")
        by_place.setdefault(place, {})[tuple(rest)] = value
    for place, changes in by_place.items():
        if () in changes or not is_dataclass(items[place]):
            raise InputError(f"set all of {path}, or a setting of {path}[{place}]")
        items[place] = _with(items[place], changes, f"{path}[{place}]")
    return tuple(items)
