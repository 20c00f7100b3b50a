"""Settings that document, check and read themselves.

A setting is a field of a frozen dataclass whose metadata, made by `about`, holds its meaning, its
source and its bounds. That one place serves the check on construction, the strict reading of a
TOML table and the table of assumptions in a notebook.
"""

from __future__ import annotations

import difflib
import enum
import math
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sim.world.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of one setting.

    Attributes:
        doc: its meaning, beginning with a fact.
        source: where the default comes from; empty where it is plainly a choice.
        above: the value must be greater than this; `None` for no such bound.
        least: the value must be at least this; `None` for no such bound.
        most: the value must be at most this; `None` for no such bound.
    """

    doc: str
    source: str = ""
    above: float | None = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Assumption:
    """One row of the table of what a scenario assumes."""

    name: str
    value: object
    doc: str
    source: str


def about(
    doc: str,
    *,
    source: str = "",
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> dict[str, About]:
    """Return the metadata of a dataclass field; see `About` for the arguments."""
    return {"about": About(doc=doc, source=source, above=above, least=least, most=most)}


def check(settings: Any) -> None:
    """Hold every number among the fields against its bounds. Called from `__post_init__`.

    Raises:
        InputError: a number is out of bounds, infinite or not a number; begins with the field.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise InputError(f"{each.name} must be a finite number, not {value}")
        known: About | None = each.metadata.get("about")
        if known is None:
            continue
        if known.above is not None and not value > known.above:
            raise InputError(f"{each.name} must be above {known.above:g}, not {value:g}")
        if known.least is not None and not value >= known.least:
            raise InputError(f"{each.name} must be at least {known.least:g}, not {value:g}")
        if known.most is not None and not value <= known.most:
            raise InputError(f"{each.name} must be at most {known.most:g}, not {value:g}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def from_table(cls: type[T], table: object, where: str = "") -> T:
    """Return an instance of a settings class from a parsed TOML table, strictly.

    Where the table holds an instance already, that is taken as it is.

    Args:
        cls: a dataclass whose fields may be numbers, strings, booleans, enums, literals, tuples,
            other settings classes, or unions of classes told apart by their `kind`.
        table: what the TOML parser returned.
        where: the dotted path to this table, for messages; empty at the top.

    Raises:
        InputError: a key is unknown or missing, or a value has the wrong type or is out of bounds;
            begins with the dotted path.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where or 'the top'} must be a table, not {table!r}")
    wanted: dict[str, Field[Any]] = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
    kind = _tag(cls)
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "kind" and kind is not None:
            _require_kind(value, {kind: cls}, where)
        elif key in wanted:
            values[key] = _convert(hints[key], value, _join(where, key))
        else:
            raise InputError(f"{_join(where, key)} is not a setting{did_you_mean(key, wanted)}")
    for name, each in wanted.items():
        required = each.default is MISSING and each.default_factory is MISSING
        if required and name not in values:
            raise InputError(f"{_join(where, name)} is missing")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(_join(where, str(error))) from None


def converted(cls: type[Any], name: str, value: object, where: str = "") -> Any:
    """Return the value that a setting of a class has if a TOML file says `value`.

    Args:
        cls: as in `from_table`.
        name: of the setting.
        value: what the TOML parser returned; None for a setting that is unset.
        where: the dotted path to the settings, for messages; empty at the top.

    Raises:
        InputError: the class has no such setting, or the value has the wrong type; begins with the
            dotted path. Bounds are checked when the settings are made.
    """
    wanted = [each.name for each in fields(cls)]
    if name not in wanted:
        raise InputError(f"{_join(where, name)} is not a setting{did_you_mean(name, wanted)}")
    return _convert(get_type_hints(cls)[name], value, _join(where, name))


def as_table(settings: Any) -> dict[str, Any]:
    """Return the inverse of `from_table`: plain dicts, lists, strings and numbers, fit for JSON.

    A class with an `as_table` method of its own (a recording that is named rather than listed)
    is asked instead.
    """
    table: dict[str, Any] = {}
    if _tag(type(settings)) is not None:
        table["kind"] = settings.kind
    for each in fields(settings):
        table[each.name] = _plain(getattr(settings, each.name))
    return table


def assumptions(settings: Any, where: str = "") -> Iterator[Assumption]:
    """Yield one row for every documented setting, nested ones under their dotted path.

    The source of a default does not speak for another value: that one's is the `source` of the
    settings themselves, if they have one, or else the scenario.
    """
    given = getattr(settings, "source", "") or "the scenario"
    for each in fields(settings):
        value = getattr(settings, each.name)
        name = _join(where, each.name)
        known: About | None = each.metadata.get("about")
        if known is not None:
            default = value == each.default
            source = known.source if default else given
            yield Assumption(name, _plain(value), known.doc, source)
        elif is_dataclass(value):
            yield from assumptions(value, name)
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if is_dataclass(item):
                    yield from assumptions(item, f"{name}[{at}]")


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "as_table"):
        return value.as_table()
    return as_table(value) if is_dataclass(value) else value


def _convert(hint: Any, value: object, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, where)
    if origin is Literal:
        if value in get_args(hint) and not isinstance(value, bool):
            return value
        raise _wrong(where, " or ".join(repr(each) for each in get_args(hint)), value)
    if origin is tuple:
        return _convert_tuple(get_args(hint), value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        names = [member.value for member in hint]
        if value in names:
            return hint(value)
        guess = did_you_mean(value, names) if isinstance(value, str) else ""
        raise _wrong(where, "one of " + ", ".join(map(repr, names)), value, guess)
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: object, where: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float:
        if number and math.isfinite(value):  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
        raise _wrong(where, "a finite number" if number else "a number", value)
    if hint is int:
        if number and isinstance(value, int):
            return value
        raise _wrong(where, "a whole number", value)
    if hint is type(None):
        if value is None:
            return None
        raise _wrong(where, "left out", value)
    if isinstance(value, hint):
        return value
    raise _wrong(where, "true or false" if hint is bool else "a text", value)


def _convert_union(members: tuple[Any, ...], value: object, where: str) -> Any:
    kinds = {tag: each for each in members if (tag := _tag(each)) is not None}
    if kinds:
        if isinstance(value, members):
            return value
        if not isinstance(value, Mapping):
            raise _wrong(where, "a table", value)
        if "kind" not in value:
            raise InputError(f"{where}.kind is missing: one of {', '.join(map(repr, kinds))}")
        return from_table(_require_kind(value["kind"], kinds, where), value, where)
    wanted = []
    for member in members:
        try:
            return _convert(member, value, where)
        except InputError as error:
            wanted.append(str(error).removeprefix(f"{where} must be ").rsplit(", not ", 1)[0])
    raise _wrong(where, " or ".join(each for each in wanted if each != "left out"), value)


def _convert_tuple(members: tuple[Any, ...], value: object, where: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(where, "a list", value)
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(members) != len(value):
        raise _wrong(where, f"a list of {len(members)}", value)
    pairs = enumerate(zip(members, value, strict=True))
    return tuple(_convert(hint, item, f"{where}[{at}]") for at, (hint, item) in pairs)


def _tag(cls: Any) -> str | None:
    """What tells a class from others of its union; a field that is called `kind` is none."""
    kind = getattr(cls, "kind", None)
    return kind if isinstance(kind, str) else None


def _require_kind(value: object, kinds: Mapping[str, type[T]], where: str) -> type[T]:
    if isinstance(value, str) and value in kinds:
        return kinds[value]
    guess = did_you_mean(value, kinds) if isinstance(value, str) else ""
    raise _wrong(f"{where}.kind", "one of " + ", ".join(map(repr, kinds)), value, guess)


def _wrong(where: str, wanted: str, value: object, guess: str = "") -> InputError:
    return InputError(f"{where} must be {wanted}, not {_show(value)}{guess}")


def _show(value: object) -> str:
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
