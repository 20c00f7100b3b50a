"""A public key as instances tell each other."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from laboratory import EPOCH

from ftrepo.keys import Algorithm, SigningKey
from ftrepo.service.keys.wire import from_wire, to_wire

KEY = SigningKey.generate(created=EPOCH, lifetime=timedelta(hours=3)).public
TOLD = to_wire(KEY)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_what_is_told_is_what_is_read(algorithm: Algorithm) -> None:
    """Every part of a key survives the way through JSON."""
    created = EPOCH + timedelta(microseconds=1)
    key = SigningKey.generate(algorithm, created=created, lifetime=timedelta(hours=3)).public
    assert from_wire(json.loads(json.dumps(to_wire(key)))) == key


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "key",
        {},
        TOLD | {"kid": 7},
        TOLD | {"kid": "../../token/service"},
        TOLD | {"kid": "another"},
        TOLD | {"jwk": None},
        TOLD | {"jwk": {}},
        TOLD | {"jwk": {"kty": "oct", "k": "AAAA", "kid": KEY.id}},
        TOLD | {"jwk": KEY.to_jwk() | {"d": "AAAA"}},
        TOLD | {"jwk": KEY.to_jwk() | {"x": "AAAA"}},
        TOLD | {"jwk": KEY.to_jwk() | {"use": "enc"}},
        TOLD | {"created": None},
        TOLD | {"expires": "yesterday"},
        TOLD | {"expires": 17},
        TOLD | {"expires": "2" * 100_000},
        TOLD | {"expires": KEY.expires.replace(tzinfo=None).isoformat()},
        TOLD | {"expires": KEY.created.isoformat()},
        TOLD | {"expires": "9999-12-31T23:59:59-12:00"},
    ],
)
def test_what_is_no_key_is_refused(told: object) -> None:
    """With one kind of error, whatever is wrong."""
    with pytest.raises(ValueError, match="."):
        from_wire(told)
