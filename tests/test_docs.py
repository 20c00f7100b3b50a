"""The documentation's programs run."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftrepo import FaultTolerantRepository, FileSnapshot, InMemoryRepository, Policy
from sim.loop import VirtualTimeLoop, run_virtual

DOCS = Path(__file__).parent.parent / "docs"


def programs(page: str) -> list[str]:
    """The blocks of Python on a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def run_all(blocks: list[str], names: dict[str, Any]) -> None:
    """Run blocks one after another, as one program with `await` at its top."""
    for block in blocks:
        code = compile(block, "docs", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result


def test_the_examples_of_resilience_run() -> None:
    """Every block runs, and together they do what the text around them says."""

    async def answer(number: int) -> str:
        return f"invoice {number}"

    async def main(_: VirtualTimeLoop) -> None:
        client = SimpleNamespace(invoice=answer, pay=answer)
        names: dict[str, Any] = {
            "client": client,
            "archive": SimpleNamespace(invoice=answer),
            "cache": {},
            "draw": lambda: 0.5,
        }
        blocks = programs("resilience.md")
        assert len(blocks) == 4
        await run_all(blocks, names)
        assert names["invoice"] == "invoice 17"
        assert names["cache"] == {17: "invoice 17"}
        assert await names["pay"](3) == "invoice 3"
        assert names["breaker"].counts.successes == 3
        assert names["health"][0]["name"] == "billing/acme"

    run_virtual(main)


def test_the_examples_of_a_fleet_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation signs with a key that its repository has, and the disk holds what it should."""
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text("publish_lead_s = 300\n", encoding="utf-8")

    async def main() -> None:
        primary = InMemoryRepository(now=lambda: datetime.now(UTC))
        rotating, keeping, asking = programs("fleet.md")
        async with FaultTolerantRepository(primary) as repository:
            names: dict[str, Any] = {"repository": repository, "payload": b"a token"}
            await run_all([rotating], names)
            names["renewing"].cancel()
            current = names["rotation"].current
            assert (await repository.get(current.public.id)) == current.public
            assert names["signature"]
        names |= {"primary": primary, "policy": Policy(), "folder": tmp_path}
        await run_all([keeping, asking], names)
        saved = await FileSnapshot(tmp_path / "keys.snapshot").load()
        assert saved is not None
        assert len(saved.keys) == 2
        assert (tmp_path / "journal.sqlite").exists()

    asyncio.run(main())


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    """A link within the project names a file that is there."""
    text = (DOCS / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    missing = [t for t in targets if "://" not in t and not (DOCS / t).exists()]
    assert not missing


def anchors(page: str) -> set[str]:
    """What a link to a heading of a page may name, as GitHub makes it."""
    text = (DOCS / page).read_text(encoding="utf-8")
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_links_to_a_heading_find_it(page: str) -> None:
    """The part of a link behind `#` is a heading of the page that it names."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((\w[\w-]*\.md)?#([^)]+)\)", text):
        assert anchor in anchors(target or page), f"{target}#{anchor}"


def test_the_table_of_invariants_is_that_of_the_search() -> None:
    """Each stands on the page of the search, with what it says, and no other does."""
    from sim.explore.invariants import INVARIANTS

    text = (DOCS / "exploration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z_]+) \| (.+) \|$", text, re.MULTILINE)
    assert rows[1:] == [(each.name, each.says) for each in INVARIANTS]
