"""Outages in the shape of recorded traces, drawn by the project itself.

Outages of a database come in two populations: failovers, frequent and short, and incidents, rare,
long and often partial. Mixed into one distribution they mislead, so each is drawn on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from sim.world.durations import Exponential, Lognormal
from sim.world.outage_patterns import AlternatingRenewal, ModeShare
from sim.world.outages import Outage, OutageMode, merge
from sim.world.settings import about, check

if TYPE_CHECKING:
    import numpy as np

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedShape:
    """Failovers and incidents, each population with its own frequency and lengths."""

    kind: ClassVar[str] = "recorded-shape"
    failover_every_s: float = field(
        default=2 * _DAY_S,
        metadata=about(
            "The mean time between failovers.",
            source="an assumption: no source counts them",
            above=0,
        ),
    )
    failover_median_s: float = field(
        default=75.0,
        metadata=about(
            "The median length of a failover.",
            source="RDS Multi-AZ instance: typically 60 to 120 s; Aurora: within about 30 s",
            above=0,
        ),
    )
    failover_sigma: float = field(
        default=0.6,
        metadata=about(
            "The spread of the logarithm of that length.",
            source="p99 then is 300 s; Patroni's worst case after a crash is about 320 s",
            above=0,
        ),
    )
    incident_every_s: float = field(
        default=7 * _DAY_S,
        metadata=about(
            "The mean time between incidents.",
            source="an assumption: about the rate at which large services report them",
            above=0,
        ),
    )
    incident_median_s: float = field(
        default=136 * 60.0,
        metadata=about(
            "The median length of an incident.",
            source="Cloud Uptime Archive, all services, n = 1,029",
            above=0,
        ),
    )
    incident_sigma: float = field(
        default=1.28,
        metadata=about(
            "The spread of the logarithm of that length.",
            source="Cloud Uptime Archive, all services, n = 1,029",
            above=0,
        ),
    )
    incident_full_share: float = field(
        default=0.25,
        metadata=about(
            "The share of incidents in which every request fails; the severity of the others is "
            "uniform between 0 and 1.",
            source="an assumption: the archive's incidents are often partial",
            least=0,
            most=1,
        ),
    )
    full_mode: OutageMode = field(
        default=OutageMode.REFUSE, metadata=about("How the primary fails in a full outage.")
    )

    def __post_init__(self) -> None:
        check(self)

    def draw(self, rng: np.random.Generator, duration_s: float) -> tuple[Outage, ...]:
        """Return both populations merged into one schedule."""
        return merge(generate_trace(rng, duration_s, shape=self))


def generate_trace(
    rng: np.random.Generator, duration_s: float, *, shape: RecordedShape | None = None
) -> tuple[Outage, ...]:
    """Return the rows of a trace as one would be recorded: by start, and free to overlap.

    Args:
        rng: the only source of randomness; the same generator gives the same rows.
        duration_s: rows begin before it and are cut off there.
        shape: the two populations; `None` for the defaults of `RecordedShape`.
    """
    shape = shape or RecordedShape()
    failover_rng, incident_rng, severity_rng = rng.spawn(3)
    failovers = AlternatingRenewal(
        up=Exponential(mean_s=shape.failover_every_s),
        down=Lognormal(median_s=shape.failover_median_s, sigma=shape.failover_sigma),
        modes=(ModeShare(mode=shape.full_mode),),
    ).draw(failover_rng, duration_s)
    incidents = AlternatingRenewal(
        up=Exponential(mean_s=shape.incident_every_s),
        down=Lognormal(median_s=shape.incident_median_s, sigma=shape.incident_sigma),
        modes=(ModeShare(mode=shape.full_mode),),
    ).draw(incident_rng, duration_s)
    chances = severity_rng.random((len(incidents), 2)).tolist()
    rows = list(failovers)
    for incident, (chance, severity) in zip(incidents, chances, strict=True):
        full = chance < shape.incident_full_share
        rows.append(incident if full else _partial(incident, 1.0 - severity))
    return tuple(sorted(rows, key=lambda row: row.start_s))


def _partial(outage: Outage, severity: float) -> Outage:
    return replace(outage, mode=OutageMode.ERROR_RATE, severity=severity)
