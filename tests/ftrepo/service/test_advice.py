"""What an operator is told of settings that are possible and probably not meant."""

from __future__ import annotations

from typing import Any

import pytest

from ftrepo.policy import Policy
from ftrepo.service.advice import advice
from ftrepo.service.settings import ServiceSettings

PROVIDER = {
    "name": "p",
    "issuer": "https://p.example",
    "audience": ["a"],
    "jwks_url": "https://p.example/jwks",
}
FITTING: dict[str, Any] = {
    "issuer": "https://tokens.example",
    "audiences": ["a"],
    "providers": [PROVIDER],
}


def settings_of(**changes: Any) -> ServiceSettings:
    """Settings that fit together, but for some changes."""
    return ServiceSettings(**(FITTING | changes))


def test_settings_that_fit_together_need_no_advice() -> None:
    """The defaults of everything but what a service must be told."""
    assert advice(settings_of(), Policy()) == ()
    assert advice(settings_of(issuer="http://127.0.0.1:8080"), Policy()) == ()
    assert advice(settings_of(issuer="http://localhost"), Policy()) == ()
    assert advice(settings_of(issuer="urn:tokens"), Policy()) == ()
    assert advice(settings_of(issuer=None), Policy()) == ()


@pytest.mark.parametrize(
    ("changes", "policy", "named"),
    [
        ({"keys": {"max_age_s": 601}}, {}, "keys.max_age_s = 601"),
        ({"keys": {"lifetime_s": 4000.0}}, {}, "leaves 100 s"),
        ({}, {"publish_lead_s": 299.0}, "keys.max_age_s = 300"),
        ({"audiences": [], "providers": []}, {}, "audiences is empty"),
        ({"providers": []}, {}, "neither providers nor clients"),
        ({"issuer": "http://tokens.example"}, {}, "is not https"),
        ({"issuer": None, "server": {"host": "0.0.0.0"}}, {}, "issuer is not set"),
        ({"issuer": None, "peers": {"secret": "s" * 32}}, {}, "issuer is not set"),
        ({"peers": {"urls": ["http://two:1"], "secret": "s" * 32}}, {}, "reads the secret"),
        ({"server": {"request_timeout_s": 0.5}}, {}, "server.request_timeout_s = 0.5"),
        ({}, {"select_timeout_s": None}, "server.request_timeout_s = 5"),
        ({}, {"pending_writes": False}, "journal = true"),
    ],
)
def test_what_is_probably_not_meant_is_named(
    changes: dict[str, Any], policy: dict[str, Any], named: str
) -> None:
    """By the setting, and its value."""
    assert named in " ".join(advice(settings_of(**changes), Policy(**policy)))


def test_advice_shows_no_secret() -> None:
    """It goes to a log."""
    peers = {"urls": ["http://two:1"], "secret": "s" * 32}
    assert "s" * 32 not in " ".join(advice(settings_of(peers=peers), Policy()))
