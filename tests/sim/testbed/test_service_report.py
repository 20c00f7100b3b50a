"""The tables and the JSON of what was measured of the service."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from sim.history import GetOutcome
from sim.testbed.service_kill import KillOutcome
from sim.testbed.service_predict import Predicted
from sim.testbed.service_process import FleetSettings
from sim.testbed.service_record import Asked, Noted, failed_share_max, rows
from sim.testbed.service_report import (
    kill_table,
    predict_table,
    verify_notes,
    verify_table,
    write_json,
)
from sim.testbed.service_restart import Moments
from sim.testbed.service_verify import VerifyOutcome, VerifySettings

NOTED = [
    Noted("up", Asked.FRESH, float(number), 0.01, 0, 1, "k", outcome)
    for number, outcome in enumerate([GetOutcome.RIGHT] * 58 + [GetOutcome.UNKNOWN])
]

VERIFIED = VerifyOutcome(
    settings=VerifySettings(fleet=FleetSettings(instances=2, peers=False)),
    noted=NOTED,
    rows=rows(NOTED, lambda _: False),
    keys=1,
    prediction="nothing fails",
    failures=["up: one"],
)

PREDICTED = Predicted(
    name="default",
    moments=Moments(1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0),
    requests=100,
    theory=0.8,
    simulated=[0.75, 0.8],
    real=0.5,
)

KILLED = KillOutcome(
    journal=False, acknowledged=5, waiting=3, known_again=0, lost=3, simulated_lost=[3, 3]
)


def shown(table: object) -> str:
    """A table as text."""
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_tables_say_what_was_not_predicted_and_what_disagrees() -> None:
    """With bounds of what was seen, never with "100%"."""
    text = shown(verify_table(VERIFIED))
    assert "2 instances, without peers" in text
    assert f"{failed_share_max(1, 59):.2%}" in text
    assert VERIFIED.unpredicted == 1
    assert any("59 verifications" in line and "1 failed" in line for line in verify_notes(VERIFIED))
    assert "NO" in shown(predict_table([PREDICTED]))
    assert "0.7500 … 0.8000" in shown(predict_table([PREDICTED]))
    assert "lost, simulated" in shown(kill_table([KILLED]))


def test_the_json_has_every_figure(tmp_path: Path) -> None:
    """And only what was measured."""
    path = tmp_path / "new" / "service.json"
    write_json(path, verified=VERIFIED, predicted=[PREDICTED], killed=[KILLED])
    document = json.loads(path.read_text())
    (row,) = document["verify"]["rows"]
    assert (row["asked"], row["requests"], row["unpredicted"]) == (Asked.FRESH.value, 59, 1)
    assert document["verify"]["unpredicted"] == 1
    assert document["predict"][0]["moments"]["ready_s"] == 4.0
    assert document["predict"][0]["agrees"] is False
    assert document["kill"][0]["is_as_predicted"] is True
    write_json(path, killed=[KILLED])
    assert list(json.loads(path.read_text())) == ["kill"]
