"""The drill for disaster recovery: a real, small one, and what it makes of its figures."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sim.testbed import drill
from sim.testbed.drill import lose_the_server, undo_a_mistake
from sim.testbed.drill_outcome import DrillOutcome, DrillSettings, report, write_json

SMALL = DrillSettings(existing=200, load_s=2.5, archive_timeout_s=1)

MET = DrillOutcome(
    disaster="lost server",
    keys=100,
    backup_s=1.0,
    backup_bytes=50_000_000,
    copy_s=1.0,
    replay_s=1.0,
    check_s=1.0,
    recovery_time_s=3600.0,
    recovery_point_s=900.0,
    lost=3,
    lost_but_served=2,
    undone=0,
    pending=7,
    flushed=7,
    flushed_s=4.0,
    gets=1000,
    failed_gets=1,
    failed_creates=0,
    checks=(),
)


@pytest.mark.postgres
def test_a_lost_server_is_restored_within_the_objectives() -> None:
    """A server that is killed and whose data are gone comes back from backup and archive."""
    outcome = asyncio.run(lose_the_server(SMALL))
    assert outcome.missed() == []
    assert outcome.failed_gets == outcome.failed_creates == 0
    assert outcome.keys > SMALL.existing
    assert outcome.pending == outcome.flushed > 0
    # What the log had not handed over: no older than its time-out, and the time to archive.
    assert outcome.recovery_point_s < SMALL.archive_timeout_s + 5.0
    assert outcome.lost == outcome.lost_but_served


@pytest.mark.postgres
def test_a_mistake_is_undone_and_costs_no_commit_before_it() -> None:
    """Going back to the moment before a deletion brings every key back that was there."""
    outcome = asyncio.run(undo_a_mistake(SMALL))
    assert outcome.missed() == []
    assert outcome.lost == 0
    assert outcome.undone > 0
    assert outcome.pending == outcome.flushed > 0


@pytest.mark.postgres
def test_a_key_that_waited_for_a_slow_server_is_undone_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a moment's silence made wait, and was flushed before the restore, is undone."""
    at_once = drill._Site.fetch

    async def fetch_after_a_silence(site: drill._Site, query: str) -> list[object]:
        if query.startswith("DELETE"):
            await asyncio.to_thread(site.cluster.freeze)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(site.cluster.thaw)
            await site.load.until_flushed()
        return list(await at_once(site, query))

    monkeypatch.setattr(drill._Site, "fetch", fetch_after_a_silence)
    outcome = asyncio.run(undo_a_mistake(SMALL))
    assert outcome.missed() == []
    assert outcome.lost == 0
    assert outcome.undone > 0


def test_each_objective_can_be_missed() -> None:
    """At the objective it is met, beyond it is missed, and it is named."""
    assert MET.missed() == []
    assert replace(MET, recovery_time_s=3600.1).missed() == ["recovery time"]
    assert replace(MET, recovery_point_s=900.1).missed() == ["recovery point"]
    assert replace(MET, failed_gets=2).missed() == ["availability"]
    assert replace(MET, flushed=6).missed() == ["acknowledged keys flushed"]
    assert replace(MET, checks=("pages: bad",)).missed() == ["checks of the restored server"]


def test_the_report_says_what_was_not_measured(tmp_path: Path) -> None:
    """The report names the size of the drill, what was missed and what nobody measured."""
    missed = replace(MET, recovery_time_s=4000.0, checks=("pages: bad",))
    text = report([MET, missed], SMALL)
    assert text.startswith("200 keys to begin with")
    assert "lost server: objectives met" in text
    assert "MISSED recovery time, checks of the restored server" in text
    assert "pages: bad" in text
    assert "Not measured" in text
    write_json(tmp_path / "new" / "drill.json", [missed], SMALL)
    written = json.loads((tmp_path / "new" / "drill.json").read_text())
    assert written["disasters"][0]["missed"] == ["recovery time", "checks of the restored server"]
    assert written["settings"]["existing"] == 200
