"""Checks of a half-open breaker: who is let through, and what becomes of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.conformance.site import Feature, Held, Site, Subject, check

CALLERS = 100


@check()
async def after_the_open_time_a_probe_is_admitted(site: Site) -> None:
    """The first call after the open time reaches the dependency."""
    subject = site.brief()
    await subject.half_open()
    assert await subject.is_admitted(), "still open after its time"


@check()
async def a_probe_that_succeeds_closes_it(site: Site) -> None:
    """After one success at half-open a failure is tolerated again."""
    subject = site.brief()
    await subject.half_open()
    assert await subject.is_admitted()
    assert await subject.is_admitted(subject.fail), "it did not close"
    assert await subject.is_admitted(), "one failure opened it again"


@check()
async def a_probe_that_fails_opens_it_again(site: Site) -> None:
    """One failure at half-open is enough, whatever the threshold."""
    subject = site.brief()
    await subject.half_open()
    with site.within(0.9):
        assert await subject.is_admitted(subject.fail), "still open after its time"
        await subject.rejection()


@check()
async def the_failure_of_a_probe_passes_unchanged(site: Site) -> None:
    """The caller whose probe fails gets that failure: its call was made."""
    subject = site.brief()
    await subject.half_open()
    caught = await subject.outcome(subject.fail)
    assert type(caught) is site.adapter.failure, f"the caller got {caught!r}"


@check()
async def it_opens_and_recovers_again_and_again(site: Site) -> None:
    """Each outage is dealt with like the first."""
    subject = site.brief()
    for _ in range(3):
        with site.within(0.9):
            await subject.trip()
            await subject.rejection()
        await site.wait_out_open()
        assert await subject.is_admitted(subject.fail), "still open after its time"
        await site.wait_out_open()
        assert await subject.is_admitted(), "still open after its second time"


@check()
async def of_100_callers_one_probes_the_dead_dependency(site: Site) -> None:
    """When the open time ends, 100 waiting callers put one call on what may still be down."""
    subject = site.brief()
    await subject.half_open()
    await _count_probes(subject, 1)


@check(Feature.SEVERAL_PROBES)
async def of_100_callers_three_probe_if_three_may(site: Site) -> None:
    """With `half_open_max_calls=3`, exactly three of 100 callers reach the dependency."""
    subject = site.brief(half_open_max_calls=3)
    await subject.half_open()
    await _count_probes(subject, 3)


@check(Feature.SEVERAL_PROBES)
async def a_probe_that_succeeded_keeps_its_place(site: Site) -> None:
    """While the third of three probes is under way no fourth call is let through."""
    subject = site.brief(half_open_max_calls=3)
    await subject.half_open()
    held = subject.held()
    last = await held.begin(subject)
    assert held.waiting, "still open after its time"
    for _ in range(2):
        assert await subject.is_admitted(), "fewer than three probes were admitted"
    await subject.rejection()
    held.let_go()
    assert await last == "answer"
    assert await subject.is_admitted(), "three successes did not close it"


@check(Feature.SEVERAL_SUCCESSES)
async def it_closes_after_three_successes_if_three_are_wanted(site: Site) -> None:
    """Two successes at half-open are not enough: a failure then still opens it at once."""
    subject = site.brief(half_open_max_calls=3)
    await subject.half_open()
    for _ in range(2):
        assert await subject.is_admitted()
    with site.within(0.9):
        assert await subject.is_admitted(subject.fail), "the third probe was refused"
        await subject.rejection()
    await site.wait_out_open()
    for _ in range(3):
        assert await subject.is_admitted()
    assert await subject.is_admitted(subject.fail), "three successes did not close it"
    assert await subject.is_admitted(), "three successes did not close it"


@check()
async def a_cancelled_probe_frees_its_place(site: Site) -> None:
    """When the caller of the probe goes away, the next caller probes."""
    subject = site.brief()
    await subject.half_open()
    await _cancel_probe(subject)
    with site.within(0.9):
        admitted = await subject.is_admitted()
    assert admitted, "the place is still taken"


@check()
async def a_cancelled_probe_does_not_close_it(site: Site) -> None:
    """After it, one failure still opens the breaker: nothing has been learnt yet."""
    subject = site.brief()
    await subject.half_open()
    await _cancel_probe(subject)
    await site.wait_out_open()
    assert await subject.is_admitted(subject.fail), "no other probe was admitted"
    with site.within(0.9):
        await subject.rejection()


@check()
async def an_ignored_error_frees_the_place_of_its_probe(site: Site) -> None:
    """A probe that ends with an error that is no failure does not jam the breaker."""
    subject = site.brief()
    await subject.half_open()
    assert await subject.is_admitted(subject.refuse)
    with site.within(0.9):
        admitted = await subject.is_admitted()
    assert admitted, "the next call was refused"


@check()
async def an_exit_of_the_program_frees_the_place_of_its_probe(site: Site) -> None:
    """A probe that ends with SystemExit, caught further up, does not jam the breaker."""
    subject = site.brief()
    await subject.half_open()

    async def leave() -> None:
        raise SystemExit

    with suppress(SystemExit):
        await subject.breaker.call(leave)
    with site.within(0.9):
        admitted = await subject.is_admitted()
    assert admitted, "the next call was refused"


@check()
async def a_call_that_is_never_awaited_takes_no_place(site: Site) -> None:
    """A coroutine that is made and dropped at half-open does not jam the breaker."""
    subject = site.brief()
    await subject.half_open()
    dropped = subject.breaker.call(subject.answer)
    if inspect.iscoroutine(dropped):
        dropped.close()
    del dropped
    with site.within(0.9):
        admitted = await subject.is_admitted()
    assert admitted, "the place is taken by a call that nobody makes"


@check()
async def a_probe_that_never_ends_does_not_jam_it(site: Site) -> None:
    """Within ten open times another call is admitted, with a time-out if the breaker has one."""
    subject = site.brief(probe_timeout_s=site.short_s)
    await subject.half_open()
    held = subject.held()
    await _probe_without_end(subject, held, held.action)


@check()
async def a_probe_that_cannot_be_cancelled_does_not_jam_it(site: Site) -> None:
    """The same if it goes on when its time-out cancels it, as drivers of databases do."""
    subject = site.brief(probe_timeout_s=site.short_s)
    await subject.half_open()
    held = subject.held()

    async def go_on() -> str:
        ending = asyncio.ensure_future(held.action())
        while not ending.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([ending])
        return ending.result()

    await _probe_without_end(subject, held, go_on)


@check()
async def a_late_success_does_not_count_as_a_probe(site: Site) -> None:
    """A success of a call that began before the opening does not close a half-open breaker."""
    subject = site.brief()
    old, probe = subject.held(), subject.held("fail")
    late = await old.begin(subject)
    await subject.half_open()
    probing = await probe.begin(subject)
    assert probe.waiting, "still open after its time"
    old.let_go()
    assert await late == "answer"
    with site.within(0.9):
        probe.let_go()
        await probing
        await subject.rejection()


@check()
async def a_late_failure_does_not_count_as_a_probe(site: Site) -> None:
    """A failure of a call that began before the opening does not open a half-open breaker."""
    subject = site.brief()
    old, probe = subject.held("fail"), subject.held()
    late = await old.begin(subject)
    await subject.half_open()
    probing = await probe.begin(subject)
    assert probe.waiting, "still open after its time"
    old.let_go()
    await late
    with site.within(0.9):
        probe.let_go()
        assert await probing == "answer"
        admitted = await subject.is_admitted()
    assert admitted, "an old failure kept it open"


@check()
async def late_failures_do_not_count_after_a_recovery(site: Site) -> None:
    """Failures of calls that began before an outage do not open the breaker after it."""
    subject = site.brief()
    held = subject.held("fail")
    late = [await held.begin(subject) for _ in range(3)]
    await subject.half_open()
    assert await subject.is_admitted(), "still open after its time"
    held.let_go()
    await asyncio.gather(*late)
    with site.within(0.9):
        admitted = await subject.is_admitted()
    assert admitted, "old failures opened it again"


@check(Feature.LISTENERS)
async def listeners_hear_each_change(site: Site) -> None:
    """Opening, probing and closing again are told, once each."""
    heard: list[int] = []
    subject = site.brief(listener=lambda: heard.append(subject.reached))
    await subject.trip()
    assert len(heard) == 1, f"{len(heard)} changes were told by the opening"
    await site.wait_out_open()
    assert await subject.is_admitted()
    assert len(heard) == 3, f"{len(heard)} changes were told by the recovery"


async def _count_probes(subject: Subject, expected: int) -> None:
    """Let 100 callers come at once; the dependency is still down, and answers after all came."""
    held = subject.held("fail")
    before = subject.reached
    with subject.site.within(0.9):
        tasks = [asyncio.ensure_future(subject.outcome(held.action)) for _ in range(CALLERS)]
        for _ in range(50):
            await asyncio.sleep(0)
        began = held.waiting
        held.let_go()
        outcomes = await asyncio.gather(*tasks)
    reached = subject.reached - before
    assert began == reached == expected, f"{reached} of {CALLERS} callers reached it"
    rejected = sum(subject.breaker.is_rejection(each) for each in outcomes)
    failed = sum(type(each) is subject.breaker.failure for each in outcomes)
    assert rejected >= CALLERS - expected, f"{rejected} were refused and {failed} failed"


async def _probe_without_end(
    subject: Subject, held: Held, action: Callable[[], Awaitable[object]]
) -> None:
    """Look for another call that is admitted while the probe does not end; then let it end."""
    loop = asyncio.get_running_loop()
    probe = asyncio.ensure_future(subject.outcome(action))
    await asyncio.sleep(0.1 * subject.site.short_s)
    assert held.waiting, "still open after its time"
    until_s = loop.time() + 10 * subject.site.short_s
    try:
        while not await subject.is_admitted():
            assert loop.time() < until_s, "jammed by the first probe"
            await asyncio.sleep(0.3 * subject.site.short_s)
    finally:
        held.let_go()
        await probe


async def _cancel_probe(subject: Subject) -> None:
    held = subject.held()
    probe = asyncio.ensure_future(subject.breaker.call(held.action))
    for _ in range(5):
        await asyncio.sleep(0)
    assert held.waiting, "still open after its time"
    probe.cancel()
    await asyncio.wait([probe])
