"""A bound on retries that callers share: a pure decision, told the time.

A bound on the attempts of each call does not protect the one who is called: when all calls fail,
three attempts are three times the load, and three at each of five layers are 243 times (Amazon
Builders' Library). A budget bounds what all of them add together, however many fail.
"""

from __future__ import annotations

from ftrepo.resilience.token_bucket import TokenBucket


class RetryBudget:
    """Says whether there may be another retry. One for everything that calls the same server.

    In any t seconds with n calls, it grants at most balance_max + ratio·n + per_s_min·t of them.

    Args:
        ratio: how many retries a call earns for all; at least 0. One in ten, so retries add at
            most 10% in the long run (Brooker, Fixing Retries With Token Buckets And Circuit
            Breakers, 2022; Google SRE, chapter 21, comes to the same). Finagle has 20%.
        per_s_min: how many a second come in any case, at least 0, so that one who calls rarely can
            try again at all. Finagle has 10; here it is 1, because every instance has its own.
        balance_max: how many can be saved up, at least 1, and are there at the start: the most that
            are made at once. 100 as in the AWS SDKs (500 tokens, 5 for a retry).
        name: for metrics.

    Attributes:
        granted: retries that were paid for, since the beginning.
        refused: retries for which nothing was left.
    """

    __slots__ = ("_bucket", "balance_max", "granted", "name", "per_s_min", "ratio", "refused")

    def __init__(
        self,
        *,
        ratio: float = 0.1,
        per_s_min: float = 1.0,
        balance_max: float = 100.0,
        name: str = "retry budget",
    ) -> None:
        for argument, value, least in (
            ("ratio", ratio, 0),
            ("per_s_min", per_s_min, 0),
            ("balance_max", balance_max, 1),
        ):
            if not value >= least:
                raise ValueError(f"{argument} is {value!r}; it must be at least {least}")
        self.ratio = ratio
        self.per_s_min = per_s_min
        self.balance_max = balance_max
        self.name = name
        self.granted = 0
        self.refused = 0
        self._bucket = TokenBucket(per_s_min, balance_max)

    def deposit(self) -> None:
        """Note a call, whatever becomes of it; its retries are not calls.

        It needs no time, and is cheap therefore. That changes nothing: whether what a call earns or
        what the time brings comes first, the bucket overflows by the same.
        """
        self._bucket.add(self.ratio)

    def withdraw(self, now: float) -> bool:
        """Pay for a retry. False: make none."""
        if self._bucket.take(now):
            self.granted += 1
            return True
        self.refused += 1
        return False

    def balance(self, now: float) -> float:
        """How many retries could be paid for."""
        return self._bucket.tokens(now)
