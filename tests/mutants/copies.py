"""Copies of the checkout, in which faults are put: the checkout itself is never changed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.mutants import ROOT, Mutant

COPIED = ("benchmarks", "ftrepo", "sim", "tests", "pyproject.toml")

_LOOKED_AT_BY_NO_WORLD = ("sim/show/", "sim/testbed/", "sim/study/", "ftrepo/postgres/")
"""What an exploration does not run, though the tests may."""


@contextmanager
def copy_with(mutant: Mutant | None) -> Iterator[Path]:
    """Give a folder with the code as it is, but for one fault; it is removed in the end.

    Args:
        mutant: the fault; `None` for a plain copy.
    """
    with tempfile.TemporaryDirectory(prefix="ftrepo-mutant-") as folder:
        root = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                # Compiled files come along: their times still fit, so all but one are up to date.
                shutil.copytree(ROOT / name, root / name)
            else:
                shutil.copy2(ROOT / name, root / name)
        if mutant is not None:
            mutant.apply(root)
        yield root


def digest_for_exploration(mutant: Mutant | None) -> str:
    """Return a name for all that decides what an exploration finds."""
    files = [*_python_files("ftrepo"), *_python_files("sim"), "tests/mutants/explored.py"]
    return _digest(mutant, [name for name in files if not name.startswith(_LOOKED_AT_BY_NO_WORLD)])


def digest_for_tests(mutant: Mutant | None, names: Sequence[str]) -> str:
    """Return a name for all that decides what these files of tests find."""
    shared = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("*.py"))]
    beside = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests/ftrepo").glob("*.py"))]
    fakes = [name for name in beside if not Path(name).name.startswith("test_")]
    own = [f"tests/ftrepo/{name}" for name in names]
    code = [*_python_files("ftrepo"), *_python_files("sim/world"), *_python_files("sim/loop")]
    return _digest(mutant, [*shared, *fakes, *own, *code])


def _python_files(folder: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / folder).rglob("*.py"))]


def _digest(mutant: Mutant | None, names: list[str]) -> str:
    sha = hashlib.sha256()
    for name in names:
        text = (ROOT / name).read_text("utf-8")
        if mutant is not None and name == mutant.file:
            text = mutant.applied_to(text)
        sha.update(f"{name}\0{len(text)}\0{text}".encode())
    return sha.hexdigest()
