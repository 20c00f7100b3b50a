"""How many simulated requests a second pass through the real repository."""

from __future__ import annotations

import gc
import statistics
import time

from ftrepo.designs import named_policies
from sim.run import run
from sim.world.scenario_file import load_scenario


def simulated_requests_per_s(runs: int = 5) -> dict[str, object]:
    """`get` calls of the default scenario a second of CPU time, under the default policy."""
    scenario, policy = load_scenario("default"), named_policies()["default"]
    rates = []
    for replication in range(runs):
        gc.collect()
        started_s = time.process_time()
        history = run(scenario, policy, seed=1, replication=replication).history
        rates.append(len(history.gets.at_s) / (time.process_time() - started_s))
    return {
        "name": "simulated_requests_per_s",
        "value": statistics.median(rates),
        "unit": "1/s",
        "reference": f"median of {runs} runs, CPU time of one core; all else that plays included",
    }


if __name__ == "__main__":
    print(simulated_requests_per_s())
