"""One world: played once or twice, and whatever goes wrong with the play itself counts, too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftrepo.policy import Policy
from sim.explore import invariants, playing
from sim.explore.happenings import Asked, Chronicle, ClockStepped, Violation
from sim.explore.hostile_world import HostileWorld, OperationKind
from sim.explore.judging import COMPLETION, DETERMINISM, Case, judge, names_of_invariants
from sim.world.errors import InputError
from tests.sim.explore.cases import chronicle_of

CASE = Case(HostileWorld(), Policy())


def plays(monkeypatch: pytest.MonkeyPatch, *outcomes: Chronicle | Exception) -> None:
    """Let play after play end so."""
    coming = iter(outcomes)

    def play(world: HostileWorld, policy: Policy, *, processor_s_max: float) -> Chronicle:
        outcome = next(coming)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(playing, "play", play)


def test_a_play_that_fails_breaks_an_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no history; its error is told."""
    plays(monkeypatch, RuntimeError("the end"))
    verdict = judge(CASE)
    assert verdict.chronicle is verdict.digest is None
    assert [(each.invariant, each.said) for each in verdict.violations] == [
        (COMPLETION, "RuntimeError: the end")
    ]
    plays(monkeypatch, RuntimeError("the end"))
    assert judge(CASE, only="truth").violations == ()


def test_a_play_without_an_end_breaks_an_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one of that moment, for the others may be broken by it; its history is kept."""
    asked = Asked(60.0, 0, OperationKind.FLUSH, 0, 0, None)
    stuck = chronicle_of(asked, failure="NoProgressError: in a circle")
    plays(monkeypatch, stuck)
    verdict = judge(CASE, twice=True)
    assert [each.invariant for each in verdict.violations] == [COMPLETION, "promptness"]
    assert (verdict.violations[0].at_s, verdict.chronicle) == (60.0, stuck)
    plays(monkeypatch, stuck)
    assert len(judge(CASE, only=COMPLETION).violations) == 1


def test_a_world_that_says_what_cannot_be_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error of whoever wrote it."""
    plays(monkeypatch, InputError("no such world"))
    with pytest.raises(InputError):
        judge(CASE)


def test_two_plays_that_differ_break_determinism(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment at which they part; a play alone cannot tell."""
    one = chronicle_of(ClockStepped(1.0, 0, 2.0), ClockStepped(2.5, 0, 2.0))
    other = replace(one, happenings=(one.happenings[0], ClockStepped(2.5, 0, 3.0)), digest="1")
    plays(monkeypatch, one, other)
    (violation,) = judge(CASE, twice=True, only=DETERMINISM).violations
    assert violation.at_s == 2.5
    plays(monkeypatch, one, one)
    assert judge(CASE, twice=True, only=DETERMINISM).violations == ()


def test_violations_come_in_the_order_of_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever invariant saw them, unless one alone counts."""

    class Late:
        name = "late"

        def check(self, _: Chronicle) -> list[Violation]:
            return [Violation(invariant=self.name, at_s=9.0, said="late")]

    class Early(Late):
        name = "early"

        def check(self, _: Chronicle) -> list[Violation]:
            return [Violation(invariant=self.name, at_s=at_s, said="early") for at_s in (10.0, 1.0)]

    monkeypatch.setattr(invariants, "INVARIANTS", (Late(), Early()))
    plays(monkeypatch, *[chronicle_of()] * 2)
    assert [each.at_s for each in judge(CASE).violations] == [1.0, 9.0, 10.0]
    assert [each.said for each in judge(CASE, only="late").violations] == ["late"]
    assert names_of_invariants() == ("late", "early", COMPLETION, DETERMINISM)
