"""Opening the plaintext or TCP side: the addresses of one upstream in turn, until one answers."""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator

from tlsidecar.dataplane import descriptors
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.outbound.resolve import Target
from tlsidecar.dataplane.reactor import WRITE, Reactor
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Address

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK

_NO_TARGETS: Iterator[Target] = iter(())
_NO_ADDRESS = (Reason.UPSTREAM_UNRESOLVED, "the name has no address")

_IN_PROGRESS = (errno.EINPROGRESS, errno.EALREADY)
_CONNECTED = (0, errno.EISCONN)
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)


class Dial(ABC):
    """Dialling one address: ends in :meth:`_connected` or :meth:`_unreachable`, once, perhaps before :meth:`start`
    returns.

    The deadline bounds all of it, resolving included.
    """

    __slots__ = ("_address", "_connect_deadlines", "_dials", "_last", "_network", "_reactor", "_socket", "_targets")

    def __init__(self, reactor: Reactor, network: Network, deadlines: DeadlineQueue, address: Address) -> None:
        self._reactor = reactor
        self._network = network
        self._connect_deadlines = deadlines
        self._address = address
        self._dials = True
        self._socket: socket.socket | None = None
        self._targets: Iterator[Target] = _NO_TARGETS
        self._last = _NO_ADDRESS

    @abstractmethod
    def _connected(self, sock: socket.socket) -> None:
        """The address has answered. The socket is not watched."""

    @abstractmethod
    def _unreachable(self, reason: Reason, detail: str) -> None:
        """It has not, and nothing is left open."""

    def start(self) -> None:
        self._network.resolver.resolve(self._address, self._resolved)
        if self._dials:  # it takes time
            self._connect_deadlines.add(self, self._expired)

    def hang_up(self) -> None:
        """Give up dialling, if that is not over yet; neither of its ends follows."""
        if self._dials:
            self._dials = False
            self._connect_deadlines.lift(self)
            self._drop()

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._give_up(Reason.INTERNAL_ERROR, "")

    def _resolved(self, targets: tuple[Target, ...], detail: str) -> None:
        if not self._dials:
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
            if number == errno.EACCES and self._network.connector is not None:
                number = self._network.connector(sock, target.address)
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
        if number == errno.EACCES and self._network.connector is not None:
            detail = "the sandbox does not permit it, and its broker has not connected (a restart makes both anew)"
        self._last = (reason, f"{self._address}: {detail}")
        self._drop()

    def _done(self, sock: socket.socket) -> None:
        self._dials = False
        self._socket = None
        self._connect_deadlines.lift(self)
        self._connected(sock)

    def _expired(self) -> None:
        waited_s = self._connect_deadlines.after_s
        self._give_up(Reason.UPSTREAM_TIMEOUT, f"{self._address}: no connection within {waited_s:g} s")

    def _give_up(self, reason: Reason, detail: str) -> None:
        if self._dials:
            self.hang_up()
            self._unreachable(reason, detail)

    def _drop(self) -> None:
        if self._socket is not None:
            self._reactor.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
