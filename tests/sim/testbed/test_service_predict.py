"""A restart in an outage: theory and simulation, and what is called agreement with reality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.history import GetOutcome
from sim.measures import availability
from sim.testbed.service_predict import Predicted, expected_availability, predict
from sim.testbed.service_record import Asked, Noted
from sim.testbed.service_restart import Moments, RestartSettings, Variant, history_of, variants

MOMENTS = Moments(12.0, 22.0, 32.0, 34.0, 34.0, 52.0, 67.0)
SETTINGS = RestartSettings(replications=4)

PREDICTED = Predicted(
    name="p",
    moments=MOMENTS,
    requests=100,
    theory=0.8,
    simulated=np.linspace(0.75, 0.85, 11).tolist(),
    real=0.8,
)


def asked(at_s: float, outcome: GetOutcome, *, asked: Asked = Asked.KEY) -> Noted:
    """A request at this moment."""
    return Noted("", asked, at_s, 0.01, 0, 1, "k", outcome)


NOTED = [
    asked(11.0, GetOutcome.UNKNOWN),
    asked(13.0, GetOutcome.RIGHT),
    asked(14.0, GetOutcome.UNAVAILABLE),
    asked(15.0, GetOutcome.GAVE_UP),
    asked(16.0, GetOutcome.RIGHT),
    asked(17.0, GetOutcome.UNKNOWN, asked=Asked.FRESH),
]


def test_reality_is_measured_by_the_laboratorys_own_lines() -> None:
    """Calls of `GET /keys/{id}` after the warm-up count, and nothing else."""
    assert availability(history_of(NOTED, MOMENTS)) == 0.5


@pytest.mark.parametrize("variant", variants(), ids=lambda each: each.name)
def test_theory_and_simulation_agree(variant: Variant) -> None:
    """The closed form is where the simulated runs are, and what is lost can be seen."""
    predicted = predict(variant, MOMENTS, history_of(NOTED, MOMENTS), SETTINGS, workers=1)
    assert predicted.low - 0.01 <= predicted.theory <= predicted.high + 0.01
    assert predicted.theory < 0.98


def test_every_way_to_run_the_service_has_its_own_availability() -> None:
    """A check that could not tell them apart would be none."""
    peers, alone, primary_only = (
        expected_availability(each, MOMENTS, SETTINGS) for each in variants()
    )
    assert peers - alone > 0.1
    assert alone - primary_only > 0.1


def test_agreement_is_the_interval_or_a_point() -> None:
    """The interval is the range of all runs; where they are all alike a point is allowed."""
    assert replace(PREDICTED, real=0.751).agrees
    assert not replace(PREDICTED, real=0.70).agrees
    alike = replace(PREDICTED, simulated=[0.8, 0.8])
    assert replace(alike, real=0.791).agrees
    assert not replace(alike, real=0.789).agrees
