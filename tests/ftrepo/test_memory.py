"""The in-memory repository: its bound, its order, its pins, its expiry and its size."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from benchmarks.cache_memory import cache_bytes_per_key
from ftrepo.errors import KeyConflictError, KeyExpiredError, PolicyError
from ftrepo.keys import Algorithm, PublicKey
from ftrepo.memory import InMemoryRepository
from tests.ftrepo.repositories import SettableClock
from tests.laboratory import EPOCH, make_key


@pytest.fixture
def clock() -> SettableClock:
    """A clock that stands still until it is moved."""
    return SettableClock()


def of_size(clock: SettableClock, entries_max: int | None, **options: float) -> InMemoryRepository:
    """A repository on this clock."""
    return InMemoryRepository(now=clock, entries_max=entries_max, **options)


IDS = st.sampled_from("abcdef")


def held(repository: InMemoryRepository, ids: str = "abcdefgh") -> str:
    """The ids that the repository has, found without using any."""
    return "".join(key_id for key_id in ids if key_id in repository)


class TestBound:
    def test_the_bound_is_kept(self, clock: SettableClock) -> None:
        """However many keys are put, memory holds `entries_max` of them: the last ones."""
        repository = of_size(clock, 3)
        for number in range(100):
            assert repository.put(make_key(f"k{number}"))
            assert len(repository) == min(number + 1, 3)
        assert held(repository) == ""
        assert all(f"k{number}" in repository for number in (97, 98, 99))

    def test_it_says_when_it_is_full(self, clock: SettableClock) -> None:
        """Pinned keys come on top, and without a bound it never is."""
        repository = of_size(clock, 2)
        for key_id in "ab":
            assert not repository.is_full
            repository.put(make_key(key_id))
        assert repository.is_full
        repository.pin("a")
        assert not repository.is_full
        assert not of_size(clock, None).is_full

    def test_without_a_bound_all_stay(self, clock: SettableClock) -> None:
        """`None` is unbounded."""
        repository = of_size(clock, None)
        for number in range(1000):
            repository.put(make_key(f"k{number}"))
        assert len(repository) == 1000

    def test_the_least_recently_used_goes_first(self, clock: SettableClock) -> None:
        """A lookup saves a key from being the next to go."""
        repository = of_size(clock, 3)
        for key_id in "abc":
            repository.put(make_key(key_id))
        repository.lookup("a")
        repository.put(make_key("d"))
        assert held(repository) == "acd"
        repository.lookup("c")
        repository.put(make_key("e"))
        assert held(repository) == "cde"

    def test_only_a_lookup_is_a_use(self, clock: SettableClock) -> None:
        """Neither a repeated put, a confirmation, a membership test nor a listing saves a key."""
        repository = of_size(clock, 3)
        for key_id in "abc":
            repository.put(make_key(key_id))
        assert "a" in repository
        assert not repository.put(make_key("a"))
        repository.confirm("a")
        repository.confirmed_at("a")
        repository.put(make_key("d"))
        assert held(repository) == "bcd"

    def test_an_expired_key_makes_room_before_a_live_one(self, clock: SettableClock) -> None:
        """A full memory drops what has expired, although it was used last."""
        repository = of_size(clock, 2)
        repository.put(make_key("a"))
        repository.put(make_key("b", lifetime_s=10))
        repository.lookup("b")
        clock.advance(10)
        repository.put(make_key("c"))
        assert held(repository) == "ac"

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"entries_max": 0}, "entries_max = 0 is not possible; allowed: 1 or more"),
            ({"entries_max": -1}, "entries_max = -1"),
            ({"ttl_s": 0}, "ttl_s = 0 is not possible"),
            ({"ttl_s": float("nan")}, "ttl_s = nan"),
            ({"ttl_s": 1e10}, "up to 1e.09"),
        ],
    )
    def test_impossible_bounds_are_refused(
        self, clock: SettableClock, options: dict[str, float], says: str
    ) -> None:
        """A bound that nothing can fit in is refused by name."""
        with pytest.raises(PolicyError, match=says):
            InMemoryRepository(now=clock, **options)  # type: ignore[arg-type]


class TestPut:
    def test_says_whether_the_key_was_lacking(self, clock: SettableClock) -> None:
        """The first put is news, the second is not."""
        repository = of_size(clock, 3)
        assert repository.put(make_key("a")) is True
        assert repository.put(make_key("a")) is False

    def test_never_overwrites(self, clock: SettableClock) -> None:
        """A second key with the same id and material leaves the first with its times and all."""
        repository = of_size(clock, 3)
        first = make_key("a", lifetime_s=100)
        repository.put(first)
        confirmed = repository.confirmed_at("a")
        clock.advance(1)
        repository.put(replace(first, expires=first.expires - timedelta(seconds=50)))
        assert repository.lookup("a") is first
        assert repository.confirmed_at("a") == confirmed

    def test_refuses_other_material(self, clock: SettableClock) -> None:
        """An id is never rebound while its key is valid, pinned or not."""
        repository = of_size(clock, 3)
        first = make_key("a")
        repository.put(first)
        for _ in range(2):
            with pytest.raises(KeyConflictError, match="'a' is bound to other key material"):
                repository.put(make_key("a", material="other"))
            assert repository.lookup("a") is first
            repository.pin("a")

    def test_refuses_an_expired_key(self, clock: SettableClock) -> None:
        """A key whose time has passed is refused, and nothing changes."""
        repository = of_size(clock, 3)
        clock.advance(10)
        with pytest.raises(KeyExpiredError, match="'a' expired at 2026-01-01T00:00:10"):
            repository.put(make_key("a", lifetime_s=10))
        assert len(repository) == 0

    def test_the_end_of_an_earlier_stay_does_not_end_a_later_one(
        self, clock: SettableClock
    ) -> None:
        """A key that was discarded and put again stays for as long as if it were there first."""
        repository = of_size(clock, 2, ttl_s=5)
        repository.put(make_key("a"))
        clock.advance(3)
        repository.discard("a")
        repository.put(make_key("a"))
        clock.advance(3)
        repository.put(make_key("b"))
        assert held(repository) == "ab"
        clock.advance(2)
        assert held(repository) == "b"

    def test_many_are_unpinned_and_confirmed_at_once(self, clock: SettableClock) -> None:
        """`unpin_all` does what `unpin` and `confirm` do for each; the bound holds again."""
        repository = of_size(clock, 2)
        for key_id in "abcd":
            repository.put(make_key(key_id, lifetime_s=10 if key_id == "d" else 1e6))
            repository.pin(key_id)
        clock.advance(10)
        repository.unpin_all(["a", "unknown", "b", "c", "d", "a"])
        assert held(repository) == "bc"
        assert repository.confirmed_at("c") == clock.now
        assert repository.purge_expired() == 1

    @pytest.mark.parametrize("pinned", [False, True])
    def test_an_expired_key_gives_its_id_free(self, clock: SettableClock, pinned: bool) -> None:
        """The id of an expired key can be bound anew; a pin goes over to the successor."""
        repository = of_size(clock, 1)
        repository.put(make_key("a", lifetime_s=10))
        if pinned:
            repository.pin("a")
        clock.advance(10)
        successor = make_key("a", material="other")
        assert repository.put(successor)
        assert repository.lookup("a") is successor
        assert repository.purge_expired() == 1
        repository.put(make_key("b"))
        assert held(repository) == ("ab" if pinned else "b")


class TestPin:
    def test_the_bound_never_takes_a_pinned_key(self, clock: SettableClock) -> None:
        """A pinned key outlives any number of others, and comes on top of the bound."""
        repository = of_size(clock, 2)
        repository.put(make_key("a"))
        assert repository.pin("a")
        for number in range(10):
            repository.put(make_key(f"k{number}"))
        assert "a" in repository
        assert len(repository) == 3

    def test_a_time_to_live_never_takes_a_pinned_key(self, clock: SettableClock) -> None:
        """`ttl_s` ends the stay of a key that is not pinned only."""
        repository = of_size(clock, 9, ttl_s=5)
        repository.put(make_key("a"))
        repository.put(make_key("b"))
        repository.pin("a")
        clock.advance(5)
        assert held(repository) == "a"

    def test_a_pinned_key_expires_for_readers(self, clock: SettableClock) -> None:
        """At its own expiry a pinned key is no longer found."""
        repository = of_size(clock, 2)
        repository.put(make_key("a", lifetime_s=10))
        repository.pin("a")
        clock.advance(9)
        assert repository.lookup("a") is not None
        clock.advance(1)
        assert repository.lookup("a") is None
        assert "a" not in repository

    def test_an_unpinned_key_is_the_most_recently_used(self, clock: SettableClock) -> None:
        """After its write a key is as evictable as one just put, and its stay begins."""
        repository = of_size(clock, 2, ttl_s=5)
        for key_id in "abc":
            repository.put(make_key(key_id))
            if key_id == "a":
                repository.pin("a")
        clock.advance(3)
        repository.unpin("a")
        assert held(repository) == "ac"
        clock.advance(4)
        assert held(repository) == "a"

    def test_pinning_needs_a_key(self, clock: SettableClock) -> None:
        """`pin` says whether there is a key to keep; `unpin` of another key does nothing."""
        repository = of_size(clock, 2)
        assert repository.pin("a") is False
        repository.unpin("a")
        repository.put(make_key("a"))
        assert repository.pin("a") is True
        assert repository.pin("a") is True
        repository.unpin("a")
        repository.unpin("a")
        assert held(repository) == "a"

    def test_an_expired_key_does_not_come_back_by_unpinning(self, clock: SettableClock) -> None:
        """A key that expired while pinned leaves memory when it is unpinned."""
        repository = of_size(clock, 2)
        repository.put(make_key("a", lifetime_s=10))
        repository.pin("a")
        clock.advance(10)
        repository.unpin("a")
        assert len(repository) == 0
        assert repository.purge_expired() == 1

    @pytest.mark.parametrize("pinned", [False, True])
    def test_discard_forgets(self, clock: SettableClock, pinned: bool) -> None:
        """A discarded key is gone with its pin, and its id is free."""
        repository = of_size(clock, 2)
        repository.put(make_key("a"))
        if pinned:
            repository.pin("a")
        assert repository.discard("a") is True
        assert repository.discard("a") is False
        assert len(repository) == repository.nbytes == 0
        assert repository.put(make_key("a", material="other"))
        repository.put(make_key("b"))
        repository.put(make_key("c"))
        assert held(repository) == "bc"


class TestExpiry:
    def test_a_time_to_live_ends_a_stay_early(self, clock: SettableClock) -> None:
        """A key leaves at the earlier of `ttl_s` and its own expiry."""
        repository = of_size(clock, 9, ttl_s=5)
        repository.put(make_key("a", lifetime_s=3))
        repository.put(make_key("b", lifetime_s=100))
        clock.advance(3)
        assert held(repository) == "b"
        clock.advance(1.999_999)
        assert held(repository) == "b"
        clock.advance(0.000_001)
        assert held(repository) == ""

    def test_a_tiny_time_to_live_still_takes_the_key(self, clock: SettableClock) -> None:
        """A time to live below the clock's resolution is rounded up to it."""
        repository = of_size(clock, 9, ttl_s=1e-9)
        assert repository.put(make_key("a"))
        assert held(repository) == "a"
        clock.advance(0.000_001)
        assert held(repository) == ""

    def test_every_expired_key_is_counted_once(self, clock: SettableClock) -> None:
        """A purge counts those that a put has cleared away, and not those whose stay just ended."""
        repository = of_size(clock, 9, ttl_s=20)
        for key_id in "abc":
            repository.put(make_key(key_id, lifetime_s=10))
        repository.pin("c")
        repository.put(make_key("d", lifetime_s=100))
        clock.advance(10)
        repository.put(make_key("e", lifetime_s=100))
        assert repository.purge_expired() == 3
        assert repository.purge_expired() == 0
        clock.advance(10)
        assert repository.purge_expired() == 0
        assert held(repository) == "e"

    def test_a_listing_is_of_valid_keys(self, clock: SettableClock) -> None:
        """A listing has the pinned keys, and none that has expired or whose stay has ended."""
        repository = of_size(clock, 9, ttl_s=5)
        for key_id, lifetime_s in (("a", 5), ("b", 100), ("c", 100), ("d", 3), ("e", 100)):
            repository.put(make_key(key_id, lifetime_s=lifetime_s))
        repository.pin("a")
        repository.pin("b")
        clock.advance(4)
        listing = asyncio.run(repository.list_valid(after=None, limit=9))
        assert [key.id for key in listing] == ["a", "b", "c", "e"]
        clock.advance(1)
        listing = asyncio.run(repository.list_valid(after=None, limit=9))
        assert [key.id for key in listing] == ["b"]
        with pytest.raises(ValueError, match="limit = 0"):
            asyncio.run(repository.list_valid(after=None, limit=0))

    def test_reading_changes_nothing(self, clock: SettableClock) -> None:
        """An expired key stays in memory, and is counted by `len`, until it is purged."""
        repository = of_size(clock, 9)
        repository.put(make_key("a", lifetime_s=10))
        size = repository.nbytes
        clock.advance(10)
        assert repository.lookup("a") is None
        assert (len(repository), repository.nbytes) == (1, size)
        assert repository.purge_expired() == 1
        assert (len(repository), repository.nbytes) == (0, 0)


class TestConfirmation:
    @pytest.mark.parametrize("pinned", [False, True])
    def test_put_and_confirm_set_the_time(self, clock: SettableClock, pinned: bool) -> None:
        """A key is confirmed when put, and each time that the primary has answered since."""
        repository = of_size(clock, 9)
        repository.put(make_key("a"))
        if pinned:
            repository.pin("a")
        assert repository.confirmed_at("a") == EPOCH
        clock.advance(5.000_001)
        repository.confirm("a")
        assert repository.confirmed_at("a") == EPOCH + timedelta(seconds=5.000_001)

    def test_a_late_answer_does_not_turn_time_back(self, clock: SettableClock) -> None:
        """A confirmation that is older than the one known changes nothing."""
        repository = of_size(clock, 9)
        repository.put(make_key("a"))
        later = EPOCH + timedelta(seconds=7)
        repository.confirm("a", at=later)
        repository.confirm("a", at=EPOCH)
        assert repository.confirmed_at("a") == later

    def test_survives_pinning(self, clock: SettableClock) -> None:
        """Pinning and unpinning keep the time of the confirmation."""
        repository = of_size(clock, 9)
        repository.put(make_key("a"))
        clock.advance(5)
        repository.pin("a")
        repository.unpin("a")
        assert repository.confirmed_at("a") == EPOCH

    def test_a_listing_confirms_the_very_key_and_no_other(self, clock: SettableClock) -> None:
        """Other material, an expired key and an unknown id are not confirmed."""
        repository = of_size(clock, None)
        repository.put(make_key("a", lifetime_s=100.0))
        clock.advance(10)
        assert repository.confirm_all([make_key("a", lifetime_s=50.0)]) == []
        assert repository.confirmed_at("a") == clock.now
        clock.advance(10)
        assert repository.confirm_all([make_key("a", material="other")])
        assert repository.confirm_all([make_key("b")])
        clock.advance(80)
        assert repository.confirm_all([make_key("a", lifetime_s=100.0)])
        timed = of_size(clock, None, ttl_s=5.0)
        timed.put(make_key("a"))
        clock.advance(5)
        assert timed.confirm_all([make_key("a")])

    def test_of_no_key(self, clock: SettableClock) -> None:
        """What memory does not hold was never confirmed, and confirming it does nothing."""
        repository = of_size(clock, 9)
        repository.confirm("a")
        assert repository.confirmed_at("a") is None


class TestSize:
    @pytest.mark.parametrize(("keys", "pinned"), [(20_000, False), (5_000, True)])
    def test_the_estimate_is_near_what_python_allocates(
        self, clock: SettableClock, keys: int, pinned: bool
    ) -> None:
        """`nbytes` is within 15% of what tracemalloc counts, for pinned keys too."""
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            repository = of_size(clock, keys)
            for number in range(keys):
                clock.advance(0.001)
                repository.put(unshared_key(number))
                if pinned:
                    repository.pin(f"{number:043}")
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(repository) == keys
        assert repository.nbytes == pytest.approx(after - before, rel=0.15)

    def test_the_estimate_follows_every_way_out(self, clock: SettableClock) -> None:
        """Eviction, expiry, discarding and unpinning leave no bytes behind."""
        repository = of_size(clock, 5)
        for number in range(50):
            repository.put(make_key(f"{number:02}", lifetime_s=10 + number % 3))
            if number % 7 == 0:
                repository.pin(f"{number:02}")
            if number % 11 == 0:
                repository.discard(f"{number:02}")
        repository.unpin("07")
        clock.advance(100)
        repository.purge_expired()
        assert (len(repository), repository.nbytes) == (0, 0)

    def test_the_benchmark_measures_the_same(self) -> None:
        """The benchmark's row has the four fields, and the cache costs less than twice a dict."""
        row = cache_bytes_per_key(keys=2_000)
        assert (row["name"], row["unit"]) == ("cache_bytes_per_key", "bytes")
        least = int(row["reference"].split()[0])
        assert least < row["value"] < 2 * least


def unshared_key(number: int) -> PublicKey:
    """A key of the size of a real one, sharing no object with another."""
    created = EPOCH + timedelta(microseconds=number)
    return PublicKey(
        f"{number:043}",
        number.to_bytes(44, "big"),
        Algorithm.ED25519,
        created,
        created + timedelta(days=1),
    )


@dataclass
class ModelEntry:
    """What the model knows of one key."""

    key: PublicKey
    leaves: datetime
    confirmed: datetime


class AgainstAModel(RuleBasedStateMachine):
    """The repository does what a few dicts do, in any order of calls."""

    BOUND = 3
    TTL_S = 15.0

    def __init__(self) -> None:
        super().__init__()
        self.clock = SettableClock()
        self.repository = of_size(self.clock, self.BOUND, ttl_s=self.TTL_S)
        self.recent: OrderedDict[str, ModelEntry] = OrderedDict()
        self.pinned: dict[str, ModelEntry] = {}
        self.expired = 0

    def sweep(self) -> None:
        """Drop what has left the model's recent keys."""
        for key_id, entry in list(self.recent.items()):
            if self.clock.now >= entry.leaves:
                del self.recent[key_id]
                self.expired += self.clock.now >= entry.key.expires

    def valid(self, key_id: str) -> ModelEntry | None:
        """The entry that a reader may see."""
        if key_id in self.pinned:
            entry = self.pinned[key_id]
            return entry if self.clock.now < entry.key.expires else None
        found = self.recent.get(key_id)
        return found if found is not None and self.clock.now < found.leaves else None

    def add(self, key: PublicKey, confirmed: datetime) -> None:
        """Take a key as the most recently used."""
        self.sweep()
        if len(self.recent) == self.BOUND:
            self.recent.popitem(last=False)
        leaves = min(key.expires, self.clock.now + timedelta(seconds=self.TTL_S))
        self.recent[key.id] = ModelEntry(key, leaves, confirmed)

    @rule(key_id=IDS, material=st.sampled_from("xy"), lifetime_s=st.integers(1, 40))
    def put(self, key_id: str, material: str, lifetime_s: int) -> None:
        """Put a key that may be new, known, in conflict or expired."""
        key = make_key(key_id, material=material, lifetime_s=lifetime_s)
        if key.has_expired(self.clock.now):
            with pytest.raises(KeyExpiredError):
                self.repository.put(key)
            return
        self.sweep()
        known = self.valid(key_id)
        if known is None:
            assert self.repository.put(key) is True
            if key_id in self.pinned:
                self.pinned[key_id] = ModelEntry(key, key.expires, self.clock.now)
                self.expired += 1
            else:
                self.add(key, self.clock.now)
        elif known.key.same_material(key):
            assert self.repository.put(key) is False
        else:
            with pytest.raises(KeyConflictError):
                self.repository.put(key)

    @rule(key_id=IDS)
    def lookup(self, key_id: str) -> None:
        """Look a key up, which is a use of it."""
        known = self.valid(key_id)
        assert self.repository.lookup(key_id) is (None if known is None else known.key)
        if known is not None and key_id in self.recent:
            self.recent.move_to_end(key_id)

    @rule(key_id=IDS)
    def pin(self, key_id: str) -> None:
        """Pin a key, if there is one."""
        known = self.valid(key_id)
        assert self.repository.pin(key_id) is (known is not None or key_id in self.pinned)
        if known is not None and key_id in self.recent:
            self.pinned[key_id] = self.recent.pop(key_id)

    @rule(key_id=IDS)
    def unpin(self, key_id: str) -> None:
        """Unpin a key, if it was pinned."""
        self.repository.unpin(key_id)
        if key_id in self.pinned:
            entry = self.pinned.pop(key_id)
            if self.clock.now < entry.key.expires:
                self.add(entry.key, entry.confirmed)
            else:
                self.expired += 1

    @rule(key_id=IDS)
    def discard(self, key_id: str) -> None:
        """Forget a key."""
        known = self.valid(key_id) is not None or key_id in self.pinned
        assert self.repository.discard(key_id) is known
        if known:
            self.pinned.pop(key_id, None)
            self.recent.pop(key_id, None)

    @rule(key_id=IDS)
    def confirm(self, key_id: str) -> None:
        """Confirm a key now."""
        self.repository.confirm(key_id)
        entry = self.pinned.get(key_id) or self.recent.get(key_id)
        if entry is not None:
            entry.confirmed = self.clock.now

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @rule()
    def purge(self) -> None:
        """Purge, and count what has gone."""
        self.sweep()
        for key_id in [k for k, e in self.pinned.items() if self.clock.now >= e.key.expires]:
            del self.pinned[key_id]
            self.expired += 1
        assert self.repository.purge_expired() == self.expired
        self.expired = 0

    @invariant()
    def agree(self) -> None:
        """Whatever was done, both hold the same keys, with the same times, in the same bytes."""
        repository = self.repository
        assert len(repository) == len(self.recent) + len(self.pinned)
        assert len(repository) <= self.BOUND + len(self.pinned)
        for key_id in "abcdef":
            assert (key_id in repository) is (self.valid(key_id) is not None)
            entry = self.pinned.get(key_id) or self.recent.get(key_id)
            assert repository.confirmed_at(key_id) == (None if entry is None else entry.confirmed)
        assert (repository.nbytes == 0) is (len(repository) == 0)


AgainstAModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstAModel = AgainstAModel.TestCase
