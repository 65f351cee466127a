"""Opening the plaintext or TCP side: the addresses of one upstream in turn, until one answers."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from tlsidecar.dataplane import descriptors
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.outbound.resolve import Resolver, Target
from tlsidecar.dataplane.reactor import WRITE, Reactor
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Address

Connected = Callable[[socket.socket], None]
Failed = Callable[[Reason, str], None]
# Connects where this process may not: a socket that does not block and its address; an errno as connect_ex's.
Connector = Callable[[socket.socket, Any], int]

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK

_IN_PROGRESS = (errno.EINPROGRESS, errno.EALREADY)
_CONNECTED = (0, errno.EISCONN)
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)


class Dial:
    """One attempt to reach an upstream; calls ``connected`` or ``failed`` once, perhaps before ``start`` returns.

    ``deadlines`` bounds the whole attempt, resolving included.
    """

    __slots__ = (
        "_address",
        "_connected",
        "_connector",
        "_deadlines",
        "_failed",
        "_last",
        "_reactor",
        "_resolver",
        "_socket",
        "_targets",
    )

    def __init__(
        self,
        reactor: Reactor,
        resolver: Resolver,
        deadlines: DeadlineQueue,
        address: Address,
        connected: Connected,
        failed: Failed,
        connector: Connector | None = None,
    ) -> None:
        """``connector`` is asked where connecting is not permitted to this process."""
        self._reactor = reactor
        self._resolver = resolver
        self._deadlines = deadlines
        self._address = address
        self._connected: Connected | None = connected
        self._failed = failed
        self._connector = connector
        self._socket: socket.socket | None = None
        self._targets: Iterator[Target] = iter(())
        self._last = (Reason.UPSTREAM_UNRESOLVED, "the name has no address")

    def __repr__(self) -> str:
        return f"<Dial {self._address} {'open' if self._connected else 'over'}>"

    def start(self) -> None:
        self._resolver.resolve(self._address, self._resolved)
        if self._connected is not None:  # it takes time
            self._deadlines.add(self, self._expired)

    def cancel(self) -> None:
        """Give up; neither callback is called any more."""
        self._connected = None
        self._deadlines.lift(self)
        self._drop()

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._give_up(Reason.INTERNAL_ERROR, "")

    def _resolved(self, targets: tuple[Target, ...], detail: str) -> None:
        if self._connected is None:
            return
        if detail:
            self._last = (Reason.UPSTREAM_UNRESOLVED, detail)
        self._targets = iter(targets)
        self._next()

    def _next(self) -> None:
        for target in self._targets:
            try:
                sock = self._socket = socket.socket(target.family, _STREAM)
            except OSError as error:
                reason = Reason.UPSTREAM_UNREACHABLE
                if error.errno in descriptors.OUT_OF_RESOURCES:
                    reason = Reason.FD_EXHAUSTED
                self._last = (reason, f"no socket for {self._address}: {error.strerror}")
                continue
            if not descriptors.may_dial(sock.fileno()):
                self._last = (Reason.FD_EXHAUSTED, f"no socket for {self._address}: the last descriptors are reserved")
                self._drop()
                continue
            if target.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = sock.connect_ex(target.address)
            if number == errno.EACCES and self._connector is not None:
                number = self._connector(sock, target.address)
            elif number in _IN_PROGRESS:
                # On loopback the connection is up by now, and asking is cheaper than a turn of the loop.
                number = sock.connect_ex(target.address)
            if number in _CONNECTED:
                self._done(sock)
                return
            if number in _IN_PROGRESS:
                self._reactor.watch(sock.fileno(), WRITE, self._writable)
                return
            self._target_failed(number)
        self._give_up(*self._last)

    def _writable(self, _events: int) -> None:
        sock = self._socket
        assert sock is not None
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._reactor.forget(sock.fileno())
        if number:
            self._target_failed(number)
            self._next()
            return
        self._done(sock)

    def _target_failed(self, number: int) -> None:
        if number in (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN):
            reason = Reason.UPSTREAM_REFUSED
        elif number == errno.ETIMEDOUT:
            reason = Reason.UPSTREAM_TIMEOUT
        elif number in _UNREACHABLE:
            reason = Reason.UPSTREAM_UNREACHABLE
        else:
            reason = Reason.UPSTREAM_RESET
        detail = os.strerror(number)
        if number == errno.EACCES and self._connector is not None:
            detail = "the sandbox does not permit it, and its broker has not connected (a restart makes both anew)"
        self._last = (reason, f"{self._address}: {detail}")
        self._drop()

    def _done(self, sock: socket.socket) -> None:
        connected = self._connected
        self._socket = None
        self._connected = None
        self._deadlines.lift(self)
        if connected is None:
            sock.close()
            return
        connected(sock)

    def _expired(self) -> None:
        self._give_up(Reason.UPSTREAM_TIMEOUT, f"{self._address}: no connection within {self._deadlines.after_s:g} s")

    def _give_up(self, reason: Reason, detail: str) -> None:
        if self._connected is None:
            return
        self.cancel()
        self._failed(reason, detail)

    def _drop(self) -> None:
        if self._socket is not None:
            self._reactor.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
