"""The ids that the primary said it does not have, remembered briefly."""

from __future__ import annotations


class AbsentIds:
    """A bounded set of ids, each of which is forgotten after a while. It is told the time.

    Whoever asks for a made-up id again and again costs the primary one call a while. It is no
    answer to many different made-up ids: against those stands the `CallBudget`.

    Args:
        entries_max: the most ids; the oldest makes room. At least 1.
        ttl_s: how long each is remembered; 0 remembers none.
    """

    def __init__(self, *, entries_max: int, ttl_s: float) -> None:
        self._entries_max = entries_max
        self._ttl_s = ttl_s
        self._until_s: dict[str, float] = {}  # All live as long, so the oldest is the first.

    def __len__(self) -> int:
        return len(self._until_s)

    def note(self, key_id: str, now: float) -> None:
        """Remember from now on that the primary does not have this id."""
        if self._ttl_s <= 0:
            return
        self._until_s.pop(key_id, None)
        self._until_s[key_id] = now + self._ttl_s
        while len(self._until_s) > self._entries_max or self._until_s[self._oldest()] <= now:
            del self._until_s[self._oldest()]

    def has(self, key_id: str, now: float) -> bool:
        """Whether the primary said so lately."""
        until_s = self._until_s.get(key_id)
        return until_s is not None and now < until_s

    def forget(self, key_id: str) -> None:
        """Forget an id, under which there is a key now."""
        self._until_s.pop(key_id, None)

    def _oldest(self) -> str:
        return next(iter(self._until_s))
