"""Draws a hostile world from a seed.

Random schedules are mostly dull: what breaks a program happens when several things meet. So
everything is drawn around a few *moments* (an outage begins or ends, a breaker probes, a flush is
due, a key expires), and callers come in small *stories* (two create one key at the same instant;
one creates, the others ask at once).

A world has each kind of hostility or has it not, by the toss of a coin ("swarm testing": Groce,
Zhang, Eide, Chen and Regehr, ISSTA 2012). A kind that is everywhere hides what others would do: no
key is ever lost by a crash in a world in which no primary ever fails.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ftrepo.policy import Policy
from sim.explore.dice import Dice
from sim.explore.drawing_policy import draw_policy
from sim.explore.drawing_scenes import add_scenes
from sim.explore.drawing_stories import TURNS_MAX, draw_operations
from sim.explore.hostile_world import (
    ClockStep,
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    KeySpec,
    Restart,
    StopKind,
)
from sim.explore.moments import Moments
from sim.explore.stage import FOR_EVER_S
from sim.world.durations import AnyLatency, Deterministic, LognormalLatency
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from sim.world.streams import Streams

if TYPE_CHECKING:
    from sim.world.scenario import Scenario

__all__ = ["draw_policy", "draw_world"]


def draw_world(
    seed: int, *, within: Scenario | None = None, policy: Policy | None = None
) -> HostileWorld:
    """Return the hostile world of a seed.

    Args:
        seed: 0 to `sim.world.streams.WORD_MAX`.
        within: where the primary, the number of instances and their journals come from; `None`
            draws them as well. Failures that come all the time are then an outage like others: in
            the end the primary must be well.
        policy: of the repositories: its beats and time-outs are moments at which things meet. By
            default `Policy()`.
    """
    dice = Dice(Streams(seed).generator("hostile world"))
    return _Drawing(seed, dice, policy or Policy(), within).world()


class _Drawing:
    """What is known of a world while it is drawn."""

    def __init__(self, seed: int, dice: Dice, policy: Policy, within: Scenario | None) -> None:
        self.seed = seed
        self.dice = dice
        self.policy = policy
        self.within = within
        self.duration_s = dice.pick((8.0, 20.0, 40.0, 60.0))
        self.tick_s = dice.pick((0.01, 0.05)) if dice.chance(0.3) else None
        self.instances = 1 if dice.chance(0.4) else dice.whole(2, 3)
        if within is not None:
            self.instances = within.service.instances
        self.moments = Moments(dice, policy, duration_s=self.duration_s, tick_s=self.tick_s)

    def world(self) -> HostileWorld:
        """Draw it all: what happens by itself first, for it makes the moments of the rest."""
        dice, within = self.dice, self.within
        journal, snapshot = dice.chance(0.5), dice.chance(0.4)
        peers, shuffled = dice.chance(0.5), dice.chance(0.5)
        cancels_at_once = dice.chance(0.5)
        primary, noise = self._primary()
        if within is not None:
            journal = snapshot = within.service.journal
        outages = self._outages() + noise
        self.moments.add_beats()
        disk_faults = self._disk_faults() if journal or snapshot else ()
        keys = self._keys()
        restarts = self._restarts() if dice.chance(0.5) else ()
        world = HostileWorld(
            seed=self.seed,
            shuffled=shuffled,
            duration_s=self.duration_s,
            instances=self.instances,
            journal=journal,
            snapshot=snapshot,
            peers=peers and self.instances > 1,
            skew_s=self._skews(),
            primary=primary,
            cancels_at_once=cancels_at_once and primary.driver_honours_cancellation,
            duplicate_share=dice.pick((0.2, 1.0)) if dice.chance(0.3) else 0.0,
            duplicate_after_max_s=dice.pick((0.01, 1.0, 15.0)),
            keys=keys,
            operations=draw_operations(dice, self.moments, keys, instances=self.instances),
            outages=outages,
            restarts=restarts,
            clock_steps=self._clock_steps(),
            disk_faults=disk_faults,
            read_reply_s=dice.pick((0.001, 0.05, 0.3)) if dice.chance(0.3) else 0.0,
        )
        return add_scenes(world, dice, self.policy, is_free=within is None)

    # What goes wrong

    def _outages(self) -> tuple[Outage, ...]:
        dice = self.dice
        if not dice.chance(0.85):
            return ()
        modes = dice.some(tuple(OutageMode), 0.3)
        outages: list[Outage] = []
        for _ in range(dice.whole(1, 4)):
            start_s = dice.between(0.0, 0.8 * self.duration_s)
            if outages and dice.chance(0.4):
                # Back to back with the last one, or nested in it.
                last = outages[-1]
                start_s = last.end_s if dice.chance(0.5) else dice.between(last.start_s, last.end_s)
            start_s = self.moments.at(start_s)
            lasts_s = dice.between(
                *dice.pick(((0.01, 0.3), (0.3, 3.0), (3.0, 0.4 * self.duration_s + 3.0)))
            )
            end_s = self.moments.at(min(start_s + lasts_s, self.duration_s))
            if end_s <= start_s:
                continue
            mode = dice.pick(modes)
            severity = dice.pick((0.2, 0.5, 0.9, 1.0)) if mode is OutageMode.ERROR_RATE else 1.0
            outages.append(Outage(start_s, end_s, mode, severity))
            self.moments.add_trouble(start_s)
            self.moments.add(end_s)
        return tuple(outages)

    def _primary(self) -> tuple[PrimarySettings, tuple[Outage, ...]]:
        """Draw the primary, and what of its failures is an outage."""
        if self.within is not None:
            primary = self.within.primary
            share = primary.failing_share
            if not share:
                return primary, ()
            noise = Outage(0.0, self.duration_s, OutageMode.ERROR_RATE, share)
            return replace(primary, failing_share=0.0), (noise,)
        dice = self.dice
        usual, slow = self._latencies()
        workers = dice.whole(1, 2) if dice.chance(0.2) else None
        return PrimarySettings(
            pool_size=dice.whole(1, 2) if dice.chance(0.3) else 10,
            idle_max=dice.pick((1, 5)),
            connect=dice.pick((None, usual)),
            acquire_timeout_s=dice.pick((None, 0.4)),
            command_timeout_s=dice.pick((None, 0.4)),
            check_after_idle_s=dice.pick((None, 1.0)),
            select=slow if dice.chance(0.15) else usual,
            insert=slow if dice.chance(0.3) else usual,
            delete=slow if dice.chance(0.15) else usual,
            workers=workers,
            queue_max=dice.whole(1, 3) if workers is not None and dice.chance(0.5) else None,
            lost_reply_share=dice.pick((0.0, 0.5, 1.0)),
            announces=dice.chance(0.5),
            driver_honours_cancellation=dice.chance(0.75),
        ), ()

    def _latencies(self) -> tuple[AnyLatency, AnyLatency]:
        if self.tick_s is not None:
            # Everything takes one tick, so that everything meets.
            return Deterministic(mean_s=0.01), Deterministic(mean_s=self.dice.pick((0.1, 0.5, 1.0)))
        return (
            LognormalLatency(median_s=0.002, p99_s=0.010),
            LognormalLatency(median_s=self.dice.pick((0.05, 0.4)), p99_s=2.0),
        )

    def _restarts(self) -> tuple[Restart, ...]:
        dice = self.dice
        restarts = [
            Restart(
                at_s=self.moments.any(),
                kind=dice.pick(tuple(StopKind)),
                instance=dice.whole(0, self.instances - 1),
                after_turns=dice.whole(0, TURNS_MAX) if dice.chance(0.7) else 0,
                at_answer=dice.chance(0.4),
                away_s=dice.pick((0.0, 0.01, 1.0, 5.0)),
            )
            for _ in range(dice.whole(1, 4))
        ]
        self.moments.add(*(each.at_s for each in restarts))
        return tuple(restarts)

    def _skews(self) -> tuple[float, ...]:
        if not self.dice.chance(0.3):
            return ()
        return tuple(self._jump() if self.dice.chance(0.7) else 0.0 for _ in range(self.instances))

    def _clock_steps(self) -> tuple[ClockStep, ...]:
        dice = self.dice
        if not dice.chance(0.2):
            return ()
        return tuple(
            ClockStep(
                at_s=self.moments.any(),
                by_s=self._jump(),
                instance=dice.whole(0, self.instances - 1),
            )
            for _ in range(dice.whole(1, 2))
        )

    def _jump(self) -> float:
        """By how much a clock is off: from a moment to minutes."""
        far_s = self.dice.pick((0.05, 1.0, 10.0, 120.0))
        return round(self.dice.between(-far_s, far_s), 3)

    def _disk_faults(self) -> tuple[DiskFault, ...]:
        dice = self.dice
        if not dice.chance(0.35):
            return ()
        faults = []
        for _ in range(dice.whole(1, 2)):
            start_s = self.moments.any()
            lasts_s = dice.between(*dice.pick(((0.01, 0.2), (0.2, 3.0), (3.0, 15.0))))
            self.moments.add(start_s)
            faults.append(
                DiskFault(
                    start_s=start_s,
                    end_s=round(start_s + lasts_s, 4),
                    kind=dice.pick(tuple(DiskFaultKind)),
                    instance=dice.whole(0, self.instances - 1),
                )
            )
        return tuple(faults)

    def _keys(self) -> tuple[KeySpec, ...]:
        dice = self.dice
        expire, conflict = dice.chance(0.5), dice.chance(0.4)
        keys: list[KeySpec] = []
        for place in range(dice.whole(1, 5)):
            expires_s = FOR_EVER_S
            if expire and dice.chance(0.5):
                expires_s = max(self.tick_s or 0.01, self.moments.any())
                self.moments.add(expires_s)
            same = dice.whole(0, place - 1) if place and conflict and dice.chance(0.5) else None
            keys.append(KeySpec(expires_s=expires_s, same_id_as=same))
        return tuple(keys)
