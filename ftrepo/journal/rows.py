"""One key as one row of the journal, with a checksum over every field of it.

The fields stay readable, so that an operator with a SQLite shell sees what is there. SQLite checks
no content: a bit that flips on the disk, or a row that somebody edited, is seen here.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from ftrepo.errors import FtrepoError
from ftrepo.keys import Algorithm, PublicKey

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = tuple[Any, ...]
"""`id, material, algorithm, created_us, expires_us, checksum`. SQLite may return anything there."""


class CorruptedRowError(Exception):
    """The row cannot be trusted; the message says why. Never leaves the journal."""


def to_row(key: PublicKey) -> Row:
    """Return the key as a row. Its times are whole microseconds since 1970, which is exact."""
    fields = (
        key.id,
        key.material,
        key.algorithm.value,
        (key.created - _UNIX_EPOCH) // _MICROSECOND,
        (key.expires - _UNIX_EPOCH) // _MICROSECOND,
    )
    return (*fields, _checksum(fields))


def from_row(row: Row) -> PublicKey:
    """Return the key that a row holds.

    Args:
        row: as SQLite returned it; text may come as its UTF-8 bytes.

    Raises:
        CorruptedRowError: the checksum does not fit, or the fields make no key.
    """
    key_id, material, algorithm, created_us, expires_us, checksum = row
    try:
        fields = (_text(key_id), material, _text(algorithm), created_us, expires_us)
        sound = isinstance(material, bytes) and _checksum(fields) == checksum
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CorruptedRowError(f"a field is of the wrong type: {error}") from error
    if not sound:
        raise CorruptedRowError("the checksum does not fit")
    try:
        return PublicKey(
            id=fields[0],
            material=fields[1],
            algorithm=Algorithm(fields[2]),
            created=_UNIX_EPOCH + created_us * _MICROSECOND,
            expires=_UNIX_EPOCH + expires_us * _MICROSECOND,
        )
    except (FtrepoError, ValueError, OverflowError) as error:
        raise CorruptedRowError(f"the fields make no key: {error}") from error


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _checksum(fields: tuple[str, bytes, str, int, int]) -> bytes:
    """BLAKE2b, 16 bytes, over the fields, each with its length before it.

    Without the lengths, a byte that moved from one field to the next would go unseen.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"ftrepo journal")
    key_id, material, algorithm, created_us, expires_us = fields
    numbers = (created_us.to_bytes(8, signed=True), expires_us.to_bytes(8, signed=True))
    for part in (key_id.encode(), material, algorithm.encode(), *numbers):
        digest.update(len(part).to_bytes(4))
        digest.update(part)
    return digest.digest()
