"""Who signs tokens, with which keys, and which key a verifier therefore asks for.

The observed instances are the first issuers; their peers publish straight to the primary. A
verifier holds a token of some issuer and of some age, and asks for the key that was used then.
"""

from __future__ import annotations

import base64
import hashlib
import math
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ftrepo.keys import Algorithm, PublicKey
from sim.world.scenario import KeySettings
from sim.world.streams import Streams

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The calendar time at which every run begins. Any would do: nothing depends on the date."""

_ED25519_DER_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What precedes the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410)."""


class KeyMint:
    """Makes keys that are valid, all different, and the same in every run of one seed.

    The key material is a digest of the seed and a running number: any 32 bytes are the encoding
    of an Ed25519 public key. Nobody can sign with such a key, and nobody in a simulation does.
    """

    def __init__(self, streams: Streams, lifetime_s: float) -> None:
        self._prefix = f"{streams.seed}/{streams.replication}/"
        self._lifetime = timedelta(seconds=lifetime_s)
        self._made = 0

    def make(self, created_s: float) -> PublicKey:
        """Make a key that is created at this moment of the run, which may lie before its start."""
        raw = hashlib.sha256(f"{self._prefix}{self._made}".encode()).digest()
        self._made += 1
        created = EPOCH + timedelta(seconds=created_s)
        # The id is as long as a thumbprint and as good as one here, without the cost of a JWK.
        return PublicKey(
            id=base64.urlsafe_b64encode(raw).rstrip(b"=").decode(),
            material=_ED25519_DER_PREFIX + raw,
            algorithm=Algorithm.ED25519,
            created=created,
            expires=created + self._lifetime,
        )


class Issuer:
    """The keys of one issuer in the order in which they came into use."""

    def __init__(self) -> None:
        self._since_s: list[float] = []
        self._keys: list[PublicKey | None] = []

    def use(self, key: PublicKey, since_s: float) -> None:
        """Sign with this key from now on: it has been acknowledged."""
        self._since_s.append(since_s)
        self._keys.append(key)

    def stop(self, since_s: float) -> None:
        """Sign nothing from now on, until there is a key again."""
        self._since_s.append(since_s)
        self._keys.append(None)

    def key_used_at(self, moment_s: float) -> PublicKey | None:
        """The key that tokens were signed with at this moment; `None` if none were signed."""
        index = bisect_right(self._since_s, moment_s) - 1
        return self._keys[index] if index >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What each `get` asks for, drawn before the run: arrays of one length.

    Attributes:
        issuer: whose token the verifier holds: first the observed instances, then the peers.
        token_age_s: how old the token is.
        unknown: whether the token is forged, with a key id that nobody made.
    """

    issuer: NDArray[np.int64]
    token_age_s: NDArray[np.float64]
    unknown: NDArray[np.bool_]

    @classmethod
    def draw(
        cls, settings: KeySettings, rng: np.random.Generator, size: int, *, instances: int = 1
    ) -> Demand:
        """Draw what `size` calls ask for, of so many instances and their peers.

        Ages are exponential and cut off at the token's lifetime: drawn by inversion of the
        truncated distribution, so that one uniform number makes one age.
        """
        uniform = rng.random(size)
        mean_s, lifetime_s = settings.token_age_mean_s, settings.token_lifetime_s
        within = -np.expm1(-lifetime_s / mean_s)
        return cls(
            issuer=rng.integers(0, settings.peers + instances, size),
            token_age_s=-mean_s * np.log1p(-uniform * within),
            unknown=rng.random(size) < settings.unknown_share,
        )


def rotation_times_s(settings: KeySettings, phase: float, until_s: float) -> list[float]:
    """When an issuer makes its keys: from one key lifetime before the run to its end.

    Args:
        settings: the rotation interval and the lifetime.
        phase: uniform in [0, 1); where in its interval the issuer stands as the run begins.
        until_s: the end of the run.
    """
    interval_s = settings.rotation_interval_s
    before = math.ceil(settings.lifetime_s / interval_s) + 1
    first_s = (phase - before) * interval_s
    count = math.ceil((until_s - first_s) / interval_s)
    return [first_s + number * interval_s for number in range(count)]
