"""The tokens that callers of the service hold, by their maker and their age."""

from __future__ import annotations

from bisect import bisect_left, insort
from datetime import UTC, datetime
from operator import attrgetter
from typing import NamedTuple

import jwt

_issued_s = attrgetter("issued_s")

_NEAR_SHARE = 0.6
"""How far from a moment a token may have been issued, as a share of the time between two: a little
over a half, since no two are so evenly apart."""


class Held(NamedTuple):
    """A token that a caller holds.

    Attributes:
        token: in its compact form.
        key_id: of the key that has signed it.
        maker: the number of the instance that has issued it.
        issued_s: when it was asked for, in seconds since the load began.
        expires: when it ends, in seconds since the epoch.
    """

    token: str
    key_id: str
    maker: int
    issued_s: float
    expires: float

    @classmethod
    def of(cls, token: str, *, maker: int, issued_s: float) -> Held:
        """Read a token, and believe what it says."""
        expires = jwt.decode(token, options={"verify_signature": False})["exp"]
        key_id = jwt.get_unverified_header(token)["kid"]
        return cls(token, key_id, maker, issued_s, float(expires))

    def is_valid(self, *, for_s: float = 0.0) -> bool:
        """Whether it has so much left by its own claim, which is in whole seconds."""
        return self.expires - datetime.now(UTC).timestamp() > for_s


class Wallet:
    """Tokens of several makers.

    Args:
        makers: how many there are.
        interval_s: the time between two tokens of one maker.
    """

    def __init__(self, makers: int, *, interval_s: float) -> None:
        self._held: list[list[Held]] = [[] for _ in range(makers)]
        self._near_s = _NEAR_SHARE * interval_s

    def add(self, held: Held) -> None:
        """Keep a token; those of one maker may come out of order."""
        insort(self._held[held.maker], held, key=_issued_s)

    def issued_at(self, maker: int, moment_s: float) -> Held | None:
        """Return the token of this moment; `None` if its maker issued none then."""
        tokens = self._held[maker]
        at = bisect_left(tokens, moment_s, key=_issued_s)
        nearest = min(
            tokens[max(0, at - 1) : at + 1],
            key=lambda held: abs(held.issued_s - moment_s),
            default=None,
        )
        if nearest is None or abs(nearest.issued_s - moment_s) > self._near_s:
            return None
        return nearest
