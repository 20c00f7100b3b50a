"""Scenarios as TOML files: the named ones that come with the project, and a user's own."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from sim.world.access_log import RecordedArrivals, read_access_log
from sim.world.errors import InputError
from sim.world.outage_trace import RecordedTrace, read_trace
from sim.world.outages import OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.scenario import Scenario
from sim.world.settings import about, as_table, check, did_you_mean, from_table


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFile:
    """An `[[outages]]` table of kind `trace`: a recorded trace to be read."""

    kind: ClassVar[str] = "trace"
    file: str = field(metadata=about("The CSV file, relative to the scenario's folder."))
    full_mode: OutageMode = field(
        default=OutageMode.REFUSE, metadata=about("How the primary fails in a full outage.")
    )
    speed_up: float = field(default=1.0, metadata=about("All times are divided by it.", above=0))
    lead_s: float | None = field(
        default=None,
        metadata=about("Healthy time before the trace begins; unset: the warm-up.", least=0),
    )

    def __post_init__(self) -> None:
        check(self)

    def read(self, folder: Path, warmup_s: float) -> RecordedTrace:
        """Return the pattern with the outages of the file."""
        trace, _ = read_trace(folder / self.file, full_mode=self.full_mode)
        lead_s = warmup_s if self.lead_s is None else self.lead_s
        return replace(trace, speed_up=self.speed_up, lead_s=lead_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A `[traffic]` table of kind `log`: an access log to be read."""

    kind: ClassVar[str] = "log"
    file: str = field(metadata=about("The access log, relative to the scenario's folder."))
    speed_up: float = field(
        default=1.0, metadata=about("The pattern passes so many times faster.", above=0)
    )

    def __post_init__(self) -> None:
        check(self)

    def read(self, folder: Path) -> RecordedArrivals:
        """Return the pattern with the arrivals of the file."""
        arrivals, _ = read_access_log(folder / self.file)
        return replace(arrivals, speed_up=self.speed_up)


def named_scenarios() -> dict[str, Path]:
    """Return the files of the scenarios that come with the project, by name, in order."""
    folder = Path(str(resources.files("sim.world").joinpath("scenarios")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Return a named scenario, or the one in a file.

    A text without a folder and without `.toml` is a name.

    Raises:
        InputError: there is no such scenario or file, it is not TOML, or a setting is unknown,
            missing, of the wrong type or impossible; names the file and the setting.
    """
    text = str(name_or_path)
    named = named_scenarios()
    if text in named:
        return read_scenario(named[text])
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) > 1 or path.is_file():
        return read_scenario(path)
    guess = did_you_mean(text, named)
    raise InputError(f"there is no scenario {text!r}{guess or ': there are ' + ', '.join(named)}")


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a TOML file; its name is the file's unless it says otherwise.

    Raises:
        InputError: as `load_scenario`.
    """
    table = _read(path)
    try:
        return from_table(Scenario, {"name": path.stem} | _with_recordings(table, path.parent))
    except InputError as error:
        raise InputError.at(path, str(error)) from None


def with_primary(scenario: Scenario, path: Path) -> Scenario:
    """Return the scenario with a primary as a file describes it, which has nothing else in it.

    What the file leaves out is as in the scenario. `python -m sim calibrate` writes such files.

    Raises:
        InputError: as `load_scenario`, or the file has another table than `[primary]`.
    """
    table = _read(path)
    others = sorted(set(table) - {"primary"})
    if others or not isinstance(table.get("primary"), dict):
        found = f"not {', '.join(others)}" if others else "and there is none"
        raise InputError.at(path, f"a file for a primary has one table, [primary], {found}")
    known = {name: value for name, value in as_table(scenario.primary).items() if value is not None}
    try:
        primary = from_table(PrimarySettings, known | table["primary"], "primary")
    except InputError as error:
        raise InputError.at(path, str(error)) from None
    return replace(scenario, primary=primary)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError.at(path, f"not a text in UTF-8 ({error.reason})") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError.at(path, f"not TOML: {error}") from None


def _with_recordings(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table with the recordings that it names in the place of their names."""
    outages, traffic = table.get("outages"), table.get("traffic")
    if isinstance(outages, list):
        warmup_s = _warmup_s(table)
        read = [
            from_table(TraceFile, each, f"outages[{at}]").read(folder, warmup_s)
            if _is_kind(each, "trace")
            else each
            for at, each in enumerate(outages)
        ]
        table = table | {"outages": read}
    if _is_kind(traffic, "log"):
        table = table | {"traffic": from_table(LogFile, traffic, "traffic").read(folder)}
    return table


def _warmup_s(table: dict[str, Any]) -> float:
    """Return the warm-up, or 0 if it is none; what is wrong with it is told with the rest."""
    warmup_s = table.get("warmup_s", 0.0)
    if isinstance(warmup_s, int | float) and 0 <= warmup_s < math.inf:
        return float(warmup_s)
    return 0.0


def _is_kind(table: object, kind: str) -> bool:
    return isinstance(table, dict) and table.get("kind") == kind
