"""How much memory one key takes in the cache, its own bytes included.

Usage: ``python -m benchmarks.cache_memory``.
"""

from __future__ import annotations

import base64
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

from ftrepo.keys import Algorithm, PublicKey
from ftrepo.memory import InMemoryRepository

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")


def _key(number: int) -> PublicKey:
    """A key of the size of an Ed25519 key under its thumbprint, sharing no object with another."""
    raw = number.to_bytes(32, "big")
    created = _EPOCH + timedelta(microseconds=number)
    return PublicKey(
        base64.urlsafe_b64encode(raw).rstrip(b"=").decode(),
        _SPKI_PREFIX + raw,
        Algorithm.ED25519,
        created,
        created + timedelta(days=1),
    )


def _bytes_of_plain_dict(keys: int) -> int:
    tracemalloc.start()
    held = {}
    for number in range(keys):
        key = _key(number)
        held[key.id] = key
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used


def _bytes_of_cache(keys: int) -> int:
    moments = iter(range(1, 10 * keys))
    tracemalloc.start()
    # Every reading of the clock is a new object, as in production.
    cache = InMemoryRepository(
        now=lambda: _EPOCH + timedelta(microseconds=keys + next(moments)), entries_max=keys
    )
    for number in range(keys):
        cache.put(_key(number))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if len(cache) != keys:
        raise AssertionError(f"the cache holds {len(cache)} keys, not {keys}")
    return used


def cache_bytes_per_key(keys: int = 100_000) -> dict[str, Any]:
    """Measure the cache's memory per key with tracemalloc, at `keys` keys of Ed25519 size.

    The reference is a plain dict of the same keys by id: the least that any cache could take.
    """
    least = _bytes_of_plain_dict(keys) / keys
    return {
        "name": "cache_bytes_per_key",
        "value": _bytes_of_cache(keys) / keys,
        "unit": "bytes",
        "reference": f"{least:.0f} in a plain dict of the same {keys:,} keys",
    }


if __name__ == "__main__":
    print(cache_bytes_per_key())
