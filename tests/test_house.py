"""House rules that a machine can check on the files of the project."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from sim.world.scenario_file import load_scenario, named_scenarios

ROOT = Path(__file__).parent.parent
PACKAGES = [
    p.relative_to(ROOT) for top in ("ftrepo", "sim") for p in (ROOT / top).rglob("__init__.py")
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MACHINE = re.compile(
    r"(?<![\w.~-])/(?:home|root|Users|work|mnt|workspace)/\w"
    r"|\bfiles\.pythonhosted\b|\bpypi\.org/simple|--(?:extra-)?index-url|--find-links"
)
"""A path that exists on one machine only, or where one machine gets its packages from."""

LOGIC = re.compile(r"^\s*(?:async def|def|class) ", re.MULTILINE)


def project_files() -> list[Path]:
    """Every file under version control; without git, every file of a fresh copy."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        skipped = (".venv", "build", "__pycache__", ".egg-info", "_cache", ".git")
        found = ROOT.rglob("*")
        return [p for p in found if p.is_file() and not any(s in str(p) for s in skipped)]
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_one_machine() -> None:
    """A fresh clone works anywhere: no absolute path, no package index."""
    named = []
    for path in project_files():
        if path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="ignore")
            named += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in MACHINE.finditer(text)]
    assert not named


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: ".".join(path.parts[:-1]))
def test_all_is_the_public_surface(path: Path) -> None:
    """`__all__` lists every public name that the package defines or re-exports; ruff sorts it."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    public = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("ftrepo.", "sim.")):
            public |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            public.add(node.name)
    package = importlib.import_module(".".join(path.parts[:-1]))
    stated = getattr(package, "__all__", [])
    assert {name for name in public if not name.startswith("_")} <= set(stated)
    assert all(hasattr(package, name) for name in stated)


@pytest.mark.parametrize("name", sorted(named_scenarios()))
def test_every_shipped_scenario_loads(name: str) -> None:
    """A scenario that is listed can be run."""
    assert load_scenario(name)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_has_the_house_form(path: Path) -> None:
    """It opens with its question, has the tagged cells, no logic of its own and no outputs."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    title = notebook.cells[0]
    assert title.cell_type == "markdown"
    assert title.source.startswith("# ")
    assert "?" in title.source.splitlines()[0], "the title is the question"
    tags = [tag for cell in code for tag in cell.metadata.get("tags", [])]
    assert tags.count("parameters") == 1
    assert "regression" in tags
    for cell in code:
        assert not cell.outputs, "`make format` strips outputs"
        assert cell.execution_count is None, "`make format` strips counts"
        assert not re.search(r"^\s*(?:async def|def|class) ", cell.source, re.MULTILINE), (
            cell.source
        )
