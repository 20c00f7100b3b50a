"""Our breaker meets every check, and every check catches the defect that it is there for."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from sim.loop import run_virtual
from tests.conformance.__main__ import table, totals
from tests.conformance.adapters import ADAPTERS, ftrepo
from tests.conformance.checks import CHECKS
from tests.conformance.defects import CAUGHT_BY, SmallBreaker
from tests.conformance.runner import CHECK_S_MAX, Mark, Outcome, run_check, run_library
from tests.conformance.site import Adapter, Check, Site

IN_VIRTUAL_TIME = [name for name, entry in CHECKS.items() if not entry.has_own_loops]
OF_REAL_CLOCKS = {"wall clock", "local time", "one loop"}
"""Defects that only real time shows."""


def run_in_virtual_time(entry: Check, adapter: type[Adapter]) -> None:
    """Run a check where time passes only when everything waits."""
    site = Site(adapter=adapter, short_s=10.0)

    async def main(_loop: object) -> None:
        async with asyncio.timeout(CHECK_S_MAX):
            await entry.run(site)

    run_virtual(main)


def with_defects(*defects: str) -> type[SmallBreaker]:
    """The small breaker with these defects."""

    class Defective(SmallBreaker):
        pass

    Defective.defects = frozenset(defects)
    return Defective


@pytest.mark.parametrize("name", IN_VIRTUAL_TIME)
def test_ours_holds_in_virtual_time(name: str) -> None:
    """Our breaker has this semantic, with nothing left to the speed of the machine."""
    run_in_virtual_time(CHECKS[name], ftrepo())


@pytest.mark.parametrize("name", CHECKS)
def test_ours_holds_in_real_time(name: str) -> None:
    """Our breaker has this semantic also on the loop and the clocks of everyday use."""
    outcome = run_check(CHECKS[name], ftrepo(), short_s=0.02)
    assert outcome == Outcome(name, Mark.PASSED)


@pytest.mark.parametrize("name", CHECKS)
def test_the_semantics_can_be_met_without_this_library(name: str) -> None:
    """A small breaker that knows nothing of ours meets every check."""
    if CHECKS[name].has_own_loops:
        assert run_check(CHECKS[name], SmallBreaker).mark is Mark.PASSED
    else:
        run_in_virtual_time(CHECKS[name], SmallBreaker)


@pytest.mark.parametrize(("defect", "name"), CAUGHT_BY, ids=str)
def test_each_defect_is_caught(defect: str, name: str) -> None:
    """A check fails on the small breaker when that has the defect that the check is there for."""
    if defect in OF_REAL_CLOCKS:
        outcome = run_check(CHECKS[name], with_defects(defect), short_s=0.02)
        assert outcome.mark is Mark.FAILED
    else:
        with pytest.raises((AssertionError, RuntimeError)):
            run_in_virtual_time(CHECKS[name], with_defects(defect))


def test_no_check_is_without_its_defect() -> None:
    """For every check there is a defect that it catches, so that none can pass whatever it sees."""
    assert {name for _, name in CAUGHT_BY} == set(CHECKS)


def test_each_check_states_its_semantic() -> None:
    """The table has the name of a check, and its docstring says in a sentence what that means."""
    for entry in CHECKS.values():
        assert entry.statement.endswith("."), entry.name


def test_what_a_breaker_lacks_is_not_held_against_it() -> None:
    """A check that needs a missing feature does not apply, and says which feature it is."""

    class WithoutListeners(SmallBreaker):
        features = frozenset()

    name = "listeners hear each change"
    outcome = run_check(CHECKS[name], WithoutListeners)
    assert outcome.mark is Mark.NOT_APPLICABLE
    assert "listen" in outcome.why


def test_a_library_that_blocks_its_loop_does_not_stop_the_table(tmp_path: Path) -> None:
    """A check that falls silent is killed and fails, and those after it still run."""
    first, stuck, *rest = CHECKS
    script = tmp_path / "blocks.py"
    script.write_text(
        "import json, sys, time\n"
        "for check in sys.argv[2:]:\n"
        f"    if check == {stuck!r}: time.sleep(600)\n"
        "    print(json.dumps({'check': check, 'mark': 'passed', 'why': ''}), flush=True)\n"
    )
    command = (sys.executable, str(script))
    outcomes = run_library("any", command=command, silence_s_max=2.0)
    assert [outcome.check for outcome in outcomes] == [first, stuck, *rest]
    failed = [outcome for outcome in outcomes if outcome.mark is Mark.FAILED]
    assert [outcome.check for outcome in failed] == [stuck]
    assert "killed" in failed[0].why


def test_a_process_that_dies_does_not_stop_the_table(tmp_path: Path) -> None:
    """A check that ends its process fails, and those after it still run."""
    first, fatal, *rest = CHECKS
    script = tmp_path / "dies.py"
    script.write_text(
        "import json, os, sys\n"
        "for check in sys.argv[2:]:\n"
        f"    if check == {fatal!r}: os._exit(3)\n"
        "    print(json.dumps({'check': check, 'mark': 'passed', 'why': ''}), flush=True)\n"
    )
    outcomes = run_library("any", command=(sys.executable, str(script)))
    assert [outcome.check for outcome in outcomes] == [first, fatal, *rest]
    assert [o.check for o in outcomes if o.mark is Mark.FAILED] == [fatal]


def test_the_totals_leave_out_what_does_not_apply() -> None:
    """At the bottom stands how many checks hold, of those that apply."""
    marks = [Mark.PASSED, Mark.FAILED, Mark.NOT_APPLICABLE]
    names = list(CHECKS)
    outcomes = [
        Outcome(name, marks[min(index, 2)], "" if index == 0 else "why")
        for index, name in enumerate(names)
    ]
    assert table({"any": outcomes}).row_count == len(CHECKS)
    shown = totals({"any": outcomes}, {"any": "1.0"})
    assert [list(column.cells) for column in shown.columns] == [
        ["1"],
        ["any"],
        ["1.0"],
        ["1"],
        ["of 2"],
    ]


def test_every_adapter_names_its_distribution() -> None:
    """The key of an adapter is the name whose version the table prints."""
    for name, load in ADAPTERS.items():
        assert load.__doc__, name
        try:
            adapter = load()
        except ImportError:
            continue
        assert adapter.distribution == name
