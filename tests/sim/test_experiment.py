"""Many runs: the same figures however the work is shared out, and honest about what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftrepo.policy import Policy, named_policies
from sim.study import experiment
from sim.world.scenario_file import load_scenario

SHORT = replace(load_scenario("default"), duration_s=4000.0, warmup_s=100.0)
POLICIES = {"primary-only": named_policies()["primary-only"], "default": Policy()}


def test_the_number_of_processes_changes_nothing() -> None:
    """One process and two give the same figures to the bit."""
    alone = experiment(SHORT, POLICIES, replications=3, workers=1)
    shared = experiment(SHORT, POLICIES, replications=3, workers=2)
    assert repr(alone.runs) == repr(shared.runs)


def test_replications_differ_and_policies_are_paired() -> None:
    """The difference of a policy to itself is exactly zero, though its runs differ."""
    study = experiment(SHORT, {"a": Policy(), "b": Policy()}, replications=3, workers=1)
    assert len(set(study.values("a", "get_latency_p99_s"))) == 3
    for name, interval in study.differences("a", "b").items():
        assert interval.mean == 0 or interval.mean != interval.mean, name


def test_a_spotless_policy_is_not_called_perfect() -> None:
    """Where no failure was seen the interval still reaches below 1."""
    alone = replace(SHORT, keys=replace(SHORT.keys, peers=0))
    study = experiment(alone, {"default": Policy()}, replications=2, workers=1)
    interval = study.interval("default", "availability")
    assert interval.mean == 1.0
    assert 0.5 < interval.low < 1.0


def test_progress_is_reported_to_the_end() -> None:
    """From nothing to all, one run at a time."""
    seen: list[tuple[int, int]] = []
    experiment(
        SHORT,
        {"a": Policy()},
        replications=3,
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_impossible_studies_are_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="policy"):
        experiment(SHORT, {})
    with pytest.raises(ValueError, match="replications"):
        experiment(SHORT, {"a": Policy()}, replications=0)
