"""A frozen dataclass of settings that checks itself, explains itself, and is written as TOML.

Each field is declared once, with `setting`: its default, bounds, unit, meaning and source. The
checks, the commented TOML file and the table in the documentation are all made from that.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import numbers
import re
import textwrap
import tomllib
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from ftrepo.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NONE = "none"
"""How TOML, which has no null, spells `None` for a setting that may be without a value."""

SECONDS_MAX = 1e9
"""The longest time that a setting may ask for: 31 years. Much longer ones have no calendar date."""

_LINE_CHARACTERS = 100
_COMMENT: Any = {"initial_indent": "# ", "subsequent_indent": "# ", "break_on_hyphens": False}
_UNIT_WORDS = {"s": "seconds"}
_BOUND_WORDS = {"above": " above {:g}", "least": ", {:g} or more", "most": ", up to {:g}"}


class Setting(NamedTuple):
    """One setting, as a table of the documentation shows it."""

    name: str
    default: object
    unit: str
    allowed: str
    doc: str
    source: str


def setting(
    default: object,
    *,
    doc: str,
    source: str,
    unit: str = "",
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    secret: bool = False,
) -> Any:
    """Declare one field of a settings dataclass.

    Args:
        default: its value when nobody says otherwise.
        doc: what it does, and what zero and `None` mean.
        source: where the default comes from.
        unit: what a number counts; empty for a choice or a switch. A number of seconds is also
            bounded by `SECONDS_MAX`.
        above: a number must be greater than this.
        least: a number must be at least this.
        most: a number must be at most this.
        secret: its value is never shown in an error.
    """
    if unit == "s":
        most = min(most, SECONDS_MAX)
    bounds = {"above": above, "least": least, "most": most}
    return dataclasses.field(
        default=default,
        metadata={"doc": doc, "source": source, "unit": unit, "bounds": bounds, "secret": secret},
    )


class _Kind:
    """What values one field takes, read from its annotation and its metadata."""

    def __init__(self, annotation: Any, field: dataclasses.Field[Any]) -> None:
        arms = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
        self.optional = type(None) in arms
        (self.type,) = (arm for arm in arms if arm is not type(None))
        self.choices: tuple[str, ...] = ()
        if typing.get_origin(self.type) is typing.Literal:
            self.choices = typing.get_args(self.type)
        self.unit: str = field.metadata["unit"]
        self.bounds: Mapping[str, float] = field.metadata["bounds"]
        self.secret: bool = field.metadata["secret"]

    def converted(self, value: object) -> object:
        """Return the value in the field's own type. Raises `ValueError` if it does not fit."""
        if value is None and self.optional:
            return None
        if self.choices:
            fits = isinstance(value, str) and value in self.choices
        elif self.type is bool:
            fits = isinstance(value, bool)
        elif self.type is str:
            fits = isinstance(value, str)
        else:
            value = self._number(value)
            fits = self._is_within(value)
        if not fits:
            raise ValueError
        return value

    def _number(self, value: object) -> float:
        # In Python a bool is a number; as a setting it is a mistake. numpy's numbers are welcome.
        abstract = numbers.Integral if self.type is int else numbers.Real
        if isinstance(value, bool) or not isinstance(value, abstract):
            raise ValueError
        return int(value) if self.type is int else float(value)  # type: ignore[call-overload]

    def _is_within(self, number: float) -> bool:
        bounds = self.bounds
        return (
            math.isfinite(number)
            and number > bounds["above"]
            and bounds["least"] <= number <= bounds["most"]
        )

    def allowed(self) -> str:
        """Say in words what is allowed."""
        if self.choices:
            words = " or ".join(json.dumps(choice) for choice in self.choices)
        elif self.type is bool:
            words = "true or false"
        elif self.type is str:
            words = "text"
        else:
            words = "a whole number" if self.type is int else "a number"
            words += f" of {_UNIT_WORDS.get(self.unit, self.unit)}" if self.unit else ""
            for bound, phrase in _BOUND_WORDS.items():
                if math.isfinite(self.bounds[bound]):
                    words += phrase.format(self.bounds[bound])
        return words + (f', or "{NONE}"' if self.optional else "")


def check_all(settings: Any) -> None:
    """Check every field of a frozen settings dataclass and bring it into its own type.

    For `__post_init__`. An int given for a float becomes a float, a numpy number a plain one.

    Raises:
        PolicyError: a value is of the wrong type, not finite or out of bounds. The message names
            the setting, the value and what is allowed.
    """
    for name in _kinds(type(settings)):
        value = getattr(settings, name)
        object.__setattr__(settings, name, checked(type(settings), name, value))


def checked(cls: type[Any], name: str, value: object) -> object:
    """Check one value, as `check_all` does for all of them."""
    kind = _kinds(cls)[name]
    try:
        return kind.converted(value)
    except (ValueError, OverflowError):
        shown = "…" if kind.secret else _toml_value(value)
        raise PolicyError(f"{name} = {shown} is not possible; allowed: {kind.allowed()}") from None


def values_from_mapping(
    cls: type[Any],
    mapping: Mapping[str, object],
    *,
    source: str,
    lines: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the checked values of a mapping, as keyword arguments for the dataclass.

    Args:
        cls: the settings dataclass.
        mapping: setting names and values; the text "none" stands for `None`.
        source: what to call the mapping in an error.
        lines: the line of each setting, where the mapping came from a file.

    Raises:
        PolicyError: a name is unknown (the message suggests a near one), or a value is wrong.
    """
    kinds = _kinds(cls)
    values = {}
    for name, value in mapping.items():
        where = f"{source}, line {lines[name]}" if lines and name in lines else source
        if name not in kinds:
            near = difflib.get_close_matches(str(name), kinds, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise PolicyError(f"{where}: unknown setting {_short(name)}{hint}")
        try:
            values[name] = checked(cls, name, None if value == NONE else value)
        except PolicyError as error:
            raise PolicyError(f"{where}: {error}") from None
    return values


def read_toml(path: Path) -> tuple[dict[str, object], dict[str, int]]:
    """Read a flat TOML file into its values and the line of each.

    Raises:
        PolicyError: the file is missing, not UTF-8 or not TOML; the message names it and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        bad_line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise PolicyError(f"{path}, line {bad_line}: not UTF-8 text") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise PolicyError(f"{path}: cannot be read: {reason}") from error
    except ValueError as error:
        raise PolicyError(f"{_short(str(path))}: not a file name") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, bad_line = _toml_complaint(str(error), text)
        raise PolicyError(f"{path}, line {bad_line}: not valid TOML: {message}") from error
    lines = {name: line for name in values if (line := _line_of(name, text))}
    return values, lines


def to_toml(settings: Any, *, comments: bool = True) -> str:
    """Write every setting as TOML, each under a comment that says what it does, if wanted."""
    written = []
    for row in table(type(settings)):
        if comments:
            default = f"Default: {_toml_value(row.default)} ({row.source})."
            notes = (row.doc, f"Allowed: {row.allowed}.", default)
            written += [textwrap.fill(note, _LINE_CHARACTERS, **_COMMENT) for note in notes]
        value = getattr(settings, row.name)
        text = json.dumps(value) if isinstance(value, str) else _toml_value(value)
        written.append(f"{row.name} = {text}")
        if comments:
            written.append("")
    return "\n".join(written).rstrip("\n") + "\n"


def table(cls: type[Any]) -> list[Setting]:
    """Return a row for each setting, in the order of their declaration."""
    return [
        Setting(
            name=field.name,
            default=field.default,
            unit=field.metadata["unit"],
            allowed=_kinds(cls)[field.name].allowed(),
            doc=field.metadata["doc"],
            source=field.metadata["source"],
        )
        for field in dataclasses.fields(cls)
    ]


_KINDS: dict[type[Any], dict[str, _Kind]] = {}


def _kinds(cls: type[Any]) -> dict[str, _Kind]:
    """Return the kind of each field, worked out once for each class, of which there are few."""
    if cls not in _KINDS:
        hints = typing.get_type_hints(cls)
        fields = dataclasses.fields(cls)
        _KINDS[cls] = {field.name: _Kind(hints[field.name], field) for field in fields}
    return _KINDS[cls]


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _toml_value(value: object) -> str:
    """Write a value as TOML; one that no setting can have is shown as Python shows it."""
    if value is None:
        return f'"{NONE}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _short(value, json.dumps)
    return _short(value)


def _short(value: object, show: Any = repr) -> str:
    text: str = show(value)
    return text if len(text) <= _LINE_CHARACTERS else text[:_LINE_CHARACTERS] + "…"


def _line_of(name: str, text: str) -> int | None:
    found = re.search(rf"""^[ \t]*(["']?){re.escape(name)}\1[ \t]*[=.\]]""", text, re.MULTILINE)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def _toml_complaint(message: str, text: str) -> tuple[str, int]:
    """Split the parser's message into what is wrong and the line, which it puts at the end."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if found is None:
        return message, 1
    line = int(found[1]) if found[1] else text.count("\n") + 1
    return message[: found.start()], line
