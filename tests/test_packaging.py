"""pyproject.toml is the only list of dependencies: what else names them must agree with it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
SET_UP = sorted(EXTRAS.keys() - {"peers"})
"""The extras that `make setup` installs. Peers are put beside the environment when asked for."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def declared() -> dict[str, Requirement]:
    """Every requirement of pyproject.toml by name: core, extras and the build backend."""
    texts = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["build-system"]["requires"]]
    requirements = [Requirement(text) for text in sum(EXTRAS.values(), texts)]
    # An extra may bring others.
    requirements = [each for each in requirements if each.name != "ftrepo"]
    assert len({r.name for r in requirements}) == len(requirements), "one place for each name"
    return {canonicalize_name(r.name): r for r in requirements}


def pins(python: str) -> dict[str, str]:
    """The version of each distribution that constraints.txt gives to this Python."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    chosen = [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]
    assert len({r.name for r in chosen}) == len(chosen), f"one pin for each name on {python}"
    return {r.name: str(r.specifier).removeprefix("==") for r in chosen}


def closure() -> Iterator[tuple[str, str | None]]:
    """Each distribution that `make setup` brings, with its installed version or `None`."""
    waiting = [(Requirement(f"ftrepo[{','.join(SET_UP)}]"), "")]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = distribution(key[0])
        except PackageNotFoundError:
            yield key[0], None
            continue
        if key[0] != "ftrepo":
            yield key[0], found.version
        for needed in map(Requirement, found.requires or []):
            waiting.extend((needed, name) for name in ["", *requirement.extras])


def test_every_requirement_has_both_bounds() -> None:
    """A range says what the code relies on and which release may break it."""
    for name, requirement in declared().items():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, name


def test_conda_gives_the_same() -> None:
    """environment.yml has the names and ranges of pyproject.toml, and the extras of the set-up."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, by_pip = environment["dependencies"]
    requirements = {r.name: r.specifier for r in map(Requirement, conda)}
    requirements.pop("pip")
    assert requirements.pop("python") == SpecifierSet(PYPROJECT["project"]["requires-python"])
    expected = {"cryptography", "jupyterlab", "matplotlib", "nbmake", "pandas", "simpy"}
    assert requirements == {name: declared()[name].specifier for name in expected}
    assert by_pip == {"pip": [f"--editable .[{','.join(SET_UP)}]"]}


def test_make_sets_up_the_same() -> None:
    """The Makefile installs every extra but the peers."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"EXTRAS := {','.join(SET_UP)}\n" in makefile


@pytest.mark.parametrize("python", PYTHONS)
def test_every_pin_is_in_its_range(python: str) -> None:
    """constraints.txt pins whatever pyproject.toml names, within its range, on each Python."""
    pinned = pins(python)
    for name, requirement in declared().items():
        assert requirement.specifier.contains(pinned[name]), f"{requirement} but {pinned[name]}"


def test_constraints_only_pin() -> None:
    """constraints.txt holds exact versions and names no place to get them from."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")]
    for name, version in pins(PYTHONS[0]).items():
        assert name == canonicalize_name(name)
        assert version[0].isdigit(), name


def test_what_is_installed_is_what_is_pinned() -> None:
    """Everything that the project pulls in, directly or not, has the pinned version here."""
    if not (Path(sys.prefix) / ".ftrepo-setup").exists():
        pytest.skip("`make setup` did not make this environment")
    pinned = pins("{}.{}".format(*sys.version_info))
    installed = dict(closure())
    assert installed == {name: pinned.get(name) for name in installed}


def test_the_types_and_the_scenarios_are_packaged() -> None:
    """An installed copy has the files that the code reads beside itself."""
    packaged = PYPROJECT["tool"]["setuptools"]["package-data"]
    for package, pattern in [
        ("ftrepo", "py.typed"),
        ("ftrepo", "telemetry/grafana/*"),
        ("sim", "py.typed"),
        ("sim", "world/scenarios/*.toml"),
        ("sim", "show/templates/*"),
    ]:
        assert pattern in packaged[package]
        assert list((ROOT / package).glob(pattern)), f"{package}/{pattern} matches no file"
