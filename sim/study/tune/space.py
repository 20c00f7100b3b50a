"""Where a search looks: which settings of a policy may change, and between what.

By default it looks at the settings that trade one measure for another (`DEFAULT_SPACE`). Settings
whose price no measure shows are left alone, for a search would take what they give for nothing:
`read_policy` and `max_staleness_s` decide how late a deletion is seen, `pending_max` and
`cache_entries_max` how much memory there is, and both are the operator's choice. Any setting can be
searched if it is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ftrepo.policy import Policy
from sim.study.grid import ALIASES, Point, expand, parse_settings
from sim.world.errors import InputError
from sim.world.scenario import Scenario
from sim.world.settings import did_you_mean

DIGITS = 2
"""Significant digits of a number that a search tries: more make no difference, and read badly."""

_NAMES = {each.name for each in fields(Policy)} | set(ALIASES)

_WHOLE = {each.name for each in fields(Policy) if str(each.type).split(" |")[0] == "int"}
"""Settings that count something."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two ends.

    Attributes:
        name: of the setting.
        low: the lower end.
        high: the upper end.
        log: whether equal factors are searched alike, rather than equal steps.
    """

    name: str
    low: float
    high: float
    log: bool = False

    def rounded(self, value: float) -> float | int:
        """A value with `DIGITS` significant digits, within the ends."""
        if value:
            value = round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))
        value = min(max(value, self.low), self.high)
        return round(value) if self.name in _WHOLE else float(value)

    def ends(self) -> tuple[Any, ...]:
        """The values that show what the setting can do."""
        return (self.rounded(self.low), self.rounded(self.high))

    def has(self, value: object) -> bool:
        """Whether a search may come by this value."""
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def __str__(self) -> str:
        text = f"{self.name}={self.low:.10g}:{self.high:.10g}"
        return f"{text}:log" if self.log else text


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values, which have no order.

    Attributes:
        name: of the setting.
        values: at least two.
    """

    name: str
    values: tuple[Any, ...]

    def ends(self) -> tuple[Any, ...]:
        """Every value."""
        return self.values

    def has(self, value: object) -> bool:
        """Whether a search may come by this value."""
        return value in self.values

    def __str__(self) -> str:
        values = ",".join("none" if each is None else str(each).lower() for each in self.values)
        return f"{self.name}={values}"


Dimension = Range | Choice

DEFAULT_SPACE: tuple[Dimension, ...] = (
    # Sync lag where no breaker flushes at once, against calls that a dead primary gets.
    Range("flush_interval_s", 0.25, 30.0, log=True),
    # How long callers wait for a hanging primary, against calls given up that were only slow.
    Range("operation_timeout_s", 0.1, 2.0, log=True),
    # Sync lag against probes. Ten times above and below what is usual.
    Range("breaker_open_s", 1.0, 60.0, log=True),
    # How soon an outage is noticed, against false alarms.
    Range("breaker_failure_threshold", 2, 20, log=True),
    # What an instance knows of keys that others made before an outage, against load.
    Range("refresh_interval_s", 30.0, 1800.0, log=True),
    # The same from the other side: how long others have to learn of a key before its first use.
    Range("publish_lead_s", 0.0, 1800.0),
    # Tokens that other instances can check, against signing with an older key in an outage.
    Choice("sign_when_committed", (True, False)),
)
"""What is searched when nobody says otherwise, each with what it trades."""


def parse_search(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """Read `NAME=LOW:HIGH`, `NAME=LOW:HIGH:log` or `NAME=VALUE,VALUE,…` of a command line.

    Values are those of TOML, `none` and bare words.

    Raises:
        InputError: a text has none of these forms, a name is no setting of a policy or comes twice,
            or an end is no number or not below the other.
    """
    space = tuple(map(_dimension, texts))
    targets = [name for each in space for name in (each.name, *ALIASES.get(each.name, ()))]
    for name in targets:
        if targets.count(name) > 1:
            raise InputError(f"--search sets {name} twice")
    return space


def policy_at(scenario: Scenario, base: Policy, point: Mapping[str, Any]) -> Policy:
    """Return the base policy with the settings of a point in the place of its own.

    Raises:
        InputError, PolicyError: a value is of the wrong type or impossible there.
    """
    if not point:
        return base
    (case,) = expand(scenario, base, {name: (value,) for name, value in point.items()})
    return case.policy


def value_in(policy: Policy, name: str) -> Any:
    """What a policy has for a setting; of an alias, what the first of its settings has."""
    return getattr(policy, ALIASES.get(name, (name,))[0])


def differs(policy: Policy, other: Policy, name: str) -> bool:
    """Whether two policies differ in a setting; in an alias, if they do in any of its settings."""
    return any(getattr(policy, each) != getattr(other, each) for each in ALIASES.get(name, (name,)))


def changes(scenario: Scenario, base: Policy, point: Point) -> Point:
    """The part of a point that differs from the base policy."""
    return {
        name: value
        for name, value in point.items()
        if policy_at(scenario, base, {name: value}) != base
    }


def check_space(scenario: Scenario, base: Policy, space: Sequence[Dimension]) -> None:
    """Check that every setting can take both ends of its range, or each of its values.

    Raises:
        InputError, PolicyError: one cannot, or there is nothing to search.
    """
    if not space:
        raise InputError("there is no setting to search; see --search")
    for each in space:
        for value in each.ends():
            policy_at(scenario, base, {each.name: value})


def _dimension(text: str) -> Dimension:
    name, equals, rest = text.partition("=")
    name = name.strip()
    if name not in _NAMES:
        raise InputError(
            f"--search {name}: that is not a setting of a policy{did_you_mean(name, _NAMES)}"
        )
    if ":" not in rest:
        values = parse_settings([text])[name] if equals and rest.strip() else ()
        if len(values) < 2:
            raise InputError(f"--search {text}: give LOW:HIGH, LOW:HIGH:log, or several values")
        return Choice(name, values)
    return _range(name, rest.split(":"), text)


def _range(name: str, parts: Sequence[str], text: str) -> Range:
    log = len(parts) == 3 and parts[2].strip() == "log"
    try:
        low, high = map(float, parts[: 2 if log else None])
    except ValueError:
        raise InputError(
            f"--search {text}: the form is NAME=LOW:HIGH or NAME=LOW:HIGH:log"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--search {text}: the lower end must be below the upper one")
    if log and low <= 0:
        raise InputError(f"--search {text}: a logarithm needs ends above zero")
    return Range(name, low, high, log)
