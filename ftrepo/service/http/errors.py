"""Why a request is refused before, or instead of, being looked at.

::

    FtrepoError
    └── RequestRefusedError
        ├── HeadersTooLargeError        431
        ├── BodyTooLargeError           413
        ├── RequestTooSlowError         408   the caller sends too slowly
        ├── TooManyRequestsError        429   from this caller, or altogether; says when to return
        ├── TooManyInFlightError        503   as many requests are under way as may be
        ├── RequestTimeLimitError       503   the answer takes too long
        ├── PeerNotAuthenticatedError   401   only other instances may ask this
        └── KeyAbsentError              404   no valid key has the id; says for how long that holds

`BrokenOffError` is none of these: it is for the server, once half an answer is out.
"""

from __future__ import annotations

from ftrepo.errors import FtrepoError


class RequestRefusedError(FtrepoError):
    """A request is refused by the HTTP layer.

    Args:
        message: for the log.
        retry_after_s: seconds until it is worth asking again; `None` when nobody knows.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HeadersTooLargeError(RequestRefusedError):
    """The headers have more bytes than `limits.HEADER_BYTES_MAX`."""


class BodyTooLargeError(RequestRefusedError):
    """The body has, or says that it has, more bytes than `body_bytes_max`."""


class RequestTooSlowError(RequestRefusedError):
    """The body had not come within `request_timeout_s`."""


class TooManyRequestsError(RequestRefusedError):
    """The endpoint was asked too often lately, by this caller or by all together."""


class TooManyInFlightError(RequestRefusedError):
    """`requests_in_flight_max` requests are under way."""


class RequestTimeLimitError(RequestRefusedError):
    """The answer was not there within `request_timeout_s`."""


class PeerNotAuthenticatedError(RequestRefusedError):
    """The secret that instances know each other by is missing or wrong."""


class KeyAbsentError(RequestRefusedError):
    """No valid key has the id that was asked for.

    Args:
        max_age_s: for how long others may keep that answer; zero for not at all.
    """

    def __init__(self, *, max_age_s: int) -> None:
        super().__init__("no valid key has this id")
        self.max_age_s = max_age_s


class BrokenOffError(FtrepoError):
    """Half an answer is out, and the rest will not come; the server closes the connection.

    Its cause has been logged by then. Whoever reads an answer too slowly brings it about as often
    as he likes, so what the server says of it is kept out of the log.
    """
