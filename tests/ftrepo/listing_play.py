"""Plays a history of one instance, and holds each list of its valid keys against a ledger.

The ledger notes what was made, stored and acknowledged, and when. Each list is held against it, and
against what `get` says of the same ids right after it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from ftrepo.errors import KeyConflictError, KeyNotFoundError, KeyUnavailableError
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import Durability
from ftrepo.keys import PublicKey
from ftrepo.listing import LISTED_FOR_S, ValidKeys
from ftrepo.policy import Policy
from tests.ftrepo.troubled_primary import AnnouncingPrimary, Mode, TroubledPrimary
from tests.laboratory import EPOCH, Laboratory

NAMES = ("a", "b", "c")
"""The ids that a history is about."""

ROOMY = 10_000
"""`Policy.cache_entries_max` of a memory that has room for every key."""

HAIR_S = 1e-6


@dataclass
class Ledger:
    """What has happened so far to each id, seen from outside.

    Attributes:
        made: every key that somebody began to create.
        acknowledged: those whose `create` has returned here, and that `get` must find.
        stored: those that another instance has put into the primary, and when.
        touched_s: when an id last had something to do with a `create` or a deletion.
        revoked: ids that were deleted from the primary before their time.
    """

    made: list[PublicKey] = field(default_factory=list)
    acknowledged: list[PublicKey] = field(default_factory=list)
    stored: list[tuple[float, PublicKey]] = field(default_factory=list)
    touched_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    revoked: set[str] = field(default_factory=set)

    def rivals(self, key: PublicKey) -> list[PublicKey]:
        """Every key, itself included, that was valid under its id at the same time as it."""
        return [
            each
            for each in self.made
            if each.id == key.id and each.created < key.expires and key.created < each.expires
        ]

    def is_contested(self, key: PublicKey) -> bool:
        """Whether it is a matter of who came first which material the id has, and until when."""
        return len(self.rivals(key)) > 1

    def is_promised(self, key: PublicKey, now_s: float) -> bool:
        """Whether an acknowledged key must be somewhere: of rivals, the first to end may count."""
        expired = any(_ends_s(each) <= now_s for each in self.rivals(key))
        return not expired and key.id not in self.revoked


def _ends_s(key: PublicKey) -> float:
    return (key.expires - EPOCH).total_seconds()


Step = tuple[float, str, Callable[["Play"], Awaitable[None] | None]]
"""When, in words, and what: a coroutine then goes on while further steps are taken."""


class Play:
    """One history, and what was wrong with the lists in it."""

    def __init__(self, lab: Laboratory, policy: Policy, *, announces: bool) -> None:
        self.lab = lab
        self.policy = policy
        self.primary = (AnnouncingPrimary if announces else TroubledPrimary)(lab)
        self.repo = FaultTolerantRepository(
            self.primary, policy, now=lab.now, observers=(), draw=lambda: 0.0
        )
        self.ledger = Ledger()
        self.wrong: list[str] = []
        self.has_memory = policy.read_policy != "primary-only"
        self.keeps_all = (
            self.has_memory and policy.cache_entries_max == ROOMY and not policy.max_staleness_s
        )

    @property
    def now_s(self) -> float:
        return self.lab.loop.time()

    async def take(self, steps: Sequence[Step]) -> None:
        under_way = []
        async with self.repo:
            for at_s, _, act in steps:
                await self.lab.until(at_s)
                going_on = act(self)
                if going_on is not None:
                    under_way.append(asyncio.ensure_future(going_on))
            await asyncio.gather(*under_way)
            await self.list_keys()
            self.primary.become(Mode.WELL)

    async def create(self, key: PublicKey) -> None:
        self.ledger.made.append(key)
        self.ledger.touched_s[key.id] = self.now_s
        try:
            durability = await self.repo.create(key)
        except KeyConflictError:
            assert self.ledger.is_contested(key)
        else:
            # Of what only memory has, `get` finds nothing that asks the primary alone.
            if self.has_memory or durability is Durability.PRIMARY:
                self.ledger.acknowledged.append(key)
        self.ledger.touched_s[key.id] = self.now_s

    def store(self, key: PublicKey) -> None:
        """Another instance creates a key."""
        self.ledger.made.append(key)
        self.ledger.touched_s[key.id] = self.now_s
        held = self.primary.lookup(key.id)
        if held is not None:
            return
        self.primary.put(key)
        self.ledger.stored.append((self.now_s, key))
        if isinstance(self.primary, AnnouncingPrimary):
            self.primary.seen_s[key.id] = self.now_s
            self.primary.announced.put_nowait([key])

    def revoke(self, name: str) -> None:
        if self.primary.discard(name):
            self.ledger.revoked.add(name)

    async def list_and_give_up(self, after_s: float) -> None:
        try:
            async with asyncio.timeout(after_s):
                await self.repo.valid_keys()
        except (TimeoutError, KeyUnavailableError):
            pass

    async def list_keys(self) -> None:
        asked_s = self.now_s
        promised = list(self.ledger.acknowledged)
        try:
            found = await self.repo.valid_keys()
        except KeyUnavailableError:
            if self.has_memory:
                self.note("no list, though memory has one")
            return
        self._check_alone(found, asked_s)
        self._check_what_must_be_there(found, asked_s, promised)
        await asyncio.gather(*(self._check_with_get(found, asked_s, name) for name in NAMES))

    def note(self, what: str) -> None:
        self.wrong.append(f"{self.now_s:.3f} s: {what}")

    def _check_alone(self, found: ValidKeys, asked_s: float) -> None:
        """No key but valid ones that somebody made, and that memory or the primary may give."""
        ids = [key.id for key in found.keys]
        if ids != sorted(set(ids)):
            self.note(f"not in order: {ids}")
        for key in found.keys:
            if key.has_expired(self.lab.now()):
                self.note(f"listed, and expired: {key}")
            if key not in self.ledger.made:
                self.note(f"listed, and nobody made it: {key}")
            began_s = asked_s - LISTED_FOR_S
            if self.policy.max_staleness_s and self._unconfirmed_s(key.id, began_s) > 0:
                self.note(f"listed, and unconfirmed for too long: {key}")

    def _unconfirmed_s(self, name: str, now_s: float) -> float:
        """By how much it was too long ago that memory can have seen the primary confirm the key."""
        last_s = max(self.primary.seen_s.get(name, 0.0), self.ledger.touched_s[name])
        return now_s - last_s - (self.policy.max_staleness_s or 0.0) - HAIR_S

    def _may_lack(self, key: PublicKey) -> bool:
        """Whether memory may be unable to serve a key that the primary had a moment ago."""
        staleness_s = self.policy.max_staleness_s
        is_young = staleness_s is None or self.lab.now() - key.created <= timedelta(
            seconds=staleness_s
        )
        return not (self.has_memory and self.policy.cache_entries_max == ROOMY and is_young)

    def _may_say_no(self, key: PublicKey, told_s: float) -> bool:
        """Whether it is still believed that the primary lacks a key, as it did a moment ago."""
        came_s = max(self.primary.came_s.get(key, told_s), self.ledger.touched_s[key.id])
        return not self.has_memory and told_s - came_s <= self.policy.absent_ttl_s

    def _check_what_must_be_there(
        self, found: ValidKeys, asked_s: float, promised: Sequence[PublicKey]
    ) -> None:
        listed = {key.id: key for key in found.keys}
        if not found.is_complete and not self.keeps_all:
            return
        known = [key for key in promised if found.is_complete or not self.ledger.is_contested(key)]
        for stored_s, key in self.ledger.stored:
            age_s = asked_s - stored_s
            is_told = isinstance(self.primary, AnnouncingPrimary) and self.keeps_all and age_s > 0
            if (found.is_complete and age_s > LISTED_FOR_S) or (
                is_told and not self.ledger.is_contested(key)
            ):
                known.append(key)
        for key in known:
            if not self.ledger.is_promised(key, self.now_s):
                continue
            held = listed.get(key.id)
            if held is None:
                self.note(f"not listed (complete: {found.is_complete}): {key}")
            elif not held.same_material(key) and not self.ledger.is_contested(key):
                self.note(f"listed with other material: {held} for {key}")

    async def _check_with_get(self, found: ValidKeys, asked_s: float, name: str) -> None:
        told_s = self.now_s
        listed = next((key for key in found.keys if key.id == name), None)
        got: PublicKey | None = None
        is_unavailable = False
        try:
            got = await self.repo.get(name)
        except KeyUnavailableError:
            is_unavailable = True
        except KeyNotFoundError:
            pass
        if name in self.ledger.revoked or self.ledger.touched_s[name] > told_s:
            return
        if listed is not None and got is None:
            lacks = self._may_lack(listed) if is_unavailable else self._may_say_no(listed, told_s)
            if not (lacks or listed.has_expired(self.lab.now())):
                self.note(f"listed, and not found: {listed}")
        elif listed is None and got is not None:
            came_s = max(self.ledger.touched_s[name], self.primary.came_s.get(got, 0.0))
            if found.is_complete and came_s < asked_s - LISTED_FOR_S:
                self.note(f"the list is complete, and without {got}")
        elif listed and got and not (listed.same_material(got) or self.ledger.is_contested(got)):
            self.note(f"listed {listed}, and found {got}")
