"""Every figure, and which of them go with one run and with a comparison.

Each function takes results, returns a `matplotlib` figure and touches no file.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from ftrepo.designs import named_policies
from sim.run import Result
from sim.show.figure_availability import availability_by_policy, availability_over_time
from sim.show.figure_breaker import breaker_over_time, breaker_trade, window_trade
from sim.show.figure_designs import failures_by_cause, what_designs_give_up
from sim.show.figure_exploration import (
    growth_of_coverage,
    reached_in_outages,
    situations_reached,
)
from sim.show.figure_growth import cache_by_fleet, cache_growth, pending_depth
from sim.show.figure_heat_map import sweep_heat_map
from sim.show.figure_lag import lag_by_setting, oldest_pending_age, sync_lag_distribution
from sim.show.figure_load import load_by_callers
from sim.show.figure_storm import recovery_by_remedy, retry_amplification, storm_over_time
from sim.show.figure_sweep import sweep_curve, sweep_trade_off
from sim.show.figure_validation import simulation_against_reality
from sim.study.experiment import Experiment
from sim.study.growth import longest_full_outage
from sim.study.lags import outage_lags

SHORTEST_LAG_S = 1.0
"""A policy whose keys were never later than this has no lag worth a figure."""


def figures_of_run(result: Result) -> dict[str, Figure]:
    """Return the figures of one run, by name; those that it has nothing to show in are left out."""
    known = [name for name, policy in named_policies().items() if policy == result.policy]
    name = known[0] if known else "this policy"
    figures = {
        "availability_over_time": availability_over_time({name: result}),
        "cache_growth": cache_growth([result]),
    }
    figures |= _figures_of_lags({name: result})
    if _ever_pending(result) and longest_full_outage(result.timeline.outages) is not None:
        figures["pending_depth"] = pending_depth([result])
    return figures


def figures_of_comparison(
    experiment: Experiment, results: Mapping[str, Result]
) -> dict[str, Figure]:
    """Return the figures that set policies side by side, by name.

    Args:
        experiment: the measures of all replications.
        results: one run of each policy, of the same replication, for what is drawn over time.
    """
    return {
        "availability_by_policy": availability_by_policy({experiment.scenario.name: experiment}),
        "availability_over_time": availability_over_time(results),
        **_figures_of_lags(results),
    }


def _figures_of_lags(results: Mapping[str, Result]) -> dict[str, Figure]:
    figures = {}
    if any(_ever_pending(each) for each in results.values()):
        figures["oldest_pending_age"] = oldest_pending_age(results)
    lagging = {
        name: [each]
        for name, each in results.items()
        if outage_lags(each.history).lag_s.max(initial=0.0) >= SHORTEST_LAG_S
    }
    if lagging:
        figures["sync_lag_distribution"] = sync_lag_distribution(lagging)
    return figures


def _ever_pending(result: Result) -> bool:
    return bool(result.history.samples.oldest_pending_age_s.any())


__all__ = [
    "availability_by_policy",
    "availability_over_time",
    "breaker_over_time",
    "breaker_trade",
    "cache_by_fleet",
    "cache_growth",
    "failures_by_cause",
    "figures_of_comparison",
    "figures_of_run",
    "growth_of_coverage",
    "lag_by_setting",
    "load_by_callers",
    "oldest_pending_age",
    "pending_depth",
    "reached_in_outages",
    "recovery_by_remedy",
    "retry_amplification",
    "simulation_against_reality",
    "situations_reached",
    "storm_over_time",
    "sweep_curve",
    "sweep_heat_map",
    "sweep_trade_off",
    "sync_lag_distribution",
    "what_designs_give_up",
    "window_trade",
]
