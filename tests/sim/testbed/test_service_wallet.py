"""The tokens that callers hold."""

from __future__ import annotations

from datetime import UTC, datetime

import jwt
import pytest

from sim.testbed.service_wallet import Held, Wallet


def held(issued_s: float, maker: int = 0) -> Held:
    """A token of this moment."""
    return Held(f"{maker}@{issued_s}", "k", maker, issued_s, 0.0)


@pytest.fixture
def wallet() -> Wallet:
    """Maker 0 issued a token a second, from 1 to 4 and from 10 on; the second came late."""
    made = Wallet(2, interval_s=1.0)
    for moment_s in (1.0, 3.0, 4.0, 10.0, 11.0, 2.0):
        made.add(held(moment_s))
    return made


@pytest.mark.parametrize(
    ("moment_s", "issued_s"),
    [(2.0, 2.0), (2.4, 2.0), (2.6, 3.0), (4.5, 4.0), (9.5, 10.0), (0.5, 1.0), (11.5, 11.0)],
)
def test_the_token_of_a_moment_is_the_nearest(
    moment_s: float, issued_s: float, wallet: Wallet
) -> None:
    """Which is half an interval away at most."""
    assert wallet.issued_at(0, moment_s) == held(issued_s)


@pytest.mark.parametrize("moment_s", [0.0, 4.7, 7.0, 9.3, 12.0])
def test_when_nobody_signed_there_is_no_token(moment_s: float, wallet: Wallet) -> None:
    """A caller of that moment has nothing to verify, and asks for no key."""
    assert wallet.issued_at(0, moment_s) is None


def test_makers_are_kept_apart(wallet: Wallet) -> None:
    """Who has issued nothing has no tokens."""
    assert wallet.issued_at(1, 2.0) is None


def test_a_token_is_read_and_known_to_end() -> None:
    """Its key, and its end in whole seconds."""
    expires = int(datetime.now(UTC).timestamp()) + 30
    token = jwt.encode({"exp": expires}, "s" * 32, headers={"kid": "key"})
    read = Held.of(token, maker=1, issued_s=2.5)
    assert (read.key_id, read.maker, read.issued_s, read.expires) == ("key", 1, 2.5, expires)
    assert read.is_valid(for_s=20.0)
    assert not read.is_valid(for_s=31.0)
