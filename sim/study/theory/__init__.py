"""Closed forms that simulations are held against.

Each says what it assumes and where it comes from; `sim.study.validation` holds it against the
laboratory over a grid. Lengths of outages come as an array: those of a distribution, evenly by
probability (`outage_lengths_s`), or those of a recorded trace.
"""

from sim.study.theory.availability import (
    KeyUse,
    availability_alternating,
    grace_s,
    lost_primary_only_s,
    lost_unannounced_s,
    lost_with_pending_writes_s,
    lost_without_pending_writes_s,
    recently_made_share,
    unknown_share,
    unlearned_share,
)
from sim.study.theory.growth import (
    cached_keys,
    cached_keys_in_outage,
    pending_keys,
)
from sim.study.theory.lag import (
    lag_quantile_s,
    mean_flush_wait_s,
    mean_lag_s,
    share_committed,
)
from sim.study.theory.load import probe_times_s, recovery_calls, wasted_attempts
from sim.study.theory.outages import (
    mean_beyond_s,
    mean_residual_s,
    outage_lengths_s,
    residual_share,
)
from sim.study.theory.queues import erlang_c, mmc_mean_wait_s

__all__ = [
    "KeyUse",
    "availability_alternating",
    "cached_keys",
    "cached_keys_in_outage",
    "erlang_c",
    "grace_s",
    "lag_quantile_s",
    "lost_primary_only_s",
    "lost_unannounced_s",
    "lost_with_pending_writes_s",
    "lost_without_pending_writes_s",
    "mean_beyond_s",
    "mean_flush_wait_s",
    "mean_lag_s",
    "mean_residual_s",
    "mmc_mean_wait_s",
    "outage_lengths_s",
    "pending_keys",
    "probe_times_s",
    "recently_made_share",
    "recovery_calls",
    "residual_share",
    "share_committed",
    "unknown_share",
    "unlearned_share",
    "wasted_attempts",
]
