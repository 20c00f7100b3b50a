"""A name for a run that no other run has: a digest of all that its figures depend on.

That is the scenario with its recordings, the policy, the seed, the replication, the code that plays
it, and the versions of what the code stands on.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ftrepo
import sim

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.world.scenario import Scenario

_PLAYS_NO_RUN = ("sim/show/", "sim/testbed/", "sim/explore/")
"""Packages that a run cannot import: the contracts on imports forbid it."""

_STANDS_ON = ("cryptography", "numpy", "scipy", "simpy")
"""Libraries whose version may change a figure."""


class Digest:
    """A SHA-256 of plain values and dataclasses, the same in every process and on every machine."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, value: Any) -> Digest:
        """Take in a value: its type and its content, so that 1, 1.0, True and "1" all differ.

        Raises:
            TypeError: there is no rule for such a value.
        """
        if isinstance(value, enum.Enum):
            self._put(type(value).__qualname__, value.name)
        elif value is None or isinstance(value, bool | int | float | str):
            self._put(type(value).__name__, repr(value))
        elif isinstance(value, np.ndarray):
            self._put("array", f"{value.dtype.str} {value.shape}")
            self._sha.update(np.ascontiguousarray(value).tobytes())
        elif is_dataclass(value) and not isinstance(value, type):
            self._put("class", type(value).__qualname__)
            for each in fields(value):
                self._put("field", each.name)
                self.add(getattr(value, each.name))
        elif isinstance(value, Mapping):
            self._put("mapping", str(len(value)))
            for key in sorted(value):
                self.add(key).add(value[key])
        elif isinstance(value, tuple | list):
            self._put("list", str(len(value)))
            for item in value:
                self.add(item)
        else:
            raise TypeError(f"no digest of a {type(value).__name__}")
        return self

    def hex(self) -> str:
        """The digest of all that was taken in, in 64 hexadecimal digits."""
        return self._sha.hexdigest()

    def copy(self) -> Digest:
        """A digest that goes on from here, apart from this one."""
        other = Digest()
        other._sha = self._sha.copy()
        return other

    def _put(self, kind: str, text: str) -> None:
        encoded = text.encode()
        self._sha.update(f"{kind} {len(encoded)} ".encode() + encoded)


def run_keys(
    scenario: Scenario, policy: Policy, *, seed: int, replications: int, code: str
) -> list[str]:
    """Return the name of the run of each replication.

    Args:
        scenario: what is played; its own name counts too.
        policy: under which policy.
        seed: of the study.
        replications: how many runs there are, from replication 0 on.
        code: what `code_digest` returned.
    """
    common = Digest().add(code).add(scenario).add(policy).add(seed)
    return [common.copy().add(number).hex() for number in range(replications)]


@functools.cache
def code_digest() -> str:
    """Return a digest of the code that plays runs here, as it was when first asked for."""
    return digest_of_code(Path(str(package.__file__)).parent for package in (ftrepo, sim))


def digest_of_code(packages: Iterable[Path]) -> str:
    """Return a digest of packages and of what they stand on, in 16 hexadecimal digits.

    It covers every module that a run may import, the versions of Python and of the libraries that
    a figure may depend on, and the kind of machine.

    Args:
        packages: their folders.
    """
    digest = Digest().add("{}.{}".format(*sys.version_info)).add(platform.machine())
    for name in _STANDS_ON:
        digest.add(name).add(_version(name))
    for folder in packages:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            if not name.startswith(_PLAYS_NO_RUN):
                digest.add(name).add(path.read_text(encoding="utf-8"))
    return digest.hex()[:16]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
