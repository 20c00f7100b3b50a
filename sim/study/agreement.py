"""Whether a simulation and reality agree: figure by figure, by rules that are set beforehand.

The real run has a seed, and the simulated run of the same seed has the same arrivals, keys and
outages: they are paired, and differ by the server alone. Other replications tell how much of a
difference is chance. In an outage of mode `ERROR_RATE` chance picks the requests that fail, in the
real run as in the simulated one, and no seed makes both pick the same ones: lags are then held
against all replications.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sim.history import History
from sim.measures import MEASURES
from sim.run import Result
from sim.study.intervals import CONFIDENCE, Interval, amount_interval, t_interval
from sim.study.lags import LAG_FIGURES
from sim.study.measure_intervals import COUNTS
from sim.world.outages import OutageMode

SHARE_TOLERANCE = 0.01
"""How far an availability may lie from the paired simulation: a percentage point."""

LAG_TOLERANCE = 0.2
"""How far a lag may lie from the paired simulation, as a share of it,"""

LAG_TOLERANCE_S = 0.25
"""or in seconds, whichever is more."""

_FIGURES: Mapping[str, Callable[[History], float]] = {
    **{each.name: each.compute for each in MEASURES},
    **LAG_FIGURES,
}

SHARES = ("availability",)
LAGS = ("sync_lag_p50_s", "sync_lag_max_s", "outage_lag_p50_s")
LOST = ("lost_keys",)
"""What is lost where an instance is killed, and nowhere else."""

NEVER = ("wrong_answers",)
"""What must not happen at all."""

SHOWN = (
    "create_availability",
    "pending_max",
    "primary_attempts_during_outage_per_s",
    "get_latency_p50_s",
    "get_latency_p99_s",
    "create_latency_p50_s",
)
"""What is shown and not judged: it depends on the machine, or on few events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure of the simulation against the real one.

    Attributes:
        name: the figure.
        simulated: its mean over replications, with its interval.
        paired: in the simulated run that has the real one's seed.
        real: in the real run.
        rule: what agreement means, in words; empty if the figure is not judged.
        agrees: whether they do.
    """

    name: str
    simulated: Interval
    paired: float
    real: float
    rule: str
    agrees: bool

    @property
    def difference(self) -> float:
        """The real figure minus that of the paired run."""
        return self.real - self.paired


def compare(simulated: Sequence[Result], real: Result) -> list[Check]:
    """Compare figure by figure; the first simulated result is paired with the real one."""
    checks = []
    by_chance = any(each.mode is OutageMode.ERROR_RATE for each in real.timeline.outages)
    for name in (*SHARES, *LAGS, *LOST, *NEVER, *SHOWN):
        values = [_FIGURES[name](result.history) for result in simulated]
        checks.append(_check(name, values, _FIGURES[name](real.history), by_chance=by_chance))
    return checks


def _check(name: str, values: Sequence[float], real: float, *, by_chance: bool) -> Check:
    interval, paired = t_interval(values), values[0]
    most = 1.0 if name.endswith("availability") else math.inf
    shown = amount_interval(values, counts=name in COUNTS, most=most)
    rule, agrees = "", True
    if name in SHARES:
        rule = f"within the {CONFIDENCE:.0%} interval, or {SHARE_TOLERANCE:.0%} of all calls"
        agrees = interval.low <= real <= interval.high or abs(real - paired) <= SHARE_TOLERANCE
    elif name in LAGS and by_chance:
        rule = f"within the {CONFIDENCE:.0%} prediction interval, or {1000 * LAG_TOLERANCE_S:g} ms"
        half = _prediction_half_width(interval)
        agrees = abs(real - interval.mean) <= max(half, LAG_TOLERANCE_S)
    elif name in LAGS:
        rule = f"within {LAG_TOLERANCE:.0%} or {1000 * LAG_TOLERANCE_S:g} ms"
        agrees = abs(real - paired) <= max(LAG_TOLERANCE * paired, LAG_TOLERANCE_S)
    elif name in LOST:
        rule, agrees = "no more than simulated", real <= paired
    elif name in NEVER:
        rule, agrees = "never", real == 0
    if math.isnan(paired) or math.isnan(real):
        # A figure that neither run has, such as a lag where no key was late, is no disagreement.
        agrees = not rule or math.isnan(paired) == math.isnan(real)
    return Check(
        name=name, simulated=shown, paired=paired, real=real, rule=rule, agrees=bool(agrees)
    )


def _prediction_half_width(mean: Interval) -> float:
    """Half the interval for one value more: that of the mean, wider by √(n + 1)."""
    return mean.half_width * math.sqrt(mean.replications + 1)
