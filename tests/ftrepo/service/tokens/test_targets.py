"""Targets and scopes: what is asked, what is granted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.service.errors import TokenRequestError
from ftrepo.service.tokens.targets import (
    SCOPE_LENGTH_MAX,
    scopes_asked,
    scopes_granted,
    targets_asked,
    targets_granted,
)
from tests.ftrepo.service.tokens.exchanges import form

NAMES = st.lists(st.sampled_from(["a", "b", "c", "https://d.example"]), max_size=5)


@given(NAMES, NAMES)
def test_nothing_is_granted_that_is_not_allowed(asked: list[str], allowed: list[str]) -> None:
    """And whatever is granted is what was asked, if anything was."""
    for granted_of, said in ((targets_granted, asked), (scopes_granted, asked or None)):
        try:
            granted = granted_of(said, allowed)
        except TokenRequestError:
            assert not asked or not set(asked) <= set(allowed)
        else:
            assert set(granted) <= set(allowed)
            assert granted == tuple(asked or allowed)


def test_the_only_audience_need_not_be_named() -> None:
    """With more than one, or none, it must be."""
    assert targets_granted((), ["a"]) == ("a",)
    for allowed in ([], ["a", "b"]):
        with pytest.raises(TokenRequestError) as caught:
            targets_granted((), allowed)
        assert (caught.value.error, caught.value.reason) == ("invalid_target", "missing-audience")


def test_an_audience_that_is_not_allowed_is_an_invalid_target() -> None:
    """All of them must be allowed, not some."""
    with pytest.raises(TokenRequestError) as caught:
        targets_granted(("a", "b"), ["a", "c"])
    assert (caught.value.error, caught.value.reason) == ("invalid_target", "audience")


def test_audiences_and_resources_are_one_list_of_targets() -> None:
    """In the order of the request, audiences first, each once."""
    asked = form(audience=("a", "https://b.example"), resource=("https://b.example", "c:d?e"))
    assert targets_asked(asked) == ("a", "https://b.example", "c:d?e")


@pytest.mark.parametrize(
    "resource",
    ["orders", "/orders", "//host/a", "https://a#", "https://a/b#c", "a: b", ":a", "é:a"],
)
def test_a_resource_is_an_absolute_uri_without_a_fragment(resource: str) -> None:
    """RFC 8693, section 2.1; the code is that of RFC 8707."""
    with pytest.raises(TokenRequestError) as caught:
        targets_asked(form(resource=("https://fine.example", resource)))
    assert (caught.value.error, caught.value.reason) == ("invalid_target", "malformed-resource")


def test_scopes_are_kept_in_order_and_each_once() -> None:
    """No scope asked for is something else than none granted."""
    assert scopes_asked(form(scope="write read write")) == ("write", "read")
    assert scopes_asked(form()) is None


@pytest.mark.parametrize(
    "scope", [" ", " a", "a ", "a  b", 'a"b', "a\\b", "é", "a" * (SCOPE_LENGTH_MAX + 1)]
)
def test_a_scope_that_cannot_be_read_is_refused(scope: str) -> None:
    """RFC 6749, section 3.3: visible ASCII without quotes and backslashes, one space between."""
    with pytest.raises(TokenRequestError) as caught:
        scopes_asked(form(scope=scope))
    assert (caught.value.error, caught.value.reason) == ("invalid_scope", "malformed-scope")


def test_a_scope_at_its_bound_is_read() -> None:
    """One more character is refused above."""
    assert scopes_asked(form(scope="a" * SCOPE_LENGTH_MAX)) == ("a" * SCOPE_LENGTH_MAX,)


def test_more_scopes_than_allowed_are_refused_and_not_cut_down() -> None:
    """Whoever got less would fail later, and not know why."""
    with pytest.raises(TokenRequestError) as caught:
        scopes_granted(("read", "admin"), ("read",))
    assert (caught.value.error, caught.value.reason) == ("invalid_scope", "scope")
