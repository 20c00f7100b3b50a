"""What a call costs through a breaker or a retry, in bare awaited calls; and what a breaker weighs.

Ours has what costs most switched on: a window of time and a rate of slow calls. Next to it stands
every installed peer (`make conformance` brings them), with what it has by default.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from benchmarks import resilience_peers
from benchmarks.resilience_peers import Action, Way, answer, die
from ftrepo.errors import CircuitOpenError
from ftrepo.resilience import BreakerSettings, CircuitBreaker, Retry

Run = Callable[[int], Awaitable[None]]

CALLS = 1_000
REPEATS = 5
"""The quickest of so many is a sample, since what disturbs a measurement only ever adds to it."""

SAMPLES = 25
BREAKERS = 500

BREAKER_PEERS = {peer.__name__: peer for peer in resilience_peers.BREAKERS}
RETRY_PEERS = {peer.__name__: peer for peer in resilience_peers.RETRIES}

SETTINGS = BreakerSettings(
    failure_rate=0.5, slow_rate=0.5, open_s=resilience_peers.OPEN_S, normal_rate_memory_s=3600
)


def breaker_closed() -> dict[str, Any]:
    """A call that succeeds, through a closed breaker."""
    return asyncio.run(in_bare_calls("breaker_closed", ways_of(ours, BREAKER_PEERS, answer)))


def breaker_rejected() -> dict[str, Any]:
    """A call that an open breaker rejects, with an error that its caller catches."""
    ways = ways_of(ours, BREAKER_PEERS, die)
    # What no breaker can do without: an error that is raised in a coroutine, and caught.
    ways["a bare raise"] = Way("refuse()", {"refuse": _refuse}, CircuitOpenError)
    return asyncio.run(in_bare_calls("breaker_rejected", ways, rejected=True))


def retry_success_path() -> dict[str, Any]:
    """A call that succeeds at the first attempt."""
    return asyncio.run(in_bare_calls("retry_success_path", ways_of(our_retry, RETRY_PEERS, answer)))


def breaker_bytes() -> dict[str, Any]:
    """The memory of a breaker that has been in use, with all that it owns; its name counts too."""
    return asyncio.run(_bytes())


def ours(action: Action) -> Way:
    """A breaker of this project."""
    breaker = CircuitBreaker(SETTINGS, name="dependency")
    return Way(
        "breaker.call(action)", {"breaker": breaker, "action": action}, CircuitOpenError, breaker
    )


def our_retry(action: Action) -> Way:
    """A retry of this project."""
    return Way("retry.call(action)", {"retry": Retry(idempotent=True), "action": action})


async def in_bare_calls(
    name: str, ways: dict[str, Way], *, rejected: bool = False
) -> dict[str, Any]:
    """Measure the ways in turn, and return the row of ours; the others are what it is held against.

    The calls are `rejected` ones, by breakers that are opened first, or such as succeed.
    """
    runs = {peer: _loop(way, rejected=rejected) for peer, way in ways.items()}
    for way in ways.values():
        if rejected:
            await _open(way)
    bare = _loop(Way("answer()", {"answer": answer}), rejected=False)
    ratios: dict[str, list[float]] = {peer: [] for peer in ways}
    bare_ns = []
    for _ in range(SAMPLES):
        bare_s = await _best_cpu_s(bare)
        bare_ns.append(bare_s / CALLS * 1e9)
        for peer, run in runs.items():
            ratios[peer].append(await _best_cpu_s(run) / bare_s)
    medians = {peer: statistics.median(found) for peer, found in ratios.items()}
    value = medians.pop("ftrepo")
    return {
        "name": name,
        "value": round(value, 2),
        "unit": "ratio",
        "reference": f"a bare awaited call, {statistics.median(bare_ns):.0f} ns here"
        + _listed(medians, "{:.1f}"),
    }


async def _refuse() -> None:
    raise CircuitOpenError("dependency", "open", 1.0)


async def _bytes() -> dict[str, Any]:
    found = {}
    for peer, make in {"ftrepo": ours, **BREAKER_PEERS}.items():
        try:
            found[peer] = await _bytes_each(make)
        except ImportError:
            continue
    value = found.pop("ftrepo")
    return {
        "name": "breaker_bytes",
        "value": round(value),
        "unit": "bytes",
        "reference": f"{BREAKERS} breakers after 100 calls each{_listed(found, '{:,.0f}')}",
    }


async def _bytes_each(make: Callable[..., Way]) -> float:
    await _use(make(answer))
    gc.collect()
    tracemalloc.start()
    try:
        kept: list[object] = [None] * BREAKERS
        before, _ = tracemalloc.get_traced_memory()
        for number in range(BREAKERS):
            way = make(answer)
            await _use(way)
            kept[number] = way.keeps
            del way
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / BREAKERS


async def _use(way: Way) -> None:
    await _loop(way, rejected=False)(100)


async def _open(way: Way) -> None:
    once = _loop(way, rejected=False)
    for _ in range(2 * resilience_peers.FAILURES):
        try:
            await once(1)
        except way.rejection:
            return
        except Exception:
            continue
    raise RuntimeError("it does not open")


def _loop(way: Way, *, rejected: bool) -> Run:
    """Return a function that makes so many calls. It is written for each, as `timeit` does.

    So each is called as somebody would write it, and none pays for being called by a variable.
    """
    call = f"await {way.expression}"
    if rejected:
        call = f"try:\n            {call}\n        except Rejection:\n            continue"
    source = f"async def run(times):\n    for _ in range(times):\n        {call}\n"
    names: dict[str, Any] = dict(way.names, Rejection=way.rejection)
    exec(source, names)
    return cast(Run, names["run"])


async def _best_cpu_s(run: Run) -> float:
    times = []
    for _ in range(REPEATS):
        start_s = time.process_time()
        await run(CALLS)
        times.append(time.process_time() - start_s)
    return min(times)


def ways_of(
    own: Callable[..., Way], peers: Mapping[str, Callable[..., Way]], action: Callable[..., Any]
) -> dict[str, Way]:
    """Return how to call `action` through ours, and through every peer that is installed."""
    ways = {"ftrepo": own(action)}
    for name, make in peers.items():
        try:
            ways[name] = make(action)
        except ImportError:
            continue
    return ways


def _listed(found: dict[str, float], form: str) -> str:
    in_order = sorted(found.items(), key=lambda item: item[1])
    return "".join(f"; {name} {form.format(value)}" for name, value in in_order)


if __name__ == "__main__":
    for measure in (breaker_closed, breaker_rejected, breaker_bytes, retry_success_path):
        print(measure())
