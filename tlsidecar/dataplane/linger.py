"""Closing a socket so that what was last sent really arrives.

A close with unread bytes in the receive buffer is a reset, and so is one before bytes that are still under way. A reset
destroys what the peer has not read yet: the alert that says why it was refused, or the answer to an upload that it is
still sending. So writing ends first, and what still comes in is thrown away until the peer closes, too, or has had its
time (RFC 9112 section 9.6; the times are those of nginx's ``lingering_timeout`` and ``lingering_time``).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

from tlsidecar.dataplane import descriptors
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.reactor import READ, Reactor
from tlsidecar.dataplane.stream import BUFFER

SILENCE_S = 5.0  # between two reads
LINGER_S = 30.0  # in all
# A process that is to end does not wait so long.
DRAINING_SILENCE_S = 1.0
DRAINING_LINGER_S = 3.0

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def most_lingering() -> int:
    """How many sockets may be lingering at once: they are not among a listener's connections, and must not leave those
    without descriptors."""
    return max(64, descriptors.limit() // 8)


class Lingerer:
    """Closes sockets gently. The process keeps one for each reactor; it knows how many it is still closing."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._silences = DeadlineQueue(reactor.loop, SILENCE_S)
        self._ends = DeadlineQueue(reactor.loop, LINGER_S)
        self._closing: dict[_Lingering, None] = {}  # the one that has been closing for longest is the first
        self._most = most_lingering()
        self.on_closed: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Lingerer closing={len(self)}>"

    def __len__(self) -> int:
        return len(self._closing)

    def close(self, sock: socket.socket) -> None:
        """Close ``sock`` once the peer has closed it or the time is over; if it is watched, that goes over to this."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._reactor.forget(sock.fileno())
            sock.close()
            return
        if len(self._closing) >= self._most:
            next(iter(self._closing)).finish()
        lingering = _Lingering(self, sock)
        self._closing[lingering] = None
        self._silences.add(lingering, lingering.finish)
        self._ends.add(lingering, lingering.finish)
        self._reactor.rewatch(sock.fileno(), READ, lingering.readable)

    def drain(self) -> None:
        """Wait less long from now on: the process is to end."""
        self._wait(DRAINING_SILENCE_S, DRAINING_LINGER_S)

    def undrain(self) -> None:
        """Wait as long as ever."""
        self._wait(SILENCE_S, LINGER_S)

    def _wait(self, silence_s: float, linger_s: float) -> None:
        self._silences.clear()
        self._ends.clear()
        self._silences = DeadlineQueue(self._reactor.loop, silence_s)
        self._ends = DeadlineQueue(self._reactor.loop, linger_s)
        for lingering in self._closing:
            self._silences.add(lingering, lingering.finish)
            self._ends.add(lingering, lingering.finish)

    def close_all(self) -> None:
        for lingering in list(self._closing):
            lingering.finish()
        self._silences.clear()
        self._ends.clear()

    def was_read(self, lingering: _Lingering) -> None:
        self._silences.add(lingering, lingering.finish)

    def finished(self, lingering: _Lingering) -> None:
        self._silences.lift(lingering)
        self._ends.lift(lingering)
        del self._closing[lingering]
        self._reactor.forget(lingering.sock.fileno())
        lingering.sock.close()
        if self.on_closed is not None:
            self.on_closed()


class _Lingering:
    __slots__ = ("_lingerer", "sock")

    def __init__(self, lingerer: Lingerer, sock: socket.socket) -> None:
        self._lingerer = lingerer
        self.sock = sock

    def readable(self, _events: int) -> None:
        try:
            count = self.sock.recv_into(BUFFER)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self._lingerer.was_read(self)
        else:
            self.finish()

    def finish(self) -> None:
        if self.sock.fileno() >= 0:
            self._lingerer.finished(self)

    def fail(self) -> None:
        """A defect of ours showed itself in the handler."""
        self.finish()


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset, and cannot take what it got for the whole (SO_LINGER of 0)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()
