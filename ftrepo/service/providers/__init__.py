"""Whose tokens are accepted: their keys, how these are kept, and what is wrong with a token.

::

    providers        `Providers`: chooses the provider by the token's issuer, and verifies
    compact_token    the three parts of a token, read strictly
    claims           who, for whom, and when
    refusals         every reason why a token is refused, in one table
    provider_keys    the keys of one provider: kept, renewed ahead, asked for within a budget
    freshness        how old keys may be, and when to ask again: decisions alone
    sources          where keys are: an address or a file
    jwks             which keys of a JWK set may verify, and with which algorithm
    events           what is told to observers, and the log lines of it

`providers` awaits `provider_keys`, which awaits a source. Everything else decides and waits for
nothing. To verify takes 0.05 to 0.5 ms of the loop's time, by the algorithm.
"""

from ftrepo.service.providers.events import (
    FetchFailed,
    KeysFetched,
    ProviderEvent,
    ProviderStatus,
    TokenAccepted,
    TokenRefused,
    TokenUndecided,
    log_provider_event,
)
from ftrepo.service.providers.providers import Providers

__all__ = [
    "FetchFailed",
    "KeysFetched",
    "ProviderEvent",
    "ProviderStatus",
    "Providers",
    "TokenAccepted",
    "TokenRefused",
    "TokenUndecided",
    "log_provider_event",
]
