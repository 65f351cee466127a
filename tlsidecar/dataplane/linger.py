"""Closing a socket so that what was last sent really arrives.

A close with unread bytes in the receive buffer is a reset, and so is one before bytes that are still under way. A reset
destroys what the peer has not read yet: the alert that says why it was refused, or the answer to an upload that it is
still sending. So writing ends first, and what still comes in is thrown away until the peer closes, too, or has had its
time (RFC 9112 section 9.6; the times are those of nginx's ``lingering_timeout`` and ``lingering_time``).

Where an end would be a lie, since the other side was cut off, a reset follows all the same, once what had been relayed
before has arrived: that is what the peer would have had without us. To who came to us it does not come while it sends,
for a write that meets a reset keeps many from reading what has arrived (for an OpenSSL object it is the end).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
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
# Before a reset: how long who has said nothing lately must be silent, and who still sends.
CUT_SILENCE_S = 0.05
CUT_SENDER_SILENCE_S = 0.5

_TCP_CLOSE = 7  # tcp_states.h
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
        self._begin(_Lingering(self, sock), sock)

    def cut(self, sock: socket.socket, *, hears_out: bool) -> None:
        """Close ``sock`` with a reset, once what was sent has arrived or the time is over; if it is watched, that goes
        over to this. ``hears_out``: and when the peer sends no more."""
        # The close of a Unix socket destroys nothing that was sent.
        if sock.family == socket.AF_UNIX or _is_closed(sock) or not (hears_out or _unacknowledged(sock)):
            self._reactor.forget(sock.fileno())
            reset(sock)
            return
        cutting = _Cutting(self, sock)
        self._begin(cutting, sock)
        if not hears_out:
            self.ignore(cutting)
        cutting.wait(self._reactor.loop)

    def _begin(self, lingering: _Lingering, sock: socket.socket) -> None:
        if len(self._closing) >= self._most:
            next(iter(self._closing)).finish()
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

    def ignore(self, lingering: _Lingering) -> None:
        """It is to be read no more."""
        self._reactor.forget(lingering.sock.fileno())

    def finished(self, lingering: _Lingering) -> None:
        self._silences.lift(lingering)
        self._ends.lift(lingering)
        del self._closing[lingering]
        self._reactor.forget(lingering.sock.fileno())
        lingering.close()
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
            self.finish()
            return
        if count:
            self._lingerer.was_read(self)
        else:
            self.ended()

    def ended(self) -> None:
        """The peer has closed, too."""
        self.finish()

    def finish(self) -> None:
        if self.sock.fileno() >= 0:
            self._lingerer.finished(self)

    def close(self) -> None:
        self.sock.close()

    def fail(self) -> None:
        """A defect of ours showed itself in the handler."""
        self.finish()


class _Cutting(_Lingering):
    __slots__ = ("_heard", "_timer")

    def __init__(self, lingerer: Lingerer, sock: socket.socket) -> None:
        super().__init__(lingerer, sock)
        self._heard = _bytes(sock, termios.FIONREAD) > 0
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again when it has been silent for long enough, if it is."""
        after_s = CUT_SENDER_SILENCE_S if self._heard else CUT_SILENCE_S
        self._heard = False
        self._timer = loop.call_later(after_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._heard or _unacknowledged(self.sock):
            self.wait(loop)
        else:
            self.finish()

    def readable(self, events: int) -> None:
        self._heard = True
        super().readable(events)

    def ended(self) -> None:
        """It sends no more, and may still be reading."""
        if _unacknowledged(self.sock):
            self._lingerer.ignore(self)
        else:
            self.finish()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        reset(self.sock)


def _is_closed(sock: socket.socket) -> bool:
    """Whether TCP is done with it: it was reset, most likely, and nothing more arrives."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
    except OSError:
        return True


def _unacknowledged(sock: socket.socket) -> int:
    """How many bytes were sent and may still arrive (tcp(7): SIOCOUTQ, which is TIOCOUTQ)."""
    return 0 if _is_closed(sock) else _bytes(sock, termios.TIOCOUTQ)


def _bytes(sock: socket.socket, which: int) -> int:
    try:
        answer = fcntl.ioctl(sock, which, b"\0\0\0\0")
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset, and cannot take what it got for the whole (SO_LINGER of 0)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()
