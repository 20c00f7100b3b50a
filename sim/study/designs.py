"""A design review: which of several designs to take, how sure that is, and what each gives up.

The designs play the same outages and the same calls. One of them is preferred before anything was
played, so that nothing has to be chosen by its luck; the figures can still overrule it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sim.causes import FailureCause, measure_of
from sim.study.comparisons import PolicyComparison, simultaneous
from sim.study.experiment import Experiment
from sim.study.intervals import Interval
from sim.study.scenario_paths import with_paths
from sim.world.errors import InputError
from sim.world.outage_patterns import FixedWindows, ModeShare
from sim.world.outage_trace import RecordedTrace
from sim.world.outages import Outage, OutageMode
from sim.world.recorded_shape import RecordedShape
from sim.world.scenario import Scenario
from sim.world.stretched import Stretched

M = TypeVar("M", FixedWindows, ModeShare, Outage)

PREFERRED = "default"
"""The design that is recommended unless another one is clearly more available."""

CONTENDERS = 2
"""How many other designs are played in each variation: those that came closest."""

TRADED = (
    "availability",
    "create_availability",
    "lost_keys",
    "expired_pending_keys",
    "sync_lag_p99_s",
    "visibility_lag_p99_s",
    "cache_entries_max",
    "primary_attempts_during_outage_per_s",
    "primary_attempts_after_outage_per_s",
    "get_latency_p99_s",
)
"""The measures by which one design may be better and another worse. Those called availability are
better high, all others low. The two lags are of keys that reached the primary at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which design to take in one world.

    Attributes:
        recommended: the preferred design, or the most available of those that are clearly better.
        preferred: the design that was preferred beforehand.
        comparisons: the availability of every other design against the recommended one's, with
            intervals that hold all at once.
    """

    recommended: str
    preferred: str
    comparisons: tuple[PolicyComparison, ...]

    @property
    def clear(self) -> bool:
        """Whether every other design is clearly less available."""
        return all(each.verdict == "lower" for each in self.comparisons)

    @property
    def not_told_apart(self) -> tuple[str, ...]:
        """The designs that are not clearly less available than the recommended one."""
        return tuple(each.policy for each in self.comparisons if each.verdict != "lower")

    def against(self, policy: str) -> PolicyComparison:
        """The comparison of one other design."""
        return next(each for each in self.comparisons if each.policy == policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One figure of a design against the recommended one's.

    Attributes:
        measure: its name.
        mine: the mean of the design.
        theirs: the mean of the recommended one.
        difference: mine minus theirs; the intervals of one measure hold for all designs at once.
        better: whether the design is clearly better here; `None` if the difference may be chance.
    """

    measure: str
    mine: float
    theirs: float
    difference: Interval
    better: bool | None


def verdict(study: Experiment, preferred: str = PREFERRED) -> Verdict:
    """Say which design to take.

    A design that was chosen because of these figures is held against the others with a correction
    for all pairs; the preferred one was chosen before.

    Args:
        study: every design on the same replications.
        preferred: one of them.
    """
    comparisons = study.comparisons("availability", preferred)
    higher = [each.policy for each in comparisons if each.verdict == "higher"]
    if not higher:
        return Verdict(recommended=preferred, preferred=preferred, comparisons=tuple(comparisons))
    best = max(higher, key=lambda name: study.interval(name, "availability").mean)
    return Verdict(
        recommended=best,
        preferred=preferred,
        comparisons=tuple(study.comparisons("availability", best, chosen_after=True)),
    )


def trades(study: Experiment, policy: str, recommended: str) -> list[Trade]:
    """Hold one design against the recommended one, by each of `TRADED` that both have."""
    confidence = simultaneous(len(study.policies) - 1)
    rows = []
    for measure in TRADED:
        difference = study.difference(recommended, policy, measure, confidence=confidence)
        if math.isnan(difference.mean):
            continue
        better = None
        if difference.excludes_zero():
            better = (difference.mean > 0) == measure.endswith("availability")
        rows.append(
            Trade(
                measure=measure,
                mine=study.interval(policy, measure).mean,
                theirs=study.interval(recommended, measure).mean,
                difference=difference,
                better=better,
            )
        )
    return rows


def failed_by_cause(study: Experiment, policy: str) -> dict[FailureCause, Interval]:
    """The share of the eligible `get` calls that failed for each cause, under one policy."""
    return {cause: study.interval(policy, measure_of(cause)) for cause in FailureCause}


def contenders(study: Experiment, recommended: str) -> list[str]:
    """The recommended design, and the others that came closest to it, by the mean."""
    others = [name for name in study.policies if name != recommended]
    others.sort(key=lambda name: study.interval(name, "availability").mean, reverse=True)
    return [recommended, *others[:CONTENDERS]]


def variations(scenario: Scenario) -> dict[str, Scenario]:
    """The scenario with one assumption changed at a time, by what is changed, in a few words.

    A variation that the scenario has no setting for, such as another rate of a recorded access
    log, is left out; so is one that contradicts another setting, such as a fleet twice as large
    that no deploy could replace before the next one.
    """
    varied: dict[str, Scenario] = {}
    if scenario.outages:
        varied["outages half as long"] = _stretched(scenario, 0.5)
        varied["outages twice as long"] = _stretched(scenario, 2.0)
        hanging = replace(scenario, outages=tuple(map(_hanging, scenario.outages)))
        if hanging != scenario:
            varied["outages that hang"] = hanging
    for words, path, value in _changes(scenario):
        with suppress(InputError):
            varied[words] = with_paths(scenario, {path: value})
    return varied


def _changes(scenario: Scenario) -> Iterator[tuple[str, str, float]]:
    """What is changed in words, the setting's path, and its other value."""
    rate_per_s = getattr(scenario.traffic, "rate_per_s", None)
    if rate_per_s is not None:
        yield "half the traffic", "traffic.rate_per_s", 0.5 * rate_per_s
        yield "twice the traffic", "traffic.rate_per_s", 2.0 * rate_per_s
    age_s = scenario.keys.token_age_mean_s
    yield "tokens a third as old", "keys.token_age_mean_s", age_s / 3
    yield "tokens three times as old", "keys.token_age_mean_s", 3.0 * age_s
    yield "keys valid twice as long", "keys.lifetime_s", 2 * scenario.keys.lifetime_s
    instances = scenario.service.instances
    if instances > 1:
        yield "one instance", "service.instances", 1
    yield f"{2 * instances} instances", "service.instances", 2 * instances


def survives(base: Verdict, varied: Mapping[str, Experiment]) -> dict[str, Verdict]:
    """The verdict in each variation, with the design that the base recommends preferred."""
    return {name: verdict(study, base.recommended) for name, study in varied.items()}


def _hanging(pattern: Any) -> Any:
    """The same outages, of which those hang in which connections were refused.

    What is refused at once costs nobody any time, and may flatter a design without time-outs.
    """
    if isinstance(pattern, Stretched):
        return replace(pattern, pattern=_hanging(pattern.pattern))
    if isinstance(pattern, RecordedTrace):
        return replace(pattern, outages=tuple(map(_that_hangs, pattern.outages)))
    if isinstance(pattern, FixedWindows):
        return _that_hangs(pattern)
    if isinstance(pattern, RecordedShape):
        is_refused = pattern.full_mode is OutageMode.REFUSE
        return replace(pattern, full_mode=OutageMode.HANG) if is_refused else pattern
    return replace(pattern, modes=tuple(map(_that_hangs, pattern.modes)))


def _that_hangs(settings: M) -> M:
    """The same settings with another mode, if theirs is to refuse."""
    if settings.mode is not OutageMode.REFUSE:
        return settings
    return replace(settings, mode=OutageMode.HANG)


def _stretched(scenario: Scenario, factor: float) -> Scenario:
    patterns: Sequence[Any] = scenario.outages
    outages = tuple(
        replace(each, factor=factor * each.factor)
        if isinstance(each, Stretched)
        else Stretched(pattern=each, factor=factor)
        for each in patterns
    )
    # A stretched trace gives the run no length; it stays as long as it was.
    return replace(scenario, outages=outages, duration_s=scenario.length_s)
