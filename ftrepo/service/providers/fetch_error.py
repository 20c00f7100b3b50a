"""Why the keys of a provider could not be fetched, by name."""

from __future__ import annotations

from typing import Literal

from ftrepo.errors import FtrepoError

FetchProblem = Literal[
    "timed-out",
    "not-reachable",
    "tls-failed",
    "redirected",
    "unexpected-status",
    "encoded",
    "too-large",
    "not-readable",
    "not-a-key-set",
    "too-many-keys",
    "no-usable-keys",
    "not-asked",
    "internal-error",
]
"""`not-asked`: the breaker refused. `internal-error`: a defect of this program, which is logged."""


class FetchError(FtrepoError):
    """The keys of a provider were not had, or are not fit to replace those at hand.

    Args:
        reason: a short name of the cause.
        message: in words, without anything that the provider sent.
    """

    def __init__(self, reason: FetchProblem, message: str) -> None:
        super().__init__(message)
        self.reason: FetchProblem = reason
