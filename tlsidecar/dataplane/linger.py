"""Closing a socket so that what was last sent really arrives.

A close with unread bytes in the receive buffer is a reset, and a reset destroys what the peer has not read yet: the
alert that says why it was refused, or the tail of a response. So writing ends first, and what still comes in is thrown
away until the peer closes, too, or has had its time.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.reactor import READ, Reactor
from tlsidecar.dataplane.stream import BUFFER

LINGER_TIMEOUT_S = 1.0
# A peer that goes on sending is not worth more than this.
LINGER_BYTES = 256 * 1024

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Lingerer:
    """Closes sockets gently. The process keeps one for each reactor; it knows how many it is still closing."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._deadlines = DeadlineQueue(reactor.loop, LINGER_TIMEOUT_S)
        self._closing: set[_Lingering] = set()
        self.on_closed: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._closing)

    def close(self, sock: socket.socket) -> None:
        """Close ``sock``, which must not be watched any more, once the peer has read it all or the time is over."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()
            return
        lingering = _Lingering(self, sock)
        self._closing.add(lingering)
        self._deadlines.add(lingering, lingering.finish)
        self._reactor.watch(sock.fileno(), READ, lingering.readable)

    def close_all(self) -> None:
        for lingering in list(self._closing):
            lingering.finish()
        self._deadlines.clear()

    def finished(self, lingering: _Lingering) -> None:
        self._deadlines.lift(lingering)
        self._closing.discard(lingering)
        self._reactor.forget(lingering.sock.fileno())
        lingering.sock.close()
        if self.on_closed is not None:
            self.on_closed()


class _Lingering:
    __slots__ = ("_lingerer", "_room", "sock")

    def __init__(self, lingerer: Lingerer, sock: socket.socket) -> None:
        self._lingerer = lingerer
        self._room = LINGER_BYTES
        self.sock = sock

    def readable(self, _events: int) -> None:
        try:
            count = self.sock.recv_into(BUFFER)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._room -= count
        if not count or self._room <= 0:
            self.finish()

    def finish(self) -> None:
        if self.sock.fileno() >= 0:
            self._lingerer.finished(self)


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset, and cannot take what it got for the whole (SO_LINGER of 0)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()
