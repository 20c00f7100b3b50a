"""What an operator should know of settings that are possible and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ftrepo.rotation import lead_before_use_s
from ftrepo.service.address import LOOPBACK

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from ftrepo.service.settings import ServiceSettings


def advice(settings: ServiceSettings, policy: Policy) -> tuple[str, ...]:
    """Return a sentence for each, which names the settings; none for settings that fit together."""
    return (*_on_keys(settings, policy), *_on_tokens(settings), *_on_the_network(settings, policy))


def _on_keys(settings: ServiceSettings, policy: Policy) -> Iterator[str]:
    keys = settings.keys
    lead_s = lead_before_use_s(
        policy,
        lifetime_s=keys.lifetime_s,
        interval_s=keys.rotation_interval_s,
        token_lifetime_s=settings.tokens.lifetime_s,
    )
    if lead_s < policy.publish_lead_s:
        yield (
            f"keys.lifetime_s = {keys.lifetime_s:g} leaves {lead_s:g} s of the policy's "
            f"publish_lead_s = {policy.publish_lead_s:g}"
        )
    if keys.max_age_s > lead_s:
        yield (
            f"keys.max_age_s = {keys.max_age_s} is more than the {lead_s:g} s for which a key is "
            "published before it signs (publish_lead_s of the policy, or what keys.lifetime_s "
            "leaves of it): verifiers will meet tokens whose key they cannot know yet"
        )
    if settings.journal and not policy.pending_writes:
        yield "journal = true has no effect: the policy has pending_writes = false"


def _on_tokens(settings: ServiceSettings) -> Iterator[str]:
    if not settings.audiences:
        yield "audiences is empty: no token can be issued, for anybody"
    if not settings.providers and not settings.clients:
        yield "there are neither providers nor clients: nobody can ask for a token"


def _on_the_network(settings: ServiceSettings, policy: Policy) -> Iterator[str]:
    if settings.issuer is None:
        if settings.peers is not None or settings.server.host not in LOOPBACK:
            yield (
                "issuer is not set: tokens say where this instance listens, which is another "
                "address at every instance and after every change of server.port"
            )
    elif _is_open(settings.issuer):
        yield (
            f"issuer = {settings.issuer!r} is not https: verifiers that fetch keys from there "
            "trust whoever is in between"
        )
    if settings.peers is not None and any(_is_open(str(url)) for url in settings.peers.urls):
        yield "peers.urls has an address that is not https: whoever is in between reads the secret"
    waits_s = (policy.insert_timeout_s, policy.select_timeout_s)
    longest_s = max((each for each in waits_s if each is not None), default=0.0)
    if None in waits_s or settings.server.request_timeout_s <= longest_s:
        yield (
            f"server.request_timeout_s = {settings.server.request_timeout_s:g} is not longer than "
            "the policy's insert_timeout_s and select_timeout_s: requests end before memory answers"
        )


def _is_open(address: str) -> bool:
    """Whether it is http, and leads beyond this machine."""
    url = urlsplit(address)
    return url.scheme == "http" and url.hostname not in LOOPBACK
