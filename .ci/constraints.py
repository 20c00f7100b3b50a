"""Writes constraints.txt: one pin for every distribution that any interpreter would install.

Usage, as in `make constraints`: ``python .ci/constraints.py python3.11 python3.12 python3.13``.

Each interpreter, oldest first, resolves pyproject.toml with all extras and the build backend, and
is asked to keep what the older ones chose. So a pin carries an environment marker only where no
one version serves all, and a figure computed on one Python comes from the same numpy on the next.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints.txt"
HEADER = """\
# Every version that the project installs, for a reproducible set-up: `make setup` tells pip.
# Resolved on Linux with {interpreters}; what only another system needs is not pinned.
# Do not edit by hand: pyproject.toml has the ranges, and `make constraints` regenerates this file.
"""

Pins = dict[str, str]


def requirements() -> list[str]:
    """Return the build backend and the project with all its extras, as pip arguments."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = ",".join(project["project"]["optional-dependencies"])
    return [*project["build-system"]["requires"], "--editable", f"{ROOT}[{extras}]"]


def resolve(python: Path, keep: Pins, folder: Path) -> Pins:
    """Return what pip would install for this interpreter if it kept the given pins.

    Raises:
        subprocess.CalledProcessError: no such set of versions exists; pip has said why.
    """
    kept = folder / "keep.txt"
    kept.write_text("".join(f"{name}=={version}\n" for name, version in keep.items()))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    report = subprocess.run(
        [*pip, "--report", "-", "--constraint", str(kept), *requirements()],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PIP_CONSTRAINT": str(kept)},
    ).stdout
    found = (item["metadata"] for item in json.loads(report)["install"])
    pins = {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"] for item in found}
    del pins["ftrepo"]
    return pins


def resolve_all(interpreters: list[str]) -> dict[str, Pins]:
    """Return the pins for each Python version, such as "3.11", oldest first."""
    by_version: dict[str, Pins] = {}
    keep: Pins = {}
    for interpreter in interpreters:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            subprocess.run([interpreter, "-m", "venv", str(folder / "venv")], check=True)
            python = folder / "venv" / "bin" / "python"
            code = "import sys; print('%d.%d' % sys.version_info[:2])"
            version = subprocess.check_output([python, "-c", code], text=True).strip()
            print(f"resolving for Python {version}", file=sys.stderr)
            try:
                pins = resolve(python, keep, folder)
            except subprocess.CalledProcessError:
                print(f"Python {version} cannot keep all of them: anew", file=sys.stderr)
                pins = resolve(python, {}, folder)
        by_version[version] = pins
        keep = {**pins, **keep}
    return by_version


def lines(by_version: dict[str, Pins]) -> list[str]:
    """Return one line for each distribution and version, with a marker where they differ.

    The newest interpreter's pins hold for every later Python as well.
    """
    versions = list(by_version)
    result = []
    for name in sorted(set().union(*by_version.values())):
        chosen = [by_version[version].get(name) for version in versions]
        for pin in dict.fromkeys(filter(None, chosen)):
            first, last = chosen.index(pin), len(chosen) - 1 - chosen[::-1].index(pin)
            bounds = []
            if any(other not in (None, pin) for other in chosen[:first]):
                bounds.append(f'python_version >= "{versions[first]}"')
            if any(other not in (None, pin) for other in chosen[last + 1 :]):
                bounds.append(f'python_version < "{versions[last + 1]}"')
            result.append(f"{name}=={pin}" + (" ; " + " and ".join(bounds) if bounds else ""))
    return result


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("name the interpreters to resolve for, oldest first: python3.11 python3.12 …")
    resolved = resolve_all(sys.argv[1:])
    header = HEADER.format(interpreters=", ".join(f"CPython {version}" for version in resolved))
    TARGET.write_text(header + "\n".join(lines(resolved)) + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {len(lines(resolved))} pins", file=sys.stderr)
