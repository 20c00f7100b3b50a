"""One run: a scenario, a policy and a seed in; what happened out.

The service under test is `ftrepo.FaultTolerantRepository` itself, on an event loop in virtual
time; `sim.play` has what plays around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftrepo.policy import Policy
from sim.history import History
from sim.loop import VirtualTimeLoop, run_virtual
from sim.play import Play
from sim.stage import RunClock, SimulatedStage
from sim.world.condense import Timeline
from sim.world.errors import InputError
from sim.world.scenario import RECOVERY_S, Scenario
from sim.world.streams import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run gives: its inputs and its history."""

    scenario: Scenario
    policy: Policy
    seed: int
    replication: int
    timeline: Timeline
    history: History


def run(
    scenario: Scenario,
    policy: Policy,
    *,
    seed: int = 1,
    replication: int = 0,
    forbid_wall_clock: bool = False,
) -> Result:
    """Play a scenario once under a policy, in virtual time.

    The same arguments give the same result to the bit, in every process. May be called anywhere,
    also in a notebook's cell, where an event loop is running already.

    Args:
        scenario: what happens.
        policy: how the repository behaves.
        seed: of the whole study.
        replication: the number of this run in the study; each has outages, traffic and latencies
            of its own, independent of every other's.
        forbid_wall_clock: fail if anything reads a real clock; several times slower.

    Raises:
        InputError: an interval of the policy is too long for the condensed timeline.
        RuntimeError: some task of the run failed, and nobody was there to be told. Its cause says
            why.
    """
    streams = Streams(seed, replication)
    timeline = scenario.timeline(scenario.draw_outages(streams))
    if timeline.duration_s < timeline.real_duration_s:
        check_memory(policy)

    async def main(loop: VirtualTimeLoop) -> History:
        unawaited: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: unawaited.append(context))
        clock = RunClock(loop)
        stage = SimulatedStage(loop, clock, scenario, timeline, streams)
        play = Play(
            stage, clock, scenario=scenario, policy=policy, streams=streams, timeline=timeline
        )
        history = await play.play()
        if unawaited:
            # Whoever failed was missing from the rest of the run: its figures mean nothing.
            message = unawaited[0].get("message", "an error that nobody awaited")
            raise RuntimeError(f"in the run: {message}") from unawaited[0].get("exception")
        return history

    return Result(
        scenario=scenario,
        policy=policy,
        seed=seed,
        replication=replication,
        timeline=timeline,
        history=run_virtual(main, forbid_wall_clock=forbid_wall_clock),
    )


def check_memory(policy: Policy) -> None:
    """Refuse a policy for which condensing would bias the figures; see `sim.world.condense`.

    Raises:
        InputError: names the interval that is too long.
    """
    for name in (
        "refresh_interval_s",
        "expiry_interval_s",
        "flush_interval_s",
        "breaker_open_s",
        "breaker_open_max_s",
    ):
        value = getattr(policy, name)
        if value is not None and value > RECOVERY_S:
            raise InputError(
                f"{name} = {value:g} is above {RECOVERY_S:g}, the longest interval with which long "
                f"healthy stretches can be condensed; set condense = false in the scenario"
            )
