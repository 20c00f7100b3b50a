"""What an outage does to one call, worked out when the call begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.world.faults import CallDraw, CallKind, Faults
from sim.world.outages import Outage, OutageMode, merge

REFUSE, HANG = OutageMode.REFUSE, OutageMode.HANG
SLOW, ERROR_RATE = OutageMode.SLOW, OutageMode.ERROR_RATE
RESET, LOCKED = OutageMode.RESET, OutageMode.LOCKED


def faults(
    *outages: Outage, lost_reply_share: float = 0.5, timeout_s: float | None = None
) -> Faults:
    """A schedule in which slow is ten times slower."""
    return Faults(outages, slow_factor=10.0, lost_reply_share=lost_reply_share, timeout_s=timeout_s)


def draw(
    work_s: float = 1.0, failure: float = 0.5, commit_share: float = 0.5, lost_reply: float = 0.5
) -> CallDraw:
    """The luck of a call of one second that commits half-way."""
    return CallDraw(work_s, failure, commit_share, lost_reply)


def test_a_healthy_call_takes_its_time() -> None:
    """It commits at its point and is answered at its end."""
    fate = faults(Outage(100, 200, HANG)).fate(10.0, draw())
    assert (fate.answered_s, fate.error, fate.committed_s) == (11.0, None, 10.5)


def test_a_hang_stops_the_work_until_it_ends() -> None:
    """What was begun goes on where it stood, and what arrives meanwhile waits."""
    hanging = faults(Outage(100, 200, HANG))
    assert hanging.fate(99.75, draw()).answered_s == 200.75
    assert hanging.fate(99.25, draw()).committed_s == 99.75
    assert hanging.fate(150.0, draw()).answered_s == 201.0
    assert hanging.fate(150.0, draw()).committed_s == 200.5


def test_a_crash_cuts_calls_off() -> None:
    """A write that had reached its commit stays committed; the caller hears an error either way."""
    crashing = faults(Outage(100, 200, REFUSE))
    late, early = crashing.fate(99.25, draw()), crashing.fate(99.75, draw())
    assert late.error == early.error == "the connection was reset by the server"
    assert late.answered_s == early.answered_s == 100.0
    assert (late.committed_s, early.committed_s) == (99.75, None)
    assert crashing.refusal(150.0) is REFUSE
    assert crashing.refusal(200.0) is None


def test_slow_stretches_the_work_that_falls_into_it() -> None:
    """And only that: what is left at its end goes on at full speed."""
    slow = faults(Outage(100, 105, SLOW))
    assert slow.fate(100.0, draw(work_s=0.2)).answered_s == 102.0
    assert slow.fate(99.5, draw(work_s=0.7)).answered_s == 102.0
    assert slow.fate(100.0, draw(work_s=1.5)).answered_s == 106.0


def test_errors_hit_the_share_of_calls_that_the_severity_says() -> None:
    """And of those that write, a share had committed although the answer was lost."""
    failing = faults(Outage(100, 200, ERROR_RATE, 0.3), lost_reply_share=0.4)
    assert failing.fate(150.0, draw(failure=0.31)).error is None
    lost = failing.fate(150.0, draw(failure=0.29, lost_reply=0.39))
    assert (lost.answered_s, lost.committed_s) == (151.0, 150.5)
    assert lost.error is not None
    assert failing.fate(150.0, draw(failure=0.29, lost_reply=0.41)).committed_s is None


def test_some_calls_fail_without_an_outage() -> None:
    """The share that fails anyway fails at every moment, also where no outage is near."""
    noisy = Faults((), slow_factor=10.0, lost_reply_share=0.4, failing_share=0.2)
    assert noisy.fate(150.0, draw(failure=0.2)).error is None
    assert noisy.fate(150.0, draw(failure=0.19)).error is not None


def test_modes_follow_one_another() -> None:
    """A call that outlives a hang can be cut off by the crash that follows."""
    both = faults(Outage(100, 200, HANG), Outage(200, 300, REFUSE))
    fate = both.fate(150.0, draw())
    assert (fate.answered_s, fate.committed_s) == (200.0, None)
    assert fate.error is not None


def test_a_read_only_server_answers_reads_and_refuses_writes() -> None:
    """A ping asks whether a write would be accepted, so it fails too; the connection is kept."""
    read_only = faults(Outage(100, 200, OutageMode.READ_ONLY))
    assert read_only.fate(150.0, draw()).error is None
    for kind in (CallKind.WRITE, CallKind.PING):
        fate = read_only.fate(150.0, draw(), kind)
        assert (fate.answered_s, fate.committed_s, fate.connection_lost) == (151.0, None, False)
        assert str(fate.error).startswith("25006")


def test_a_starting_server_has_crashed_and_says_that_it_is_starting() -> None:
    """What was under way is lost with its connection, and new connections are refused."""
    starting = faults(Outage(100, 200, OutageMode.STARTING))
    fate = starting.fate(99.75, draw())
    assert (fate.answered_s, fate.committed_s, fate.connection_lost) == (100.0, None, True)
    assert starting.refusal(150.0) is OutageMode.STARTING


def test_a_reset_loses_the_answer_but_not_the_write() -> None:
    """The server never hears of it, and commits what has reached it."""
    fate = faults(Outage(100, 200, RESET)).fate(99.75, draw())
    assert (fate.answered_s, fate.committed_s, fate.connection_lost) == (100.0, 100.25, True)


def test_a_locked_table_holds_up_what_comes_after_the_lock() -> None:
    """Calls that were there before end first; connecting needs no table."""
    locked = faults(Outage(100, 200, LOCKED))
    assert locked.fate(99.75, draw()).answered_s == 100.75
    assert locked.fate(150.0, draw()).answered_s == 201.0
    assert locked.connected(150.0, 1.0) == (151.0, True)
    assert faults(Outage(100, 200, HANG)).connected(150.0, 1.0) == (201.0, True)


@pytest.mark.parametrize("mode", [LOCKED, SLOW])
def test_a_server_gives_up_a_little_before_the_driver_does(mode: OutageMode) -> None:
    """It answers that, so the connection is kept; what was not committed by then never is."""
    fate = faults(Outage(100, 200, mode), timeout_s=0.4).fate(150.0, draw())
    assert fate.answered_s == pytest.approx(150.36)
    assert (fate.committed_s, fate.connection_lost) == (None, False)
    assert str(fate.error).startswith("57014")
    early = faults(Outage(100, 200, mode), timeout_s=0.4).fate(150.0, draw(commit_share=0.01))
    assert (early.committed_s is not None) == (mode is SLOW)


def test_a_frozen_server_gives_nothing_up() -> None:
    """The driver does, and loses the connection; the write is found when the server wakes."""
    fate = faults(Outage(100, 200, HANG), timeout_s=0.4).fate(150.0, draw())
    assert (fate.answered_s, fate.committed_s, fate.connection_lost) == (150.4, 200.5, True)
    assert fate.error is not None


@pytest.mark.parametrize("mode", [REFUSE, OutageMode.STARTING, RESET])
def test_open_connections_are_cut_as_the_outage_begins(mode: OutageMode) -> None:
    """One that is opened after it is not, and one being made is told at that moment."""
    cut = faults(Outage(100, 200, mode))
    assert cut.is_cut(99.0, 100.0)
    assert not cut.is_cut(99.0, 99.9)
    assert not cut.is_cut(200.0, 300.0)
    assert cut.connected(99.5, 1.0) == (100.0, False)


def test_a_limit_on_connections_leaves_open_ones_alone() -> None:
    """Only who connects is refused."""
    limit = faults(Outage(100, 200, OutageMode.CONNECTION_LIMIT))
    assert limit.refusal(150.0) is OutageMode.CONNECTION_LIMIT
    assert not limit.is_cut(99.0, 150.0)
    assert limit.fate(150.0, draw()).error is None


def test_a_full_pool_is_free_when_the_others_are_done() -> None:
    """The server itself has no part in it."""
    full = faults(Outage(100, 200, OutageMode.FULL_POOL))
    assert (full.pool_free_s(99.0), full.pool_free_s(150.0)) == (99.0, 200.0)
    assert full.fate(150.0, draw()).answered_s == 151.0


@given(st.data())
def test_the_answer_is_the_same_as_that_of_small_steps(data: st.DataObject) -> None:
    """Against a model that walks through time in steps of a tenth of a second."""
    modes = st.sampled_from([REFUSE, HANG, SLOW])
    tenths = st.integers(0, 100)
    windows = data.draw(st.lists(st.tuples(tenths, st.integers(1, 30), modes), max_size=4))
    outages = merge([Outage(start / 10, (start + n) / 10, mode) for start, n, mode in windows])
    asked = faults(*outages)
    start = data.draw(tenths) / 10
    if asked.refusal(start) is not None:
        return
    work = data.draw(st.integers(1, 20)) / 10
    done_s, left, now = None, round(work * 100), round(start * 10)
    while left > 0:
        outage = asked.at(now / 10)
        if outage is not None and outage.mode is REFUSE:
            break
        # Hundredths of work in a tenth of a second.
        left -= {None: 10, HANG: 0, SLOW: 1}[outage.mode if outage else None]
        now += 1
    else:
        done_s = now / 10
    fate = asked.fate(start, draw(work_s=work))
    if done_s is None:
        assert fate.error is not None
        assert fate.answered_s == pytest.approx(now / 10)
    else:
        assert fate.error is None
        assert done_s - 0.1 - 1e-9 <= fate.answered_s <= done_s + 1e-9
