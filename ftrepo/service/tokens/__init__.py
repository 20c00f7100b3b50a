"""The use cases: an external token is exchanged for an internal one, a service gets one of its own.

None of this knows of HTTP, of a database, or of what is done when either fails: it is given a form,
a verifier and a function that names the key to sign with.

::

    forms           the body of a request, read strictly
    clients         which service asks: HTTP Basic or the form (RFC 6749, section 2.3.1)
    targets         for whom and for what a token may be
    delegation      who acts for the subject (RFC 8693, sections 4.1 and 4.4)
    exchange        POST /token/exchange (RFC 8693)
    service_tokens  POST /token/service (RFC 6749, section 4.4)
    issuer          the claims that every token has, and its times
    jws             a signed token in its compact form (RFC 7515)

A token that the service issues is a JWT of the type `at+jwt` (RFC 9068) with these claims:

============= ======== =====================================================================
claim         token    what it says
============= ======== =====================================================================
`iss`         every    the service: its setting `issuer`
`sub`         every    whom the token is about: `<provider>|<its subject>`, or a client's id
`aud`         every    for whom it is: text if that is one, else a list
`iat`         every    when it was made, in seconds
`nbf`         every    `iat` less `leeway_s`: for verifiers whose clock is behind
`exp`         every    when it ends: never after the key, nor after a token that was brought
`jti`         every    its id: 128 random bits
`scope`       if any   what it may be used for, with spaces between
`client_id`   if known the client that asked and proved who it is; it grants nothing
`idp`         exchange the name of the provider who vouches for the subject
`idp_sub`     exchange the subject as that provider names it
`act`         if any   who acts for the subject: `iss`, `sub`, and who acted before in `act`
============= ======== =====================================================================

`sub` alone is safe to compare. RFC 7519, section 4.1.2, wants it unique in its issuer, so the
subject that a provider names is not enough: two providers may both know an "alice". Nor can a
subject pass for a client: `|` is in no client's id and in no provider's name. Renaming a provider
thus renames its subjects.

No other claim of an external token is carried over. Whoever reads an internal token trusts all that
it says, and the service cannot vouch for what it has not understood.

Why a request is refused here; the reasons of the tokens that it brings are in `providers`:

========================== =======================================================================
reason                     what is wrong
========================== =======================================================================
`unsupported-media-type`   the body is no form in UTF-8
`malformed`                the form cannot be read: its encoding, a control character, a name
`too-many-parameters`      more than `FORM_PARAMETERS_MAX`
`repeated-parameter`       given twice, and neither `audience` nor `resource`
`missing-parameter`        left out or empty; or a type of an actor's token that is not there
`unsupported-grant-type`   `grant_type` is that of another endpoint, or of none
`token-type-not-accepted`  the token that is brought is said to be no JWT
`token-type-not-issued`    a token is asked for that is no JWT
`client-not-authenticated` nobody is named, the client is unknown, or its secret is wrong
`two-authentications`      credentials in the header and in the form
`malformed-resource`       no absolute URI, or one with a fragment
`missing-audience`         several are allowed and none is named
`audience`                 one is named that is not allowed
`malformed-scope`          no list of scopes, or too long
`scope`                    more is asked for than may be granted
`expired`                  the token that is brought has less than a second left
`malformed-name`           a subject or an issuer is empty, too long or no printable text
`malformed-actor`          `act` or `may_act` cannot be read
`too-many-actors`          more than `ACTORS_MAX`
`actor-not-permitted`      `may_act` names somebody else
`actor-is-delegated`       somebody acts for the actor
`actor-of-another-issuer`  a provider names a current actor whom it cannot vouch for
========================== =======================================================================
"""

from ftrepo.service.tokens.clients import Clients, new_secret
from ftrepo.service.tokens.exchange import EXCHANGE_GRANT, TokenExchange
from ftrepo.service.tokens.forms import Form, parse_form
from ftrepo.service.tokens.issuer import IssuedToken, TokenIssuer
from ftrepo.service.tokens.jws import TOKEN_TYPE, compact_jws
from ftrepo.service.tokens.service_tokens import CLIENT_CREDENTIALS_GRANT, ServiceTokens
from ftrepo.service.tokens.token_types import TokenType

__all__ = [
    "CLIENT_CREDENTIALS_GRANT",
    "EXCHANGE_GRANT",
    "TOKEN_TYPE",
    "Clients",
    "Form",
    "IssuedToken",
    "ServiceTokens",
    "TokenExchange",
    "TokenIssuer",
    "TokenType",
    "compact_jws",
    "new_secret",
    "parse_form",
]
