"""What caught each mutant, as a table for the terminal and one in Markdown, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from tests.mutants.hunt import Caught, Sight

HEADS = ("mutant", "seeds", "invariant that breaks", "first test that fails")


def shown(caught: Sequence[Caught]) -> Table:
    """Return a row for each mutant; what missed it is red."""
    table = Table(*HEADS, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for each in caught:
        name, seeds, invariant, test = map(escape, _cells(each))
        if each.is_missed_by_exploration:
            seeds, invariant = f"[red]{seeds}[/]", f"[red]{invariant}[/]"
        table.add_row(name, seeds, invariant, f"[red]{test}[/]" if each.test is None else test)
    return table


def as_markdown(caught: Sequence[Caught]) -> str:
    """Return the same table in Markdown, with what goes wrong under each mutant."""
    lines = ["| " + " | ".join((*HEADS, "what goes wrong")) + " |", "|---|--:|---|---|---|"]
    for each in caught:
        cells = (cell.replace("|", "\\|") for cell in (*_cells(each), each.mutant.wrong))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def verdict(
    caught: Sequence[Caught],
    alarms: Sequence[Sight],
    failing: str | None = None,
    *,
    explored: bool,
) -> tuple[str, bool]:
    """Say what the table comes to, and whether that is as it must be.

    Args:
        caught: what became of the mutants.
        alarms: worlds that break an invariant of the code as it is.
        failing: a test that fails on the code as it is; `None` if there is none.
        explored: whether worlds were played at all.
    """
    by_nothing = [each.mutant.name for each in caught if not each.is_caught]
    by_no_world = [each.mutant.name for each in caught if each.is_missed_by_exploration]
    by_no_test = [each.mutant.name for each in caught if each.test is None]
    within = sum(each.mutant.is_explored for each in caught)
    found = sum(each.sight is not None for each in caught)
    lines = [f"{len(caught)} mutants, {len(caught) - len(by_nothing)} caught"]
    if explored:
        lines.append(f"by exploration: {found} of the {within} that worlds can show")
    lines.append(f"by tests: {len(caught) - len(by_no_test)}")
    for what, names in (
        ("caught by nothing", by_nothing),
        ("missed by exploration", by_no_world),
        ("missed by the tests", by_no_test),
    ):
        if names:
            lines.append(f"{what}: {', '.join(names)}")
    if alarms:
        lines.append(
            f"{len(alarms)} worlds break an invariant of the code as it is, and were passed over; "
            f"the first is that of seed {alarms[0].seed}: {alarms[0].said}"
        )
    if failing is not None:
        lines.append(f"a test fails on the code as it is: {failing}")
    return "\n".join(lines), not (by_nothing or alarms or failing)


def _cells(each: Caught) -> tuple[str, str, str, str]:
    name = each.mutant.name + (f" ({each.mutant.hazard})" if each.mutant.hazard else "")
    if not each.is_missed_by_exploration and each.sight is None:
        seeds, invariant = "", "–"
    elif each.sight is None:
        seeds, invariant = f"> {each.seeds}", "missed"
    else:
        seeds, invariant = f"{each.seeds}", each.sight.invariant
    return name, seeds, invariant, each.test or "missed"
