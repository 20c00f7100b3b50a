"""How old a provider's keys may be, and when to ask for them again: decisions, told the time.

::

    fetched          due       fresh_s             fresh_s + stale_s
       |--------------|-----------|-----------------------|----------->
           fresh         fresh,            stale              unusable
                         asking

Fresh keys are used. They are renewed ahead of their time, so that nobody waits while the provider
answers; so keys that are stale say that it does not, and they are used all the same. Unusable ones
are not.
"""

from __future__ import annotations

import math
from typing import Literal

from ftrepo.resilience.backoff import NO_JITTER, BackoffSettings, longest_pause_s

KeysState = Literal["never", "fresh", "stale", "unusable"]
"""`never`: there have been none yet."""

FRESH_S_MIN = 30.0
"""A provider that allows its keys to be kept for less, or not at all, has them kept for so long: it
takes a fifth of the default budget to ask so often."""

RETRY = BackoffSettings(first_s=2.0, factor=2.0, pause_max_s=60.0, jitter=NO_JITTER)
"""How long to wait after a failure before the provider is asked by itself. In the long run that is
once a minute, which leaves most of the default budget to callers. Not drawn at random: a static
file is asked for by as many as there are instances, so they need not be kept apart."""


class Freshness:
    """When the keys of one provider were fetched, and what follows. Times are the loop's seconds.

    Args:
        fresh_s: how long keys are used without asking again; a provider may shorten it, by what it
            says about caching, down to `FRESH_S_MIN`, and never lengthen it: that is how long a
            revoked key may be honoured, which is for the operator to say.
        stale_s: for how long after that they are used while nobody answers; zero: not at all.
        fetch_timeout_s: how long a fetch may take.

    Attributes:
        fetched_s: when the latest fetch that succeeded began; `None` if none has.
        failures_in_row: how many have failed since.
    """

    def __init__(self, *, fresh_s: float, stale_s: float, fetch_timeout_s: float) -> None:
        self._fresh_s_max = self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._fetch_timeout_s = fetch_timeout_s
        self._failed_s = -math.inf
        self.fetched_s: float | None = None
        self.failures_in_row = 0

    def succeeded(self, began_s: float, max_age_s: float | None) -> None:
        """Note a fetch that brought keys. They are as old as its beginning: what they were then."""
        allowed_s = math.inf if max_age_s is None else max(max_age_s, FRESH_S_MIN)
        self._fresh_s = min(self._fresh_s_max, allowed_s)
        self.fetched_s = began_s
        self.failures_in_row = 0

    def failed(self, now: float) -> None:
        """Note a fetch that brought none."""
        self.failures_in_row += 1
        self._failed_s = now

    def state(self, now: float) -> KeysState:
        """Say what the keys at hand are worth."""
        if self.fetched_s is None:
            return "never"
        age_s = now - self.fetched_s
        if age_s < self._fresh_s:
            return "fresh"
        return "stale" if age_s < self._fresh_s + self._stale_s else "unusable"

    def is_usable(self, now: float) -> bool:
        """Say whether the keys at hand may verify a token."""
        return self.state(now) in ("fresh", "stale")

    def due_s(self) -> float:
        """When to ask for the keys again, whether anybody needs them or not.

        A fifth of their fresh time ahead, or two time-outs if that is longer, so that a second
        attempt ends in time; but not in the first half of it.
        """
        if self.failures_in_row:
            return self._failed_s + longest_pause_s(RETRY, self.failures_in_row)
        if self.fetched_s is None:
            return -math.inf
        ahead_s = max(0.2 * self._fresh_s, 2.0 * self._fetch_timeout_s)
        return self.fetched_s + max(0.5 * self._fresh_s, self._fresh_s - ahead_s)
