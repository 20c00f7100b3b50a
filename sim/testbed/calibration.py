"""How fast a server is: what was measured, what describes it, and the file that says so."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from sim.world.durations import LognormalLatency

if TYPE_CHECKING:
    from sim.history import Floats
    from sim.world.primary_settings import PrimarySettings

_SPREAD_LEAST = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What was measured of one operation.

    Attributes:
        operation: a setting of `PrimarySettings`: select, insert, delete or connect.
        seconds: every latency, sorted.
        fit: the distribution that describes them.
    """

    operation: str
    seconds: Floats
    fit: LognormalLatency

    @property
    def distance(self) -> float:
        """The largest difference between measured and fitted shares (Kolmogorov–Smirnov)."""
        count = len(self.seconds)
        lognormal = self.fit.lognormal
        expected = ndtr(np.log(self.seconds / lognormal.median_s) / lognormal.sigma)
        ranks = np.arange(count + 1) / count
        return float(np.max(np.maximum(ranks[1:] - expected, expected - ranks[:-1])))

    def quantile_s(self, q: float) -> float:
        """A measured quantile."""
        return float(np.quantile(self.seconds, q))

    def to_toml(self) -> list[str]:
        """Return the setting, and before it how well it describes what was measured."""
        measured = ", ".join(
            f"{label} {1000 * self.quantile_s(q):.3g}"
            for label, q in (("p10", 0.1), ("p90", 0.9), ("p99.9", 0.999))
        )
        size = f"{len(self.seconds)} calls, distance {self.distance:.3f}"
        figures = f"median_s = {self.fit.median_s:.3g}, p99_s = {self.fit.p99_s:.3g}"
        return [
            f"# {size}; measured in ms: {measured}",
            f'{self.operation} = {{ kind = "lognormal", {figures} }}',
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How fast a server is, and how that was found out.

    Attributes:
        latencies: by operation.
        server: the server's version.
        where: whose server it is.
        rate_per_s: calls a second.
        measured: when.
        connection: how the service connects.
        pool: how it keeps connections.
    """

    latencies: dict[str, Latency]
    server: str
    where: str
    rate_per_s: float
    measured: datetime
    connection: ConnectionSettings
    pool: PoolSettings

    def applied_to(self, primary: PrimarySettings) -> PrimarySettings:
        """Return settings of a simulated primary that is as fast, before it the same driver."""
        fits: dict[str, Any] = {name: latency.fit for name, latency in self.latencies.items()}
        return replace(
            primary,
            **fits,
            acquire_timeout_s=self.pool.acquire_timeout_s,
            command_timeout_s=self.connection.statement_timeout_s,
            check_after_idle_s=self.pool.check_after_idle_s,
        )

    def to_toml(self) -> str:
        """Return the settings as a part of a scenario, with where they come from."""
        on = f"{platform.system()} {platform.machine()}"
        driver = f"Python {platform.python_version()} with asyncpg {version('asyncpg')}"
        rate = f"{self.rate_per_s:g} calls a second"
        lines = [
            f"# Measured on {self.measured:%Y-%m-%d} against {self.server}, {self.where},",
            f"# from {driver} on {on}:",
            f"# {rate} through ftrepo.postgres, one operation at a time.",
            "# distance: the largest difference between measured and fitted shares.",
            "",
            "[primary]",
        ]
        for latency in self.latencies.values():
            lines += latency.to_toml()
        lines += ["# As ftrepo.postgres ships it."]
        lines += [f"acquire_timeout_s = {self.pool.acquire_timeout_s:g}"]
        if self.connection.statement_timeout_s is not None:
            lines += [f"command_timeout_s = {self.connection.statement_timeout_s:g}"]
        lines += [f"check_after_idle_s = {self.pool.check_after_idle_s:g}"]
        return "\n".join(lines) + "\n"


def fitted(seconds: Floats) -> LognormalLatency:
    """Return the lognormal distribution with the median and the 99th percentile of latencies."""
    median_s, p99_s = np.quantile(seconds, [0.5, 0.99]).tolist()
    # Latencies that hardly vary still need a spread.
    return LognormalLatency(median_s=median_s, p99_s=max(p99_s, _SPREAD_LEAST * median_s))
