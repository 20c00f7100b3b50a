"""The fault-tolerant repository in worlds that Hypothesis builds step by step.

Each rule lets something happen a little later than what came before: a caller asks, an outage
begins or ends, an instance restarts. In the end the whole world is played, and held against every
invariant; what breaks one is made smaller by leaving steps out. `python -m sim explore` draws far
more worlds, all at once; here each step follows from those before it, so that a key is created
again while it waits, and an outage ends just when something else begins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ftrepo.policy import Policy
from sim.explore.hostile_world import (
    ClockStep,
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    KeySpec,
    Operation,
    OperationKind,
    Restart,
    StopKind,
)
from sim.explore.judging import Case, judge
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings

DELAYS_S = st.sampled_from([0.0, 0.001, 0.05, 0.5, 0.51, 1.0, 3.0])
"""Between two steps: at once, within a call, at a time-out and just after it, and long."""

POLICIES = st.builds(
    Policy,
    read_policy=st.sampled_from(["primary-first", "cache-first"]),
    write_order=st.sampled_from(["primary-first", "cache-first"]),
    cache_entries_max=st.sampled_from([1, 2, 10_000]),
    pending_max=st.sampled_from([1, 3, None]),
    flush_interval_s=st.sampled_from([0.1, 1.0]),
    flush_batch_max=st.sampled_from([1, 2, 1_000]),
    refresh_interval_s=st.sampled_from([None, 1.0]),
    expiry_interval_s=st.sampled_from([1.0, 60.0]),
    max_staleness_s=st.sampled_from([None, 2.0]),
    breaker=st.booleans(),
    breaker_open_s=st.sampled_from([0.2, 2.0]),
)

PRIMARIES = st.builds(
    PrimarySettings,
    pool_size=st.sampled_from([1, 10]),
    idle_max=st.just(1),
    lost_reply_share=st.sampled_from([0.0, 1.0]),
    driver_honours_cancellation=st.booleans(),
)


class WorldMachine(RuleBasedStateMachine):
    """Builds a world, and plays it in the end."""

    @initialize(
        policy=POLICIES,
        primary=PRIMARIES,
        seed=st.integers(0, 9),
        shuffled=st.booleans(),
        instances=st.integers(1, 2),
        journal=st.booleans(),
        snapshot=st.booleans(),
    )
    def begin(self, policy: Policy, primary: PrimarySettings, **plain: Any) -> None:
        self.policy = policy
        self.world = HostileWorld(primary=primary, peers=plain["instances"] > 1, **plain)
        self.now_s = 0.0
        self.outage: tuple[float, OutageMode] | None = None

    def at_s(self, delay_s: float) -> float:
        """The moment of the next step."""
        self.now_s += delay_s
        return self.now_s

    def add(self, **more: Any) -> None:
        """Put more into the world."""
        grown = {name: (*getattr(self.world, name), each) for name, each in more.items()}
        self.world = replace(self.world, **grown)

    def ask(self, kind: OperationKind, delay_s: float, **what: Any) -> None:
        what["instance"] = what.get("instance", 0) % self.world.instances
        self.add(operations=Operation(at_s=self.at_s(delay_s), kind=kind, **what))

    @rule(
        delay_s=DELAYS_S,
        lifetime_s=st.sampled_from([0.6, 4.0, 1e4]),
        instance=st.integers(0, 1),
        turns=st.none() | st.integers(0, 12),
    )
    def create(self, delay_s: float, lifetime_s: float, instance: int, turns: int | None) -> None:
        self.add(keys=KeySpec(expires_s=self.now_s + delay_s + lifetime_s))
        self._ask_for(OperationKind.CREATE, delay_s, len(self.world.keys) - 1, instance, turns)

    @precondition(lambda self: self.world.keys)
    @rule(
        delay_s=DELAYS_S,
        back=st.integers(0, 3),
        kind=st.sampled_from([OperationKind.CREATE, OperationKind.GET, OperationKind.PUBLISH]),
        instance=st.integers(0, 1),
        turns=st.none() | st.integers(0, 12),
    )
    def ask_again(
        self, delay_s: float, back: int, kind: OperationKind, instance: int, turns: int | None
    ) -> None:
        key = max(0, len(self.world.keys) - 1 - back)
        self._ask_for(kind, delay_s, key, instance, turns)

    @precondition(lambda self: self.world.keys)
    @rule(delay_s=DELAYS_S, instance=st.integers(0, 1))
    def create_other_material(self, delay_s: float, instance: int) -> None:
        same_id_as = len(self.world.keys) - 1
        self.add(keys=KeySpec(expires_s=self.now_s + 1e4, same_id_as=same_id_as))
        self._ask_for(OperationKind.CREATE, delay_s, same_id_as + 1, instance, None)

    def _ask_for(
        self, kind: OperationKind, delay_s: float, key: int, instance: int, turns: int | None
    ) -> None:
        cancelled: dict[str, Any] = {}
        if turns is not None and kind is not OperationKind.PUBLISH:
            cancelled = {"cancel_after_s": 0.0, "cancel_after_turns": turns}
        self.ask(kind, delay_s, key=key, instance=instance, **cancelled)

    @rule(delay_s=DELAYS_S, instance=st.integers(0, 1))
    def flush(self, delay_s: float, instance: int) -> None:
        self.ask(OperationKind.FLUSH, delay_s, instance=instance)

    @rule(delay_s=DELAYS_S, instance=st.integers(0, 1))
    def delete_expired(self, delay_s: float, instance: int) -> None:
        self.ask(OperationKind.DELETE_EXPIRED, delay_s, instance=instance)

    @precondition(lambda self: self.outage is None)
    @rule(delay_s=DELAYS_S, mode=st.sampled_from(list(OutageMode)))
    def outage_begins(self, delay_s: float, mode: OutageMode) -> None:
        self.outage = self.at_s(delay_s), mode

    @precondition(lambda self: self.outage is not None)
    @rule(delay_s=DELAYS_S)
    def outage_ends(self, delay_s: float) -> None:
        assert self.outage is not None
        (start_s, mode), self.outage = self.outage, None
        end_s = max(self.at_s(delay_s), start_s + 0.001)
        self.add(outages=Outage(start_s, end_s, mode))

    @rule(
        delay_s=DELAYS_S,
        kind=st.sampled_from(StopKind),
        instance=st.integers(0, 1),
        turns=st.integers(0, 12),
    )
    def restart(self, delay_s: float, kind: StopKind, instance: int, turns: int) -> None:
        self.add(
            restarts=Restart(
                at_s=self.at_s(delay_s),
                kind=kind,
                instance=instance % self.world.instances,
                after_turns=turns,
                away_s=0.5,
            )
        )

    @rule(delay_s=DELAYS_S, by_s=st.sampled_from([-2.0, 2.0]), instance=st.integers(0, 1))
    def clock_steps(self, delay_s: float, by_s: float, instance: int) -> None:
        instance %= self.world.instances
        self.add(clock_steps=ClockStep(at_s=self.at_s(delay_s), by_s=by_s, instance=instance))

    @precondition(lambda self: self.world.journal or self.world.snapshot)
    @rule(
        delay_s=DELAYS_S,
        lasts_s=st.sampled_from([0.01, 2.0]),
        kind=st.sampled_from(DiskFaultKind),
        instance=st.integers(0, 1),
    )
    def disk_fails(
        self, delay_s: float, lasts_s: float, kind: DiskFaultKind, instance: int
    ) -> None:
        start_s = self.at_s(delay_s)
        self.add(
            disk_faults=DiskFault(
                start_s=start_s,
                end_s=start_s + lasts_s,
                kind=kind,
                instance=instance % self.world.instances,
            )
        )

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        if self.outage is not None:
            self.outage_ends(1.0)
        violations = judge(Case(self.world, self.policy)).violations
        assert not violations, f"{violations[0]}\n{self.world}\n{self.policy}"


class TestWorlds(WorldMachine.TestCase):
    """No world breaks an invariant, however it comes about."""

    settings = settings(max_examples=100, stateful_step_count=25, report_multiple_bugs=False)
