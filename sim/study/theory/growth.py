"""How many keys there are in memory, and how many wait to be written.

Little's law, L = λW: the mean number in a system is the rate at which they come times the mean time
that they stay, whatever the distributions and the order (Little, Operations Research 9, 1961).
"""

from __future__ import annotations

import numpy as np

from sim.history import Floats


def cached_keys(
    *,
    issuers: int,
    rotation_interval_s: float,
    lifetime_s: float,
    starts_per_s: float = 0.0,
) -> float:
    """Mean number of unexpired keys in the memory of one instance: Little's law, L = λW.

    A key is made at every turn of an instance's rotation, and one more at each of its starts. When
    it is first signed with plays no part, nor does `publish_lead_s`.

    Args:
        issuers: how many instances make keys.
        rotation_interval_s: each makes one every so many seconds.
        lifetime_s: how long a key stays in the cache: from its creation to its expiry.
        starts_per_s: starts of all instances together, after deploys and crashes.

    Approximates: the primary is up, so that everybody learns of every key as it is made.
    """
    return (issuers / rotation_interval_s + starts_per_s) * lifetime_s


def pending_keys(
    elapsed_s: Floats, *, issuers: int, rotation_interval_s: float, lifetime_s: float
) -> Floats:
    """Mean number of pending keys of all instances, so long after an outage began: min(u, W) N / R.

    One comes each rotation interval of each instance, of random phase, until as many expire. Those
    that expired leave at the next clean-up, which is not in this form.

    Args:
        elapsed_s: u, the times since the outage began, 0 or later.
        issuers: N, how many instances make keys.
        rotation_interval_s: R.
        lifetime_s: W.
    """
    depth: Floats = np.minimum(elapsed_s, lifetime_s) * issuers / rotation_interval_s
    return depth


def cached_keys_in_outage(
    elapsed_s: Floats,
    *,
    issuers: int,
    rotation_interval_s: float,
    lifetime_s: float,
    cleanup_interval_s: float = 0.0,
) -> Floats:
    """Mean number of keys in the fullest instance's memory, so long after an outage began.

    Memory shrinks: what all had expires, N (W - u) / R are left of it, and an instance gets new
    keys of nobody but itself. Of these the fullest one has n + 1 - (1 - f)ᴺ in the mean, where n
    and f are the whole and the broken part of u / R: each instance has n, and with probability f
    one more.

    Args:
        elapsed_s: u, the times since the outage began, at most the lifetime.
        issuers: N, how many instances make keys, with independent phases.
        rotation_interval_s: R.
        lifetime_s: W.
        cleanup_interval_s: keys that expired leave at the next clean-up: half of it later.
    """
    turns = np.asarray(elapsed_s) / rotation_interval_s
    whole = np.floor(turns)
    own = whole + 1.0 - (1.0 - (turns - whole)) ** issuers
    late_s = np.minimum(elapsed_s, cleanup_interval_s / 2) if issuers > 1 else 0.0
    left_s = np.maximum(0.0, lifetime_s - elapsed_s) + late_s
    entries: Floats = issuers * left_s / rotation_interval_s + own
    return entries
