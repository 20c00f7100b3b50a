"""A repository of public keys that goes on working while its database does not."""

from ftrepo.errors import (
    CircuitOpenError,
    FtrepoError,
    InvalidKeyError,
    InvalidKeyIdError,
    InvalidKeyMaterialError,
    InvalidLifetimeError,
    JournalError,
    JournalFullError,
    JournalLockedError,
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    KeyUnavailableError,
    PendingFullError,
    PolicyError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
    UnsupportedAlgorithmError,
)
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import (
    Clock,
    Durability,
    Journal,
    Observer,
    PrimaryStore,
    PublicKeyRepository,
)
from ftrepo.journal.sqlite import SqliteJournal
from ftrepo.keys import Algorithm, PublicKey, SigningKey
from ftrepo.memory import InMemoryRepository
from ftrepo.pending import PendingWrites
from ftrepo.policy import Policy

__all__ = [
    "Algorithm",
    "CircuitOpenError",
    "Clock",
    "Durability",
    "FaultTolerantRepository",
    "FtrepoError",
    "InMemoryRepository",
    "InvalidKeyError",
    "InvalidKeyIdError",
    "InvalidKeyMaterialError",
    "InvalidLifetimeError",
    "Journal",
    "JournalError",
    "JournalFullError",
    "JournalLockedError",
    "KeyConflictError",
    "KeyExpiredError",
    "KeyNotFoundError",
    "KeyUnavailableError",
    "Observer",
    "PendingFullError",
    "PendingWrites",
    "Policy",
    "PolicyError",
    "PrimaryRejectedError",
    "PrimaryStore",
    "PrimaryUnavailableError",
    "PublicKey",
    "PublicKeyRepository",
    "SigningKey",
    "SqliteJournal",
    "UnsupportedAlgorithmError",
]
