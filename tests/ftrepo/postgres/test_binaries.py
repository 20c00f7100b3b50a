from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ftrepo.postgres.binaries import (
    OVERRIDE,
    BinariesError,
    find_binaries,
    server_binaries,
    server_user,
    version_of,
)

pytestmark = pytest.mark.postgres


def test_the_override_names_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment names the folder, and a folder without programs is refused by its name."""
    real = find_binaries()
    monkeypatch.setenv(OVERRIDE, str(real))
    assert find_binaries() == real.resolve()
    monkeypatch.setenv(OVERRIDE, str(tmp_path))
    with pytest.raises(BinariesError, match=str(tmp_path)):
        find_binaries()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_programs_under_a_private_home_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that `nobody` cannot reach are copied, once, to where it can run them."""
    found = find_binaries()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place, "home")
        home.mkdir(mode=0o700)
        package = home / found.parents[1].name
        package.mkdir()
        shutil.copytree(found.parent, package / found.parent.name)
        libraries = found.parents[1].with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, home / libraries.name)
        Path(place).chmod(0o755)
        monkeypatch.setenv(OVERRIDE, str(package / found.parent.name / "bin"))
        monkeypatch.setattr("tempfile.tempdir", place)
        copied = server_binaries()
        assert home not in copied.parents
        assert server_binaries() == copied
        command = [copied / "initdb", "--version"]
        shown = subprocess.run(command, check=True, **server_user().popen_options())  # type: ignore[call-overload]
        assert shown.returncode == 0
        assert sorted(path.name for path in Path(place).iterdir()) == [
            copied.parents[2].name,
            "home",
        ]


def test_programs_that_cannot_be_run_are_named(tmp_path: Path) -> None:
    """A folder for another kind of machine is an error that names the program."""
    (tmp_path / "postgres").write_text("no program at all")
    with pytest.raises(BinariesError, match="postgres cannot be run here"):
        version_of(tmp_path)
    assert "(PostgreSQL)" in version_of(find_binaries())
