"""What the verification of tokens tells its observers, and the log lines of it.

No event carries a token, a claim, an id of a key or anything else that a token or a provider sent.

The lines need no bound of their own: fetches are bounded by the providers' budgets, and what
happens to each token is at level debug. Metrics count; a log is not where to count.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import TypeAlias

from ftrepo.service.providers.fetch_error import FetchProblem
from ftrepo.service.providers.freshness import KeysState

_log = logging.getLogger("ftrepo")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFetched:
    """A provider's keys were fetched, and have replaced those before.

    Attributes:
        provider: its name, as in every event.
        keys: how many are usable.
        skipped: how many are not.
        has_changed: whether what was fetched differs from what was there before.
        duration_s: how long it took.
    """

    provider: str
    keys: int
    skipped: int
    has_changed: bool
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailed:
    """A provider's keys could not be fetched, or are not fit to replace those before.

    Attributes:
        reason: see `FetchProblem`.
        message: the same in words, and without anything that the provider sent.
    """

    provider: str
    reason: FetchProblem
    message: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAccepted:
    """A token is what it says it is."""

    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefused:
    """A token is not accepted, for one of the reasons in `refusals`.

    Attributes:
        provider: `None` if the token does not come so far as to be anybody's. It is whose token it
            says it is; only of an accepted one is that known.
    """

    provider: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUndecided:
    """Nobody knows whether a token is good: the provider's keys cannot be had."""

    provider: str


ProviderEvent: TypeAlias = KeysFetched | FetchFailed | TokenAccepted | TokenRefused | TokenUndecided


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """What is to be said of a provider's keys at this moment.

    Attributes:
        name: of the provider.
        state: of its keys.
        keys: how many there are that could verify a token, if the state allows.
        age_s: how long ago they were asked for; `None` if there have been none yet.
        last_error: why the latest fetch failed, without anything that the provider sent; `None` if
            it succeeded.
        fetches: how often it was asked, failures included.
        failures: how many of them failed.
    """

    name: str
    state: KeysState
    keys: int
    age_s: float | None
    last_error: str | None
    fetches: int
    failures: int


def log_provider_event(event: ProviderEvent) -> None:
    """Write an event to the logger `ftrepo`, its fields under `extra`, as the repository's are."""
    level = _level(event)
    if not _log.isEnabledFor(level):
        return
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    # A field of a record is called `message` already.
    extra = {"error" if name == "message" else name: value for name, value in values.items()}
    shown = " ".join(f"{name}={_shown(value)}" for name, value in extra.items())
    kind = type(event).__name__
    _log.log(level, "%s %s", kind, shown, extra={"kind": kind} | extra)


def _level(event: ProviderEvent) -> int:
    if isinstance(event, FetchFailed):
        return logging.WARNING
    if isinstance(event, KeysFetched) and event.has_changed:
        return logging.INFO
    return logging.DEBUG


def _shown(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text else text
