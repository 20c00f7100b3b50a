"""Who catches a mutant: the exploration of random worlds, and the tests that are there for it.

Both run in processes of their own, in a copy of the checkout that has the fault. What was found is
kept under a digest of the changed code and of whatever looks at it, so a second run of `make
mutants` does only what a change has made necessary.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutants.copies import copy_with, digest_for_exploration, digest_for_tests
from tests.mutants.mutants import ROOT, Mutant

KEPT = ROOT / "build" / "mutants"

EXPLORATION_S_MAX = 1_800
TESTS_S_MAX = 600
"""After so long something hangs. Both are some ten times what is usual on a busy machine."""


class HuntError(Exception):
    """A hunt could not be carried out; the message is what the other process said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A world in which an invariant does not hold."""

    seed: int
    invariant: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """What became of a mutant.

    Attributes:
        sight: the first world that shows it; `None` if no world of those searched does.
        seeds: how many worlds were played, that one included; zero if no world could show it.
        test: the first test that failed; `None` if all passed, or there was no PostgreSQL for them.
    """

    mutant: Mutant
    sight: Sight | None
    seeds: int
    test: str | None

    @property
    def is_caught(self) -> bool:
        """Whether anything at all has noticed it."""
        return self.sight is not None or self.test is not None

    @property
    def is_missed_by_exploration(self) -> bool:
        """Whether worlds could show it, some were played, and none did."""
        return self.mutant.is_explored and self.seeds > 0 and self.sight is None


def hunt(
    mutant: Mutant,
    *,
    seeds: int,
    passed_over: Sequence[int] = (),
    disregard: Sequence[str] = (),
) -> Caught:
    """Let both look for a mutant.

    Args:
        mutant: the fault.
        seeds: how many worlds are played at most; zero for none.
        passed_over: seeds whose worlds break an invariant without any fault put in.
        disregard: violations that say one of these texts count for nothing.

    Raises:
        StaleMutantError: the mutant does not fit the code.
        HuntError: one of the two could not run.
    """
    sights: list[Sight] = []
    if mutant.is_explored and seeds:
        sights = _explore(
            mutant, "--seeds", seeds, "--pass-over", *passed_over, "--disregard", *disregard
        )
    sight = sights[0] if sights else None
    played = 0 if mutant.unseen else seeds if sight is None else sight.seed + 1
    test = _test(mutant, mutant.tests, needs_postgres=mutant.postgres)
    return Caught(mutant=mutant, sight=sight, seeds=played, test=test)


def false_alarms(*, seeds: int, disregard: Sequence[str] = ()) -> list[Sight]:
    """Return every world that breaks an invariant of the code as it is; there should be none."""
    return _explore(None, "--all", "--seeds", seeds, "--disregard", *disregard)


def _explore(mutant: Mutant | None, *options: object) -> list[Sight]:
    words = [str(option) for option in options]
    kept = _kept("exploration", mutant, [digest_for_exploration(mutant), *words])
    if not kept.exists():
        with copy_with(mutant) as root:
            command = [sys.executable, "-m", "tests.mutants.explored", *words]
            ended = _run(command, root, EXPLORATION_S_MAX)
        if ended.returncode:
            raise HuntError(f"exploring {_name(mutant)} ended with: {_tail(ended)}")
        _keep(kept, json.loads(ended.stdout.splitlines()[-1]))
    return [Sight(**each) for each in json.loads(kept.read_text("utf-8"))]


def first_false_failure(hunted: Sequence[Mutant]) -> str | None:
    """Return a test that fails on the code as it is; then its failures say nothing of a fault."""
    names = sorted({name for mutant in hunted for name in mutant.tests})
    return _test(None, names, needs_postgres=any(mutant.postgres for mutant in hunted))


def _test(mutant: Mutant | None, names: Sequence[str], *, needs_postgres: bool) -> str | None:
    """Return the first of these files' tests that fails; `None` if all pass."""
    marks = [] if needs_postgres else ["-m", "not postgres"]
    kept = _kept("tests", mutant, [digest_for_tests(mutant, names), *names, *marks])
    if not kept.exists():
        files = [f"tests/ftrepo/{name}" for name in names]
        quiet = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly"]
        with copy_with(mutant) as root:
            ended = _run(
                [sys.executable, "-m", "pytest", *quiet, *marks, *files], root, TESTS_S_MAX
            )
        if ended.returncode not in (0, 1):
            raise HuntError(f"the tests of {_name(mutant)} ended with: {_tail(ended)}")
        _keep(kept, {"failed": _first_failed(ended.stdout) if ended.returncode else None})
    failed: str | None = json.loads(kept.read_text("utf-8"))["failed"]
    return failed


def _run(command: Sequence[str], root: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "CI": "1",  # Properties are then tested with the same examples every time.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(root / ".hypothesis"),
    }
    try:
        return subprocess.run(
            command,
            cwd=root,
            env=environment,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        if "pytest" in command:  # The fault has made a test hang. That is to be noticed.
            return subprocess.CompletedProcess(
                command, 1, stdout="FAILED a test that hangs", stderr=""
            )
        raise HuntError(f"{' '.join(command)} took longer than {timeout_s} s") from None


def _first_failed(output: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    return found[1].rpartition("/")[2] if found else "a test"


def _kept(kind: str, mutant: Mutant | None, words: Iterable[str]) -> Path:
    name = hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
    return KEPT / kind / f"{_name(mutant)}-{name}.json"


def _keep(path: Path, value: Any) -> None:
    """Write it whole or not at all: a run may be interrupted at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps(value) + "\n", "utf-8")
    fresh.replace(path)


def _name(mutant: Mutant | None) -> str:
    return "the-code-as-it-is" if mutant is None else mutant.name


def _tail(ended: subprocess.CompletedProcess[str]) -> str:
    return (ended.stderr or ended.stdout).strip()[-2_000:]


def as_json(caught: Caught) -> dict[str, Any]:
    """Return a row of the table as plain values."""
    return {
        "mutant": caught.mutant.name,
        "file": caught.mutant.file,
        "wrong": caught.mutant.wrong,
        "hazard": caught.mutant.hazard or None,
        "unseen": caught.mutant.unseen or None,
        "seeds": caught.seeds,
        "world": None if caught.sight is None else asdict(caught.sight),
        "test": caught.test,
    }
