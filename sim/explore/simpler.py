"""Ways to make a case simpler that leave as many operations and faults in it as there were.

Each way is an edit: a function from a case to a simpler one, or to `None` where there is nothing to
do. Edits name what they change by its place, so they can be made one after the other. Done twice,
an edit changes nothing more, or it brings times closer together: so making them again and again
comes to an end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.explore.judging import Case
from sim.explore.timescale import NEVER_S, moments, moved
from sim.world.durations import Deterministic
from sim.world.errors import InputError
from sim.world.outages import OutageMode
from sim.world.primary_settings import PrimarySettings

if TYPE_CHECKING:
    from sim.explore.hostile_world import HostileWorld, KeySpec

Edit = Callable[[Case], Case | None]

LISTS = ("operations", "restarts", "outages", "clock_steps", "disk_faults")
"""What a world is made of, the longest list first."""

ON_AN_INSTANCE = ("operations", "restarts", "clock_steps", "disk_faults")
"""Those whose items each concern one instance."""

_SAME = Deterministic(mean_s=0.01)

PLAIN_PRIMARY = PrimarySettings(select=_SAME, insert=_SAME, delete=_SAME)
"""A primary that draws nothing while it is well: what was found goes on to be found when somebody
changes how latencies are drawn, and whoever reads it need not wonder about a millisecond."""

_DIGITS = (0, 1, 2, 3)
"""To so many places after the point times are rounded, the roundest first."""

_GAPS_S = (0.0, 1.0)
"""What the time between two moments is cut to, where it is longer."""

_SEEDS = (0, 1, 2, 3)


def edits(case: Case) -> Iterator[Edit]:
    """Yield every edit for a case, those first that change most."""
    world, policy = case.world, case.policy
    yield lambda now: Case(now.world, Policy())
    yield partial(_set, name="primary", value=PLAIN_PRIMARY)
    yield from _scalars(world)
    for instance in reversed(range(world.instances)):
        yield partial(_without_instance, instance=instance)
        yield partial(_onto_the_first, instance=instance)
    for key in reversed(range(len(world.keys))):
        yield partial(_without_key, key=key)
        yield partial(_one_key_less, key=key)
        yield partial(_set_item, name="keys", at=key, field="same_material", value=False)
        yield partial(_set_item, name="keys", at=key, field="same_id_as", value=None)
        yield partial(_set_item, name="keys", at=key, field="expires_s", value=NEVER_S)
    yield from _items(world)
    for each in fields(PrimarySettings):
        value = getattr(PLAIN_PRIMARY, each.name)
        yield partial(_set_in_primary, name=each.name, value=value)
    for each in fields(policy):
        yield partial(_set_in_policy, name=each.name, value=_default(each))
    yield from _times(world)
    for seed in _SEEDS:
        if seed < world.seed:
            yield partial(_set, name="seed", value=seed)


def _scalars(world: HostileWorld) -> Iterator[Edit]:
    """Everything of the world itself that is one value, back to what it is by default."""
    kept = {"seed", "duration_s", "instances", "primary", "keys", *LISTS}
    for each in fields(world):
        if each.name not in kept:
            yield partial(_set, name=each.name, value=_default(each))


def _items(world: HostileWorld) -> Iterator[Edit]:
    for name in LISTS:
        for at, item in enumerate(getattr(world, name)):
            for each in fields(item):
                if _default(each) is not MISSING:
                    yield partial(
                        _set_item, name=name, at=at, field=each.name, value=_default(each)
                    )
    for at in range(len(world.outages)):
        yield partial(_refuse, at=at)


def _times(world: HostileWorld) -> Iterator[Edit]:
    for digits in _DIGITS:
        yield partial(_round_all, digits=digits)
    for at in range(len(moments(world))):
        for gap_s in _GAPS_S:
            yield partial(_cut_gap, at=at, gap_s=gap_s)
        yield partial(_cut_gap, at=at, gap_s=None)
    for name in (*LISTS, "keys"):
        for at, item in enumerate(getattr(world, name)):
            for each in fields(item):
                if each.name.endswith("_s"):
                    for digits in _DIGITS:
                        yield partial(_round, name=name, at=at, field=each.name, digits=digits)
    yield _as_short_as_it_can


def _set(case: Case, *, name: str, value: object) -> Case | None:
    return _with(case, **{name: value})


def _set_item(case: Case, *, name: str, at: int, field: str, value: object) -> Case | None:
    items = getattr(case.world, name)
    if at >= len(items):
        return None
    try:
        changed = replace(items[at], **{field: value})
    except InputError:
        return None
    return _with(case, **{name: (*items[:at], changed, *items[at + 1 :])})


def _refuse(case: Case, *, at: int) -> Case | None:
    """The simplest way in which a primary fails."""
    outages = case.world.outages
    if at >= len(outages):
        return None
    plain = replace(outages[at], mode=OutageMode.REFUSE, severity=1.0)
    return _with(case, outages=(*outages[:at], plain, *outages[at + 1 :]))


def _set_in_primary(case: Case, *, name: str, value: object) -> Case | None:
    try:
        return _with(case, primary=replace(case.world.primary, **{name: value}))  # type: ignore[arg-type]
    except InputError:
        return None


def _set_in_policy(case: Case, *, name: str, value: object) -> Case | None:
    try:
        return Case(case.world, replace(case.policy, **{name: value}))  # type: ignore[arg-type]
    except PolicyError:
        return None


def _without_instance(case: Case, *, instance: int) -> Case | None:
    """Leave out an instance and all that concerns it; those after it take a number less."""
    world = case.world
    if not instance < world.instances or world.instances == 1:
        return None
    changes: dict[str, Any] = {
        name: tuple(
            replace(each, instance=each.instance - (each.instance > instance))
            for each in getattr(world, name)
            if each.instance != instance
        )
        for name in ON_AN_INSTANCE
    }
    skew_s = (*world.skew_s[:instance], *world.skew_s[instance + 1 :])
    return _with(case, instances=world.instances - 1, skew_s=skew_s, **changes)


def _onto_the_first(case: Case, *, instance: int) -> Case | None:
    """Let the first instance have what concerns this one, and leave this one out."""
    if instance == 0 or instance >= case.world.instances:
        return None
    changes: dict[str, Any] = {
        name: tuple(
            replace(each, instance=0) if each.instance == instance else each
            for each in getattr(case.world, name)
        )
        for name in ON_AN_INSTANCE
    }
    moved_over = _with(case, **changes)
    return None if moved_over is None else _without_instance(moved_over, instance=instance)


def _without_key(case: Case, *, key: int) -> Case | None:
    """Leave out a key that nobody asks for; those after it take a number less."""
    world = case.world
    if key >= len(world.keys) or any(each.key == key for each in world.operations):
        return None

    def renamed(place: int | None) -> int | None:
        return place if place is None or place < key else place - 1

    def renamed_spec(spec: KeySpec) -> KeySpec:
        other = None if spec.same_id_as == key else renamed(spec.same_id_as)
        same_material = spec.same_material and other is not None
        return replace(spec, same_id_as=other, same_material=same_material)

    keys = tuple(renamed_spec(each) for at, each in enumerate(world.keys) if at != key)
    operations = tuple(replace(each, key=renamed(each.key)) for each in world.operations)
    return _with(case, keys=keys, operations=operations)


def _one_key_less(case: Case, *, key: int) -> Case | None:
    """Let the key before this one be meant wherever this one is."""
    if key == 0 or key >= len(case.world.keys):
        return None
    operations = tuple(
        replace(each, key=key - 1) if each.key == key else each for each in case.world.operations
    )
    meant = _with(case, operations=operations)
    return None if meant is None else _without_key(meant, key=key)


def _round_all(case: Case, *, digits: int) -> Case | None:
    try:
        return Case(moved(case.world, lambda at_s: round(at_s, digits)), case.policy)
    except InputError:
        return None


def _round(case: Case, *, name: str, at: int, field: str, digits: int) -> Case | None:
    items = getattr(case.world, name)
    value = getattr(items[at], field) if at < len(items) else None
    if value is None:
        return None
    return _set_item(case, name=name, at=at, field=field, value=round(value, digits))


def _cut_gap(case: Case, *, at: int, gap_s: float | None) -> Case | None:
    """Let everything from a moment on come earlier: so long after the moment before it.

    Args:
        case: what is changed.
        at: the place of the moment among all.
        gap_s: `None` for half of what it is, but a second at least: below that, times get no
            easier to read.
    """
    known = moments(case.world)
    if at >= len(known):
        return None
    before_s, from_s = (known[at - 1] if at else 0.0), known[at]
    wanted_s = max(1.0, (from_s - before_s) / 2) if gap_s is None else gap_s
    cut_s = from_s - before_s - wanted_s
    if cut_s <= 0:
        return None
    try:
        earlier = moved(case.world, lambda each: each - cut_s if each >= from_s else each)
    except InputError:
        return None
    return Case(earlier, case.policy)


def _as_short_as_it_can(case: Case) -> Case | None:
    least_s = max(1.0, float(math.ceil(case.world.last_moment_s)))
    return _with(case, duration_s=min(case.world.duration_s, least_s))


def _with(case: Case, **changes: Any) -> Case | None:
    try:
        return Case(replace(case.world, **changes), case.policy)
    except InputError:
        return None


def _default(each: Field[Any]) -> Any:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return each.default
