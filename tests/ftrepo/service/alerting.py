"""A service in trouble, as Prometheus sees it: scraped twice a minute of virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sim.world.outages import Outage
from tests.ftrepo.service.http.serving import Served, serve
from tests.promql import History, Labels

EVERY_S = 30.0
TARGET = {"job": "ftrepo", "instance": "a"}
"""What Prometheus itself gives every series that it scrapes."""

Trouble = Callable[[Served], Awaitable[None]]


async def no_trouble(_: Served) -> None:
    """All is well."""


def scraped(
    trouble: Trouble = no_trouble,
    outages: Sequence[Outage] = (),
    *,
    until_s: float = 270.0,
    **settings: Any,
) -> History:
    """What Prometheus has of a service whose trouble begins after a minute.

    Every five seconds the key set is asked for, and a token.
    """

    async def story(served: Served) -> History:
        scrapes = []
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each(served)) for each in (_use, _begin)]
            for number in range(1, int(until_s / EVERY_S) + 1):
                await served.lab.until(number * EVERY_S)
                scrapes.append((number * EVERY_S, await _scrape(served)))
            for each in running:
                each.cancel()
        return History(scrapes)

    async def _begin(served: Served) -> None:
        await served.lab.until(60.0)
        await trouble(served)

    return serve(story, outages, **settings)


async def _use(served: Served) -> None:
    while True:
        await asyncio.gather(served.token(), served.get("/.well-known/jwks.json"))
        await asyncio.sleep(5.0)


async def _scrape(served: Served) -> dict[tuple[str, Labels], float]:
    text = (await served.get("/metrics")).text
    samples = {("up", frozenset(TARGET.items())): 1.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, frozenset((sample.labels | TARGET).items())] = sample.value
    return samples
