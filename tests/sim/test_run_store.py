"""Finished runs on disk: read back to the bit, or not at all."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftrepo.policy import Policy
from sim.study.experiment import RunFigures
from sim.study.run_digest import Digest, code_digest, digest_of_code, run_keys
from sim.study.run_store import RunStore
from sim.world.outage_trace import RecordedTrace
from sim.world.outages import Outage, OutageMode
from sim.world.scenario import Scenario
from tests.sim.sweeps import WORLD

FIGURES = RunFigures(
    measures={"third": 1 / 3, "none": math.nan, "endless": math.inf},
    outages=3,
    harmful_outages=1,
    share_at_risk=0.1,
    played_s=900.0,
)
KEY = "3f" + 62 * "0"


def key(scenario: Scenario = WORLD, policy: Policy | None = None, **others: Any) -> str:
    """The name of one run."""
    given: dict[str, Any] = {"seed": 1, "replications": 1, "code": "code", **others}
    return run_keys(scenario, policy or Policy(), **given)[-1]


def test_what_was_stored_is_read_back_to_the_bit(tmp_path: Path) -> None:
    """Also where a run has no figure, and where one is infinite."""
    store = RunStore(tmp_path / "runs")
    assert store.get(KEY) is None
    store.put(KEY, FIGURES)
    assert repr(RunStore(tmp_path / "runs").get(KEY)) == repr(FIGURES)
    assert len(store) == 1


def test_a_torn_file_is_no_run(tmp_path: Path) -> None:
    """Wherever it was cut off; and it can be stored anew."""
    store = RunStore(tmp_path)
    store.put(KEY, FIGURES)
    (path,) = tmp_path.rglob("*.json")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert store.get(KEY) is None
    path.write_bytes(whole.replace(b"900.0", b"901.0"))
    assert store.get(KEY) is None, "whole, but not what was written"
    store.put(KEY, FIGURES)
    assert path.read_bytes() == whole


def test_an_unfinished_file_is_no_run(tmp_path: Path) -> None:
    """A writer that was killed leaves one behind, which nobody reads or counts."""
    store = RunStore(tmp_path, code="now")
    (tmp_path / "now" / "3f").mkdir(parents=True)
    (tmp_path / "now" / "3f" / f".{KEY[:16]}-abc").write_bytes(b'{"sha256"')
    assert store.get(KEY) is None
    assert len(store) == 0


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its error is the caller's to see."""

    def refuse(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        RunStore(tmp_path).put(KEY, FIGURES)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_runs_of_other_code_are_not_mixed_in(tmp_path: Path) -> None:
    """They are counted, so that one can say so, and left alone."""
    old, new = RunStore(tmp_path, code="old"), RunStore(tmp_path, code="new")
    old.put(KEY, FIGURES)
    assert new.get(KEY) is None
    assert (len(new), new.of_other_code()) == (0, 1)
    assert (len(old), old.of_other_code()) == (1, 0)
    assert RunStore(tmp_path / "nowhere").of_other_code() == 0


TRACE = RecordedTrace(
    outages=(Outage(10.0, 20.0, OutageMode.REFUSE),), duration_s=900.0, file="trace.csv"
)
SHORTER = replace(TRACE, outages=(Outage(10.0, 19.0, OutageMode.REFUSE),))


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(replace(WORLD, warmup_s=61.0)),
        lambda: key(policy=Policy(flush_interval_s=2.0)),
        lambda: key(seed=2),
        lambda: key(replications=2),
        lambda: key(code="other"),
    ],
)
def test_whatever_a_run_depends_on_is_in_its_name(other: Callable[[], str]) -> None:
    """The scenario, the policy, the seed, the replication and the code."""
    assert other() != key()


def test_a_recording_counts_with_its_content() -> None:
    """Two traces of one name and length may differ."""
    first, second = (replace(WORLD, outages=(each,)) for each in (TRACE, SHORTER))
    assert first.as_dict() == second.as_dict()
    assert key(first) != key(second)


def test_a_name_is_the_same_in_every_process() -> None:
    """Whatever the seed of `hash`."""
    program = "from tests.sim.test_run_store import key, code_digest; print(key(), code_digest())"
    path = os.pathsep.join(each for each in sys.path if each)
    for seed in ("1", "2"):
        shown = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert shown.split() == [key(), code_digest()]


def test_values_of_different_types_have_different_digests() -> None:
    """And so have lists that only look alike when written one after the other."""
    alike: list[Any] = [1, 1.0, True, "1", None, "None", [1], [[1]], ["a", "b"], ["ab"], [], {}]
    alike += [np.array([1.0]), np.array([1]), np.array([[1.0]]), {"a": 1}, OutageMode.HANG, "HANG"]
    digests = [Digest().add(each).hex() for each in alike]
    assert len(set(digests)) == len(digests)
    with pytest.raises(TypeError, match="no digest of a set"):
        Digest().add({1})


def test_the_code_counts_as_far_as_a_run_can_import_it(tmp_path: Path) -> None:
    """A changed figure is no reason to play everything again; a changed world is."""
    package = tmp_path / "sim"
    for name in ("run.py", "world/primary.py", "show/style.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x = 1")
    before = digest_of_code([package])
    (package / "show" / "style.py").write_text("x = 2")
    assert digest_of_code([package]) == before
    (package / "world" / "primary.py").write_text("x = 2")
    assert digest_of_code([package]) != before
