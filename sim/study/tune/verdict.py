"""What a recommendation is worth, on seeds and traces that it was not chosen on.

The best of many trials looks better than it is: it was also the luckiest. So nothing that the
search saw counts here. A constraint holds if the far end of its interval keeps it, and all that is
judged together is corrected for together (Bonferroni), see `sim.study.comparisons`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.study.comparisons import simultaneous
from sim.study.experiment import Experiment
from sim.study.intervals import Interval
from sim.study.tune.objectives import Constraint, Objective, measures_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Whether a policy keeps a constraint.

    Attributes:
        constraint: which.
        interval: of the measure, holding together with all others that are judged with it.
    """

    constraint: Constraint
    interval: Interval

    @property
    def far_end(self) -> float:
        """The end of the interval that is nearer to the bound, or past it."""
        return self.interval.high if self.constraint.at_most else self.interval.low

    @property
    def margin(self) -> float:
        """What is left to the bound from the interval's far end; negative: by so much it misses."""
        return self.constraint.margin(self.interval)

    @property
    def holds(self) -> bool:
        """Whether it is kept, as far as these runs can show."""
        return self.constraint.holds(self.interval)

    @property
    def verdict(self) -> str:
        """`holds`, `broken` if the whole interval is past the bound, or `not shown`.

        Of what must never happen, `none seen` in the place of `holds`.
        """
        if self.holds:
            return "none seen" if self.constraint.is_never else "holds"
        return "broken" if self.constraint.clearly_broken(self.interval) else "not shown"


def judge_constraints(
    study: Experiment, policy: str, constraints: Sequence[Constraint], *, together: int
) -> tuple[Kept, ...]:
    """Hold a policy to each constraint.

    Args:
        study: on seeds or a trace that the policy was not chosen on.
        policy: its name there.
        constraints: what is to be kept.
        together: how many such judgements are made, this policy's included.
    """
    confidence = simultaneous(max(1, together))
    return tuple(
        Kept(constraint=each, interval=study.interval(policy, each.measure, confidence=confidence))
        for each in constraints
    )


def first_that_keeps(
    study: Experiment, candidates: Sequence[str], constraints: Sequence[Constraint]
) -> tuple[str, dict[str, tuple[Kept, ...]]]:
    """Choose among a few candidates, and return what each keeps.

    The first one that keeps every constraint is chosen; if none does, the one that keeps most of
    them, and among those the one that misses by least. All judgements are corrected for together,
    so that the choice makes none less sure.

    Args:
        study: on seeds that none was chosen on.
        candidates: the best one first, in an order that was fixed before.
        constraints: what is to be kept.
    """
    together = len(candidates) * len(constraints)
    kept = {
        name: judge_constraints(study, name, constraints, together=together) for name in candidates
    }
    for name, each in kept.items():
        if all(one.holds for one in each):
            return name, kept
    return min(candidates, key=lambda name: (_failed(kept[name]), _missed(kept[name]))), kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a policy changes, against the base policy.

    Attributes:
        measure: which figure.
        base: of the base policy.
        policy: of the policy.
        difference: the second minus the first, paired; all of a list hold together.
    """

    measure: str
    base: Interval
    policy: Interval
    difference: Interval


def gains(study: Experiment, base: str, policy: str, measures: Sequence[str]) -> tuple[Gain, ...]:
    """Compare a policy with the base policy in some measures."""
    confidence = simultaneous(max(1, len(measures)))
    return tuple(
        Gain(
            measure=each,
            base=study.interval(base, each),
            policy=study.interval(policy, each),
            difference=study.difference(base, policy, each, confidence=confidence),
        )
        for each in measures
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A policy on outages that it was not chosen on.

    Attributes:
        name: of the trace.
        study: the figures, under `base` and `recommended`.
        kept: what the recommended policy keeps.
        base_kept: what the base policy keeps.
        gains: what the recommendation changes.
    """

    name: str
    study: Experiment
    kept: tuple[Kept, ...]
    base_kept: tuple[Kept, ...]
    gains: tuple[Gain, ...]


def check_on(
    studies: Mapping[str, Experiment],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    base: str,
    policy: str,
) -> tuple[Checked, ...]:
    """Hold a policy to its constraints on several traces, all judged together."""
    together = len(studies) * len(constraints)
    measures = measures_of(objectives, constraints)
    return tuple(
        Checked(
            name=name,
            study=study,
            kept=judge_constraints(study, policy, constraints, together=together),
            base_kept=judge_constraints(study, base, constraints, together=together),
            gains=gains(study, base, policy, measures),
        )
        for name, study in studies.items()
    )


def _failed(kept: Sequence[Kept]) -> int:
    return sum(1 for each in kept if not each.holds)


def _missed(kept: Sequence[Kept]) -> float:
    """How far the far ends are past the bounds together, as shares of what is allowed."""
    return sum(max(0.0, each.constraint.excess(each.far_end)) for each in kept)
