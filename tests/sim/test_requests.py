"""The requests of a run, drawn before it, and the order in which a run tells of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sim.world.requests
from sim.history import GetOutcome
from sim.recorder import Recorder
from sim.world.requests import Requests
from sim.world.scenario_file import load_scenario
from sim.world.streams import Streams

STREAMS = Streams(1)


@pytest.mark.parametrize("attempts", [1, 3])
def test_requests_are_the_same_however_many_are_objects_at_once(
    attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is left out at the seams, and each has what was drawn for it and for each attempt."""
    scenario = load_scenario("fleet")
    scenario = replace(scenario, caller=replace(scenario.caller, attempts_max=attempts))
    in_parts = list(Requests(scenario, STREAMS.generator, 129, label="a"))
    monkeypatch.setattr(sim.world.requests, "_AT_ONCE", 1_000)
    assert list(Requests(scenario, STREAMS.generator, 129, label="a")) == in_parts
    assert [request.label for request in in_parts] == [f"a{number}" for number in range(129)]
    for request in in_parts:
        assert len(request.luck) == len(request.balance) == attempts
        assert len(request.pauses) == attempts - 1
    failures = STREAMS.generator("get failure").random(129)
    assert [request.luck[0].failure for request in in_parts] == failures.tolist()


def test_requests_are_told_of_in_the_order_in_which_they_were_made() -> None:
    """Whichever ended first; numbers of requests that nobody made are left out."""
    recorder = Recorder()
    recorder.gets.append((3, 0.3, 0.1, GetOutcome.RIGHT, False))
    recorder.gets.append((0, 0.1, 0.9, GetOutcome.GAVE_UP, True))
    gets = recorder._gets()
    assert gets.at_s.tolist() == [0.1, 0.3]
    assert gets.latency_s.tolist() == [0.9, 0.1]
    assert gets.outcome.tolist() == [GetOutcome.GAVE_UP, GetOutcome.RIGHT]
    assert np.array_equal(gets.eligible, [True, False])
