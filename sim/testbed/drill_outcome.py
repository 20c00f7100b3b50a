"""What a drill has measured, and whether that meets the objectives for disaster recovery."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftrepo.postgres.recovery.wal_archive import ARCHIVE_TIMEOUT_S
from sim.testbed.drill_load import LoadSettings

RECOVERY_TIME_S_MAX = 3600.0
"""The objective: an hour."""

RECOVERY_POINT_S_MAX = 900.0
"""The objective: a quarter of an hour."""

AVAILABILITY_MIN = 0.999
"""The objective, here for the reads of the service while the drill lasts."""


@dataclass(frozen=True, kw_only=True)
class DrillSettings:
    """How large a drill is.

    Attributes:
        existing: keys that are there before it begins.
        load_s: how long the service runs before the backup, and again before the disaster.
        archive_timeout_s: after how long the server archives a file that is not full.
        load: the rates of the service.
    """

    existing: int = 20_000
    load_s: float = 12.0
    archive_timeout_s: int = 5
    load: LoadSettings = field(default_factory=LoadSettings)


@dataclass(frozen=True, kw_only=True)
class DrillOutcome:
    """What one disaster cost.

    Attributes:
        disaster: its name.
        keys: in the restored server's table, before the service has brought it up to date.
        backup_s: for the full backup, its check included.
        backup_bytes: its size.
        copy_s: for copying the backup and comparing every file.
        replay_s: for winding the log forward.
        check_s: for looking at every key, page and index.
        recovery_time_s: until the restored server has confirmed a new key.
        recovery_point_s: the age of the oldest commit that was lost, when disaster struck.
        lost: keys that were committed before the disaster and are not in the restored table.
        lost_but_served: of these, how many the service can still answer for, from memory.
        undone: keys committed after the mistake, which going back undoes.
        pending: keys that were acknowledged while there was no server.
        flushed: of these, how many the table has in the end.
        flushed_s: from the disaster until nothing was pending.
        gets: reads all through the drill.
        failed_gets: of these, how many did not return the right key.
        failed_creates: keys that the service did not take.
        checks: the questions that failed when the restored server was checked.
    """

    disaster: str
    keys: int
    backup_s: float
    backup_bytes: int
    copy_s: float
    replay_s: float
    check_s: float
    recovery_time_s: float
    recovery_point_s: float
    lost: int
    lost_but_served: int
    undone: int
    pending: int
    flushed: int
    flushed_s: float
    gets: int
    failed_gets: int
    failed_creates: int
    checks: tuple[str, ...]

    @property
    def availability(self) -> float:
        """The share of reads that returned the right key."""
        return 1 - self.failed_gets / self.gets if self.gets else 1.0

    def missed(self) -> list[str]:
        """Name each objective that was missed."""
        return [
            name
            for name, met in (
                ("recovery time", self.recovery_time_s <= RECOVERY_TIME_S_MAX),
                ("recovery point", self.recovery_point_s <= RECOVERY_POINT_S_MAX),
                ("availability", self.availability >= AVAILABILITY_MIN),
                ("acknowledged keys flushed", self.flushed == self.pending),
                ("checks of the restored server", not self.checks),
            )
            if not met
        ]


def report(outcomes: Sequence[DrillOutcome], settings: DrillSettings) -> str:
    """Say in words what was measured, with how much, and what was not."""
    begun = (
        f"{settings.existing} keys to begin with, {settings.load.creates_per_s:g} new ones a "
        f"second, a cache with room for all, archive_timeout = {settings.archive_timeout_s} s"
    )
    not_measured = (
        "Not measured: the time until somebody is called and decides; larger databases; the "
        f"archive_timeout of {ARCHIVE_TIMEOUT_S} s that `db archive-settings` proposes, with "
        f"which up to {ARCHIVE_TIMEOUT_S} s and the archiving of one file can be lost (computed)."
    )
    return "\n\n".join([begun, *(_told(one) for one in outcomes), not_measured])


def write_json(file: Path, outcomes: Sequence[DrillOutcome], settings: DrillSettings) -> None:
    """Write all figures, and the objectives that were missed."""
    written = {
        "settings": dataclasses.asdict(settings),
        "objectives": {
            "recovery_time_s_max": RECOVERY_TIME_S_MAX,
            "recovery_point_s_max": RECOVERY_POINT_S_MAX,
            "availability_min": AVAILABILITY_MIN,
        },
        "disasters": [
            {**dataclasses.asdict(one), "availability": one.availability, "missed": one.missed()}
            for one in outcomes
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _availability(one: DrillOutcome) -> str:
    """What so many reads say of availability: never that it is complete."""
    if one.failed_gets:
        return (
            f"{one.availability:.3%}: {one.failed_gets} of {one.gets} reads without the right key"
        )
    # With a larger share of failures, none among so many would be seen less than once in 20 times.
    least = 0.05 ** (1 / one.gets) if one.gets else 0.0
    return f"none of {one.gets} reads failed, which says at least {least:.3%} with 95% confidence"


def _told(one: DrillOutcome) -> str:
    missed = one.missed()
    undone = f"; {one.undone} stored after the mistake were undone" if one.undone else ""
    rows = {
        "recovery time": f"{one.recovery_time_s:.1f} s of at most {RECOVERY_TIME_S_MAX:g} s: copy "
        f"{one.copy_s:.1f}, replay {one.replay_s:.1f}, check {one.check_s:.1f}, then the service's",
        "recovery point": f"{one.recovery_point_s:.1f} s of at most {RECOVERY_POINT_S_MAX:g} s: "
        f"{one.lost} commits lost, {one.lost_but_served} of them still answered for from memory",
        "availability": f"{_availability(one)}, of {AVAILABILITY_MIN:.1%} wanted",
        "while it was away": f"{one.pending} keys acknowledged, {one.failed_creates} refused; "
        f"{one.flushed} flushed, the last of them {one.flushed_s:.1f} s after the beginning",
        "backup": f"{one.backup_s:.1f} s, {one.backup_bytes / 1e6:.0f} MB",
        "restored": f"{one.keys} keys{undone}",
        **{f"failed check {n}": check for n, check in enumerate(one.checks, 1)},
    }
    title = f"{one.disaster}: {'MISSED ' + ', '.join(missed) if missed else 'objectives met'}"
    return "\n".join([title, *(f"  {name:18} {text}" for name, text in rows.items())])
