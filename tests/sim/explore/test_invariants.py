"""What is promised of keys: each promise is broken by hand once, and kept as narrowly once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from sim.explore.calls import Keys
from sim.explore.happenings import ClockStepped, Outcome
from sim.explore.hostile_world import (
    ClockStep,
    DiskFault,
    DiskFaultKind,
    HostileWorld,
    KeySpec,
    Operation,
    OperationKind,
    StopKind,
)
from sim.explore.invariants import INVARIANTS
from sim.world.issuers import EPOCH
from sim.world.outages import Outage, OutageMode
from tests.sim.explore.by_hand import Story, key_of

MEMORY, JOURNAL = Durability.MEMORY, Durability.JOURNAL
KEY, RIVAL = key_of(), key_of(material="other")
OUTAGE = HostileWorld(outages=(Outage(0.0, 20.0, OutageMode.REFUSE),))
WITH_JOURNAL = HostileWorld(journal=True, outages=OUTAGE.outages)
TWO_TIMES = HostileWorld(
    outages=OUTAGE.outages,
    keys=(KeySpec(expires_s=900.0), KeySpec(expires_s=500.0, same_id_as=0, same_material=True)),
)
SMALL = Policy(cache_entries_max=1)


def waiting(policy: Policy | None = None, world: HostileWorld = OUTAGE) -> Story:
    """A key that was acknowledged from memory at 1 s, after the primary had failed."""
    story = Story(policy=policy, world=world)
    story.call("create", 1.0, 1.1, "ConnectionRefusedError", key_ids=("k0",))
    return story.create(KEY, 1.0, 1.1, durability=MEMORY)


def committed(policy: Policy | None = None, world: HostileWorld | None = None) -> Story:
    """A key that was acknowledged at 1.1 s, when the primary had just committed it."""
    story = Story(policy=policy, world=world)
    story.call("create", 1.0, 1.1, key_ids=("k0",))
    return story.commit(KEY, 1.05).create(KEY, 1.0, 1.1)


def test_every_invariant_has_a_name_of_its_own_and_says_one_sentence() -> None:
    """They are named in files and on the command line."""
    names = [each.name for each in INVARIANTS]
    assert len(set(names)) == len(names)
    assert all(each.says[0].isupper() or each.says[0] == "`" for each in INVARIANTS)
    assert all(each.says.endswith(".") for each in INVARIANTS)


def test_a_plain_history_breaks_nothing() -> None:
    """A key is created, found, kept in every store and found once more."""
    story = committed().get(KEY, 2.0, 2.1).stores(5.0, cached=["k0"]).get(KEY, 900.0, 900.1)
    assert not story.broken()


class TestDurability:
    """An acknowledged key is where the acknowledgement says."""

    def test_what_the_primary_has_was_committed_before(self) -> None:
        """A commit after the acknowledgement is too late."""
        said = Story().create(KEY, 1.0, 1.1).commit(KEY, 1.2).said("durability")
        assert said == ["k0 was acknowledged as durable as the primary, which did not have it"]

    def test_other_material_in_the_primary_is_not_the_key(self) -> None:
        """The id alone does not count."""
        story = Story().create(RIVAL, 0.0, 0.5).commit(RIVAL, 0.4).create(KEY, 1.0, 1.1)
        assert story.said("durability")

    def test_the_primary_keeps_a_key_until_it_expires(self) -> None:
        """And may delete it then."""
        brief = key_of(expires_s=50.0)
        story = Story().commit(brief, 0.9).create(brief, 0.8, 1.0)
        assert story.remove(brief, 49.0).said("durability") == [
            "the primary deleted k0 1.000 s before it expired"
        ]
        story = Story().commit(brief, 0.9).create(brief, 0.8, 1.0)
        assert not story.remove(brief, 50.0).said("durability")

    def test_a_key_in_memory_waits_as_long_as_its_process_lives(self) -> None:
        """It is pending, on the disk or committed, whenever one looks."""
        assert not waiting().stores(5.0, cached=["k0"], pending=["k0"]).said("durability")
        assert not waiting().commit(KEY, 4.0).stores(5.0, cached=["k0"]).said("durability")
        assert waiting().stores(5.0, cached=["k0"]).said("durability") == [
            (
                "k0, acknowledged by instance 0 at 1.100 s as durable as memory, is not in the "
                "primary, not pending and not on the disk"
            )
        ]

    def test_what_nobody_promised_may_be_dropped(self) -> None:
        """It expired; the primary has other material; the policy has no pending writes."""
        brief = key_of(expires_s=4.0)
        late = Story(world=OUTAGE).create(brief, 1.0, 1.1, durability=MEMORY).stores(5.0)
        assert not late.said("durability")
        ahead = HostileWorld(outages=OUTAGE.outages, skew_s=(0.0,))
        story = Story(world=ahead).create(key_of(expires_s=90.0), 1.0, 1.1, durability=MEMORY)
        assert not story.add(ClockStepped(2.0, 0, 120.0)).stores(5.0).said("durability")
        story = waiting().create(RIVAL, 2.0, 3.1, at=(1, 0)).commit(RIVAL, 3.0)
        assert not story.stores(5.0).said("durability")
        assert not waiting(Policy(pending_writes=False)).stores(5.0).said("durability")

    def test_material_that_came_later_through_the_same_process_is_no_excuse(self) -> None:
        """It should have been refused; whoever came first, or to another instance, could not be."""

        def displaced(asked_s: float, at: tuple[int, int] = (0, 0)) -> list[str]:
            story = waiting().create(RIVAL, asked_s, 3.1, at=at, outcome=Outcome.CANCELLED)
            return story.commit(RIVAL, 3.0).stores(5.0).said("durability")

        assert displaced(1.2)
        assert not displaced(1.05)
        assert not displaced(1.2, at=(1, 0))

    def test_a_key_in_memory_may_die_with_a_process_that_is_killed(self) -> None:
        """Nobody promised that it would outlive it."""
        story = waiting().stop(3.0, StopKind.KILL).start(4.0, (0, 1)).stores(5.0, at=(0, 1))
        assert not story.said("durability")

    def test_a_key_in_the_journal_survives_a_process_that_is_killed(self) -> None:
        """The next process has it, at the latest when it is ready."""

        def killed() -> Story:
            story = Story(world=WITH_JOURNAL).create(KEY, 1.0, 1.1, durability=JOURNAL)
            return story.stop(3.0, StopKind.KILL).start(4.0, (0, 1))

        assert not killed().stores(5.0, at=(0, 1), on_disk=["k0"]).said("durability")
        assert killed().stores(5.0, at=(0, 1)).said("durability")

    def test_whoever_leaves_in_order_has_flushed_if_that_was_possible(self) -> None:
        """The outage is over, and a call has succeeded since."""

        def left(world: HostileWorld, policy: Policy | None = None) -> Story:
            story = waiting(policy, world).call("get", 22.0, 22.1).stop(23.0, StopKind.LEAVE)
            return story.start(30.0, (0, 1))

        assert not left(OUTAGE).call("create_many", 23.1, 23.2).commit(KEY, 23.1).broken()
        assert left(OUTAGE).call("create_many", 23.1, 23.2).said("durability")
        assert not left(OUTAGE).call("create_many", 23.1, 23.2, "OSError").said("durability")
        again = Outage(24.0, 25.0, OutageMode.HANG)
        assert not left(HostileWorld(outages=(*OUTAGE.outages, again))).said("durability")
        # A success may be the call that makes a share of failures count, and trips the breaker.
        assert not left(OUTAGE, Policy(breaker_failure_rate=0.5)).said("durability")

    def test_whoever_leaves_in_order_leaves_its_keys_to_the_journal(self) -> None:
        """Unless the disk does not do what it should."""

        def left(*faults: DiskFault) -> Story:
            world = HostileWorld(journal=True, outages=OUTAGE.outages, disk_faults=faults)
            story = waiting(world=world).stop(5.0, StopKind.LEAVE)
            return story.start(9.0, (0, 1)).stores(10.0, at=(0, 1))

        assert left().said("durability")
        fault = DiskFault(start_s=4.0, end_s=6.0, kind=DiskFaultKind.FULL)
        assert not left(fault).said("durability")

    def test_whoever_is_killed_while_it_leaves_promised_nothing(self) -> None:
        """Its flush may have been cut off."""
        story = waiting().call("get", 22.0, 22.1).stop(23.0, StopKind.LEAVE)
        assert story.start(30.0, (0, 1)).said("durability")
        assert not story.stop(23.1, StopKind.KILL).said("durability")

    def test_a_key_that_was_deleted_is_no_longer_in_the_primary(self) -> None:
        """What came before its acknowledgement does not count."""
        story = Story().create(KEY, 0.1, outcome=Outcome.CANCELLED).commit(KEY, 0.2)
        story.remove(KEY, 0.5).create(KEY, 1.0, 1.1)
        said = "k0 was acknowledged as durable as the primary, which did not have it"
        assert said in story.said("durability")


class TestTruth:
    """`get` returns a valid key that somebody made."""

    def test_an_expired_key_is_never_returned(self) -> None:
        """At the moment of its expiry it is expired, by the clock of whoever was asked."""
        brief = key_of(expires_s=50.0)

        def asked(told_s: float, skew_s: float) -> list[str]:
            story = Story(world=HostileWorld(skew_s=(skew_s,)))
            return story.commit(brief, 0.9).create(brief, 0.8, 1.0).get(brief, told_s).said("truth")

        assert not asked(49.9, 0.0)
        assert asked(50.0001, 0.0) == [
            "get of k0 returned a key that had expired 0.000 s before, by the clock of the instance"
        ]
        assert not asked(59.0, -10.0)
        assert asked(45.0, 10.0)

    def test_a_clock_that_steps_may_have_been_read_before_or_after(self) -> None:
        """In the moment of a step nobody knows which."""
        brief = key_of(expires_s=50.0)
        story = Story().commit(brief, 0.9).create(brief, 0.8, 1.0)
        assert not story.add(ClockStepped(20.0, 0, 40.0)).get(brief, 20.0).said("truth")
        assert story.get(brief, 20.1).said("truth")

    def test_material_that_nobody_made_is_never_returned(self) -> None:
        """Nor a key under another id, nor one that was changed."""
        assert Story().get(KEY, 1.0).said("truth") == [
            "get of k0 returned material that nobody had made"
        ]
        assert committed().get(RIVAL, 2.0).said("truth")
        assert committed().get(key_of(expires_s=77.0), 2.0).said("truth") == [
            "get of k0 returned a key that was changed: it expires at 77.000 s"
        ]
        other = Story().ask(OperationKind.GET, "k0", 1.0, 1.0, Outcome.FOUND, key=key_of("k1"))
        assert other.said("truth") == ["get of k0 returned a key with another id, k1"]

    def test_a_key_may_be_found_before_it_is_acknowledged(self) -> None:
        """From the moment on at which somebody asked to create it."""
        story = Story().create(KEY, 1.0, 1.5, outcome=Outcome.CANCELLED)
        assert not story.get(KEY, 1.2).said("truth")

    def test_a_key_that_was_refused_is_gone(self) -> None:
        """Unless the primary has it all the same, or somebody else is about to create it."""

        def refused() -> Story:
            return Story().create(KEY, 1.0, 1.5, outcome=Outcome.CONFLICT)

        assert not refused().get(KEY, 1.2).said("truth")
        assert refused().get(KEY, 1.6).said("truth")
        assert not refused().commit(KEY, 1.4).get(KEY, 1.6).said("truth")
        assert not refused().create(KEY, 1.55, 2.0).get(KEY, 1.6).said("truth")

    def test_what_a_clock_took_for_expired_may_be_valid_again(self) -> None:
        """Once it has jumped; who was told that his key had expired was told so by that clock."""

        def refused(world: HostileWorld) -> list[str]:
            story = Story(world=world).create(KEY, 1.0, 1.5, outcome=Outcome.EXPIRED)
            return story.get(KEY, 3.0).said("truth")

        assert refused(HostileWorld())
        assert not refused(HostileWorld(clock_steps=(ClockStep(at_s=2.0, by_s=-50.0),)))

    def test_what_a_flush_was_refused_is_gone(self) -> None:
        """The primary has other material, and says so to whoever sends the key."""

        def sent(ended_s: float = 2.1, world: HostileWorld = OUTAGE) -> Story:
            story = waiting(world=world).commit(RIVAL, 1.5).create(RIVAL, 1.4, 1.5, at=(1, 0))
            return story.call("create_many", 2.0, ended_s, key_ids=("k0",))

        (said,) = sent().get(KEY, 3.0).said("truth")
        assert said.endswith("of which the instance had been told that the primary has other")
        assert not sent(ended_s=3.5).get(KEY, 3.0).said("truth")
        assert not sent().create(KEY, 2.5, 2.6, durability=MEMORY).get(KEY, 3.0).said("truth")
        assert not sent(world=HostileWorld(peers=True)).get(KEY, 3.0).said("truth")
        given_up = sent().ask(OperationKind.FLUSH, None, 2.0, 2.1, Outcome.CANCELLED)
        assert not given_up.get(KEY, 3.0).said("truth")

    def test_the_primary_has_only_what_somebody_made(self) -> None:
        """What others publish is made by them."""
        assert Story().commit(KEY, 1.0).said("truth") == ["the primary has a key that nobody made"]


class TestLinearizability:
    """Nobody is told of a key that it is not there once it must be."""

    def test_what_the_primary_has_is_found_by_everybody(self) -> None:
        """Unless an absence may be remembered: the answer to a call that began before it came."""
        story = committed().start(0.0, (1, 0))
        story.call("get", 0.9, 1.1, "KeyNotFoundError", at=(1, 0), key_ids=("k0",))
        missed = Outcome.NOT_FOUND
        assert not story.get("k0", 2.1, 2.2, outcome=missed, at=(1, 0)).said("linearizability")
        assert story.get("k0", 2.11, 2.3, outcome=missed, at=(1, 0)).said("linearizability") == [
            (
                "get of k0, asked at 2.110 s, was told 'not found', though the primary had had the "
                "key since 1.050 s"
            )
        ]

    def test_only_the_absence_of_the_key_itself_is_remembered(self) -> None:
        """That of another id says nothing of it, nor does a call that came to no answer."""
        for key_id, error in (("k1", "KeyNotFoundError"), ("k0", "OSError")):
            story = committed().start(0.0, (1, 0))
            story.call("get", 0.9, 1.1, error, at=(1, 0), key_ids=(key_id,))
            story.get("k0", 1.2, outcome=Outcome.NOT_FOUND, at=(1, 0))
            assert story.said("linearizability")

    def test_who_joins_a_call_from_before_the_key_does_not_believe_it(self) -> None:
        """It is answered after the question, and so remembered for nobody who asked before."""
        story = committed().start(0.0, (1, 0))
        story.call("get", 0.9, 1.3, "KeyNotFoundError", at=(1, 0), key_ids=("k0",))
        story.get("k0", 1.2, 1.3, outcome=Outcome.NOT_FOUND, at=(1, 0))
        assert story.said("linearizability")

    def test_whoever_acknowledged_a_key_forgets_its_absence(self) -> None:
        """Without that a key would be missing right after its own `create`."""
        story = committed(SMALL).get("k0", 1.2, outcome=Outcome.NOT_FOUND)
        assert story.said("linearizability")

    def test_an_absence_heard_of_after_the_acknowledgement_may_be_remembered(self) -> None:
        """The key waited then, and another instance has just written it."""
        story = waiting(Policy(read_policy="primary-only")).commit(KEY, 3.0)
        story.call("get", 2.9, 3.05, "KeyNotFoundError", key_ids=("k0",))
        assert not story.get("k0", 3.1, outcome=Outcome.NOT_FOUND).said("linearizability")

    def test_a_key_that_waits_is_found(self) -> None:
        """However small memory is: whoever waits is not evicted."""
        for outcome in (Outcome.NOT_FOUND, Outcome.UNAVAILABLE):
            story = waiting(SMALL).get("k0", 2.0, outcome=outcome)
            assert story.said("linearizability") == [
                (
                    f"get of k0, asked at 2.000 s, was told {outcome.value!r}, though the instance "
                    "had acknowledged that key at 1.100 s"
                )
            ]

    def test_what_memory_may_have_lost_is_unavailable(self) -> None:
        """If it is small, or forgets with time; else it must have what it found before."""

        def found_before(policy: Policy) -> list[str]:
            story = committed(policy).create(key_of("k1"), 1.2, outcome=Outcome.CANCELLED)
            story.get(KEY, 2.0).get("k0", 3.0, outcome=Outcome.UNAVAILABLE)
            return story.said("linearizability")

        assert found_before(Policy())
        assert not found_before(SMALL)
        assert not found_before(Policy(cache_ttl_s=1.0))
        assert not found_before(Policy(read_policy="primary-only"))

    def test_a_key_that_was_on_its_way_when_it_was_found_may_be_gone(self) -> None:
        """It is in memory before its `create` has ended, and taken back if that is refused."""

        def lost(create_told_s: float, outcome: Outcome, found_s: float) -> list[str]:
            story = Story().create(KEY, 1.0, create_told_s, outcome=outcome)
            story.get(KEY, found_s).get("k0", 9.0, outcome=Outcome.UNAVAILABLE)
            return story.said("linearizability")

        assert not lost(1.4, Outcome.FULL, found_s=1.2)
        assert lost(1.4, Outcome.FULL, found_s=1.5)
        # What its caller gave up goes on, for as long as its time-out.
        assert not lost(1.1, Outcome.CANCELLED, found_s=1.3)
        assert lost(1.1, Outcome.CANCELLED, found_s=1.6)
        assert lost(1.1, Outcome.ACKNOWLEDGED, found_s=1.05)

    def test_a_create_that_came_later_takes_nothing_back(self) -> None:
        """Nor one of another process: the key was there before."""

        def lost(asked_s: float, at: tuple[int, int] = (0, 0)) -> list[str]:
            story = Story().get(KEY, 1.0).create(KEY, asked_s, 3.0, outcome=Outcome.FULL, at=at)
            return story.get("k0", 9.0, outcome=Outcome.UNAVAILABLE).said("linearizability")

        assert lost(2.0)
        assert lost(0.9, at=(1, 0))
        assert not lost(0.9)

    def test_a_key_that_is_too_stale_is_unavailable_but_never_unknown(self) -> None:
        """As `max_staleness_s` promises."""
        policy = Policy(max_staleness_s=5.0)
        unavailable, missed = Outcome.UNAVAILABLE, Outcome.NOT_FOUND
        assert waiting(policy).get("k0", 5.9, outcome=unavailable).said("linearizability")
        assert not waiting(policy).get("k0", 6.1, outcome=unavailable).said("linearizability")
        assert waiting(policy).get("k0", 6.1, outcome=missed).said("linearizability")

    def test_the_next_process_finds_what_the_journal_had(self) -> None:
        """What waited in one process waits in the next."""
        story = Story(world=WITH_JOURNAL).create(KEY, 1.0, 1.1, durability=JOURNAL)
        story.stop(3.0, StopKind.KILL).start(4.0, (0, 1))
        assert story.get("k0", 5.0, outcome=Outcome.NOT_FOUND, at=(0, 1)).said("linearizability")

    def test_another_instance_may_miss_a_key_that_waits(self) -> None:
        """It cannot know of it."""
        story = waiting().start(0.0, (1, 0)).get("k0", 5.0, outcome=Outcome.NOT_FOUND, at=(1, 0))
        assert not story.said("linearizability")

    def test_an_id_with_two_keys_is_the_primarys_to_decide(self) -> None:
        """Memory may have had to let go of either."""
        story = waiting().create(RIVAL, 1.5, outcome=Outcome.CANCELLED)
        assert not story.get("k0", 2.0, outcome=Outcome.UNAVAILABLE).said("linearizability")

    def test_a_key_that_may_have_expired_may_be_missed(self) -> None:
        """By either clock."""
        brief = key_of(expires_s=50.0)
        story = Story(world=HostileWorld(skew_s=(40.0,))).commit(brief, 0.9)
        story.create(brief, 0.8, 1.0).get("k0", 15.0, outcome=Outcome.NOT_FOUND)
        assert not story.said("linearizability")


class TestBinding:
    """No store takes a key under an id under which it has another valid one."""

    def test_the_primary_binds_an_id_once(self) -> None:
        """Until its key expires."""
        brief = key_of(expires_s=50.0)
        assert Story().commit(brief, 1.0).commit(RIVAL, 49.0).said("binding") == [
            "the primary bound k0 anew, 1.000 s before its key expired"
        ]
        assert not Story().commit(brief, 1.0).commit(RIVAL, 50.0).said("binding")

    def test_a_process_acknowledges_one_key_under_an_id(self) -> None:
        """While the first one waits, whatever the size of memory."""
        story = waiting(SMALL).create(RIVAL, 2.0, 2.1, durability=MEMORY)
        assert story.said("binding") == [
            "k0 was acknowledged with other material than at 1.100 s, by the same process"
        ]

    def test_what_is_refused_for_a_key_that_waits_is_not_sent_either(self) -> None:
        """Whatever its caller was told, the primary has it, and from nobody else."""
        refused = waiting().create(RIVAL, 2.0, 2.5, outcome=Outcome.CONFLICT)
        assert not refused.said("binding")
        assert refused.commit(RIVAL, 2.2).said("binding") == [
            "k0 was put into the primary with other material than at 1.100 s, by the same process"
        ]
        others = waiting().create(RIVAL, 2.0, 2.5, outcome=Outcome.CONFLICT)
        others.create(RIVAL, 2.0, 2.3, at=(1, 0)).commit(RIVAL, 2.2)
        assert not others.said("binding")

    def test_a_key_that_waits_binds_its_id_however_small_memory_is(self) -> None:
        """What the primary has may be evicted, and its id be taken while the primary is away."""
        other = key_of("k1")
        story = waiting(SMALL).create(other, 1.5, outcome=Outcome.CANCELLED)
        assert story.create(RIVAL, 2.0, 2.1, durability=MEMORY).said("binding")
        story = committed(SMALL).create(other, 1.5, outcome=Outcome.CANCELLED)
        assert not story.create(RIVAL, 2.0, 2.1, durability=MEMORY).said("binding")
        story = committed().create(other, 1.5, outcome=Outcome.CANCELLED)
        assert story.create(RIVAL, 2.0, 2.1, durability=MEMORY).said("binding")

    @pytest.mark.parametrize("at", [(1, 0), (0, 1)])
    def test_two_processes_may_acknowledge_one_each(self, at: tuple[int, int]) -> None:
        """While the primary is away nobody knows of both."""
        story = waiting().start(1.5, at).create(RIVAL, 2.0, 2.1, durability=MEMORY, at=at)
        assert not story.said("binding")

    def test_memory_keeps_the_times_that_a_key_had_first(self) -> None:
        """What comes second may be the older one; only the primary may answer with its own."""
        older = key_of(expires_s=500.0)

        def returned(story: Story) -> list[str]:
            story.commit(older, 2.0).create(older, 1.9, 2.0, at=(1, 0))
            return story.get(older, 3.0, 3.1).said("binding")

        assert returned(waiting(world=TWO_TIMES)) == [
            "memory returned k0 with other times than it had when it was acknowledged at 1.100 s"
        ]
        assert not returned(waiting(world=TWO_TIMES).call("get", 3.0, 3.05))
        other = key_of("k1")
        assert not returned(waiting(SMALL, TWO_TIMES).create(other, 1.5, outcome=Outcome.CANCELLED))
        known_before = Story(world=TWO_TIMES).create(older, 0.5, 0.6, at=(1, 0))
        assert not returned(known_before.create(KEY, 1.0, 1.1, durability=MEMORY))

    def test_a_key_with_several_times_may_be_gone_at_the_earliest_end(self) -> None:
        """The primary, which has the older one, keeps no other of that id."""
        older = key_of(expires_s=5.0)
        story = waiting(world=TWO_TIMES).commit(older, 2.0).create(older, 1.9, 2.0, at=(1, 0))
        story.get("k0", 4.0, outcome=Outcome.NOT_FOUND)
        assert story.said("linearizability")
        story = waiting(world=TWO_TIMES).commit(older, 2.0).create(older, 1.9, 2.0, at=(1, 0))
        story.get("k0", 6.0, outcome=Outcome.NOT_FOUND)
        assert not story.said("linearizability")

    def test_an_id_is_free_when_its_key_has_gone(self) -> None:
        """It expired, or the primary had other material all along."""
        brief = key_of(expires_s=4.0)
        story = Story(world=OUTAGE).create(brief, 1.0, 1.1, durability=MEMORY)
        assert not story.create(RIVAL, 5.0, 5.1, durability=MEMORY).said("binding")
        story = waiting().commit(RIVAL, 1.5).create(RIVAL, 2.0, 2.1)
        assert not story.said("binding")


def test_what_was_asked_is_known_though_nobody_was_told() -> None:
    """A caller who gave up is told no key; the world says which one it was."""
    world = HostileWorld(
        keys=(KeySpec(expires_s=9.0),),
        operations=(Operation(at_s=1.0, kind=OperationKind.CREATE, key=0, cancel_after_s=0.1),),
    )
    wanted = Keys(world.keys).made(0, EPOCH)

    def found(key: PublicKey) -> list[str]:
        story = Story(world=world, began=EPOCH)
        story.ask(OperationKind.CREATE, "k0", 1.0, 1.1, Outcome.CANCELLED)
        return story.get(key, 2.0).said("truth")

    assert not found(wanted)
    assert found(replace(wanted, material=b"other"))
