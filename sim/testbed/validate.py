"""Plays one scenario in virtual time and before a real PostgreSQL, to hold one against the other.

Before both the server should be measured, so that the simulated one is as fast: `calibrate`. The
simulation comes after the real run, and has the outages as they were acted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ftrepo.policy import Policy
from sim.run import Result, run
from sim.study.agreement import Check, compare
from sim.testbed.acting import Acted
from sim.testbed.cluster import Cluster, ExistingServer
from sim.testbed.replay import QUIET_SETTINGS, Job, Progress, Replay, replay, run_real
from sim.world.outage_patterns import FixedWindows
from sim.world.scenario import Scenario

REPLICATIONS = 10
"""Simulated runs: enough for an interval, and done while one real second passes or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One scenario, simulated and real.

    Attributes:
        scenario: as both played it.
        simulated: every replication; the first is paired with the real run.
        real: the run in real time.
        acted: its outages, as they were planned and as they were.
        checks: figure by figure.
    """

    scenario: Scenario
    simulated: Sequence[Result]
    real: Result
    acted: Sequence[Acted]
    checks: Sequence[Check]

    @property
    def agrees(self) -> bool:
        """Whether every figure that is judged agrees."""
        return all(check.agrees for check in self.checks)

    @property
    def disagreements(self) -> list[str]:
        """What does not agree, one line each."""
        return [
            f"{check.name}: simulated {check.paired:.4g}, real {check.real:.4g} ({check.rule})"
            for check in self.checks
            if not check.agrees
        ]


def validate(
    scenario: Scenario,
    policy: Policy,
    *,
    server: Cluster | ExistingServer,
    seed: int = 1,
    replications: int = REPLICATIONS,
    progress: Progress | None = None,
) -> Validation:
    """Play a scenario in real time and simulate it, and compare.

    Args:
        scenario: what happens; its primary should be as fast as the server: see
            `Calibration.applied_to`.
        policy: how the repository behaves.
        server: a real one; see `replay`.
        seed: of the real run and of the simulations.
        replications: simulated runs, at least 2.
        progress: is told of the time that is played.

    Raises:
        InputError: the scenario cannot be played in real time.
        TestbedError: the server does not do what it should.
    """
    scenario = replace(scenario, condense=False)
    played = replay(scenario, policy, server=server, seed=seed, progress=progress)
    return _against(scenario, played, replications)


def validate_all(
    scenarios: Mapping[str, Scenario],
    policy: Policy,
    *,
    seed: int = 1,
    replications: int = REPLICATIONS,
) -> dict[str, Validation]:
    """Do the same for several scenarios at once, each on a server of its own.

    Real time passes once for all of them. They share the processors: real latencies are those of
    a busier machine. They share a disk too, and have `QUIET_SETTINGS` for it.

    Args:
        scenarios: what happens, by name.
        policy: how every repository behaves.
        seed: of every run.
        replications: simulated runs of each scenario, at least 2.
    """
    whole = {name: replace(each, condense=False) for name, each in scenarios.items()}

    async def play_all(servers: Sequence[Cluster]) -> list[Replay]:
        jobs = [Job(scenario=scenario, policy=policy, seed=seed) for scenario in whole.values()]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(job.play(server))
                for job, server in zip(jobs, servers, strict=True)
            ]
        return [task.result() for task in tasks]

    with ExitStack() as stack:
        servers = [stack.enter_context(Cluster(settings=QUIET_SETTINGS)) for _ in whole]
        played = run_real(play_all(servers))
    return {
        name: _against(scenario, each, replications)
        for (name, scenario), each in zip(whole.items(), played, strict=True)
    }


def _against(scenario: Scenario, played: Replay, replications: int) -> Validation:
    """Simulate what was played, and compare."""
    if replications < 2:
        raise ValueError(f"replications must be at least 2 for an interval, not {replications}")
    real = played.result
    simulated = [
        run(world, real.policy, seed=real.seed, replication=number)
        for number in range(replications)
        for world in [as_acted(scenario, played.acted, paired=number == 0)]
    ]
    return Validation(
        scenario=scenario,
        simulated=simulated,
        real=real,
        acted=played.acted,
        checks=compare(simulated, real),
    )


def as_acted(scenario: Scenario, acted: Sequence[Acted], *, paired: bool) -> Scenario:
    """Return the scenario with the outages that a real run had, in the place of those planned.

    A real server comes back a moment early or late. A probe that falls into that moment decides
    over seconds of lag, and would tell of the machine instead of the simulation.

    Args:
        scenario: what was planned.
        acted: what happened.
        paired: whether the run has the real one's seed. Others draw outages of their own, unless
            all are at fixed times.
    """
    fixed = all(isinstance(pattern, FixedWindows) for pattern in scenario.outages)
    if not (paired or fixed):
        return scenario
    outages = tuple(
        FixedWindows(
            windows=((each.outage.start_s, each.outage.end_s),),
            mode=each.planned.mode,
            severity=each.planned.severity,
        )
        for each in acted
    )
    return replace(scenario, outages=outages)
