"""Delegation: who acts is said truly, kept through exchanges, and permitted."""

from __future__ import annotations

from typing import Any

import pytest

from ftrepo.service.errors import InvalidTokenError
from ftrepo.service.tokens.delegation import ACTORS_MAX, NAME_LENGTH_MAX, act_claim
from ftrepo.service.verified import VerifiedToken
from tests.ftrepo.service.tokens.exchanges import provider, verified

CORP, SHOP = "https://corp.example", "https://shop.example"
BOT = verified("bot", provider=provider("shop"), claims={"client_id": "b1", "admin": True})


def reason_of(subject: VerifiedToken, actor: VerifiedToken | None) -> str:
    """Why a delegation is refused."""
    with pytest.raises(InvalidTokenError) as caught:
        act_claim(subject, actor)
    assert caught.value.error == "invalid_request"
    return caught.value.reason


def chain(length: int) -> dict[str, Any]:
    """So many actors, each named within the one before."""
    act: dict[str, Any] = {"sub": f"actor-{length}"}
    for i in range(length - 1, 0, -1):
        act = {"sub": f"actor-{i}", "act": act}
    return act


def test_nobody_acts_unless_somebody_is_named() -> None:
    """Neither in the subject's token nor by a token of an actor."""
    assert act_claim(verified(), None) is None
    assert act_claim(verified(claims={"act": None}), None) is None


def test_the_actor_is_named_by_its_own_issuer() -> None:
    """A subject of another provider is another subject."""
    assert act_claim(verified(), BOT) == {"iss": SHOP, "sub": "bot"}


def test_who_acted_before_is_kept_within() -> None:
    """The new actor is outermost: the current one (RFC 8693, section 4.1)."""
    subject = verified(claims={"act": {"sub": "desk", "act": {"iss": "x:y", "sub": "phone"}}})
    assert act_claim(subject, BOT) == {
        "iss": SHOP,
        "sub": "bot",
        "act": {"iss": CORP, "sub": "desk", "act": {"iss": "x:y", "sub": "phone"}},
    }


def test_a_delegated_token_stays_delegated() -> None:
    """Without its `act` it would say that the subject itself is there; its issuer is made plain."""
    subject = verified(claims={"act": {"sub": "desk"}})
    assert act_claim(subject, None) == {"iss": CORP, "sub": "desk"}


def test_only_what_identifies_an_actor_is_kept() -> None:
    """Times and audiences mean nothing in an `act`, and roles are not the provider's to give."""
    subject = verified(claims={"act": {"sub": "desk", "exp": 1, "aud": "x", "admin": True}})
    assert act_claim(subject, None) == {"iss": CORP, "sub": "desk"}


def test_a_provider_vouches_for_no_current_actor_of_another() -> None:
    """Or one provider could have its holders act as anybody of any other."""
    forged = verified(claims={"act": {"iss": SHOP, "sub": "bot"}})
    assert reason_of(forged, None) == "actor-of-another-issuer"
    claim = act_claim(forged, BOT)
    assert claim is not None, "as history it decides nothing"
    assert claim["act"] == {"iss": SHOP, "sub": "bot"}


@pytest.mark.parametrize(
    "act",
    [
        "desk",
        ["desk"],
        1,
        True,
        {},
        {"sub": ""},
        {"sub": 1},
        {"sub": "a", "iss": 1},
        {"sub": "a", "iss": None},
        {"sub": "a\nb"},
        {"sub": "a", "iss": "x:\u202ey"},
        {"sub": "a" * (NAME_LENGTH_MAX + 1)},
        {"sub": "a", "act": "b"},
        {"sub": "a", "act": {}},
    ],
)
def test_an_act_that_cannot_be_read_is_refused(act: object) -> None:
    """To leave it out would make the token worth more."""
    assert reason_of(verified(claims={"act": act}), None) in ("malformed-actor", "malformed-name")


def test_a_token_has_a_bound_on_its_actors() -> None:
    """As many as the bound pass, one more does not, and a chain without end comes to one."""
    assert act_claim(verified(claims={"act": chain(ACTORS_MAX)}), None)
    assert act_claim(verified(claims={"act": chain(ACTORS_MAX - 1)}), BOT)
    for actor, length in ((None, ACTORS_MAX + 1), (BOT, ACTORS_MAX)):
        assert reason_of(verified(claims={"act": chain(length)}), actor) == "too-many-actors"
    endless: dict[str, Any] = {"sub": "a"}
    endless["act"] = endless
    assert reason_of(verified(claims={"act": endless}), None) == "too-many-actors"


def test_an_actor_for_whom_somebody_acts_is_refused() -> None:
    """No claim says "the bot, for whom the desk acts", and to leave the desk out would be a lie."""
    bot = verified("bot", provider=provider("shop"), claims={"act": {"sub": "desk"}})
    assert reason_of(verified(), bot) == "actor-is-delegated"


@pytest.mark.parametrize("may_act", [{"iss": SHOP, "sub": "bot"}, {"iss": SHOP, "client_id": "b1"}])
def test_the_actor_that_may_act_does(may_act: dict[str, str]) -> None:
    """Every member is what the actor's own token says."""
    assert act_claim(verified(claims={"may_act": may_act}), BOT) == {"iss": SHOP, "sub": "bot"}


@pytest.mark.parametrize(
    "may_act",
    [
        {"sub": "bot"},  # Of the subject's issuer, as nobody else is named.
        {"iss": CORP, "sub": "bot"},
        {"iss": SHOP, "sub": "Bot"},
        {"iss": SHOP, "sub": "bot", "client_id": "b2"},
        {"iss": SHOP, "sub": "bot", "email": "bot@shop.example"},
        {"iss": SHOP, "admin": True},  # Only text identifies.
        {"iss": SHOP, "missing": None},
    ],
)
def test_somebody_else_may_not(may_act: dict[str, object]) -> None:
    """One member that differs is enough."""
    assert reason_of(verified(claims={"may_act": may_act}), BOT) == "actor-not-permitted"


@pytest.mark.parametrize("may_act", [None, "bot", [], {}, {"iss": SHOP}])
def test_a_may_act_that_names_nobody_permits_nobody(may_act: object) -> None:
    """A restriction that cannot be read is not left out; an issuer alone is not anybody."""
    assert reason_of(verified(claims={"may_act": may_act}), BOT) == "malformed-actor"


def test_may_act_restricts_no_exchange_without_an_actor() -> None:
    """It says who may act for the subject, not that somebody must."""
    assert act_claim(verified(claims={"may_act": {"sub": "bot"}}), None) is None
