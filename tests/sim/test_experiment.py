"""Many runs: the same figures however the work is shared out, and honest about what was seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ftrepo.designs import named_policies
from ftrepo.policy import Policy
from sim.causes import CAUSE_WORDS, measure_of
from sim.measures import MEASURES
from sim.study import Precision, experiment, share_interval
from sim.study.measure_intervals import COUNTS
from sim.study.precision import FIRST, LOOK_AHEAD
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


QUICK = replace(SHORT, traffic=replace(SHORT.traffic, rate_per_s=0.2), duration_s=3000.0)


def test_pairing_makes_a_difference_clearer() -> None:
    """Common random numbers: goodput differs with less than half the variance of two seeds' runs.

    What the calls of a replication have in common cancels out; what its outages cost stays.
    """
    paired = experiment(QUICK, POLICIES, seed=1, replications=12, workers=1)
    apart = experiment(QUICK, {"default": Policy()}, seed=2, replications=12, workers=1)
    first, second, other = (
        np.array(study.values(name, "goodput_per_s"))
        for study, name in ((paired, "primary-only"), (paired, "default"), (apart, "default"))
    )
    assert 0 < (second - first).var(ddof=1) < 0.5 * (other - first).var(ddof=1)


def test_replications_are_added_until_an_interval_is_narrow() -> None:
    """And are the same runs, in the same number, with one process and with two."""
    precision = [Precision(measure="get_latency_p50_s", relative=0.02)]
    study = experiment(QUICK, {"a": Policy()}, precision=precision, workers=1)
    (reached,) = study.precision
    assert reached.reached
    assert study.replications >= FIRST + LOOK_AHEAD
    assert study.interval("a", "get_latency_p50_s").half_width <= 0.02 * reached.interval.mean
    shared = experiment(QUICK, {"a": Policy()}, precision=precision, workers=2)
    assert repr(shared.runs) == repr(study.runs)
    short = experiment(QUICK, {"a": Policy()}, replications=3, workers=1)
    assert repr(short.runs["a"]) == repr(study.first(3).runs["a"]), "replication k is one run"


def test_a_study_that_gave_up_says_so() -> None:
    """It stops at the most that it may play, and does not claim what it did not reach."""
    seen: list[tuple[int, int]] = []
    study = experiment(
        QUICK,
        POLICIES,
        precision=[
            Precision(measure="availability", half_width=1e-9, difference_to="primary-only")
        ],
        replications_max=17,
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    (reached,) = study.precision
    assert study.replications == 17
    assert not reached.reached
    assert reached.widest == "default - primary-only"
    assert seen[-1] == (34, 34)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_more_replications_than_there_may_be_are_refused() -> None:
    """Rather than cut down unsaid; the number that nobody asked for gives way."""
    precision = [Precision(measure="availability", half_width=0.5)]
    with pytest.raises(ValueError, match="30 replications are asked for, and no more than 20"):
        experiment(
            QUICK, POLICIES, precision=precision, replications=30, replications_max=20, workers=1
        )
    few = experiment(QUICK, {"a": Policy()}, precision=precision, replications_max=2, workers=1)
    assert few.replications == 2
    assert not few.precision[0].reached


def test_comparisons_hold_all_at_once() -> None:
    """Wider than one alone, wider again if the reference was chosen for its figures."""
    policies = {**POLICIES, "again": Policy()}
    study = experiment(QUICK, policies, replications=5, workers=1)
    default, again = study.comparisons("availability")
    assert (default.policy, again.policy) == ("default", "again")
    assert default.difference == again.difference
    alone = study.difference("primary-only", "default", "availability")
    assert default.difference.half_width > alone.half_width
    chosen = {
        row.policy: row for row in study.comparisons("availability", "default", chosen_after=True)
    }
    assert list(chosen) == ["primary-only", "again"]
    assert chosen["primary-only"].difference.half_width > default.difference.half_width
    assert chosen["again"].verdict == "no difference seen"
    assert chosen["again"].difference.high > 0, "few outages were tried"


def test_outages_that_did_harm_are_counted() -> None:
    """Under primary-only about all of them, and never more than there were."""
    study = experiment(QUICK, POLICIES, replications=6, workers=1)
    harmful, outages = study.harmful_outages("primary-only")
    assert 0 < harmful <= outages
    assert study.harmful_outages("default")[0] < harmful


def test_no_interval_claims_that_what_was_not_seen_cannot_be() -> None:
    """Lost keys, wrong answers and rare causes of failure: none seen is an upper end above zero."""
    study = experiment(QUICK, {"a": Policy()}, replications=4, workers=1)
    spotless = share_interval(
        [1.0] * 4,
        outages=sum(each.outages for each in study.runs["a"]),
        share_at_risk=max(each.share_at_risk for each in study.runs["a"]),
    )
    for name in ("lost_keys", "wrong_answers"):
        assert not any(study.values("a", name))
        assert study.interval("a", name).high == pytest.approx(-math.log(0.025) / 4)
    for cause in CAUSE_WORDS:
        if not any(study.values("a", measure_of(cause))):
            found = study.interval("a", measure_of(cause))
            assert (found.mean, found.low) == (0.0, 0.0)
            assert found.high == pytest.approx(1 - spotless.low)
    assert all(
        each.interval("a", name).low >= 0
        for each in (study, study.first(2))
        for name in study.intervals("a")
        if not math.isnan(each.interval("a", name).low)
    )


def test_an_interval_of_more_confidence_is_wider() -> None:
    """Of shares, of amounts and of counts that are zero."""
    study = experiment(QUICK, {"a": Policy()}, replications=4, workers=1)
    for name in ("availability", "primary_attempts_during_outage_per_s", "lost_keys"):
        usual, sure = (study.interval("a", name, confidence=each) for each in (0.95, 0.99))
        assert sure.half_width > usual.half_width


def test_every_count_is_a_measure() -> None:
    """So that none is left to Student's interval by a name that is spelt wrongly."""
    assert {each.name for each in MEASURES} >= COUNTS
