"""Public keys as verifiers read them, and for how long they may keep them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from ftrepo.service.http.caching import Rendered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ftrepo.keys import PublicKey
    from ftrepo.service.keys import PublishedKeys

INCOMPLETE_MAX_AGE_S = 5
"""How long a key set may be kept that may lack keys, because the primary could not be asked:
`Policy.breaker_open_s`, after which it is next probed."""


def key_document(key: PublicKey) -> Rendered:
    """Return a key as a JWK.

    Raises:
        InvalidKeyError: its material is not that of a key.
    """
    return Rendered.of(json.dumps(_with_times(key, key.to_jwk())).encode())


class KeySetDocument:
    """The key set as a document, made anew only when the keys have changed."""

    def __init__(self) -> None:
        self._made_of: PublishedKeys | None = None
        self._rendered = Rendered.of(b'{"keys":[]}')

    def of(self, published: PublishedKeys) -> Rendered:
        """Return the document of these keys."""
        if self._made_of is not published:
            pairs = zip(published.keys, published.jwks, strict=True)
            document = {"keys": [_with_times(key, jwk) for key, jwk in pairs]}
            self._rendered = Rendered.of(json.dumps(document).encode())
            self._made_of = published
        return self._rendered


def key_set_max_age_s(published: PublishedKeys, now: datetime, *, max_age_s: int) -> int:
    """Return for how long a key set may be kept: until the first of its keys expires, at most.

    Args:
        published: the keys.
        now: the calendar time.
        max_age_s: how long at most; `INCOMPLETE_MAX_AGE_S` at most if keys may be lacking.
    """
    if not published.is_complete:
        max_age_s = min(max_age_s, INCOMPLETE_MAX_AGE_S)
    first = min((key.expires for key in published.keys), default=None)
    return max_age_s if first is None else _until(first, now, max_age_s)


def key_max_age_s(key: PublicKey, now: datetime, *, max_age_s: int) -> int:
    """Return for how long a key may be kept: until it expires, and `max_age_s` at most."""
    return _until(key.expires, now, max_age_s)


def _until(time: datetime, now: datetime, max_age_s: int) -> int:
    return max(0, min(max_age_s, math.floor((time - now).total_seconds())))


def _with_times(key: PublicKey, jwk: Mapping[str, str]) -> dict[str, str | int]:
    # OpenID Federation 1.0 names these members so; RFC 7517, section 4, has others pass over them.
    # A verifier that knows them can drop a key in time. Both are rounded down: a key is valid for
    # no longer, and no token seems older than its key.
    times = {"iat": math.floor(key.created.timestamp()), "exp": math.floor(key.expires.timestamp())}
    return {**jwk, **times}
