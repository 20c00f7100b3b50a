"""Every reason why an external token is refused. What is checked first is first in the table.

=======================  ========================================================  ==============
reason                   what is wrong                                             source
=======================  ========================================================  ==============
`too-large`              longer than `token_bytes_max`; nothing of it was read
`encrypted`              five parts: a JWE                                         RFC 7516, 3
`malformed`              not three parts of base64url; not JSON, or JSON with a    RFC 8725, 2.4
                         member twice, NaN, lone surrogates or too many levels; a  and 3.11
                         header without `alg`, or whose `kid` is no short text
`unsupported-header`     `crit`, `b64`, `zip` or `enc`: nothing that must be       RFC 7515,
                         understood is                                             4.1.11
`wrong-type`             `typ` is another than JWT or at+jwt: it has another use   RFC 8725, 3.11;
                         or `events` says so                                       RFC 8417, 4.6
`wrong-issuer`           `iss` is missing, or exactly that of no provider          RFC 8725, 3.8
`algorithm-not-allowed`  `alg` is not among the provider's: `none` and HS256       RFC 8725, 3.1
                         never are
`sender-constrained`     `cnf`: only the holder of a key may use it, and that      RFC 7800, 3;
                         somebody holds it cannot be shown here                    RFC 9449, 7.2
`missing-claim`          no `exp`, `sub` or `aud`                                  RFC 9068, 2.2
`malformed-claim`        a time that is no number of a real date; a subject, an    RFC 7519, 4.1
                         audience or scopes that are not text
`expired`                `exp` has passed, by more than the leeway                 RFC 7519, 4.1
`not-yet-valid`          `nbf` is yet to come, by more than the leeway             RFC 7519, 4.1
`issued-in-future`       `iat` is yet to come, by more than the leeway             RFC 7519, 4.1
`wrong-audience`         `aud` names none of this service's names                  RFC 8725, 3.9
`no-key-id`              no `kid`, and several of the provider's keys fit          RFC 7515, 4.1
`unknown-key`            the provider has no such key for this algorithm           RFC 7515, 6
`bad-signature`          the key did not make this signature                       RFC 7515, 5.2
=======================  ========================================================  ==============

Claims are checked before the key is looked for: a token that expired last week would otherwise have
the provider asked for a key that it has withdrawn since. Nothing that a claim says is believed, or
given to anybody, before the signature is verified.

`jwk`, `jku`, `x5u` and `x5c` in a header are ignored: a key comes from the provider's own address
or file, never from the token that it is to verify (RFC 8725, section 3.10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ftrepo.service.errors import InvalidTokenError

Refusal = Literal[
    "too-large",
    "encrypted",
    "malformed",
    "unsupported-header",
    "wrong-type",
    "wrong-issuer",
    "algorithm-not-allowed",
    "sender-constrained",
    "missing-claim",
    "malformed-claim",
    "expired",
    "not-yet-valid",
    "issued-in-future",
    "wrong-audience",
    "no-key-id",
    "unknown-key",
    "bad-signature",
]

MESSAGES: Mapping[Refusal, str] = {
    "too-large": "the token is too long",
    "encrypted": "the token is encrypted; a signed one is needed",
    "malformed": "the token is not a well-formed signed JWT",
    "unsupported-header": "the token's header asks for something that is not supported",
    "wrong-type": "the token is of a type that cannot be exchanged",
    "wrong-issuer": "the token's issuer is not accepted",
    "algorithm-not-allowed": "the token is signed with an algorithm that its issuer may not use",
    "sender-constrained": "the token is bound to a key, and would lose that bond here",
    "missing-claim": "the token lacks one of the claims exp, sub and aud",
    "malformed-claim": "a claim of the token is malformed",
    "expired": "the token has expired",
    "not-yet-valid": "the token is not valid yet",
    "issued-in-future": "the token was issued in the future",
    "wrong-audience": "the token is meant for somebody else",
    "no-key-id": "the token does not say which of its issuer's keys signed it",
    "unknown-key": "the token's issuer has no such key",
    "bad-signature": "the token's signature is wrong",
}
"""For whoever brought the token. None is made from what was sent, or from settings."""


def refused(reason: Refusal) -> InvalidTokenError:
    """Return the error of this name, to be raised."""
    return InvalidTokenError(MESSAGES[reason], reason=reason)
