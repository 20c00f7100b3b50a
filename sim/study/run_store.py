"""Finished runs on disk, so that none is ever played twice.

Every run is a file of its own, named by a digest of all that its figures depend on, and is put in
place by a rename: a reader sees a whole file or none, whoever is killed, and any number of sweeps
may share a folder. Each file carries a checksum; what a crash of the machine tore is played again.

    FOLDER/CODE/3f/3f9a….json      CODE: the digest of the code that played it

Runs of other code are never read. They stay until somebody deletes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim.study.experiment import RunFigures
from sim.study.run_digest import code_digest

SUFFIX = ".json"


class RunStore:
    """The runs in a folder that the present code has played.

    Args:
        folder: made when the first run is stored.
        code: the digest of the code; `None` for that of the code that is running.

    Attributes:
        folder: as given.
        code: the digest.
    """

    def __init__(self, folder: Path, *, code: str | None = None) -> None:
        self.folder = folder
        self.code = code_digest() if code is None else code

    def get(self, key: str) -> RunFigures | None:
        """Return the figures of a run, or `None` if it is not here or its file is damaged.

        Raises:
            OSError: the file is there and cannot be read.
        """
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        return _decoded(content)

    def put(self, key: str, figures: RunFigures) -> None:
        """Store the figures of a run; of two that store the same one, the last wins.

        It is there for good once this returns, unless the machine itself crashes within seconds.

        Raises:
            OSError: the folder cannot be written to, or the disk is full.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{key[:16]}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_encoded(figures))
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise

    def __len__(self) -> int:
        """How many runs of the present code there are."""
        return _count(self.folder / self.code)

    def of_other_code(self) -> int:
        """How many runs there are that other code has played, and that are left alone."""
        if not self.folder.is_dir():
            return 0
        others = [each for each in self.folder.iterdir() if each.name != self.code]
        return sum(_count(each) for each in others if each.is_dir())

    def _path(self, key: str) -> Path:
        return self.folder / self.code / key[:2] / f"{key}{SUFFIX}"


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob(f"*/*{SUFFIX}"))


def _encoded(figures: RunFigures) -> bytes:
    # Python writes a float so that it reads back to the bit, and NaN as NaN.
    text = json.dumps(asdict(figures), separators=(",", ":"))
    return json.dumps({"sha256": _checksum(text), "run": text}).encode()


def _decoded(content: bytes) -> RunFigures | None:
    try:
        envelope: dict[str, Any] = json.loads(content)
        text = envelope["run"]
        if _checksum(text) != envelope["sha256"]:
            return None
        return RunFigures(**json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
