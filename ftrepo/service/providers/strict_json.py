"""JSON from strangers: one object, read in one way only."""

from __future__ import annotations

import json
import math
from typing import NoReturn

LEVELS_MAX = 16
"""How deep lists and objects may lie within each other; claims of real providers need four. What
walks through the result by recursion is then safe too."""


def parse_object(text: bytes) -> dict[str, object]:
    """Return the object that a JSON text is.

    Refused, because readers differ on them or fall over them: a member that is given twice, NaN and
    what is too large for a float (1e999), text that has no UTF-8 (lone surrogates), and more than
    `LEVELS_MAX` levels.

    Raises:
        ValueError: it is not such a text. The message may quote the text: do not pass it on.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_without_twins,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise ValueError("too many levels") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    if not _has_few_levels(value):
        raise ValueError("too many levels")
    if b"\\u" in text:  # Only an escape can make half a pair; raises UnicodeEncodeError.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _without_twins(members: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(members)
    if len(names) != len(members):
        raise ValueError("a member is given twice")
    return names


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _has_few_levels(whole: dict[str, object]) -> bool:
    level: list[dict[str, object] | list[object]] = [whole]
    for _ in range(LEVELS_MAX):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False
