"""A verifier as users have it: PyJWT and its `PyJWKClient`, which know nothing of this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt

from sim.history import GetOutcome
from sim.testbed.service_process import AUDIENCE, ISSUER

_ALGORITHMS = ["EdDSA"]


class Ended(NamedTuple):
    """What came of a request, and what was said where that is not what was asked for."""

    outcome: GetOutcome
    said: str = ""


RIGHT = Ended(GetOutcome.RIGHT)


def verified(verifier: jwt.PyJWKClient, token: str) -> Ended:
    """Verify a token as PyJWT's documentation shows it. Blocks."""
    try:
        key = verifier.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=_ALGORITHMS, audience=AUDIENCE, issuer=ISSUER)
    except jwt.PyJWKClientConnectionError as error:
        outcome = GetOutcome.GAVE_UP if "timed out" in str(error) else GetOutcome.UNAVAILABLE
        return Ended(outcome, str(error.__cause__))
    except jwt.PyJWKClientError:
        return Ended(GetOutcome.UNKNOWN, "not in the key set")
    except jwt.PyJWTError as error:
        return Ended(GetOutcome.WRONG, f"{type(error).__name__}: {error}")
    return RIGHT


def fits(jwk: Mapping[str, Any], token: str) -> bool:
    """Whether a token was signed with this key; its times do not matter here."""
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    try:
        key = jwt.PyJWK(dict(jwk))
        jwt.decode(token, key, algorithms=_ALGORITHMS, audience=AUDIENCE, options=options)
    except jwt.PyJWTError:
        return False
    return True
