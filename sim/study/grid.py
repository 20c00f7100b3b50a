"""What a sweep varies: settings by name, their values, and every combination of them.

A name is one of these:

* a setting of `Policy`, such as `flush_interval_s`;
* an alias for several of them, in `ALIASES`: `operation_timeout_s`;
* `policy`, whose values are names of policies or files: the other settings are then varied on each;
* a setting of the scenario by its path, such as `service.instances` or `outages[0].up.mean_s`.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ftrepo.designs import policy_named_or_file
from ftrepo.errors import PolicyError
from ftrepo.policy import Policy
from sim.run import check_memory
from sim.study.scenario_paths import paths, value_at, with_paths
from sim.world.errors import InputError
from sim.world.scenario import Scenario
from sim.world.settings import did_you_mean
from sim.world.streams import Streams

ALIASES: Mapping[str, tuple[str, ...]] = {
    "operation_timeout_s": ("insert_timeout_s", "select_timeout_s", "delete_timeout_s"),
}
"""Names that set several settings of a policy to one value."""

POLICY = "policy"
"""The name whose values are whole policies."""

Point = dict[str, Any]
"""The value of every swept setting, by name."""

_OF_POLICY = {each.name: (each.name,) for each in fields(Policy)} | dict(ALIASES)
"""What each name sets that concerns the policy."""

REQUEST_S = 70e-6
"""CPU time of a request, for an estimate; machines differ by a factor of two or so."""

INSTANCE_S, HELD_KEY_S = 1e-6, 25e-9
"""CPU time that an instance takes in a second of a run without any requests, and what each key in
its memory adds to that. All three were fitted to the shipped scenarios, with 1 to 16 instances."""

_BARE_WORD = re.compile(r"[A-Za-z_][\w./-]*")


@dataclass(frozen=True, slots=True)
class Case:
    """One point of a grid: its settings, and what is played there.

    Attributes:
        point: the value of every swept setting, as the policy or the scenario holds it.
        scenario: what happens there; cases that differ in their policy only share the object.
        policy: how the repository behaves there.
        expected_s: about the CPU time of a run, by which long ones are begun first.
    """

    point: Point
    scenario: Scenario
    policy: Policy
    expected_s: float


def parse_settings(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Read `name=value,value,…` of a command line into names and values.

    Values are those of TOML; `none` is None, and any other bare word is a text.

    Raises:
        InputError: a text has not that form, or two have the same name.
    """
    settings: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name or not values.strip():
            raise InputError(f"--set {text!r} has not the form NAME=VALUE,VALUE,…")
        if name in settings:
            raise InputError(f"--set {name} is given twice; list all its values after one")
        settings[name] = tuple(_value(name, each) for each in _split(values))
    return settings


def expand(
    scenario: Scenario, policy: Policy, settings: Mapping[str, Sequence[Any]], *, seed: int = 1
) -> list[Case]:
    """Return every combination of the settings' values, the last name varying fastest.

    Nothing is played, but whatever would be refused at any point is refused here.

    Args:
        scenario: what happens where no setting says otherwise.
        policy: how the repository behaves where no setting says otherwise.
        settings: names and values; see the module.
        seed: of the study, whose outages the length of a run depends on.

    Raises:
        InputError: there is no setting, a name is unknown or sets what another one sets, a value is
            missing, given twice, of the wrong type or impossible.
        PolicyError: a policy cannot be as a point has it; names the point.
    """
    _check_names(scenario, settings)
    worlds: dict[str, _World] = {}
    cases: dict[str, Case] = {}
    for values in itertools.product(*settings.values()):
        asked = dict(zip(settings, values, strict=True))
        try:
            case = _case(scenario, policy, asked, worlds, seed)
        except (InputError, PolicyError) as error:
            raise type(error)(f"at {label(asked)}: {error}") from None
        if (text := label(case.point)) in cases:
            raise InputError(f"the values of a setting must differ, and {text} comes twice")
        cases[text] = case
    return list(cases.values())


def expected_cpu_s(scenario: Scenario, played_s: float) -> float:
    """About the CPU time of a run of so many seconds: what its callers cost, and its instances.

    Every instance keeps the keys of all in memory, and looks at them again and again, so a large
    fleet costs by the square of its size.
    """
    instances, keys = scenario.service.instances, scenario.keys
    held = (instances + keys.peers) * keys.lifetime_s / keys.rotation_interval_s
    requests = scenario.traffic.mean_rate_per_s * played_s
    return requests * REQUEST_S + instances * played_s * (INSTANCE_S + held * HELD_KEY_S)


def label(point: Mapping[str, Any]) -> str:
    """A point in words: `flush_interval_s = 1, policy = breaker`."""
    return ", ".join(f"{name} = {value_text(value)}" for name, value in point.items())


def value_text(value: object) -> str:
    """A value as it is typed on the command line, but numbers to ten digits."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class _World:
    """A scenario of the grid, how long it takes to play, and whether it is condensed."""

    scenario: Scenario
    expected_s: float
    condensed: bool

    @classmethod
    def of(cls, scenario: Scenario, seed: int) -> _World:
        timeline = scenario.timeline(scenario.draw_outages(Streams(seed)))
        return cls(
            scenario,
            expected_cpu_s(scenario, timeline.duration_s),
            timeline.duration_s < timeline.real_duration_s,
        )


def _case(
    scenario: Scenario, policy: Policy, asked: Point, worlds: dict[str, _World], seed: int
) -> Case:
    if POLICY in asked:
        policy = policy_named_or_file(str(asked[POLICY]))
    changes = {
        target: value
        for name, value in asked.items()
        if name in _OF_POLICY
        for target in _OF_POLICY[name]
    }
    policy = replace(policy, **changes)
    places = {
        name: value for name, value in asked.items() if name != POLICY and name not in _OF_POLICY
    }
    key = repr(places)
    if key not in worlds:
        worlds[key] = _World.of(with_paths(scenario, places), seed)
    world = worlds[key]
    if world.condensed:
        check_memory(policy)
    point = {name: _held(name, value, world.scenario, policy) for name, value in asked.items()}
    return Case(point, world.scenario, policy, world.expected_s)


def _held(name: str, asked: object, scenario: Scenario, policy: Policy) -> object:
    """Return the value in the type of its setting: 1 and 1.0 are one value of a time."""
    if name == POLICY:
        return str(asked)
    if name in _OF_POLICY:
        return getattr(policy, _OF_POLICY[name][0])
    return value_at(scenario, name)


def _check_names(scenario: Scenario, settings: Mapping[str, Sequence[Any]]) -> None:
    if not settings:
        raise InputError("a sweep needs a setting to vary: --set NAME=VALUE,VALUE,…")
    known = [POLICY, *_OF_POLICY, *paths(scenario)]
    owners: dict[str, str] = {}
    for name, values in settings.items():
        if name not in known:
            raise InputError(
                f"{name} is a setting neither of a policy nor of the scenario"
                f"{did_you_mean(name, known)}"
            )
        if not len(values):
            raise InputError(f"{name} has no values to take")
        for target in _OF_POLICY.get(name, (name,)):
            for other, owner in owners.items():
                if _overlap(target, other) or _overlap(other, target):
                    raise InputError(f"{owner} and {name} both set {target}; vary one of them")
            owners[target] = name


def _overlap(path: str, whole: str) -> bool:
    """Whether a path is another one, or lies below it."""
    return path == whole or path.startswith((f"{whole}.", f"{whole}["))


def _split(values: str) -> list[str]:
    """Split at the commas that lie in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in values:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


def _value(name: str, text: str) -> object:
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if _BARE_WORD.fullmatch(text):
            return text
        raise InputError(
            f"--set {name}: {text!r} is not a value; write a number, true, false, none, a word, "
            'or anything of TOML such as "a text" or [1, 2]'
        ) from None
