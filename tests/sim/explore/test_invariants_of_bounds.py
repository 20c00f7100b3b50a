"""What is promised of memory and of time: each broken by hand once, and kept as narrowly once."""

from __future__ import annotations

import pytest

from ftrepo.interface import Durability
from ftrepo.policy import Policy
from sim.explore.hostile_world import ClockStep, HostileWorld
from sim.world.primary_settings import PrimarySettings
from tests.sim.explore.by_hand import Story, key_of

MEMORY, JOURNAL = Durability.MEMORY, Durability.JOURNAL
KEY = key_of()
BRIEF = key_of(expires_s=4.0)
ALONE = HostileWorld(primary=PrimarySettings(announces=False))


class TestBounds:
    """Memory holds what it must, and no more than it may."""

    def test_keys_that_wait_are_beyond_the_bound_of_memory(self) -> None:
        """The others are not."""
        story = Story(policy=Policy(cache_entries_max=1))
        assert not story.stores(1.0, cached=["a", "b"], pending=["b"]).said("bounds")
        assert story.stores(2.0, cached=["a", "b"]).said("bounds") == [
            "memory holds 2 keys that do not wait; cache_entries_max is 1"
        ]

    def test_so_many_keys_may_wait(self) -> None:
        """But those that a journal brought come on top."""
        policy = Policy(pending_max=1)
        assert not Story(policy=policy).stores(1.0, pending=["a"]).said("bounds")
        assert Story(policy=policy).stores(1.0, pending=["a", "b"]).said("bounds")
        restarted = Story(policy=policy, world=HostileWorld(journal=True)).start(1.0, (0, 1))
        assert not restarted.stores(2.0, pending=["a", "b"], at=(0, 1)).said("bounds")

    def test_a_key_that_waits_is_in_memory(self) -> None:
        """From its acknowledgement to its expiry."""

        def seen(at_s: float) -> list[str]:
            story = Story().create(BRIEF, 1.0, 1.5, durability=MEMORY)
            return story.stores(at_s, pending=["k0"]).said("bounds")

        assert not seen(1.2)
        assert seen(2.0) == ["k0 waits to be written, and memory no longer has it"]
        assert not seen(4.0)

    def test_a_key_that_is_being_written_again_need_not_be_in_memory(self) -> None:
        """It was evicted, and another `create` has not ended."""
        story = Story().create(KEY, 1.0, 1.5).create(KEY, 4.0, 5.0)
        assert not story.stores(4.5, pending=["k0"]).said("bounds")

    @pytest.mark.parametrize(
        ("began_s", "error", "breaks"),
        [(1.5, "", True), (2.0, "", False), (1.5, "OSError", True)],
    )
    def test_one_batch_is_sent_at_a_time(self, began_s: float, error: str, breaks: bool) -> None:
        """The next one follows when the one before has ended."""
        story = Story().call("create_many", 1.0, 2.0, error, key_ids=("a",))
        story.call("create_many", began_s, 3.0, key_ids=("b",))
        assert bool(story.said("bounds")) is breaks

    def test_a_batch_that_was_left_behind_is_not_waited_for(self) -> None:
        """Nor is one of another process."""
        story = Story().call("create_many", 1.0, 2.0, "CancelledError", key_ids=("a",))
        story.call("create_many", 1.5, 1.7, key_ids=("a",)).start(0.0, (1, 0))
        assert not story.call("create_many", 1.6, 1.7, key_ids=("a",), at=(1, 0)).said("bounds")


class TestFreshness:
    """What has expired is neither acknowledged nor sent."""

    @pytest.mark.parametrize("durability", [MEMORY, JOURNAL])
    def test_an_expired_key_is_not_acknowledged_from_memory(self, durability: Durability) -> None:
        """It was looked at after the primary had failed."""
        assert not Story().create(BRIEF, 3.9, 4.0, durability=durability).said("freshness")
        assert Story().create(BRIEF, 4.4, durability=durability).said("freshness")
        assert Story().create(BRIEF, 3.9, 4.4, durability=durability).said("freshness") == [
            "k0 was acknowledged from memory, 0.400 s after it had expired"
        ]

    def test_a_key_may_expire_on_its_way(self) -> None:
        """From the primary to its caller; and while the journal is written."""
        assert not Story().create(BRIEF, 3.9, 4.4).said("freshness")
        written = Story(policy=Policy(journal_timeout_s=0.5), world=HostileWorld(journal=True))
        assert not written.create(BRIEF, 3.9, 4.4, durability=JOURNAL).said("freshness")

    def test_a_flush_sends_no_expired_key(self) -> None:
        """By the clock of the instance; a `create` is judged by what it is told."""

        def sent(name: str, at_s: float, ahead_s: float = 0.0) -> list[str]:
            story = Story(world=HostileWorld(skew_s=(ahead_s,))).create(
                BRIEF, 1.0, 1.1, durability=MEMORY
            )
            return story.call(name, at_s, 6.0, key_ids=("k0",)).said("freshness")

        assert not sent("create_many", 4.0)
        assert sent("create_many", 4.1) == ["a flush sent k0, which had expired"]
        assert not sent("create_many", 4.1, ahead_s=-1.0)
        assert sent("create_many", 3.9, ahead_s=1.0)
        assert not sent("create", 4.1)


class TestStaleness:
    """Memory serves what was confirmed lately."""

    POLICY = Policy(max_staleness_s=5.0)

    def found(
        self, *, last_answer_s: float, error: str = "", name: str = "get", of: tuple[str, ...]
    ) -> list[str]:
        story = Story(policy=self.POLICY, world=ALONE).create(KEY, 1.0)
        story.call(name, 0.5, last_answer_s, error, key_ids=of)
        return story.get(KEY, 20.0).said("staleness")

    def test_an_answer_of_the_primary_confirms_for_so_long(self) -> None:
        """If it was asked for the key, or for a page of keys; an error confirms nothing."""
        assert not self.found(last_answer_s=15.0, of=("k0",))
        assert self.found(last_answer_s=14.0, of=("k0",)) == [
            (
                "get of k0 was answered 6.000 s after the primary could have confirmed it; "
                "max_staleness_s is 5"
            )
        ]
        assert self.found(last_answer_s=15.0, of=("k1",))
        assert self.found(last_answer_s=15.0, of=("k0",), error="KeyNotFoundError")
        assert self.found(last_answer_s=15.0, of=("k0",), error="OSError")
        assert not self.found(last_answer_s=15.0, of=(), name="list_valid")
        assert self.found(last_answer_s=15.0, of=(), name="ping")

    def test_a_new_key_is_fresh(self) -> None:
        """From when it was made, or put into memory."""
        new = Story(policy=self.POLICY, world=ALONE).create(KEY, 15.5, durability=MEMORY)
        assert not new.get(KEY, 20.0).said("staleness")
        assert not Story(policy=self.POLICY, world=ALONE).get(KEY, 4.9).said("staleness")

    def test_without_a_bound_nothing_is_stale(self) -> None:
        """That is the default."""
        assert not Story(world=ALONE).create(KEY, 1.0).get(KEY, 900.0).said("staleness")

    def test_a_clock_that_steps_tells_nothing(self) -> None:
        """Nor can anybody know when an announcement came."""
        steps = HostileWorld(clock_steps=(ClockStep(at_s=10.0, by_s=5.0),), primary=ALONE.primary)
        story = Story(policy=self.POLICY, world=steps).create(KEY, 1.0).get(KEY, 20.0)
        assert not story.said("staleness")
        announced = Story(policy=self.POLICY).commit(KEY, 16.0).create(KEY, 1.0)
        assert not announced.get(KEY, 20.0).said("staleness")

    def test_an_announced_key_may_be_read_late(self) -> None:
        """By a connection of its own, once it has its turn; but not for ever."""
        announced = Story(policy=self.POLICY).commit(KEY, 6.0).create(KEY, 1.0)
        assert not announced.get(KEY, 20.0).said("staleness")
        assert announced.get(KEY, 22.0).said("staleness")
