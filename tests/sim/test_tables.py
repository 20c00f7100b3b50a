"""What a terminal shows of figures that leave little to see."""

from __future__ import annotations

from dataclasses import replace

from ftrepo.policy import Policy
from sim.measures import MEASURES
from sim.show.tables import notes, run_table
from sim.study import experiment
from sim.study.experiment import RunFigures
from tests.sim.sweeps import WORLD


def test_a_figure_that_all_runs_share_has_no_interval_and_a_note_says_what_that_shows() -> None:
    """Of a count of zero there is an interval: none seen is not none at all."""
    study = experiment(WORLD, {"a": Policy()}, replications=3, workers=1)

    def alike(run: RunFigures) -> RunFigures:
        return replace(run, measures=run.measures | {"pending_max": 7.0, "lost_keys": 0.0})

    study = replace(study, runs={"a": tuple(map(alike, study.runs["a"]))})
    table = run_table(study, "a")
    spans = dict(
        zip([each.name for each in MEASURES], list(table.columns[2].cells), strict=True)
    )  # fmt: skip
    assert spans["pending_max"] == "in every run"
    assert spans["lost_keys"] == "0 … 1.23"
    assert any("at most 63 of 100 others with another figure" in line for line in notes(study))
    few = replace(study, runs={"a": study.runs["a"][:1]})
    assert not any("another figure" in line for line in notes(few)), "one run agrees with nobody"
