"""Experiments whose figures are written down rather than played, for tests of what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftrepo.policy import Policy
from sim.causes import FailureCause, measure_of
from sim.measures import MEASURES
from sim.study.experiment import Experiment, RunFigures
from sim.world import AlternatingRenewal, Exponential, Poisson, Scenario, ServiceSettings

SCENARIO = Scenario(
    name="by-hand",
    duration_s=86400.0,
    warmup_s=600.0,
    outages=(AlternatingRenewal(up=Exponential(mean_s=3600.0), down=Exponential(mean_s=60.0)),),
    traffic=Poisson(rate_per_s=1.0),
    service=ServiceSettings(instances=4),
)


def by_hand(failed: Mapping[str, Sequence[float]], **figures: Mapping[str, float]) -> Experiment:
    """An experiment of these designs.

    Args:
        failed: the share of calls that failed in each replication, by design.
        **figures: other measures, by name and design, the same in each replication; else zero.
    """
    runs = {
        name: tuple(_run(name, share, figures) for share in shares)
        for name, shares in failed.items()
    }
    return Experiment(
        scenario=SCENARIO, policies={name: Policy() for name in failed}, seed=7, runs=runs
    )


def _run(name: str, share: float, figures: Mapping[str, Mapping[str, float]]) -> RunFigures:
    measures = {each.name: 0.0 for each in MEASURES}
    measures |= {"availability": 1 - share, "create_availability": 1.0}
    measures[measure_of(FailureCause.NOT_FLUSHED)] = share
    measures |= {measure: by_name[name] for measure, by_name in figures.items() if name in by_name}
    return RunFigures(
        measures=measures,
        outages=10,
        harmful_outages=1 if share else 0,
        share_at_risk=0.05,
        played_s=86400.0,
    )
