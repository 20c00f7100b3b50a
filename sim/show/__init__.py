"""Results made visible: figures, tables, files, and the review of the notebooks.

The names below are loaded when first used, so that a table on a terminal need not wait for
matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.show.design_words import design_table
    from sim.show.figures import (
        availability_by_policy,
        availability_over_time,
        breaker_over_time,
        breaker_trade,
        cache_by_fleet,
        cache_growth,
        failures_by_cause,
        figures_of_comparison,
        figures_of_run,
        growth_of_coverage,
        lag_by_setting,
        load_by_callers,
        oldest_pending_age,
        pending_depth,
        reached_in_outages,
        recovery_by_remedy,
        retry_amplification,
        simulation_against_reality,
        situations_reached,
        storm_over_time,
        sweep_curve,
        sweep_heat_map,
        sweep_trade_off,
        sync_lag_distribution,
        what_designs_give_up,
        window_trade,
    )
    from sim.show.markdown import agreement_table, assumption_table, interval_table, option_table

__all__ = [
    "agreement_table",
    "assumption_table",
    "availability_by_policy",
    "availability_over_time",
    "breaker_over_time",
    "breaker_trade",
    "cache_by_fleet",
    "cache_growth",
    "design_table",
    "failures_by_cause",
    "figures_of_comparison",
    "figures_of_run",
    "growth_of_coverage",
    "interval_table",
    "lag_by_setting",
    "load_by_callers",
    "oldest_pending_age",
    "option_table",
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

_TABLES = ("agreement_table", "assumption_table", "interval_table", "option_table")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "sim.show.markdown" if name in _TABLES else "sim.show.figures"
    if name == "design_table":
        module = "sim.show.design_words"
    return getattr(import_module(module), name)
