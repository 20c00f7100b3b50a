"""The ids that the primary said it does not have, remembered briefly."""

from __future__ import annotations

IDS_MAX = 10_000
"""How many ids are remembered at most: about 1 MB. A repository's budget admits fewer by far."""


class AbsentIds:
    """A bounded set of ids, each of which is forgotten after a while. It is told the time.

    Whoever asks for a made-up id again and again costs the primary one call a while. It is no
    answer to many different made-up ids: against those stands the `CallBudget`.

    That the primary does not have an id is known as of the moment at which it was asked. So whoever
    notes it says since when it is known, as the number of ids that were forgotten until then; if
    any has been forgotten since, the id may be among them, and is not noted.

    Args:
        ttl_s: how long each is remembered; 0 remembers none.
        ids_max: the most ids; the oldest makes room. At least 1.

    Attributes:
        forgotten: how many times `forget` was called.
    """

    def __init__(self, *, ttl_s: float, ids_max: int = IDS_MAX) -> None:
        self.forgotten = 0
        self._ttl_s = ttl_s
        self._ids_max = ids_max
        self._until_s: dict[str, float] = {}  # All live as long, so the oldest is the first.

    def __len__(self) -> int:
        return len(self._until_s)

    def note(self, key_id: str, now: float, *, as_of: int) -> None:
        """Remember from now on that the primary does not have this id.

        Args:
            key_id: the id.
            now: the time.
            as_of: what `forgotten` was when the primary was asked.
        """
        if self._ttl_s <= 0 or as_of != self.forgotten:
            return
        self._until_s.pop(key_id, None)
        self._until_s[key_id] = now + self._ttl_s
        while len(self._until_s) > self._ids_max or self._until_s[self._oldest()] <= now:
            del self._until_s[self._oldest()]

    def has(self, key_id: str, now: float) -> bool:
        """Whether the primary said so lately."""
        until_s = self._until_s.get(key_id)
        return until_s is not None and now < until_s

    def forget(self, key_id: str) -> None:
        """Forget an id, under which there is a key now, or will be."""
        self.forgotten += 1
        self._until_s.pop(key_id, None)

    def _oldest(self) -> str:
        return next(iter(self._until_s))
