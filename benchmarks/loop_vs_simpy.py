"""How much an M/M/1 queue costs as asyncio code on the virtual-time loop, beside plain SimPy.

Usage: ``python -m benchmarks.loop_vs_simpy``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Generator
from statistics import median
from typing import Any

import numpy as np
import simpy

from sim.loop import VirtualTimeLoop

UTILISATION = 0.8
"""Mean service time over mean time between arrivals: a queue that is busy, yet stable."""


def loop_vs_simpy(pairs: int = 7, customers: int = 200_000) -> dict[str, Any]:
    """Return the median ratio of CPU times, ours to SimPy's, over pairs run one after the other.

    Both sides draw nothing: they take the same gaps and service times, and must agree on the mean
    wait to the last bit.
    """
    rng = np.random.default_rng(20_240_229)
    gaps_s: list[float] = rng.exponential(1.0, customers).tolist()
    services_s: list[float] = rng.exponential(UTILISATION, customers).tolist()
    ratios = []
    for pair in range(pairs):
        sides = [asyncio_queue, simpy_queue]
        # Whoever goes first may meet a colder machine.
        timed = {side: _cpu_s(side, gaps_s, services_s) for side in sides[:: 1 if pair % 2 else -1]}
        (ours_s, our_wait_s), (simpys_s, simpys_wait_s) = timed[asyncio_queue], timed[simpy_queue]
        if our_wait_s != simpys_wait_s:
            raise AssertionError(f"mean waits differ: {our_wait_s} s and {simpys_wait_s} s")
        ratios.append(ours_s / simpys_s)
    return {
        "name": "loop_vs_simpy",
        "value": round(median(ratios), 3),
        "unit": "ratio",
        "reference": "the same M/M/1 queue as plain SimPy processes with a Resource",
    }


def asyncio_queue(gaps_s: list[float], services_s: list[float]) -> float:
    """Return the mean wait in a queue of asyncio tasks before a semaphore."""
    loop = VirtualTimeLoop(simpy.Environment())
    waited_s = 0.0

    async def customer(server: asyncio.Semaphore, service_s: float) -> None:
        nonlocal waited_s
        arrived_s = loop.time()
        async with server:
            waited_s += loop.time() - arrived_s
            await asyncio.sleep(service_s)

    async def main() -> None:
        server = asyncio.Semaphore(1)
        for gap_s, service_s in zip(gaps_s, services_s, strict=True):
            await asyncio.sleep(gap_s)
            last = asyncio.create_task(customer(server, service_s))
        # First come, first served: all others have left before the last one.
        await last

    loop.run_until_complete(main())
    loop.close()
    return waited_s / len(gaps_s)


def simpy_queue(gaps_s: list[float], services_s: list[float]) -> float:
    """Return the mean wait in a queue of SimPy processes before a resource."""
    env = simpy.Environment()
    server = simpy.Resource(env)
    waited_s = 0.0

    def customer(service_s: float) -> Generator[simpy.Event, Any, None]:
        nonlocal waited_s
        arrived_s = env.now
        with server.request() as request:
            yield request
            waited_s += env.now - arrived_s
            yield env.timeout(service_s)

    def arrivals() -> Generator[simpy.Event, Any, None]:
        for gap_s, service_s in zip(gaps_s, services_s, strict=True):
            yield env.timeout(gap_s)
            env.process(customer(service_s))

    env.process(arrivals())
    env.run()
    return waited_s / len(gaps_s)


def _cpu_s(
    queue: Callable[[list[float], list[float]], float], gaps_s: list[float], services_s: list[float]
) -> tuple[float, float]:
    gc.collect()
    start_s = time.process_time()
    mean_wait_s = queue(gaps_s, services_s)
    return time.process_time() - start_s, mean_wait_s


if __name__ == "__main__":
    print(json.dumps(loop_vs_simpy()))
