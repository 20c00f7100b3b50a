"""Checks of an open breaker: how it refuses calls, what that costs, and what moves its time."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import time_machine

from tests.conformance.site import Feature, Site, check

REJECTIONS = 100_000
RETAINED_BYTES_MAX = 50_000
"""Half a byte for each rejection: whatever grows with them is above it."""


@check()
async def an_open_breaker_does_not_call(site: Site) -> None:
    """While open, no call reaches the dependency, not even one that would succeed."""
    subject = site.subject()
    await subject.trip()
    for _ in range(20):
        await subject.rejection()


@check()
async def each_rejection_is_a_fresh_exception(site: Site) -> None:
    """Two callers never share an exception: each would add its traceback to the other's."""
    subject = site.subject()
    await subject.trip()
    first, second = await subject.rejection(), await subject.rejection()
    assert first is not second, "both got the same object"


@check()
async def a_rejection_says_when_to_come_back(site: Site) -> None:
    """With a rejection comes the time until a probe: what a service answers as Retry-After."""
    subject = site.subject()
    await subject.trip()
    said_s = subject.breaker.retry_after_s(await subject.rejection())
    assert said_s is not None, "it does not say"
    # To whole seconds is enough.
    assert site.long_s - 5 <= said_s <= site.long_s + 1, f"it says {said_s} s of {site.long_s}"


@check()
async def rejected_calls_do_not_prolong_the_open_time(site: Site) -> None:
    """Callers that keep trying do not keep it open."""
    subject = site.brief()
    await subject.trip()
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 3 * site.short_s
    while not await subject.is_admitted():
        assert loop.time() < until_s, "still open after three times the open time"
        await asyncio.sleep(0.2 * site.short_s)


@check()
async def rejected_calls_retain_no_memory(site: Site) -> None:
    """After 100,000 rejections as much memory is in use as before."""
    subject = site.subject()
    await subject.trip()

    async def reject(times: int) -> None:
        for _ in range(times):
            try:
                await subject.breaker.call(subject.answer)
            except Exception as error:
                if not subject.breaker.is_rejection(error):
                    raise

    tracemalloc.start()
    try:
        await reject(REJECTIONS // 100)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await reject(REJECTIONS)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert subject.reached == 3, "a call was admitted"
    retained = after - before
    assert retained < RETAINED_BYTES_MAX, f"{retained:,} bytes more than before"


@check()
async def a_late_failure_does_not_prolong_the_open_time(site: Site) -> None:
    """A call that began before the opening and fails after it moves nothing."""
    subject = site.brief()
    held = subject.held("fail")
    late = await held.begin(subject)
    await subject.trip()
    with site.within(1.4):
        await asyncio.sleep(0.5 * site.short_s)
        held.let_go()
        await late
        await asyncio.sleep(0.6 * site.short_s)
        admitted = await subject.is_admitted()
    assert admitted, "still open after its time"


@check()
async def a_late_success_does_not_close_it(site: Site) -> None:
    """A call that began before the opening and succeeds after it moves nothing."""
    subject = site.subject()
    held = subject.held()
    late = await held.begin(subject)
    await subject.trip()
    held.let_go()
    assert await late == "answer", "the late caller did not get its answer"
    await subject.rejection()


@check()
async def time_zones_have_no_effect(site: Site) -> None:
    """In any zone, and when it changes, it stays open as long and says the same Retry-After."""
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"):
        with _in_zone(zone):
            brief, lasting = site.brief(), site.subject()
            await brief.trip()
            await lasting.trip()
            said_s = lasting.breaker.retry_after_s(await lasting.rejection())
            assert said_s is None or 0 <= site.long_s - said_s <= 5, f"{zone}: says {said_s} s"
            await site.wait_out_open()
            assert await brief.is_admitted(), f"{zone}: still open after its time"
        await lasting.rejection()


@check()
async def a_wall_clock_set_back_does_not_prolong_the_open_time(site: Site) -> None:
    """An hour's step back, by hand or by NTP, keeps no breaker open."""
    subject = site.brief()
    await subject.trip()
    with _stepped(hours=-1):
        await site.wait_out_open()
        assert await subject.is_admitted(), "still open after its time"


@check()
async def a_wall_clock_set_forward_does_not_end_the_open_time(site: Site) -> None:
    """An hour's step forward lets nobody at the dependency."""
    subject = site.subject()
    await subject.trip()
    with _stepped(hours=1):
        await subject.rejection()


@check(Feature.LISTENERS)
async def a_failing_listener_breaks_no_call(site: Site) -> None:
    """Whoever listens to changes and raises harms neither the callers nor the breaker."""
    heard = []

    def fail() -> None:
        heard.append(True)
        raise RuntimeError("the listener failed")

    subject = site.brief(listener=fail)
    for _ in range(3):
        caught = await subject.outcome(subject.fail)
        assert type(caught) is site.adapter.failure, f"the caller got {caught!r}"
    assert heard, "the listener was not told"
    with site.within(0.9):
        await subject.rejection()
    await site.wait_out_open()
    assert await subject.outcome(subject.answer) == "answer", "the probe's caller got an error"
    assert await subject.is_admitted(subject.fail), "it did not close"
    assert await subject.is_admitted(), "it did not close"


@check()
def it_serves_one_event_loop_after_another(site: Site) -> None:
    """A breaker that is made once works in two runs of `asyncio.run`, and keeps its state."""
    subject = site.subject()
    other = site.subject()

    async def first() -> None:
        await subject.trip()
        assert await other.is_admitted()

    async def second() -> None:
        await subject.rejection()
        assert await other.is_admitted(), "closed in the first loop, refuses in the second"

    asyncio.run(first())
    asyncio.run(second())


@contextmanager
def _in_zone(zone: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@contextmanager
def _stepped(*, hours: int) -> Iterator[None]:
    now = datetime.now(UTC)
    with time_machine.travel(now + timedelta(hours=hours), tick=True):
        yield
