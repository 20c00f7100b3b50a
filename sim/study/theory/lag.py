"""The sync lag of keys made during outages: residual outage + wait + flush.

Keys are made at moments that have nothing to do with outages. So a key meets what is left of one at
a random moment in it (renewal theory), and after it waits for a beat of the repository: of its
probes, or of its flush where there is no breaker.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from sim.history import Floats
from sim.study.theory.outages import mean_residual_s, residual_share

_WAITS = 200


def mean_flush_wait_s(flush_interval_s: float) -> float:
    """Mean wait for the next beat of a fixed interval, from a moment independent of it: half."""
    return flush_interval_s / 2


def mean_lag_s(lengths_s: Floats, *, longest_wait_s: float, flush_s: float = 0.0) -> float:
    """E[D²] / 2E[D] + w/2 + f: mean lag of the keys made during outages.

    Args:
        lengths_s: of the outages.
        longest_wait_s: w, the time between two probes, or two flushes where there is no breaker.
        flush_s: f, how long a flush takes.
    """
    return mean_residual_s(lengths_s) + mean_flush_wait_s(longest_wait_s) + flush_s


def share_committed(
    lag_s: Floats, lengths_s: Floats, *, longest_wait_s: float, flush_s: float = 0.0
) -> Floats:
    """The share of keys made during outages that the primary has after so long.

    The distribution of a sum: the residual life of an outage, and a wait uniform up to
    `longest_wait_s`.

    Args:
        lag_s: the times to return the share at.
        lengths_s: of the outages.
        longest_wait_s: as in `mean_lag_s`.
        flush_s: as in `mean_lag_s`.
    """
    waits_s = flush_s + (np.arange(_WAITS) + 0.5) / _WAITS * longest_wait_s
    left_s = np.atleast_1d(np.asarray(lag_s, dtype=float))[:, None] - waits_s
    mean: Floats = residual_share(lengths_s, left_s).mean(axis=1)
    return mean


def lag_quantile_s(
    share: float, lengths_s: Floats, *, longest_wait_s: float, flush_s: float = 0.0
) -> float:
    """The lag that this share of the keys made during outages does not exceed.

    Args:
        share: above 0 and below 1.
        lengths_s: of the outages.
        longest_wait_s: as in `mean_lag_s`.
        flush_s: as in `mean_lag_s`.
    """

    def excess(lag_s: float) -> float:
        reached = share_committed(
            np.array([lag_s]), lengths_s, longest_wait_s=longest_wait_s, flush_s=flush_s
        )
        return float(reached[0]) - share

    longest_s = float(lengths_s.max()) + longest_wait_s + flush_s
    return float(brentq(excess, 0.0, longest_s, xtol=1e-6))
