"""Every error that `ftrepo` raises on purpose.

::

    FtrepoError
    ├── InvalidKeyError (ValueError)        the key itself is wrong; nothing was stored
    │   ├── InvalidKeyIdError               the id is malformed or oversized
    │   ├── InvalidKeyMaterialError         the PEM, DER or JWK cannot be read
    │   ├── UnsupportedAlgorithmError       readable, but not an algorithm we accept
    │   └── InvalidLifetimeError            the times are naive, or expiry is not after creation
    ├── PolicyError (ValueError)            a setting is unknown, of the wrong type or impossible
    ├── KeyExpiredError                     `create` of a key whose time has passed
    ├── KeyConflictError                    the id is already bound to other key material
    ├── KeyNotFoundError (LookupError)      nobody has the key
    │   └── KeyUnavailableError             nobody at hand has it, and the primary cannot be asked
    ├── PrimaryUnavailableError             the store of record could not be asked
    │   ├── PrimaryNotAskedError            it was not asked: breaker, bound or budget
    │   ├── PrimaryRejectedError            it answered, and refuses what it was given
    │   ├── PoolExhaustedError              it was not asked, because every connection is in use
    │   ├── PoolClosedError                 it was not asked, because its connections are closed
    │   └── AmbiguousCommitError            it was asked to commit, and nobody knows whether it did
    ├── TransactionAbortedError             a commit of a transaction that had failed before
    ├── CallRefusedError                    a call was not made; says when to come back
    │   ├── CircuitOpenError                the breaker is open
    │   ├── BulkheadFullError               too many calls are under way, and too many wait
    │   └── RateLimitedError                too many calls were made lately
    ├── TimeLimitError (TimeoutError)       a call took too long; what became of it is unknown
    ├── FallbackFailedError                 a call failed, and everything tried in its place
    ├── PendingFullError                    the bound on pending writes is reached
    └── JournalError                        the journal of pending writes cannot be used
        ├── JournalLockedError              another process has it open
        └── JournalFullError                the bound on its entries is reached

A caller of a repository needs three of them: `KeyUnavailableError` (answer 503 and retry), any
other `KeyNotFoundError` (the key is unknown) and `KeyConflictError` (a bug in whoever made the id).
"""

from __future__ import annotations


class FtrepoError(Exception):
    """Base of every error in this package."""


class InvalidKeyError(FtrepoError, ValueError):
    """The key itself is wrong. Nothing was stored; correct the key and try again."""


class InvalidKeyIdError(InvalidKeyError):
    """The key id is empty, too long (`ftrepo.keys.KEY_ID_LENGTH_MAX`) or has a wrong character."""


class InvalidKeyMaterialError(InvalidKeyError):
    """The key material cannot be read: bad PEM, truncated DER, a private key in a public place."""


class UnsupportedAlgorithmError(InvalidKeyError):
    """The key can be read, but its algorithm, curve or size is not in `ftrepo.keys.Algorithm`."""


class InvalidLifetimeError(InvalidKeyError):
    """A time without a time zone, or an expiry that is not after the creation."""


class PolicyError(FtrepoError, ValueError):
    """A setting is unknown, of the wrong type or impossible; the message names the setting."""


class KeyExpiredError(FtrepoError):
    """`create` was asked to store a key whose expiry has passed. Nothing was stored."""


class KeyConflictError(FtrepoError):
    """The id is already bound to other key material, and an id is never rebound.

    The key that was there first is kept. The caller made two keys under one id: use the
    thumbprint as the id, which cannot collide.
    """


class KeyNotFoundError(FtrepoError, LookupError):
    """No store has an unexpired key under this id."""


class KeyUnavailableError(KeyNotFoundError):
    """No store at hand has the key, and the primary, which may have it, cannot be asked.

    A service answers 503 with Retry-After, never "unknown key".

    Attributes:
        retry_after_s: seconds until the primary is next worth asking; `None` when nobody knows.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PrimaryUnavailableError(FtrepoError):
    """The store of record could not be asked, or did not answer in time.

    For a write this means *unknown*: it may have been committed.
    """


class PrimaryNotAskedError(PrimaryUnavailableError):
    """The call was not made: the breaker is open, too many are under way, or too many have failed.

    Nothing was sent, so nothing is ambiguous.

    Attributes:
        retry_after_s: seconds until a call may be made again; zero when one may be made as soon as
            another ends.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PrimaryRejectedError(PrimaryUnavailableError):
    """The store of record answered, and refuses to store what it was given.

    It is healthy, and refuses the same again: a constraint or a limit of the database that this
    package does not know. Nothing of the call was stored.
    """


class PoolExhaustedError(PrimaryUnavailableError, TimeoutError):
    """Every connection was in use for as long as the caller could wait. Nothing was sent."""


class PoolClosedError(PrimaryUnavailableError):
    """The pool of connections is closed, or not open yet. Nothing was sent."""


class AmbiguousCommitError(PrimaryUnavailableError):
    """The answer to a COMMIT was lost: the transaction may or may not have been committed.

    Repeat it only if doing it twice is the same as doing it once; otherwise look first whether it
    took effect.
    """


class TransactionAbortedError(FtrepoError):
    """The server answered a COMMIT with a rollback, because an earlier statement had failed.

    The body of the transaction went on after an error. Nothing was committed.
    """


class CallRefusedError(FtrepoError):
    """A call was not made, to spare the caller, the one who is called, or both.

    It costs little: the message is put together only when somebody reads it.

    Args:
        name: of what refused: a breaker, a bulkhead, a limiter.
        reason: why, in words, e.g. "open".
        retry_after_s: seconds until a call may be admitted; zero when that depends on calls that
            are under way rather than on time. Fit for the header Retry-After, rounded up.
    """

    @property
    def name(self) -> str:
        """The name of what refused the call."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.args[1])

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call may be admitted; zero when that depends on calls under way."""
        return float(self.args[2])

    def __str__(self) -> str:
        when = f"in {self.retry_after_s:.3g} s" if self.retry_after_s else "when another call ends"
        return f"{self.name} refuses the call: {self.reason}; try again {when}"


class CircuitOpenError(CallRefusedError):
    """The breaker is open, or half-open with every place for a probe taken."""


class BulkheadFullError(CallRefusedError):
    """As many calls are under way as may be, and as many wait for a place as may wait."""


class RateLimitedError(CallRefusedError):
    """More calls were made lately than the limit allows."""


class TimeLimitError(FtrepoError, TimeoutError):
    """A call took longer than it may. Whether it took effect is unknown."""


class FallbackFailedError(FtrepoError):
    """A call failed, and so did everything that was tried in its place.

    The error of the call itself is the `__cause__`.

    Attributes:
        errors: of the fallbacks, in the order in which they were tried.
    """

    def __init__(self, message: str, *, errors: tuple[Exception, ...]) -> None:
        super().__init__(message)
        self.errors = errors

    @property
    def retry_after_s(self) -> float | None:
        """Seconds until the call itself may be admitted, as its error says; `None` if it does not.

        What the fallbacks say is left out: the call is what is to be made again.
        """
        retry_after_s: float | None = getattr(self.__cause__, "retry_after_s", None)
        return retry_after_s


class PendingFullError(FtrepoError):
    """Pending writes have reached `Policy.pending_max`; the key was not accepted by any store."""


class JournalError(FtrepoError):
    """The journal of pending writes cannot be used; the message says why and what to do.

    It is raised where the repository starts, never by `create`: there the key is acknowledged as
    `Durability.MEMORY` instead.
    """


class JournalLockedError(JournalError):
    """Another process has the journal open. Each instance needs a journal of its own."""


class JournalFullError(JournalError):
    """The journal holds as many keys as it may. The key was not written to it."""
