"""What happens to the service in one run: outages, traffic, keys and the primary, in one object.

Everything random is drawn before the run, from streams named here, so that two policies meet the
very same outages and requests (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sim.world.access_log import RecordedArrivals
from sim.world.callers import CallerSettings, Closed
from sim.world.condense import Timeline, condense
from sim.world.crowds import FlashCrowd, Steps
from sim.world.errors import InputError
from sim.world.outage_trace import RecordedTrace
from sim.world.outages import Outage, merge
from sim.world.primary_settings import PrimarySettings
from sim.world.service import ServiceSettings
from sim.world.settings import Assumption, about, as_table, assumptions, check
from sim.world.stretched import AnyPattern, Stretched
from sim.world.traffic import Bursts, Constant, DailyCycle, Poisson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.world.durations import Floats
    from sim.world.streams import Streams

AnyOutages = AnyPattern | Stretched
"""The kinds of `[[outages]]`."""

AnyTraffic = (
    Constant | Poisson | DailyCycle | Bursts | FlashCrowd | Steps | RecordedArrivals | Closed
)
"""The kinds of `[traffic]`."""

RECOVERY_S = 1800.0
"""The longest that a recovery may take, and that an interval of a policy may be, if long traces are
to be condensed without bias; also the settled time kept before an outage, and the time added after
a recorded trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """Which keys there are, and which are asked for."""

    rotation_interval_s: float = field(
        default=3600.0,
        metadata=about("The time after which each instance makes a new key.", above=0),
    )
    lifetime_s: float = field(
        default=10800.0,
        metadata=about(
            "How long a key is valid; at least a rotation interval and a token's lifetime, or "
            "tokens outlive the key that signed them.",
            above=0,
        ),
    )
    peers: int = field(
        default=3,
        metadata=about(
            "Other instances, whose keys go straight to the primary while it works.",
            least=0,
            most=10_000,
        ),
    )
    token_age_mean_s: float = field(
        default=300.0,
        metadata=about(
            "The mean age of a token when it is verified: exponential, cut off at its lifetime.",
            source="an assumption: most tokens are used soon after they are issued",
            above=0,
        ),
    )
    token_lifetime_s: float = field(
        default=3600.0, metadata=about("The age after which a token is refused.", above=0)
    )
    unknown_share: float = field(
        default=0.01,
        metadata=about("The share of `get` calls for an id that nobody made.", least=0, most=1),
    )

    def __post_init__(self) -> None:
        check(self)
        least_s = self.rotation_interval_s + self.token_lifetime_s
        if self.lifetime_s < least_s:
            raise InputError(
                f"lifetime_s must be at least rotation_interval_s + token_lifetime_s "
                f"({least_s:g}), not {self.lifetime_s:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens in a run, apart from the policy under test and the seed."""

    name: str
    description: str = ""
    duration_s: float | None = field(
        default=None,
        metadata=about(
            "The length of a run; unset: the recorded trace's, and half an hour after it, in which "
            "the last recovery is seen.",
            above=0,
        ),
    )
    warmup_s: float = field(
        default=0.0, metadata=about("The start of a run, left out of the figures.", least=0)
    )
    condense: bool | Literal["auto"] = field(
        default="auto",
        metadata=about(
            "Whether the middles of long healthy stretches are cut out, and what is kept of them "
            "weighted; auto: if that halves the run, at least."
        ),
    )
    outages: tuple[AnyOutages, ...] = ()
    traffic: AnyTraffic
    keys: KeySettings = field(default_factory=KeySettings)
    caller: CallerSettings = field(default_factory=CallerSettings)
    primary: PrimarySettings = field(default_factory=PrimarySettings)
    service: ServiceSettings = field(default_factory=ServiceSettings)

    def __post_init__(self) -> None:
        check(self)
        if self.duration_s is None and not self._traces():
            raise InputError("duration_s is missing; only a recorded trace has a length of its own")
        if self.warmup_s >= self.length_s:
            raise InputError(
                f"warmup_s must be below the duration ({self.length_s:g}), not {self.warmup_s:g}"
            )
        for restart_s in self.service.restarts_s:
            if restart_s >= self.length_s:
                raise InputError(
                    f"service.restarts_s must be below the duration ({self.length_s:g}), "
                    f"not {restart_s:g}"
                )

        self._check_period()

    def _check_period(self) -> None:
        deploy_s, rotation_s = self.service.deploy_every_s, self.keys.rotation_interval_s
        if deploy_s is None or self.condense is False:
            return
        if abs(deploy_s / rotation_s - round(deploy_s / rotation_s)) > 1e-9:
            raise InputError(
                f"service.deploy_every_s must be a whole multiple of keys.rotation_interval_s "
                f"({rotation_s:g}) for long healthy stretches to be condensed, not {deploy_s:g}; "
                f"or set condense = false"
            )

    def _traces(self) -> list[RecordedTrace]:
        return [each for each in self.outages if isinstance(each, RecordedTrace)]

    @property
    def length_s(self) -> float:
        """The real length of a run: `duration_s`, or what it says there if that is unset."""
        if self.duration_s is not None:
            return self.duration_s
        return max(each.length_s for each in self._traces()) + RECOVERY_S

    @property
    def memory_s(self) -> float:
        """How long the system remembers anything: the lifetime of a key, and `RECOVERY_S`.

        Holds for policies without an interval above `RECOVERY_S`.
        """
        return self.keys.lifetime_s + RECOVERY_S

    def draw_outages(self, streams: Streams) -> tuple[Outage, ...]:
        """Return the schedule of one replication in real time: all patterns, the worst winning."""
        drawn = (
            pattern.draw(streams.generator(f"outages/{at}"), self.length_s)
            for at, pattern in enumerate(self.outages)
        )
        return merge(*drawn)

    def timeline(
        self, outages: Sequence[Outage], *, tail_s: float | None = None, lead_s: float = RECOVERY_S
    ) -> Timeline:
        """Return the timeline for a schedule, condensed or whole as the scenario says.

        It depends on no policy, so that every policy meets the same one.

        Args:
            outages: the schedule in real time.
            tail_s: kept after each outage and restart; `None` for `memory_s`.
            lead_s: kept before each.
        """
        whole = Timeline.whole(outages, self.length_s)
        if self.condense is False:
            return whole
        condensed = condense(
            outages,
            self.length_s,
            lead_s=lead_s,
            tail_s=self.memory_s if tail_s is None else tail_s,
            warmup_s=self.warmup_s,
            period_s=self._period_s,
            moments_s=self.service.restarts_s,
        )
        if self.condense == "auto" and condensed.duration_s > self.length_s / 2:
            return whole
        return condensed

    def draw_arrivals(self, streams: Streams, timeline: Timeline) -> Floats:
        """Return the sorted run times of all requests of one replication.

        None for a closed population, whose requests depend on the answers.
        """
        if isinstance(self.traffic, Closed):
            return np.zeros(0)
        return self.traffic.draw_on(streams.generator("traffic"), timeline)

    def with_trace(self, trace: RecordedTrace, *, duration_s: float | None = None) -> Scenario:
        """Return this scenario with a recorded trace in the place of its outages.

        The trace begins when the warm-up ends, so that all of it counts and its first outage,
        which is usually in its first second, does not meet a service that has only just started.

        Args:
            trace: what `read_trace` returned.
            duration_s: the length of the run; `None` for the trace's own.
        """
        led = replace(trace, lead_s=max(trace.lead_s, self.warmup_s))
        return replace(self, outages=(led,), duration_s=duration_s)

    def with_traffic(self, arrivals: AnyTraffic) -> Scenario:
        """Return this scenario with other traffic."""
        return replace(self, traffic=arrivals)

    def as_dict(self) -> dict[str, Any]:
        """Return every setting as plain values, fit for JSON; a recording by its name and size."""
        return as_table(self)

    def assumptions(self) -> tuple[Assumption, ...]:
        """Return one row for each setting: its name, value, meaning and source."""
        return tuple(assumptions(self))

    @property
    def _period_s(self) -> float:
        """After how long everything repeats that happens on schedule."""
        return self.service.deploy_every_s or self.keys.rotation_interval_s
