"""What is promised of calls, and of what is left when all is over; broken and kept by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftrepo.interface import Durability
from ftrepo.policy import Policy
from sim.explore.happenings import Broke, Outcome, Started, StartFailed
from sim.explore.hostile_world import (
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    KeySpec,
    Operation,
    OperationKind,
    StopKind,
)
from sim.explore.settling import settle_bound_s
from sim.world.outages import Outage, OutageMode
from sim.world.primary_settings import PrimarySettings
from tests.sim.explore.by_hand import Story, key_of

MEMORY = Durability.MEMORY
KEY, RIVAL = key_of(), key_of(material="other")
REFUSED = "ConnectionRefusedError"
DOWN = HostileWorld(outages=(Outage(10.0, 90.0, OutageMode.REFUSE),))


class TestPromptness:
    """Calls return within their time-outs."""

    def test_each_call_has_its_time_out(self) -> None:
        """And a hair for a `get` that joined the call of another."""
        policy = Policy(insert_timeout_s=0.1, select_timeout_s=0.2, delete_timeout_s=0.3)

        def took(kind: OperationKind, seconds: float) -> list[str]:
            key_id = None if kind is OperationKind.DELETE_EXPIRED else "k0"
            story = Story(policy=policy)
            story.ask(kind, key_id, 1.0, 1.0 + seconds, Outcome.UNAVAILABLE)
            return story.said("promptness")

        for kind, timeout_s in (
            (OperationKind.CREATE, 0.1),
            (OperationKind.GET, 0.2),
            (OperationKind.DELETE_EXPIRED, 0.3),
        ):
            assert not took(kind, timeout_s + 0.002)
            (said,) = took(kind, timeout_s + 0.003)
            assert said.endswith(f"took {timeout_s + 0.003:.3f} s; at most {timeout_s} s")
        assert not took(OperationKind.FLUSH, 50.0)

    def test_without_a_time_out_there_is_no_bound(self) -> None:
        """But there is an end."""
        policy = Policy(select_timeout_s=None)
        story = Story(policy=policy).get("k0", 1.0, 500.0, outcome=Outcome.NOT_FOUND)
        assert not story.said("promptness")
        story = Story().ask(OperationKind.FLUSH, None, 1.0, None, Outcome.ACKNOWLEDGED)
        assert story.said("promptness") == ["flush, asked at 1.000 s, was never answered"]

    def test_a_create_may_wait_for_the_journal_as_well(self) -> None:
        """Where there is one."""
        took_s = 0.5 + Policy().journal_timeout_s
        for journal in (True, False):
            story = Story(world=HostileWorld(journal=journal))
            late = story.create(KEY, 1.0, 1.0 + took_s, durability=MEMORY).said("promptness")
            assert bool(late) is not journal

    def test_whoever_gives_up_is_free_at_once(self) -> None:
        """Whatever the call waits for."""
        operation = Operation(at_s=1.0, kind=OperationKind.CREATE, key=None, cancel_after_s=0.1)
        for told_s, is_late in ((1.1, False), (1.2, True)):
            world = HostileWorld(operations=(replace(operation, kind=OperationKind.FLUSH),))
            story = Story(world=world)
            story.ask(OperationKind.FLUSH, None, 1.0, told_s, Outcome.CANCELLED)
            assert bool(story.said("promptness")) is is_late

    def test_whoever_gives_up_at_an_answer_is_free_with_it(self) -> None:
        """The first that comes when he has waited for so long."""
        operation = Operation(
            at_s=1.0, kind=OperationKind.FLUSH, cancel_after_s=0.1, cancel_at_answer=True
        )
        for told_s, is_late in ((1.3, False), (1.4, True)):
            story = Story(world=HostileWorld(operations=(operation,)))
            story.call("ping", 1.0, 1.05).call("ping", 1.2, 1.3).call("ping", 1.35, 1.4)
            story.ask(OperationKind.FLUSH, None, 1.0, told_s, Outcome.CANCELLED)
            assert bool(story.said("promptness")) is is_late

    def test_the_end_of_a_process_cuts_off_at_once(self) -> None:
        """Whatever the call waits for; and whom it cannot serve any more, when he comes."""

        def cut_off(asked_s: float, told_s: float) -> list[str]:
            story = Story().stop(2.0, StopKind.LEAVE)
            story.ask(OperationKind.FLUSH, None, asked_s, told_s, Outcome.CUT_OFF)
            return story.said("promptness")

        assert not cut_off(1.0, 2.0)
        assert cut_off(1.0, 2.5) == ["flush, asked at 1.000 s, took 1.500 s; at most 1 s"]
        assert not cut_off(3.0, 3.0)
        assert cut_off(3.0, 3.1)

    def test_a_start_has_a_bound(self) -> None:
        """A time-out for each page, and for each file that is read."""
        policy = Policy(
            load_timeout_s=2.0, load_page_max=1, journal_open_timeout_s=10.0, snapshot_timeout_s=3.0
        )

        def took(took_s: float, world: HostileWorld, policy: Policy = policy) -> list[str]:
            story = Story(policy=policy, world=world).create(KEY, 1.0)
            return story.add(Started(90.0, 0, 1, took_s)).said("promptness")

        plain, both = HostileWorld(), HostileWorld(journal=True, snapshot=True)
        assert not took(4.0, plain)
        assert took(4.1, plain) == ["a start took 4.100 s; at most 4 s"]
        assert not took(17.0, both)
        assert took(17.1, both)
        assert took(0.1, plain, Policy(read_policy="primary-only"))
        assert not took(99.0, plain, Policy(load_timeout_s=None))
        failed = StartFailed(90.0, 0, 1, "the disk", 4.1)
        assert Story(policy=replace(policy, load_page_max=9)).add(failed).said("promptness")


class TestConvergence:
    """Some time after the last fault, every store agrees."""

    SETTLED_S = 31.0 + settle_bound_s(Policy(), keys=0)
    """Hand-made chronicles are well from 30 s on."""

    def test_nothing_waits_any_more(self) -> None:
        """Neither in memory nor on the disk."""
        late_s = self.SETTLED_S
        story = Story().create(KEY, 1.0, durability=MEMORY)
        assert not story.stores(late_s - 2.0, pending=["k0"]).said("convergence")
        (said,) = story.stores(late_s, pending=["k0"]).said("convergence")
        assert said.startswith("k0 still waits to be written, ")
        story = Story(world=HostileWorld(journal=True)).stores(late_s, on_disk=["k0"])
        assert story.said("convergence")

    def test_what_a_full_disk_could_not_delete_is_left_to_the_next_start(self) -> None:
        """It is looked at once more then."""
        fault = DiskFault(start_s=4.0, end_s=6.0, kind=DiskFaultKind.FULL)
        world = HostileWorld(journal=True, disk_faults=(fault,))
        assert not Story(world=world).stores(self.SETTLED_S, on_disk=["k0"]).said("convergence")

    def test_memory_has_nothing_that_the_primary_lacks(self) -> None:
        """Unless its key has expired, or the policy leaves it there."""
        story = Story().create(KEY, 1.0, durability=MEMORY)
        assert story.stores(self.SETTLED_S, cached=["k0"]).said("convergence") == [
            "memory has k0, which is not in the primary and does not wait for it"
        ]
        assert not story.commit(KEY, 2.0).said("convergence")
        brief = Story().create(key_of(expires_s=50.0), 1.0, durability=MEMORY)
        assert not brief.stores(self.SETTLED_S, cached=["k0"]).said("convergence")
        story = Story(policy=Policy(pending_writes=False)).create(KEY, 1.0, durability=MEMORY)
        assert not story.stores(self.SETTLED_S, cached=["k0"]).said("convergence")

    def test_a_copy_stays_where_its_key_was_not_taken_in(self) -> None:
        """Who was told that there is no room has nothing to write; who was told yes has."""

        def copied(outcome: Outcome) -> list[str]:
            story = Story(world=HostileWorld(snapshot=True)).create(
                KEY, 1.0, outcome=outcome, durability=MEMORY
            )
            return story.stores(self.SETTLED_S, cached=["k0"]).said("convergence")

        assert copied(Outcome.ACKNOWLEDGED)
        assert not copied(Outcome.FULL)

    def copied(self, policy: Policy, *calls: tuple[str, float, float, str]) -> list[str]:
        """What is said of a memory that is read first and has another key than the primary."""
        story = Story(policy=policy, world=HostileWorld(peers=True, keys=(KeySpec(expires_s=1.0),)))
        story.commit(KEY, 1.0)
        for call in calls:
            story.call(*call)
        story.get(RIVAL, 1.5, 2.05).get(RIVAL, 2.9, 3.05, at=(1, 0))
        return story.get(RIVAL, self.SETTLED_S).said("convergence")

    def test_a_copy_that_the_primary_has_otherwise_lasts_until_the_next_load(self) -> None:
        """The whole load comes after the commit, and is one page."""
        policy, said = Policy(read_policy="cache-first"), "returned other material"
        load = ("list_valid", 3.0, 3.1, "")
        assert not self.copied(policy)
        assert [each.endswith(said) for each in self.copied(policy, load)] == [True]
        assert not self.copied(policy, ("list_valid", 0.9, 1.1, ""))
        assert not self.copied(policy, ("list_valid", 3.0, 3.1, REFUSED))
        assert not self.copied(policy, ("list_valid", 3.0, 3.1, "CancelledError"))
        assert not self.copied(policy, ("delete_expired", 3.0, 3.1, ""))
        assert not self.copied(policy, ("list_valid", self.SETTLED_S, self.SETTLED_S + 0.1, ""))
        assert not self.copied(replace(policy, load_page_max=1), load)
        assert self.copied(Policy())

    def test_a_copy_may_come_again_from_who_is_asked_for_want_of_the_primary(self) -> None:
        """As long as somebody waits as the load begins, or a call fails or is refused after it."""
        policy, load = Policy(read_policy="cache-first"), ("list_valid", 3.0, 3.1, "")
        assert not self.copied(policy, ("list_valid", 2.0, 2.1, ""))
        assert not self.copied(policy, load, ("get", 4.0, 4.1, REFUSED))
        assert self.copied(policy, ("get", 2.0, 2.1, REFUSED), load)
        assert not self.copied(replace(policy, breaker_slow_rate=0.5), load, ("get", 4.0, 4.4, ""))
        crowd = replace(policy, calls_in_flight_max=1, breaker_half_open_max_calls=1)
        assert self.copied(crowd, load)
        assert not self.copied(crowd, load, ("ping", self.SETTLED_S, self.SETTLED_S + 0.01, ""))

    def test_who_asks_with_many_others_may_be_refused(self) -> None:
        """A failure since everything has settled comes of those who ask, and may trip a breaker."""

        def asked(failed_s: float) -> list[str]:
            story = Story().create(KEY, 1.0, 1.2).commit(KEY, 1.1)
            story.call("get", failed_s, failed_s, REFUSED)
            story.get("k0", self.SETTLED_S + 1.0, outcome=Outcome.UNAVAILABLE)
            return story.said("convergence")

        assert not asked(self.SETTLED_S + 0.5)
        assert asked(self.SETTLED_S - 2.0)

    def test_every_instance_finds_what_the_primary_has(self) -> None:
        """Where the primary answers it."""

        def asked(outcome: Outcome, error: str = "") -> list[str]:
            story = Story().create(KEY, 1.0, 1.2).commit(KEY, 1.1)
            story.call("get", self.SETTLED_S, self.SETTLED_S + 0.1, error)
            story.get("k0", self.SETTLED_S, self.SETTLED_S + 0.1, outcome=outcome)
            return story.said("convergence")

        assert asked(Outcome.UNAVAILABLE) == [
            "get of k0, which the primary has had since 1.100 s, was told 'unavailable'"
        ]
        assert asked(Outcome.NOT_FOUND)
        assert not asked(Outcome.CUT_OFF)
        assert not asked(Outcome.UNAVAILABLE, REFUSED)

    def test_every_instance_finds_the_primarys_key(self) -> None:
        """Not another one under its id, and not one that the primary lacks."""
        story = Story().create(RIVAL, 0.5, durability=MEMORY).commit(KEY, 1.0)
        assert story.get(RIVAL, self.SETTLED_S).said("convergence") == [
            "get of k0, which the primary has had since 1.000 s, returned other material"
        ]
        for read_policy, may_differ in (("cache-first", True), ("primary-first", False)):
            alone = Policy(pending_writes=False, read_policy=read_policy)  # type: ignore[arg-type]
            story = Story(policy=alone).create(RIVAL, 0.5, durability=MEMORY).commit(KEY, 1.0)
            assert bool(story.get(RIVAL, self.SETTLED_S).said("convergence")) is not may_differ
        story = Story().create(KEY, 0.5, durability=MEMORY).get(KEY, self.SETTLED_S)
        assert story.said("convergence") == [
            "get of k0 returned a key that the primary still lacks"
        ]


class TestRestraint:
    """The primary is called at a bounded rate while it is down."""

    def test_calls_that_bring_nothing_stay_within_their_budget(self) -> None:
        """A burst, a reserve of a tenth for each urgency, and the rate."""
        policy = Policy(calls_in_flight_max=10, futile_calls_per_s_max=2.0, breaker_open_s=5.0)

        def futile(calls: int, error: str = "KeyNotFoundError") -> list[str]:
            story = Story(policy=policy)
            for number in range(calls):
                began_s = 1.0 + number / 100.0
                story.call("get", began_s, began_s + 0.001, error)
            return story.said("restraint")

        assert not futile(12)
        assert futile(13) == ["12.8 calls that brought nothing, beyond 2 a second; at most 12"]
        assert not futile(100, "")
        assert not futile(100, "KeyConflictError")

    def test_so_many_calls_are_under_way(self) -> None:
        """Those that were given up and go on included."""
        policy = Policy(calls_in_flight_max=3)
        story = Story(policy=policy)
        for number in range(3):
            story.call("get", 1.0 + number, 9.0, "CancelledError")
        assert not story.said("restraint")
        assert story.call("get", 8.0, None).said("restraint") == [
            "4 calls of the primary were under way; calls_in_flight_max is 3"
        ]

    def test_a_half_open_breaker_has_so_many_places(self) -> None:
        """A probe that ran out of time has left its place, though its call goes on."""

        def probes(*began_s: float) -> list[str]:
            story = Story()
            for each in began_s:
                story.call("ping", each, 9.0)
            return story.said("restraint")

        assert not probes(1.0, 1.1, 1.6)
        assert probes(1.0, 1.1, 1.2) == [
            "3 probes were under way; breaker_half_open_max_calls is 2"
        ]

    @pytest.mark.parametrize("interval_s", [0.0, 60.0])
    def test_after_so_many_failures_only_probes_are_made(self, interval_s: float) -> None:
        """Where counts are cleared now and then, twice as many may be needed, less one."""
        policy = Policy(breaker_failure_threshold=3, breaker_count_interval_s=interval_s)
        needed = 5 if interval_s else 3

        def failing(calls: int, then: str, error: str = REFUSED) -> list[str]:
            story = Story(policy=policy, world=DOWN)
            for number in range(calls):
                story.call("create", 20.0 + number, 20.1 + number, error)
            return story.call(then, 40.0, 40.1, REFUSED).said("restraint")

        assert not failing(needed - 1, "get")
        assert failing(needed, "get") == [
            (
                f"get was called, though 3 calls in a row had failed by {19.1 + needed:.3f} s and "
                "none succeeded since"
            )
        ]
        assert not failing(needed, "ping")
        assert not failing(needed, "get", "KeyConflictError")
        assert not failing(needed, "get", "CancelledError")

    def test_a_success_begins_a_row_anew(self) -> None:
        """One that was on its way when the outage began, too."""
        policy = Policy(breaker_failure_threshold=3, breaker_count_interval_s=0.0)
        story = Story(policy=policy, world=DOWN).call("get", 9.9, 21.5)
        for number in range(4):
            story.call("create", 20.0 + number, 20.1 + number, REFUSED)
        assert not story.call("get", 40.0, 40.1, REFUSED).said("restraint")

    def test_an_open_breaker_waits_before_it_probes_again(self) -> None:
        """At least its time open, less what is drawn at random."""
        policy = Policy(breaker_open_s=5.0, breaker_open_jitter=0.2)

        def probed(after_s: float) -> list[str]:
            story = Story(policy=policy, world=DOWN).call("ping", 20.0, 20.1, REFUSED)
            return story.call("ping", 20.0 + after_s, 30.0, REFUSED).said("restraint")

        assert not probed(4.0)
        assert probed(3.9) == [
            "a probe came 3.900 s after one that failed; an open breaker waits 4 s at least"
        ]

    def test_a_caller_who_gives_up_trips_nothing(self) -> None:
        """Even if that is at the very moment of the time-out."""
        policy = Policy(breaker_failure_threshold=1, breaker_count_interval_s=0.0)
        story = Story(policy=policy, world=DOWN)
        story.create(KEY, 20.0, 20.5, outcome=Outcome.CANCELLED)
        story.call("create", 20.0, 20.5, "CancelledError").call("get", 30.0, 30.1, REFUSED)
        assert not story.said("restraint")

    def test_partial_outages_are_no_reason_to_accuse(self) -> None:
        """In them a call between two failures may have succeeded."""
        outage = Outage(10.0, 90.0, OutageMode.ERROR_RATE, 0.9)
        story = Story(world=HostileWorld(outages=(outage,)))
        for number in range(50):
            story.call("create", 20.0 + number, 20.1 + number, "ConnectionResetError")
        assert not story.said("restraint")


class TestCancellation:
    """Whoever gives up leaves nothing behind."""

    def test_nothing_is_leaked(self) -> None:
        """No task and no connection."""
        assert Story(leftover_tasks=("get",)).said("cancellation") == [
            "tasks were left running: get"
        ]
        assert Story(open_connections=2).said("cancellation") == [
            "2 connections of the pool were never given back"
        ]

    def test_a_key_that_was_given_up_is_everywhere_or_nowhere(self) -> None:
        """Not in one memory alone."""
        settled_s = TestConvergence.SETTLED_S
        story = Story().create(KEY, 1.0, 1.1, outcome=Outcome.CANCELLED)
        assert not story.stores(settled_s).said("cancellation")
        assert story.stores(settled_s, cached=["k0"]).said("cancellation") == [
            "memory alone has k0, whose create was cancelled"
        ]
        assert not story.commit(KEY, 2.0).said("cancellation")


class TestComposure:
    """An instance speaks of an outage only if it has seen one."""

    WORLD = HostileWorld(primary=PrimarySettings())

    def test_no_outage_is_made_up(self) -> None:
        """Neither for who asks nor for who creates."""
        said = Story().get("k0", 1.0, outcome=Outcome.UNAVAILABLE).said("composure")
        assert said == [
            (
                "a get, asked at 1.000 s, was told 'unavailable', though no calls of the primary "
                "had failed that could be the reason"
            )
        ]
        assert Story().create(KEY, 1.0, durability=MEMORY).said("composure")
        assert not Story().create(KEY, 1.0).said("composure")

    def test_a_call_that_failed_is_a_reason(self) -> None:
        """The request's own; earlier ones if they suffice to trip the breaker."""

        def failed(calls: int, policy: Policy | None = None) -> list[str]:
            story = Story(policy=policy)
            for number in range(calls):
                story.call("get", 1.0 + number, 1.1 + number, REFUSED)
            return story.get("k0", 50.0, 50.1, outcome=Outcome.UNAVAILABLE).said("composure")

        assert failed(4)
        assert not failed(5)
        assert not failed(1, Policy(breaker_failure_rate=0.5))
        assert failed(40, Policy(breaker=False))
        own = Story().call("get", 50.0, 50.1, REFUSED)
        assert not own.get("k0", 50.0, 50.1, outcome=Outcome.UNAVAILABLE).said("composure")

    def test_who_gave_up_is_no_reason(self) -> None:
        """That is neither a success nor a failure."""
        story = Story()
        for number in range(10):
            began_s, ended_s = 1.0 + number, 1.1 + number
            story.get("k0", began_s, ended_s, outcome=Outcome.CANCELLED)
            story.call("get", began_s, ended_s, "CancelledError")
            story.call("create", began_s, ended_s, "CancelledError")
        assert story.get("k0", 50.0, outcome=Outcome.UNAVAILABLE).said("composure")

    def test_slow_calls_are_a_reason_where_they_trip_the_breaker(self) -> None:
        """And only there."""
        for policy, is_reason in ((Policy(breaker_slow_rate=0.5), True), (Policy(), False)):
            story = Story(policy=policy).call("get", 1.0, 1.4)
            story.get("k0", 50.0, outcome=Outcome.UNAVAILABLE)
            assert bool(story.said("composure")) is not is_reason

    def test_a_key_that_waits_may_be_too_stale_to_be_served(self) -> None:
        """The primary has said that it lacks the key, which is right, and no reason to deny it."""
        for policy, is_reason in ((Policy(max_staleness_s=5.0), True), (Policy(), False)):
            story = Story(policy=policy).create(KEY, 1.0, outcome=Outcome.CANCELLED)
            story.get("k0", 50.0, outcome=Outcome.UNAVAILABLE)
            assert bool(story.said("composure")) is not is_reason
        # Not one that it was given a moment ago, nor one that only another instance was given.
        policy = Policy(max_staleness_s=5.0)
        young = Story(policy=policy).create(KEY, 1.0, outcome=Outcome.CANCELLED)
        assert young.get("k0", 5.9, outcome=Outcome.UNAVAILABLE).said("composure")
        of_others = Story(policy=policy).create(KEY, 1.0, durability=MEMORY, at=(1, 0))
        assert of_others.get("k0", 50.0, outcome=Outcome.UNAVAILABLE).said("composure")

    def test_so_many_calls_that_a_bound_was_reached_are_a_reason(self) -> None:
        """Those that brought nothing have spent their tokens, which come back with time."""

        def refused(at_s: float, error: str = "KeyNotFoundError") -> list[str]:
            story = Story(policy=Policy(calls_in_flight_max=2, futile_calls_per_s_max=0.5))
            story.call("get", 1.0, 1.1, error).call("get", 2.0, 2.1, error)
            return story.get("k0", at_s, outcome=Outcome.UNAVAILABLE).said("composure")

        assert not refused(2.2)
        assert not refused(3.1)
        assert refused(3.2)
        assert refused(2.2, error="")

    def test_calls_under_way_are_a_reason_while_they_last(self) -> None:
        """Those that were made before, and were answered, are none."""

        def refused(at_s: float) -> list[str]:
            story = Story(policy=Policy(calls_in_flight_max=2))
            story.call("get", 1.0, 1.4).call("get", 1.1, 1.5)
            return story.get("k0", at_s, outcome=Outcome.UNAVAILABLE).said("composure")

        assert not refused(1.3)
        assert refused(1.6)

    def test_who_asks_at_the_same_time_may_hold_a_place_without_a_call(self) -> None:
        """Two others do here, and the third is refused; those who have been told hold none."""

        def refused(at_s: float) -> list[str]:
            story = Story(policy=Policy(calls_in_flight_max=2))
            for number in (1, 2):
                story.create(key_of(f"k{number}"), 1.0, 1.2)
            return story.get("k0", at_s, outcome=Outcome.UNAVAILABLE).said("composure")

        assert not refused(1.1)
        assert refused(1.3)


class TestContainment:
    """Nobody is told anything but the answers that the interface names."""

    def test_no_other_error_is_told(self) -> None:
        """Whatever the driver raised."""
        story = Story().ask(
            OperationKind.GET, "k0", 1.0, 1.0, Outcome.FAILED, error="OSError: no route"
        )
        assert story.said("containment") == [
            "a get asked at 1.000 s was told 'failed': OSError: no route"
        ]
        assert Story().get("k0", 1.0, outcome=Outcome.ACKNOWLEDGED).said("containment")
        assert Story().add(Broke(1.0, "a task failed")).said("containment")

    def test_a_failing_primary_is_not_the_callers_concern(self) -> None:
        """Unless only the primary keeps keys."""
        for order, is_allowed in (("cache-first", False), ("primary-only", True)):
            policy = Policy(write_order=order, pending_writes=not is_allowed)  # type: ignore[arg-type]
            story = Story(policy=policy).create(KEY, 1.0, outcome=Outcome.UNAVAILABLE)
            assert bool(story.said("containment")) is not is_allowed

    def test_only_what_has_a_bound_is_full(self) -> None:
        """Pending writes have none by default."""
        story = Story().create(KEY, 1.0, outcome=Outcome.FULL)
        assert story.said("containment")
        story = Story(policy=Policy(pending_max=1)).create(KEY, 1.0, outcome=Outcome.FULL)
        assert not story.said("containment")

    def test_only_an_expired_key_is_expired(self) -> None:
        """By the clock of the instance or of the primary."""
        brief = key_of(expires_s=50.0)
        for told_s, skew_s, may_be in ((49.0, 0.0, False), (50.0, 0.0, True), (9.0, 45.0, True)):
            story = Story(world=HostileWorld(skew_s=(skew_s,)))
            story.create(brief, told_s, outcome=Outcome.EXPIRED)
            assert bool(story.said("containment")) is not may_be

    def test_a_conflict_takes_two(self) -> None:
        """A valid key of other material, that somebody had offered before."""
        conflict = Outcome.CONFLICT
        assert Story().create(KEY, 1.0, outcome=conflict).said("containment")
        story = Story().create(RIVAL, 0.5).create(KEY, 1.0, outcome=conflict)
        assert not story.said("containment")
        gone = key_of(material="other", expires_s=0.9)
        story = Story().create(gone, 0.5).create(KEY, 1.0, outcome=conflict)
        assert story.said("containment")
        # A late write may have taken the place of a key that expired on its way.
        brief = key_of(expires_s=1.0)
        story = Story().create(gone, 0.5).create(brief, 0.9, 1.1, outcome=conflict)
        assert not story.said("containment")
