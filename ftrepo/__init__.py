"""A repository of public keys that goes on working while its database does not."""

from ftrepo.errors import (
    BulkheadFullError,
    CallRefusedError,
    CircuitOpenError,
    FallbackFailedError,
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
    PrimaryNotAskedError,
    PrimaryRejectedError,
    PrimaryUnavailableError,
    RateLimitedError,
    TimeLimitError,
    UnsupportedAlgorithmError,
)
from ftrepo.fault_tolerant import FaultTolerantRepository
from ftrepo.interface import (
    Clock,
    Durability,
    Journal,
    Observer,
    Peers,
    PrimaryStore,
    PublicKeyRepository,
    Snapshot,
)
from ftrepo.journal.sqlite import SqliteJournal
from ftrepo.keys import Algorithm, PublicKey, SigningKey
from ftrepo.listing import ValidKeys
from ftrepo.memory import InMemoryRepository
from ftrepo.pending import PendingWrites
from ftrepo.policy import Policy
from ftrepo.rotation import KeyRotation
from ftrepo.snapshot import FileSnapshot

__all__ = [
    "Algorithm",
    "BulkheadFullError",
    "CallRefusedError",
    "CircuitOpenError",
    "Clock",
    "Durability",
    "FallbackFailedError",
    "FaultTolerantRepository",
    "FileSnapshot",
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
    "KeyRotation",
    "KeyUnavailableError",
    "Observer",
    "Peers",
    "PendingFullError",
    "PendingWrites",
    "Policy",
    "PolicyError",
    "PrimaryNotAskedError",
    "PrimaryRejectedError",
    "PrimaryStore",
    "PrimaryUnavailableError",
    "PublicKey",
    "PublicKeyRepository",
    "RateLimitedError",
    "SigningKey",
    "Snapshot",
    "SqliteJournal",
    "TimeLimitError",
    "UnsupportedAlgorithmError",
    "ValidKeys",
]
