"""Where the service listens, how long a connection may say nothing, and how many one caller has.

uvicorn closes a connection that is idle after an answer, but waits for ever for the first request
and for the rest of one that has begun: a caller could hold thousands of connections for nothing.
Here a request's head must arrive in time. Its body is bounded by `http.limits`. And nobody has so
many connections that there are none left for others, probes of the service's health among them.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import resource
import socket
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from ftrepo.service.address import url_at
from ftrepo.service.errors import ServiceSettingsError
from ftrepo.service.http.callers import caller_at

if TYPE_CHECKING:
    from ftrepo.service.settings import ServerSettings

_log = logging.getLogger("ftrepo")

HEAD_BYTES_MAX = 65_536
"""Of a request's line and headers; more is refused with a bare 400. It is twice the bound of
`http.limits`, so that whoever is somewhat above that is told what is wrong."""

OTHER_FILES = 256
"""Open files besides the connections of callers: those to the database, to providers and peers, the
journal, the log."""

_NOT_OF_THIS_MACHINE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address that a host has, all on one port; none listens yet.

    An address that this machine lacks is left out if there is another: `localhost` has one of IPv6
    in many a container whose network has none.

    Args:
        host: a name or an address of this machine; "0.0.0.0" and "::" are all of them.
        port: zero for any that is free.

    Raises:
        ServiceSettingsError: that is not possible; the message says why and what to set.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ServiceSettingsError(
            f"server.host = {host!r}: there is no such host (--host)"
        ) from None
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        taken = sockets[0].getsockname()[1] if sockets else address[1]
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], taken, *address[2:])))
        except OSError as error:
            failed = error
            if error.errno not in _NOT_OF_THIS_MACHINE:
                break
    if failed is not None and (failed.errno not in _NOT_OF_THIS_MACHINE or not sockets):
        for each in sockets:
            each.close()
        raise ServiceSettingsError(_why_not_bound(failed, host, port))
    return sockets


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken: choose another one (--port or server.port; 0 takes "
            "any that is free), or stop who has it"
        )
    if error.errno == errno.EACCES:
        return f"port {port} of {host} may not be used by this user: choose one above 1023 (--port)"
    if error.errno in _NOT_OF_THIS_MACHINE:
        return f"server.host = {host!r} is no address of this machine (--host)"
    return f"cannot listen on port {port} of {host}: {error.strerror}"


def url_of(listening: socket.socket) -> str:
    """Return how a program on this machine reaches a socket."""
    return url_at(*listening.getsockname()[:2])


def allow_open_files(connections_max: int) -> None:
    """Raise the process's limit on open files to what so many connections need, if it may."""
    wanted = connections_max + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning(
            "the system allows %s open files, too few for server.connections_max = %s: lower it, "
            "or raise the limit (ulimit -n, LimitNOFILE)",
            allowed,
            connections_max,
        )


class CallerConnections:
    """How many connections each caller has. It is as large as there are connections.

    Args:
        caller_max: the most of one caller, at least 1.
        exempt: addresses or networks that are not counted.
    """

    def __init__(self, caller_max: int, *, exempt: Iterable[str] = ()) -> None:
        self._caller_max = caller_max
        self._exempt = tuple(ipaddress.ip_network(each) for each in exempt)
        self._open: Counter[str] = Counter()

    def enter(self, host: str) -> bool:
        """Count a connection from an address. False, and not counted, if it is one too many."""
        caller = caller_at(host)
        if self._is_exempt(host):
            return True
        if self._open[caller] >= self._caller_max:
            return False
        self._open[caller] += 1
        return True

    def leave(self, host: str) -> None:
        """Count a connection no longer that `enter` has let in."""
        caller = caller_at(host)
        if self._is_exempt(host):
            return
        self._open[caller] -= 1
        if not self._open[caller]:
            del self._open[caller]

    def __len__(self) -> int:
        """How many callers have a connection that is counted."""
        return len(self._open)

    def _is_exempt(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return True  # A socket of the file system: who may use it is the system's matter.
        return any(address in network for network in self._exempt)


class GuardedConnection(H11Protocol):
    """One of not too many connections, on which each request's head must arrive in time."""

    head_timeout_s: ClassVar[float]
    callers: ClassVar[CallerConnections]

    _timer: asyncio.TimerHandle | None = None
    _counted: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head; close at once if the caller has too many connections."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self.callers.enter(host):
            transport.abort()
            return
        self._counted = host
        self._expect_head(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._forget()
        if self._counted is not None:
            self.callers.leave(self._counted)
            self._counted = None
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next head, which may begin while the connection is kept alive."""
        answered = self.cycle
        super().on_response_complete()
        if self.cycle is answered:  # Else a request that was sent early is under way already.
            self._expect_head(self.timeout_keep_alive + self.head_timeout_s)

    def _expect_head(self, within_s: float) -> None:
        self._forget()
        self._timer = self.loop.call_later(within_s, self._close_unless_after, self.cycle)

    def _close_unless_after(self, before: object) -> None:
        if self.cycle is before and not self.transport.is_closing():
            self.transport.close()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def guarded_connections(settings: ServerSettings) -> type[GuardedConnection]:
    """Return the class of connections with these settings; one class counts its own."""
    callers = CallerConnections(settings.caller_connections_max, exempt=settings.trusted_proxies)
    members = {"head_timeout_s": settings.request_head_timeout_s, "callers": callers}
    return type("_Guarded", (GuardedConnection,), members)
