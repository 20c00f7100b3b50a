"""Callers are told apart by address, and so many of them are remembered."""

from __future__ import annotations

import pytest

from ftrepo.service.http.callers import CallerBuckets, caller_of


def test_each_caller_has_a_bucket_of_its_own() -> None:
    """One that asks too often takes nothing from another."""
    buckets = CallerBuckets(1.0, 1)
    assert buckets.bucket("a").take(0.0)
    assert not buckets.bucket("a").take(0.0)
    assert buckets.bucket("b").take(0.0)


def test_the_caller_who_has_not_asked_for_the_longest_is_forgotten() -> None:
    """However many addresses there are, so many buckets are kept."""
    buckets = CallerBuckets(1.0, 1, callers_max=2)
    for caller in ("a", "b", "a", "c"):
        buckets.bucket(caller).take(0.0)
    assert len(buckets) == 2
    assert not buckets.bucket("a").take(0.0)
    assert buckets.bucket("b").take(0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_caller_is_an_address_or_a_network(one: str, other: str, same: bool) -> None:
    """Whoever has one address of IPv6 has all of its network."""
    assert (caller_of({"client": (one, 1)}) == caller_of({"client": (other, 2)})) is same


def test_who_has_no_address_is_one_caller() -> None:
    """Through a socket of the file system nobody has one."""
    assert caller_of({"client": None}) == caller_of({}) == ""
