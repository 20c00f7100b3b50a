"""`python -m sim explore`, as its user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftrepo.keys import PublicKey
from ftrepo.pending import PendingWrites
from ftrepo.policy import Policy
from sim.__main__ import INTERRUPTED, main
from sim.explore.behaviours import BEHAVIOURS
from sim.explore.hostile_world import HostileWorld
from sim.explore.judging import Case, drawn, judge
from sim.explore.shrinking import Shrinking, breaks_like, size
from sim.explore.world_file import Kept, read_kept, write_kept

ONLY = "durability"
"""The invariant that the planted fault breaks, and the only one that counts here."""


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in `ftrepo`: a flush lets go of keys before the primary has confirmed them."""
    claim = PendingWrites.claim

    def claim_and_let_go(self: PendingWrites, limit: int) -> list[PublicKey]:
        keys = claim(self, limit)
        for key in keys:
            self.remove(key.id)
        return keys

    monkeypatch.setattr(PendingWrites, "claim", claim_and_let_go)


def explore(tmp_path: Path, *more: str) -> tuple[int, Any]:
    """The exit code of a search in this process, and what it wrote as JSON."""
    path = tmp_path / "explore.json"
    fixed = ("--workers", "1", "--keep", str(tmp_path / "keep"), "--json", str(path))
    code = main(["explore", *more, *fixed])
    return code, json.loads(path.read_text(encoding="utf-8"))


def test_a_quiet_search_says_where_it_has_been_and_where_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bound for what it did not see, and nothing kept."""
    code, figures = explore(tmp_path, "--seeds", "30", "--from", "2000", "--only", ONLY)
    shown = capsys.readouterr().out
    assert code == 0
    assert "seeds 2000 to 2029, 30 worlds in" in shown
    assert "fewer than 10% of the worlds that are drawn like these do" in shown
    assert "what was never reached is in fewer than 10% of such worlds" in shown
    assert "new ones" not in shown
    assert figures["found"] is None
    assert (figures["worlds"], figures["end"], figures["policy"]) == (30, "seeds", "drawn")
    assert [each["name"] for each in figures["behaviours"]] == list(BEHAVIOURS)
    assert figures["growth"]["situations"][-1][1] == len(figures["situations"])
    assert not (tmp_path / "keep").exists()


@pytest.mark.usefixtures("planted")
def test_a_fault_is_found_made_small_kept_and_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one command to play it again, and the same history in the end."""
    code, figures = explore(tmp_path, "--seeds", "50", "--only", ONLY)
    shown = capsys.readouterr().out
    found = figures["found"]
    assert code == 1
    assert found["violations"][0]["invariant"] == ONLY
    assert f"seed {found['seed']} breaks {ONLY}" in shown
    assert "create asked" in shown
    assert f"to play it again: python -m sim explore --replay {found['file']}" in shown
    kept = read_kept(Path(found["file"]))
    assert size(kept.case)["operations"] <= 2 < found["size"]["operations"]
    assert size(kept.case)["changed_settings"] == 0
    assert main(["explore", "--replay", found["file"]]) == 1
    replayed = capsys.readouterr().out
    assert "the same history as when the file was written, to the bit" in replayed
    assert "create asked" in replayed


@pytest.mark.usefixtures("planted")
def test_forty_operations_shrink_to_one() -> None:
    """A create in an outage is all that this fault needs."""
    seeds = (seed for seed in range(500) if len(drawn(seed).world.operations) >= 40)
    case, violation = next(
        (case, found[0])
        for seed in seeds
        if (found := judge(case := drawn(seed), only=ONLY).violations)
    )
    shrinking = Shrinking(case, breaks_like(violation))
    smallest = size(shrinking.run())
    assert smallest["operations"] == smallest["keys"] == smallest["instances"] == 1
    assert smallest["changed_settings"] == 0
    assert not shrinking.exhausted


def test_a_replay_of_what_was_mended_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that the code has changed since; by the same code another history is a defect."""
    from sim.explore.world_file import player_digest

    path = tmp_path / "world.json"
    case = Case(HostileWorld(), Policy())
    for code, said in (("0" * 16, "the code has changed since"), (player_digest(), "reproducible")):
        write_kept(path, Kept(about="was broken", case=case, digest="0" * 64, code=code))
        assert main(["explore", "--replay", str(path)]) == int(said == "reproducible")
        shown = capsys.readouterr().out
        assert "no invariant is broken" in shown
        assert said in shown


def test_worlds_can_be_drawn_within_a_scenario_under_a_policy(tmp_path: Path) -> None:
    """Or within every one of them, with the same seeds."""
    options = ("--seeds", "3", "--policy", "default", "--only", ONLY)
    code, figures = explore(tmp_path, "fleet", *options)
    assert (code, figures["grounds"], figures["policy"]) == (0, ["fleet"], "given")
    code, figures = explore(tmp_path, "--all", *options)
    assert code == 0
    assert figures["grounds"][0] is None
    assert figures["worlds"] == 3 * len(figures["grounds"]) > 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "speed"], "the invariants are durability, "),
        (["--all", "fleet"], "--all has fleet among others"),
        (["nowhere"], "nowhere"),
        (["--policy", "nobody"], "no policy is named 'nobody'"),
        (["--replay", "nothing.json"], "nothing.json"),
        (["--replay", "nothing.json", "fleet"], "--replay plays one file"),
        (["--replay", "nothing.json", "--policy", "x"], "it goes without --policy"),
        (["--json", "."], "--json .: a folder"),
    ],
)
def test_what_the_user_gets_wrong_is_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2."""
    assert main(["explore", *arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


PROGRAM = """
import os, sys
from contextlib import contextmanager
from sim import explore_command
from sim.__main__ import main

@contextmanager
def lines(*_, **__):
    yield lambda done, total: os.write(1, b"searched\\n") if done else None

if __name__ == "__main__":
    explore_command.progress_bar = lines
    sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_ends_the_search_and_tells_what_was_searched(tmp_path: Path) -> None:
    """A terminal sends it to every process; only the first one answers, with the figures so far."""
    program, figures = tmp_path / "program.py", tmp_path / "figures.json"
    program.write_text(PROGRAM)
    options = ["--seeds", "1000000", "--workers", "2", "--only", ONLY, "--json", str(figures)]
    running = subprocess.Popen(
        [sys.executable, str(program), "explore", *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert [running.stdout.readline() for _ in range(2)] == [b"searched\n"] * 2
    os.killpg(running.pid, signal.SIGINT)
    shown, errors = running.communicate(timeout=60)
    assert running.returncode == INTERRUPTED
    assert errors == b"interrupted\n"
    assert b"interrupted, and nothing that was still being played counts" in shown
    told = json.loads(figures.read_text())
    assert told["end"] == "interrupted"
    assert told["seeds"] == told["worlds"] >= 64
