"""What a simulated request costs in a fleet, and whether that grows with the fleet or with the run.

All in CPU time of one process. Runs of every size are interleaved, and each round begins with
another of them, so that a machine that is slower for a while is so for all.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import truediv
from typing import Any

from ftrepo.designs import named_policies
from sim.run import run
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import Scenario
from sim.world.scenario_file import load_scenario
from sim.world.traffic import Constant

RATE_PER_S = 50.0
"""Requests a second, of the whole fleet, where costs are compared."""

INSTANCES = (1, 4, 32)

REQUESTS = {10_000: 5, 100_000: 2, 1_000_000: 1}
"""How many there are in a run, and how often it is played: short ones are soon disturbed."""

OUTAGE_SHARE = 0.0375
"""The share of a run, in its middle, for which the primary is away: 75 s in 100,000 requests, as
long as a failover takes. The same in a short run and in a long one, because refusals are cheap."""

COST_RATIO_MAX = 1.2
"""What counts as flat."""


def fleet_requests_per_s(runs: int = 3) -> dict[str, Any]:
    """`get` calls of the fleet scenario a second of CPU time, under the default policy."""
    scenario = load_scenario("fleet")
    rates = [1.0 / _cost_s(scenario, replication) for replication in range(runs)]
    return {
        "name": "fleet_requests_per_s",
        "value": statistics.median(rates),
        "unit": "1/s",
        "reference": f"{scenario.service.instances} instances; median of {runs} runs, CPU time",
    }


def cost_per_request_instances(rounds: int = 4, requests: int = 100_000) -> dict[str, Any]:
    """The cost of a request in the dearest fleet over that in the cheapest, of 1 to 32 instances.

    The traffic is the same for each fleet. So what instances do without being asked, to refresh
    their caches and to make keys, is shared by as many requests, and is part of the cost.
    """
    return _row(
        "cost_per_request_instances",
        lambda instances: _scenario(instances=instances, requests=requests),
        dict.fromkeys(INSTANCES, 1),
        rounds=rounds,
        of=f"{requests:,} requests at {RATE_PER_S:g}/s, by instances",
    )


def cost_per_request_size(rounds: int = 2) -> dict[str, Any]:
    """The cost of a request in the dearest run over that in the cheapest, of 10⁴ to 10⁶ requests.

    A run with more of them is longer, at the same rate.
    """
    return _row(
        "cost_per_request_size",
        lambda requests: _scenario(instances=4, requests=requests),
        REQUESTS,
        rounds=rounds,
        of=f"4 instances at {RATE_PER_S:g}/s, by requests in a run",
    )


def _row(
    name: str,
    scenario_of: Callable[[int], Scenario],
    repeats: Mapping[int, int],
    *,
    rounds: int,
    of: str,
) -> dict[str, Any]:
    """Compare the cost of a request between sizes.

    Args:
        name: of the benchmark.
        scenario_of: returns what is played, for a size.
        repeats: the sizes, and how often each is played in a round, of which the median counts.
        rounds: how often all of them are compared; the median of the ratios counts.
        of: what is compared, for the table.
    """
    sizes = list(repeats)
    costs_s: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(rounds):
        first = number % len(sizes)
        for size in sizes[first:] + sizes[:first]:
            scenario = scenario_of(size)
            plays = [_cost_s(scenario, replication) for replication in range(repeats[size])]
            costs_s[size].append(statistics.median(plays))
    ratios = {
        size: statistics.median(map(truediv, costs_s[size], costs_s[sizes[0]])) for size in sizes
    }
    spelt = ", ".join(
        f"{size:,}: {1e6 * statistics.median(costs_s[size]):.0f} µs" for size in sizes
    )
    return {
        "name": name,
        "value": max(ratios.values()) / min(ratios.values()),
        "unit": "ratio",
        "reference": f"{of}: {spelt}; flat is at most {COST_RATIO_MAX:g}",
    }


def _cost_s(scenario: Scenario, replication: int) -> float:
    """The CPU time of one run for each of its requests, all else that plays included."""
    policy = named_policies()["default"]
    gc.collect()
    started_s = time.process_time()
    history = run(scenario, policy, seed=1, replication=replication).history
    return (time.process_time() - started_s) / len(history.gets.at_s)


def _scenario(*, instances: int, requests: int) -> Scenario:
    """The shipped fleet with one failover, plain traffic and so many instances."""
    fleet, duration_s = load_scenario("fleet"), requests / RATE_PER_S
    start_s = duration_s / 2
    return replace(
        fleet,
        duration_s=duration_s,
        warmup_s=0.0,
        condense=False,
        traffic=Constant(rate_per_s=RATE_PER_S),
        outages=(FixedWindows(windows=((start_s, start_s + OUTAGE_SHARE * duration_s),)),),
        service=replace(fleet.service, instances=instances),
    )
