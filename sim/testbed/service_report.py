"""What was measured of the service, as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from sim.study.agreement import SHARE_TOLERANCE
from sim.testbed.service_kill import KillOutcome
from sim.testbed.service_predict import Predicted
from sim.testbed.service_record import VERIFICATIONS, Row, failed_share_max
from sim.testbed.service_verify import VerifyOutcome

_MS = 1000


def verify_table(outcome: VerifyOutcome) -> Table:
    """One row for each phase and kind of request; what the policy does not predict is red."""
    table = Table(title=_title(outcome), title_justify="left")
    table.add_column("the database")
    table.add_column("request")
    for heading in (
        "requests",
        "failed",
        "not predicted",
        "fail, at most",
        "p50, ms",
        "p99, ms",
        "max, ms",
    ):
        table.add_column(heading, justify="right")
    for row in outcome.rows:
        style = "bold red" if row.unpredicted else ""
        table.add_row(*(Text(cell, style=style) for cell in _cells(row)))
    return table


def verify_notes(outcome: VerifyOutcome) -> list[str]:
    """What a reader must know to judge the table."""
    return [
        f"the policy predicts: {outcome.prediction}",
        f"{outcome.keys} keys signed the tokens that were used",
        "fail, at most: with 95% confidence, of more such requests in the same phase",
        _of_verifications(outcome),
        *outcome.failures,
    ]


def predict_table(predicted: Sequence[Predicted]) -> Table:
    """One row for each way to run the service."""
    title = "availability of GET /keys/{id} where all instances are restarted in an outage"
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    for heading in ("theory", "simulated", "prediction interval", "real", "requests"):
        table.add_column(heading, justify="right")
    table.add_column("agreement")
    rule = f"in the interval, or within {SHARE_TOLERANCE:.0%} of the mean"
    for each in predicted:
        verdict = Text("yes: " if each.agrees else "NO: ", style="" if each.agrees else "red")
        verdict.append(rule, style="dim")
        table.add_row(
            each.name,
            f"{each.theory:.4f}",
            f"{each.mean:.4f}",
            f"{each.low:.4f} … {each.high:.4f}",
            f"{each.real:.4f}",
            str(each.requests),
            verdict,
        )
    return table


def kill_table(outcomes: Sequence[KillOutcome]) -> Table:
    """One row with a journal, one without."""
    table = Table(title="kill -9 of the service in an outage", title_justify="left")
    table.add_column("journal")
    for heading in ("acknowledged", "waiting", "known again", "lost", "lost, simulated"):
        table.add_column(heading, justify="right")
    for each in outcomes:
        simulated = " ".join(map(str, sorted(set(each.simulated_lost))))
        table.add_row(
            "yes" if each.journal else "no",
            str(each.acknowledged),
            str(each.waiting),
            str(each.known_again),
            Text(str(each.lost), style="" if each.is_as_predicted else "bold red"),
            simulated,
        )
    return table


def write_json(
    path: Path,
    *,
    verified: VerifyOutcome | None = None,
    predicted: Sequence[Predicted] = (),
    killed: Sequence[KillOutcome] = (),
) -> None:
    """Write what was measured, times in seconds; no value where there is none."""
    document: dict[str, object] = {}
    if verified is not None:
        document["verify"] = {
            "instances": verified.settings.fleet.instances,
            "peers": verified.settings.fleet.peers,
            "phase_s": verified.settings.phase_s,
            "prediction": verified.prediction,
            "keys": verified.keys,
            "unpredicted": verified.unpredicted,
            "failures": list(verified.failures),
            "rows": [_row(row) for row in verified.rows],
        }
    if predicted:
        document["predict"] = [
            {
                "policy": each.name,
                "moments": each.moments._asdict(),
                "requests": each.requests,
                "theory": each.theory,
                "simulated": list(each.simulated),
                "real": each.real,
                "agrees": each.agrees,
            }
            for each in predicted
        ]
    if killed:
        document["kill"] = [
            {**asdict(each), "is_as_predicted": each.is_as_predicted} for each in killed
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _of_verifications(outcome: VerifyOutcome) -> str:
    own = [row for row in outcome.rows if row.asked in VERIFICATIONS]
    failed, requests = sum(row.failed for row in own), sum(row.requests for row in own)
    most = failed_share_max(failed, requests)
    return (
        f"{requests} verifications in all phases, of which {failed} failed: at most {most:.2%} fail"
    )


def _title(outcome: VerifyOutcome) -> str:
    fleet = outcome.settings.fleet
    if fleet.instances == 1:
        return "one instance"
    return f"{fleet.instances} instances, {'with' if fleet.peers else 'without'} peers"


def _cells(row: Row) -> list[str]:
    milliseconds = (f"{_MS * each:.0f}" for each in (row.p50_s, row.p99_s, row.max_s))
    return [
        row.phase,
        row.asked.value,
        str(row.requests),
        str(row.failed),
        str(row.unpredicted),
        f"{row.failed_share_max:.2%}",
        *milliseconds,
    ]


def _row(row: Row) -> Mapping[str, object]:
    values = {
        **asdict(row),
        "asked": row.asked.value,
        "failed_share_max": row.failed_share_max,
    }
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
