"""Requests are named by few endpoints, whatever is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.service.http import endpoints
from ftrepo.service.http.endpoints import endpoint_of
from tests.ftrepo.service.http.serving import Served, serve


def test_every_path_of_the_document_is_its_own_endpoint() -> None:
    """A route that was added and has no endpoint would have neither limits nor metrics."""

    async def story(served: Served) -> list[str]:
        return list((await served.get("/openapi.json")).json()["paths"])

    for path in serve(story):
        assert endpoint_of(path.replace("{key_id}", "some-key")) == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "/keys", "/keys/", "/keys/a/b", "/internal", "/internal/keys/", "/token", "/HEALTH"],
)
def test_a_path_that_is_none_of_the_services_is_unknown(path: str) -> None:
    """There is one label for all of them."""
    assert endpoint_of(path) == endpoints.UNKNOWN


@given(st.text())
def test_there_are_few_endpoints_whatever_the_path(path: str) -> None:
    """No caller can make another label."""
    named = [value for name, value in vars(endpoints).items() if name.isupper()]
    assert endpoint_of(path) in [value for value in named if isinstance(value, str)]
