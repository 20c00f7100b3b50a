"""Many runs: replications, intervals, and the theory that they are held against."""

from sim.study.comparisons import PolicyComparison
from sim.study.experiment import REPLICATIONS, Experiment, experiment
from sim.study.intervals import (
    Interval,
    amount_interval,
    paired_difference,
    share_interval,
    t_interval,
)
from sim.study.precision import Precision

__all__ = [
    "REPLICATIONS",
    "Experiment",
    "Interval",
    "PolicyComparison",
    "Precision",
    "amount_interval",
    "experiment",
    "paired_difference",
    "share_interval",
    "t_interval",
]
