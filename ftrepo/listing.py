"""Every valid key at once, for verifiers who keep the whole set: those that `get` would return.

The primary is asked for all of its keys, page by page, and what memory may serve is added: keys
that wait to be written, and, while the primary cannot be asked, those that it had. So the set
agrees with `get`, in what it lacks, too. A key that was deleted from the primary before its time is
served from memory as `get` serves it: until it expires, or has gone unconfirmed for
`max_staleness_s`.

Memory cannot know what it lacks, so the primary is asked under "cache-first" as well. What stands
between it and a flood of callers is that all of them share one answer a second. A key that memory
learns of meanwhile, as another instance publishes it, joins the answer at once: a verifier may meet
its first token before the second is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ftrepo.errors import KeyUnavailableError, PrimaryUnavailableError
from ftrepo.interface import Durability
from ftrepo.resilience.call_budget import Urgency
from ftrepo.resilience.clock import RunningClock
from ftrepo.resilience.single_flight import SingleFlight

if TYPE_CHECKING:
    from ftrepo.custody import Custody
    from ftrepo.guarded import GuardedPrimary
    from ftrepo.interface import Clock, PrimaryStore
    from ftrepo.keys import PublicKey
    from ftrepo.lookup import Lookup
    from ftrepo.pending import PendingWrites
    from ftrepo.policy import Policy

LISTED_FOR_S = 1.0
"""How long callers share an answer, a failure included, from when it was begun: the primary is
asked for its keys at most once in that time. As long as `Policy.absent_ttl_s` by default."""

LISTED_MAX = 100_000
"""The most keys that are taken from the primary: some 30 MB, and ten times what a fleet has. With
more there the answer is not complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidKeys:
    """The keys that are valid now.

    Attributes:
        keys: unexpired ones, in the order of their ids.
        is_complete: whether these are all. If not, there may be others: the primary could not be
            asked for every key, or memory holds one that it may not serve any more.
    """

    keys: tuple[PublicKey, ...]
    is_complete: bool


class Listing:
    """Puts together every valid key that the stores of a `FaultTolerantRepository` have.

    Args:
        primary: the store of record, called only through `guarded`.
        guarded: the way to the primary.
        custody: is told of what the primary has, as by a refresh.
        pending: keys that the primary still has to be told of.
        lookup: knows what memory may serve.
        policy: whether memory may answer; `select_timeout_s` holds for each page, `load_timeout_s`
            for all of them together, and `load_page_max` for their size.
        now: the calendar time.
    """

    def __init__(
        self,
        *,
        primary: PrimaryStore,
        guarded: GuardedPrimary,
        custody: Custody,
        pending: PendingWrites,
        lookup: Lookup,
        policy: Policy,
        now: Clock,
    ) -> None:
        self._primary = primary
        self._guarded = guarded
        self._custody = custody
        self._pending = pending
        self._lookup = lookup
        self._has_memory = policy.read_policy != "primary-only"
        self._page_max = policy.load_page_max
        self._page_timeout_s = policy.select_timeout_s
        self._timeout_s = policy.load_timeout_s
        self._now = now
        self._clock = RunningClock()
        self._flights: SingleFlight[None, _Answer] = SingleFlight()
        self._latest: _Answer | None = None
        self._under_way: _Answer | None = None

    async def keys(self) -> ValidKeys:
        """Do what `FaultTolerantRepository.valid_keys` promises."""
        asked_s = self._clock.time_s()
        answer = self._latest
        if answer is None or not answer.is_shared(asked_s):
            answer, _ = await self._flights.run(None, partial(self._ask, asked_s))
        elif self._has_memory and answer.keys_learnt != self._custody.keys_learnt:
            self._add_memory(answer)
        if answer.error is not None and not self._has_memory:
            raise KeyUnavailableError(
                "the primary, which has the keys, cannot be asked",
                retry_after_s=self._guarded.retry_after_s(),
            ) from answer.error
        return answer.shown(self._now())

    def note(self, key: PublicKey, durability: Durability) -> None:
        """Take note of a key that was created here: answers have it from now on, if `get` has.

        That is not so while only memory has it, and may not serve it.
        """
        is_found = durability is Durability.PRIMARY or (
            self._has_memory and self._lookup.at_hand(key.id) is not None
        )
        latest = self._latest
        if latest is not None and not latest.is_shared(self._clock.time_s()):
            self._latest = latest = None  # Nobody will get it: let it not grow.
        for answer in (latest, self._under_way):
            if answer is not None and is_found:
                answer.add(key, self._now())
            elif answer is not None and self._has_memory:
                answer.lack()

    async def _ask(self, asked_s: float) -> _Answer:
        """Make an answer; what is left of the time-out began with the first who waits."""
        began_s = self._flights.began_s(None)
        assert began_s is not None
        answer = self._under_way = _Answer(self._clock.time_s())
        try:
            answer.error = await self._load(answer, min(asked_s, began_s))
        finally:
            self._under_way = None
        if self._has_memory:
            self._add_memory(answer)
            lacking = (each for each in self._pending.key_ids() if each not in answer.by_id)
            if any(map(self._custody.owes, lacking)):
                answer.is_complete = False
        self._latest = answer
        return answer

    def _add_memory(self, answer: _Answer) -> None:
        """Add what memory may serve, and take note of how much it had learnt by then."""
        answer.keys_learnt = self._custody.keys_learnt
        now = self._now()
        for key in self._lookup.all_at_hand():
            answer.add(key, now)

    async def _load(self, answer: _Answer, began_s: float) -> PrimaryUnavailableError | None:
        """Take every key that the primary has. Returns why that failed, if it did."""
        after: str | None = None
        loaded = 0
        while loaded < LISTED_MAX:
            page = await self._page(after, began_s)
            if isinstance(page, PrimaryUnavailableError):
                return page
            if self._has_memory:
                # A cache that is smaller than the fleet keeps what is used.
                self._custody.learn(page, evict=False)
            for key in page:
                answer.by_id[key.id] = key  # The primary's, whatever else has the id.
            loaded += len(page)
            if len(page) < self._page_max:
                answer.is_complete = True
                break
            after = page[-1].id
        return None

    async def _page(
        self, after: str | None, began_s: float
    ) -> list[PublicKey] | PrimaryUnavailableError:
        now_s = self._clock.time_s()
        # The first page has what the callers, who may have waited already, have left.
        since_s = began_s if after is None else now_s
        limits = ((since_s, self._page_timeout_s), (began_s, self._timeout_s))
        lefts_s = [from_s + limit_s - now_s for from_s, limit_s in limits if limit_s is not None]
        if any(left_s <= 0 for left_s in lefts_s):
            return PrimaryUnavailableError("list_valid: not every key came within the time-out")
        select = partial(self._primary.list_valid, after=after, limit=self._page_max)
        try:
            # It is made once a second at most. So it need not stand back behind a flood of ids
            # that somebody made up, as one more read.
            return list(
                await self._guarded.call(
                    "list_valid",
                    select,
                    timeout_s=min(lefts_s, default=None),
                    urgency=Urgency.WRITE,
                )
            )
        except PrimaryUnavailableError as error:
            return error


class _Answer:
    """What the stores have, while it is put together and afterwards.

    Attributes:
        by_id: the keys; some may have expired.
        error: why the primary could not be asked for all of its keys.
        is_complete: whether there are no others.
        keys_learnt: `Custody.keys_learnt` when memory was added last.
    """

    __slots__ = ("_at_s", "_expires", "_shown", "by_id", "error", "is_complete", "keys_learnt")

    def __init__(self, at_s: float) -> None:
        self.by_id: dict[str, PublicKey] = {}
        self.error: PrimaryUnavailableError | None = None
        self.is_complete = False
        self.keys_learnt = 0
        self._at_s = at_s
        self._shown: ValidKeys | None = None
        self._expires: datetime | None = None

    def is_shared(self, now_s: float) -> bool:
        """Whether it is young enough to be given to one more caller."""
        return now_s - self._at_s < LISTED_FOR_S

    def add(self, key: PublicKey, now: datetime) -> None:
        """Add a key of memory, unless a valid one is there under its id."""
        held = self.by_id.get(key.id)
        if held is None or held.has_expired(now):
            self.by_id[key.id] = key
            self._shown = None

    def lack(self) -> None:
        """Take note that there is a key that it may not have."""
        self.is_complete = False
        self._shown = None

    def shown(self, now: datetime) -> ValidKeys:
        """What a caller gets: the same object until a key comes, or expires."""
        if self._shown is None or (self._expires is not None and now >= self._expires):
            keys = [key for _, key in sorted(self.by_id.items()) if not key.has_expired(now)]
            self._shown = ValidKeys(keys=tuple(keys), is_complete=self.is_complete)
            self._expires = min((key.expires for key in keys), default=None)
        return self._shown
