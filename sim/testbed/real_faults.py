"""Every fault that the testbed can inject into a real server or the line to it.

Each is an async context manager: entering breaks something, leaving mends it and returns when the
server takes connections again. What holds up a thread runs in a thread of its own, so that the
service under test keeps its event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import asyncpg

from sim.testbed import line_faults
from sim.testbed.binaries import TestbedError
from sim.testbed.cluster import READY_TIMEOUT_S
from sim.testbed.fault_site import Site, operator, to_the_end
from sim.testbed.line_faults import on_the_line
from sim.testbed.proxy import Line

DELAYS_S = (0.1, 0.2)
"""What a round trip takes more. Connecting takes two of them and a connection's first statement two
more, so with the default time-outs the shorter one is bearable and the longer one is not."""

TRICKLE_BYTES_PER_S = 200.0
"""A row of a key is about 150 bytes, so no answer comes in time, and yet bytes keep coming."""

TABLE = "public_keys"

_FILL_ROUNDS_MAX = 50
_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, kw_only=True)
class RealFault:
    """One way in which a database fails.

    Attributes:
        doc: what happens, in a sentence.
        inject: breaks it on entering and mends it on leaving.
        by_proxy: whether the service must reach the server by way of the proxy.
    """

    doc: str
    inject: Callable[[Site], AbstractAsyncContextManager[None]]
    by_proxy: bool = False


@asynccontextmanager
async def fast_stop(site: Site) -> AsyncIterator[None]:
    """Shut down in good order, as for an update: sessions are told, transactions rolled back."""
    try:
        await to_the_end(site.cluster.stop, "fast")
        yield
    finally:
        await to_the_end(site.cluster.start)


@asynccontextmanager
async def immediate_stop(site: Site) -> AsyncIterator[None]:
    """Shut down without a checkpoint; the start must recover from the log."""
    try:
        await to_the_end(site.cluster.stop, "immediate")
        yield
    finally:
        await to_the_end(site.cluster.start)


@asynccontextmanager
async def killed(site: Site) -> AsyncIterator[None]:
    """Kill every process with SIGKILL, as when the machine loses power."""
    try:
        await to_the_end(site.cluster.kill)
        yield
    finally:
        await to_the_end(site.cluster.start)


@asynccontextmanager
async def backend_killed(site: Site) -> AsyncIterator[None]:
    """Kill one of the service's sessions with SIGKILL, as the kernel does when memory runs out.

    The server then ends all sessions and recovers by itself, which takes a fraction of a second.
    """
    async with operator(site) as connection:
        own = connection.get_server_pid()
        victim = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1 LIMIT 1",
            site.application_name,
        )
        os.kill(victim or own, signal.SIGKILL)
    try:
        yield
    finally:
        await to_the_end(site.cluster.wait_until_ready)


@asynccontextmanager
async def frozen(site: Site) -> AsyncIterator[None]:
    """Stop every process with SIGSTOP: the kernel still takes connections and nobody answers."""
    try:
        await to_the_end(site.cluster.freeze)
        yield
    finally:
        await to_the_end(site.cluster.thaw)


@asynccontextmanager
async def starting_up(site: Site) -> AsyncIterator[None]:
    """Restart into a recovery that waits: whoever connects is refused with SQLSTATE 57P03."""
    cluster = site.cluster
    go_on = cluster.data / "go_on"
    wait = f"while [ -d {cluster.data} ] && [ ! -e {go_on} ]; do sleep 0.02; done; exit 1"
    # Otherwise a recovering server may already answer questions, as a standby.
    settings = {"restore_command": wait, "hot_standby": "off"}
    try:
        await to_the_end(cluster.stop, "immediate")
        cluster.write("recovery.signal")
        await to_the_end(partial(cluster.start, settings, wait=False))
        await _refused_as_starting(site)
        yield
    finally:
        cluster.write("go_on")
        await to_the_end(cluster.start)
        await to_the_end(cluster.wait_until_ready)
        go_on.unlink()


async def _refused_as_starting(site: Site) -> None:
    """Wait until the server listens, and says that it is starting."""
    async with asyncio.timeout(READY_TIMEOUT_S):
        while True:
            try:
                async with operator(site):
                    raise TestbedError("the server takes connections, and should still recover")
            except asyncpg.CannotConnectNowError:
                return
            except OSError:
                await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def read_only(site: Site) -> AsyncIterator[None]:
    """Refuse every write with SQLSTATE 25006 and go on answering reads, as around a failover."""
    async with operator(site) as connection:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        async with operator(site) as connection:
            await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await connection.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def table_locked(site: Site) -> AsyncIterator[None]:
    """Hold the strongest lock on the table, as a careless migration does."""
    async with operator(site) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def pool_exhausted(site: Site) -> AsyncIterator[None]:
    """Hold every connection of the service's pool, as a slow report in the same process would."""
    async with AsyncExitStack() as held:
        count = 0
        while count < site.pool.settings.open_max:
            # The service wants connections too, so some tries come too late.
            with suppress(Exception):
                await held.enter_async_context(site.pool.connection(timeout_s=1.0))
                count += 1
        yield


@asynccontextmanager
async def connections_exhausted(site: Site) -> AsyncIterator[None]:
    """Use up `max_connections` from outside: the service's sessions end, and no new one begins."""
    async with AsyncExitStack() as held, operator(site) as killer:
        for _ in range(_FILL_ROUNDS_MAX):
            await _fill_up(site, held)
            ended = await killer.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE starts_with(application_name, $1)",
                site.application_name,
            )
            if not ended:
                break
        yield


async def _fill_up(site: Site, held: AsyncExitStack) -> None:
    """Connect until the server has no room."""
    while True:
        try:
            await held.enter_async_context(operator(site))
        except asyncpg.TooManyConnectionsError:
            return


REAL_FAULTS: dict[str, RealFault] = {
    "fast-stop": RealFault(
        inject=fast_stop,
        doc="The server is shut down in good order, and started again.",
    ),
    "immediate-stop": RealFault(
        inject=immediate_stop,
        doc="The server is shut down without a checkpoint, and recovers at its start.",
    ),
    "kill-backend": RealFault(
        inject=backend_killed,
        doc="One session is killed with -9; the server ends all others and recovers by itself.",
    ),
    "kill-all": RealFault(
        inject=killed,
        doc="Every process of the server is killed with -9, and it is started again.",
    ),
    "freeze": RealFault(
        inject=frozen,
        doc="Every process of the server is stopped with SIGSTOP: connections stay, no answers.",
    ),
    "starting-up": RealFault(
        inject=starting_up,
        doc="The server recovers for a while and refuses whoever connects (57P03).",
    ),
    "read-only": RealFault(
        inject=read_only,
        doc="The server answers reads and refuses writes (25006), as around a failover.",
    ),
    "table-lock": RealFault(
        inject=table_locked,
        doc="Somebody holds an exclusive lock on the table; all else works.",
    ),
    "pool-exhausted": RealFault(
        inject=pool_exhausted,
        doc="Others in the same process hold every connection of the pool.",
    ),
    "connections-exhausted": RealFault(
        inject=connections_exhausted,
        doc="Others use up max_connections, and the service's sessions are ended (53300).",
    ),
    "pause": RealFault(
        inject=on_the_line(Line(flows=False)),
        doc="Nothing passes either way; connections stay, and what was sent arrives afterwards.",
        by_proxy=True,
    ),
    "drop-replies": RealFault(
        inject=on_the_line(Line(drops_replies=True)),
        doc="The server hears everything, and none of its answers arrive.",
        by_proxy=True,
    ),
    "refuse": RealFault(
        inject=line_faults.refused,
        doc="Connections are reset, and new ones refused.",
        by_proxy=True,
    ),
    "reset": RealFault(
        inject=line_faults.reset,
        doc="Connections are reset, new ones as soon as they are used.",
        by_proxy=True,
    ),
    **{
        f"delay-{delay_s * 1000:g}-ms": RealFault(
            inject=on_the_line(Line(delay_s=delay_s / 2)),
            doc=f"Every round trip takes {delay_s * 1000:g} ms more.",
            by_proxy=True,
        )
        for delay_s in DELAYS_S
    },
    "trickle": RealFault(
        inject=on_the_line(Line(bytes_per_s=TRICKLE_BYTES_PER_S)),
        doc=f"{TRICKLE_BYTES_PER_S:g} bytes a second pass, each way of each connection.",
        by_proxy=True,
    ),
    "half-open": RealFault(
        inject=line_faults.half_open,
        doc="Open connections lose their server without hearing of it; new ones work.",
        by_proxy=True,
    ),
}
"""Every fault by its name, the server's before the line's."""
