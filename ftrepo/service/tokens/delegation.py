"""Who acts for the subject of a token: the claims `act` and `may_act` of RFC 8693, section 4.

An actor is named by the issuer and the subject of its own token, for a subject alone is unique
only there. The outermost `act` is the current actor, by which access may be decided; those within
are history (section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from ftrepo.service.errors import InvalidTokenError
from ftrepo.service.verified import VerifiedToken

ACTORS_MAX = 8
"""How many actors a token may name, the current one included."""

NAME_LENGTH_MAX = 1024
"""The most characters of a subject or an issuer. OpenID Connect Core, section 2, has 255."""


def act_claim(subject: VerifiedToken, actor: VerifiedToken | None) -> dict[str, object] | None:
    """Return the claim `act` of the token to be issued; `None` if nobody acts.

    A token that was already delegated stays so: without its `act` it would say that the subject
    itself is there.

    Args:
        subject: on whose behalf.
        actor: who acts now; `None` for nobody but whom the subject's token names.

    Raises:
        InvalidTokenError: with the reason "actor-not-permitted": the subject's token names in
            `may_act` somebody else; "actor-is-delegated": somebody acts for the actor, which no
            claim could say; "actor-of-another-issuer": a provider's token names a current actor
            whom the provider cannot vouch for; "too-many-actors"; or "malformed-actor".
    """
    earlier = _actors_of(subject)
    if actor is not None:
        _check_permitted(subject, actor)
        if actor.claims.get("act") is not None:
            raise InvalidTokenError(
                "the actor's token is itself delegated", reason="actor-is-delegated"
            )
        actors = [{"iss": actor.provider.issuer, "sub": name_in_token(actor.subject)}, *earlier]
    elif earlier and earlier[0]["iss"] != subject.provider.issuer:
        raise InvalidTokenError(
            "the token names an actor whom its issuer cannot vouch for",
            reason="actor-of-another-issuer",
        )
    else:
        actors = earlier
    if len(actors) > ACTORS_MAX:
        raise _too_many_actors()
    claim: dict[str, object] | None = None
    for each in reversed(actors):
        claim = {**each} if claim is None else {**each, "act": claim}
    return claim


def name_in_token(value: object) -> str:
    """Return a subject or an issuer from a token.

    Raises:
        InvalidTokenError: it is not text, empty, longer than `NAME_LENGTH_MAX`, or not printable:
            a name with a line break or a change of direction deceives whoever reads it in a log.
    """
    if not (isinstance(value, str) and 0 < len(value) <= NAME_LENGTH_MAX and value.isprintable()):
        raise InvalidTokenError("the token names nobody that can be read", reason="malformed-name")
    return value


def _actors_of(token: VerifiedToken) -> list[dict[str, str]]:
    """Whom a token names in `act`, the current actor first; only what identifies each is taken.

    An actor without an issuer is one of the token's own issuer, which the new token's is not: it
    has to be said.
    """
    actors: list[dict[str, str]] = []
    act = token.claims.get("act")
    while act is not None:
        if len(actors) == ACTORS_MAX:
            raise _too_many_actors()
        if not isinstance(act, Mapping):
            raise InvalidTokenError("the token's act cannot be read", reason="malformed-actor")
        issuer = act.get("iss", token.provider.issuer)
        actors.append({"iss": name_in_token(issuer), "sub": name_in_token(act.get("sub"))})
        act = act.get("act")
    return actors


def _check_permitted(subject: VerifiedToken, actor: VerifiedToken) -> None:
    """Hold the actor to the claim `may_act`: every member must be what its own token says.

    Without the claim, anybody may act whose token is accepted: who holds the subject's token could
    use it without saying who acts. An issuer alone is nobody.
    """
    if "may_act" not in subject.claims:
        return
    permitted = subject.claims["may_act"]
    if not isinstance(permitted, Mapping) or not permitted.keys() - {"iss"}:
        raise InvalidTokenError("the token's may_act cannot be read", reason="malformed-actor")
    expected = {"iss": subject.provider.issuer, **permitted}
    if not all(isinstance(v, str) and actor.claims.get(k) == v for k, v in expected.items()):
        raise InvalidTokenError(
            "the token permits somebody else to act", reason="actor-not-permitted"
        )


def _too_many_actors() -> InvalidTokenError:
    return InvalidTokenError("the token names too many actors", reason="too-many-actors")
