"""The mutants fit the code as it is, and the table says of each what caught it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftrepo.pending import PendingWrites
from tests.laboratory import make_key
from tests.mutants.copies import digest_for_exploration, digest_for_tests
from tests.mutants.hunt import Caught, Sight, as_json
from tests.mutants.imported import imported_with
from tests.mutants.mutants import ROOT, Mutant, StaleMutantError, mutants
from tests.mutants.table import as_markdown, verdict

MUTANTS = mutants()


def made(name: str = "a-fault", **more: object) -> Mutant:
    """A fault that matters to nobody."""
    plain = {"file": "ftrepo/x.py", "wrong": "It fails.", "changes": (("1", "2"),), "tests": ()}
    return Mutant(name=name, **{**plain, **more})


def caught(
    mutant: Mutant | None = None, *, seed: int | None = None, test: str | None = None
) -> Caught:
    """What became of it."""
    sight = None if seed is None else Sight(seed=seed, invariant="truth", said="a | b")
    seeds = 1_000 if seed is None else seed + 1
    return Caught(mutant=mutant or made(), sight=sight, seeds=seeds, test=test)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: Mutant) -> None:
    """Its old text is there once, what comes of it is Python, and its tests are there."""
    text = mutant.applied_to((ROOT / mutant.file).read_text("utf-8"))
    compile(text, mutant.file, "exec")
    assert mutant.tests
    assert all((ROOT / "tests/ftrepo" / name).is_file() for name in mutant.tests)
    assert mutant.wrong.endswith(".")


def test_there_are_enough_mutants() -> None:
    """There are thirty and more, every known hazard among them, each under a name of its own."""
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.hazard for mutant in MUTANTS} - {""} == set("abcde")
    found = {mutant.hazard for mutant in MUTANTS if mutant.is_explored} - {""}
    assert found == set("abcde")


@pytest.mark.parametrize("text", ["0", "1 and 1"])
def test_a_stale_mutant_is_an_error(text: str) -> None:
    """The text that it changes must be there, and only once."""
    with pytest.raises(StaleMutantError, match="a-fault"):
        made().applied_to(text)


def test_a_mutant_that_changes_nothing_is_an_error() -> None:
    """It would be caught by nothing, for good reason."""
    with pytest.raises(StaleMutantError):
        made(changes=(("1", "1"),)).applied_to("1")


def test_a_mutant_changes_one_file(tmp_path: Path) -> None:
    """In the copy that it is given."""
    (tmp_path / "ftrepo").mkdir()
    (tmp_path / "ftrepo/x.py").write_text("a = 1\n")
    made().apply(tmp_path)
    assert (tmp_path / "ftrepo/x.py").read_text() == "a = 2\n"


def test_what_is_known_of_a_mutant_holds_for_that_text_alone() -> None:
    """Each mutant has a digest of its own, and another one than the code as it is."""
    one, other = MUTANTS[0], MUTANTS[1]
    digests = [digest_for_exploration(each) for each in (None, one, other)]
    assert (
        len({*digests, digest_for_tests(one, one.tests), digest_for_tests(other, other.tests)}) == 5
    )


def test_an_imported_fault_ends_with_its_block() -> None:
    """Methods are exchanged, and put back."""

    def is_full() -> bool:
        pending = PendingWrites(entries_max=1)
        pending.reserve(make_key("a"), 0.0)
        return pending.is_full()

    (mutant,) = (each for each in MUTANTS if each.name == "pending-bound-ignored")
    assert is_full()
    with imported_with(mutant):
        assert not is_full()
    assert is_full()


class TestVerdict:
    def test_all_is_well_if_everything_is_caught_by_both(self) -> None:
        """Where no world can show a fault, the tests are enough."""
        rows = [
            caught(seed=6, test="test_x.py::test_y"),
            caught(made(unseen="It is elsewhere."), test="t"),
        ]
        said, is_well = verdict(rows, [], explored=True)
        assert is_well
        assert "by exploration: 1 of the 1" in said

    @pytest.mark.parametrize(
        ("row", "words", "well"),
        [
            (caught(), "caught by nothing: a-fault", False),
            (caught(test="t"), "missed by exploration: a-fault", True),
            (caught(seed=3), "missed by the tests: a-fault", True),
        ],
    )
    def test_whatever_missed_a_mutant_is_named(self, row: Caught, words: str, well: bool) -> None:
        """It is well if one of the two has caught it."""
        said, is_well = verdict([row], [], explored=True)
        assert is_well is well
        assert words in said

    def test_a_false_alarm_is_named(self) -> None:
        """A search that finds faults in the code as it is proves nothing about others."""
        alarm = Sight(seed=7, invariant="truth", said="a key too many")
        said, is_well = verdict([caught(seed=1, test="t")], [alarm], explored=True)
        assert not is_well
        assert "seed 7: a key too many" in said

    def test_a_test_that_fails_anyway_is_named(self) -> None:
        """It would pass for one that has caught something."""
        said, is_well = verdict([caught(seed=1, test="t")], [], "test_x.py::test_y", explored=True)
        assert not is_well
        assert "test_x.py::test_y" in said

    def test_without_exploration_nothing_is_said_about_it(self) -> None:
        """The tests alone can be asked, too."""
        row = Caught(mutant=made(), sight=None, seeds=0, test="t")
        said, is_well = verdict([row], [], explored=False)
        assert is_well
        assert "exploration" not in said


def test_the_table_has_a_row_for_each() -> None:
    """In Markdown, bars within a cell are escaped; in JSON, all that was seen is kept."""
    rows = [caught(seed=6, test="t"), caught(made("other", wrong="a | b."))]
    lines = as_markdown(rows).splitlines()
    assert len(lines) == 4
    assert lines[2] == "| a-fault | 7 | truth | t | It fails. |"
    assert lines[3].endswith("a \\| b. |")
    unplayed = Caught(mutant=made(), sight=None, seeds=0, test="t")
    assert as_markdown([unplayed]).splitlines()[2] == "| a-fault |  | – | t | It fails. |"
    assert as_json(rows[0])["world"] == {"seed": 6, "invariant": "truth", "said": "a | b"}
