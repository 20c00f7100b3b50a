"""What happens to the service: outages, traffic, and the scenario that ties them together.

All of it is drawn before a run, from named streams, and handed on as frozen objects and arrays.
"""

from __future__ import annotations

from sim.world.access_log import (
    AccessLogReport,
    RecordedArrivals,
    read_access_log,
    write_access_log,
)
from sim.world.callers import CallerSettings, Closed
from sim.world.condense import Segment, Timeline, condense
from sim.world.crowds import FlashCrowd, Steps
from sim.world.durations import (
    Deterministic,
    Duration,
    Exponential,
    Lognormal,
    LognormalLatency,
    Weibull,
)
from sim.world.errors import InputError
from sim.world.outage_patterns import (
    AlternatingRenewal,
    FixedWindows,
    Flapping,
    ModeShare,
    OutagePattern,
)
from sim.world.outage_trace import RecordedTrace, TraceReport, read_trace, write_trace
from sim.world.outages import Outage, OutageMode, merge
from sim.world.primary_settings import PrimarySettings
from sim.world.recorded_shape import RecordedShape, generate_trace
from sim.world.scenario import (
    KeySettings,
    Scenario,
)
from sim.world.scenario_file import (
    load_scenario,
    named_scenarios,
    read_scenario,
    with_primary,
)
from sim.world.service import ServiceSettings, Stop, StopKind
from sim.world.settings import Assumption
from sim.world.streams import Streams
from sim.world.stretched import Stretched
from sim.world.traffic import ArrivalPattern, Bursts, Constant, DailyCycle, Poisson

__all__ = [
    "AccessLogReport",
    "AlternatingRenewal",
    "ArrivalPattern",
    "Assumption",
    "Bursts",
    "CallerSettings",
    "Closed",
    "Constant",
    "DailyCycle",
    "Deterministic",
    "Duration",
    "Exponential",
    "FixedWindows",
    "Flapping",
    "FlashCrowd",
    "InputError",
    "KeySettings",
    "Lognormal",
    "LognormalLatency",
    "ModeShare",
    "Outage",
    "OutageMode",
    "OutagePattern",
    "Poisson",
    "PrimarySettings",
    "RecordedArrivals",
    "RecordedShape",
    "RecordedTrace",
    "Scenario",
    "Segment",
    "ServiceSettings",
    "Steps",
    "Stop",
    "StopKind",
    "Streams",
    "Stretched",
    "Timeline",
    "TraceReport",
    "Weibull",
    "condense",
    "generate_trace",
    "load_scenario",
    "merge",
    "named_scenarios",
    "read_access_log",
    "read_scenario",
    "read_trace",
    "with_primary",
    "write_access_log",
    "write_trace",
]
