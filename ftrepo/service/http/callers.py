"""How often each caller may ask: a token bucket for every address, of which so many are kept."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

from ftrepo.resilience import TokenBucket

CALLERS_MAX = 10_000
"""Addresses that are remembered for one limit, the latest ones; about 3 MB."""

_NETWORK_BITS = 64
"""Of an IPv6 address: whoever has one has all that share these (RFC 6177), and could ask from each
in turn."""


class CallerBuckets:
    """Token buckets by caller. The one that has not asked for the longest makes room.

    A caller who was forgotten begins with a full bucket. A flood from more addresses than are kept
    is for the limit on all callers together.

    Args:
        rate_per_s: requests a second of one caller, in the long run.
        burst: the most at one moment.
        callers_max: the most callers that are kept, at least 1.
    """

    def __init__(self, rate_per_s: float, burst: float, *, callers_max: int = CALLERS_MAX) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._callers_max = callers_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """How many callers are kept."""
        return len(self._buckets)

    def bucket(self, caller: str) -> TokenBucket:
        """Return a caller's bucket, a full one if nothing is known of it."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= self._callers_max:
                self._buckets.popitem(last=False)
            bucket = self._buckets[caller] = TokenBucket(self._rate_per_s, self._burst)
        else:
            self._buckets.move_to_end(caller)
        return bucket


def caller_of(scope: Scope) -> str:
    """Return what a caller is known by: its IPv4 address, or the network of its IPv6 address.

    Behind a trusted proxy that is the address that the proxy names; the server sees to it.
    """
    client = scope.get("client")
    # On a socket of the file system all are one caller.
    return "" if client is None else caller_at(str(client[0]))


def caller_at(host: str) -> str:
    """Return what the caller at an address is known by."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(int(address) >> (128 - _NETWORK_BITS))
