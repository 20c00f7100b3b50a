"""Faults of the line between a service and its server: what the network does, and firewalls do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sim.testbed.fault_site import Site
from sim.testbed.proxy import Line


def on_the_line(line: Line) -> Callable[[Site], AbstractAsyncContextManager[None]]:
    """Return a fault that makes the line behave in this way."""

    @asynccontextmanager
    async def spoil(site: Site) -> AsyncIterator[None]:
        site.proxy.change(line)
        try:
            yield
        finally:
            site.proxy.change(Line())

    return spoil


@asynccontextmanager
async def refused(site: Site) -> AsyncIterator[None]:
    """Reset every connection and refuse new ones, as when the server's address is taken away."""
    site.proxy.refuse()
    site.proxy.reset()
    try:
        yield
    finally:
        await site.proxy.listen()


@asynccontextmanager
async def reset(site: Site) -> AsyncIterator[None]:
    """Reset every connection now, and each new one at its first byte."""
    site.proxy.reset()
    async with on_the_line(Line(resets=True))(site):
        yield


@asynccontextmanager
async def half_open(site: Site) -> AsyncIterator[None]:
    """Lose every open connection without a word; new ones work."""
    site.proxy.half_open()
    yield
