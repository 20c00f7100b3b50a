"""A case as a small JSON file: to be replayed, read, and kept as a regression test.

Policy and primary are written whole, so that the file means the same when a default has changed.
What is a list of small things has one a line, without what is as it would be anyway.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from ftrepo.settings import NONE
from sim.explore.happenings import Violation
from sim.explore.hostile_world import HostileWorld
from sim.explore.judging import Case
from sim.study.run_digest import Digest, code_digest
from sim.world.errors import InputError
from sim.world.settings import as_table, from_table

_PARTS = ("about", "origin", "violation", "digest", "code", "world", "policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a case comes from.

    Attributes:
        seed: that it was drawn from, before it was made smaller.
        scenario: within which; empty if everything was drawn.
    """

    seed: int
    scenario: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A case with what is known of it.

    Attributes:
        about: what it shows, in a sentence.
        case: the world and the policy.
        origin: where it comes from; `None` if somebody wrote it by hand.
        violation: what was broken; `None` if nothing was.
        digest: of the history that was seen; `None` if the play did not complete, or of old.
        code: of the code that played it; `None` if that is not known.
    """

    about: str
    case: Case
    origin: Origin | None = None
    violation: Violation | None = None
    digest: str | None = None
    code: str | None = None


def write_kept(path: Path, kept: Kept) -> None:
    """Write a case to a file, in place of what is there."""
    table: dict[str, Any] = {"about": kept.about}
    if kept.origin is not None:
        table["origin"] = _sparse(kept.origin)
    if kept.violation is not None:
        table["violation"] = _sparse(kept.violation)
    table |= {"digest": kept.digest, "code": kept.code}
    table["world"] = _world_table(kept.case.world)
    table["policy"] = {
        name: NONE if value is None else value
        for name, value in dataclasses.asdict(kept.case.policy).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_lines(table)) + "\n", encoding="utf-8")


def read_kept(path: Path) -> Kept:
    """Read a case from a file.

    Raises:
        InputError: the file cannot be read, or is none of a case; begins with its path.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError.at(path, f"not JSON: {error}") from None
    try:
        return _kept(table)
    except (InputError, PolicyError) as error:
        raise InputError.at(path, str(error)) from None


@functools.cache
def player_digest() -> str:
    """Return a digest of the code that draws, plays and judges worlds, as it is here and now."""
    digest = Digest().add(code_digest())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.add(path.name).add(path.read_text(encoding="utf-8"))
    return digest.hex()[:16]


def _kept(table: object) -> Kept:
    if not isinstance(table, dict) or not {"world", "policy"} <= set(table):
        raise InputError("not the file of a world: that has world and policy")
    if unknown := sorted(set(table) - set(_PARTS)):
        raise InputError(f"{unknown[0]} is none of {', '.join(_PARTS)}")
    policy = table["policy"]
    if not isinstance(policy, dict):
        raise InputError(f"policy must be a table, not {policy!r}")
    case = Case(from_table(HostileWorld, table["world"], "world"), Policy.from_mapping(policy))
    return Kept(
        about=_text(table, "about") or "",
        case=case,
        origin=_optional(Origin, table, "origin"),
        violation=_optional(Violation, table, "violation"),
        digest=_text(table, "digest"),
        code=_text(table, "code"),
    )


def _optional(cls: type[Any], table: dict[str, Any], name: str) -> Any:
    return from_table(cls, table[name], name) if table.get(name) is not None else None


def _text(table: dict[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} must be a text, not {value!r}")
    return value


def _world_table(world: HostileWorld) -> dict[str, Any]:
    """Every setting of the world; of what is in its lists, what is not as it would be anyway."""
    table = as_table(world)
    for each in fields(world):
        value = getattr(world, each.name)
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            table[each.name] = [_sparse(item) for item in value]
    return table


def _sparse(settings: Any) -> dict[str, Any]:
    table = as_table(settings)
    return {
        each.name: table[each.name]
        for each in fields(settings)
        if getattr(settings, each.name) != each.default
    }


def _lines(table: dict[str, Any], indent: str = "") -> Iterator[str]:
    """JSON with a line for each setting and each item of a list of tables."""
    yield "{"
    inner = indent + " "
    for at, (name, value) in enumerate(table.items(), start=1):
        comma = "," if at < len(table) else ""
        key = f"{inner}{json.dumps(name)}: "
        if isinstance(value, dict) and len(json.dumps(value)) > 90:
            first, *others = _lines(value, inner)
            yield key + first
            yield from others[:-1]
            yield others[-1] + comma
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield key + "["
            for place, item in enumerate(value, start=1):
                yield f"{inner} {json.dumps(item, ensure_ascii=False)}" + (
                    "," if place < len(value) else ""
                )
            yield f"{inner}]{comma}"
        else:
            yield key + json.dumps(value, ensure_ascii=False) + comma
    yield indent + "}"
