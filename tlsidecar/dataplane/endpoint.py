"""One end of an HTTP exchange: a socket, plain or TLS, that reads into the shared buffer and queues what it cannot
write at once. Both kinds answer in the numbers of :mod:`.stream`, so whoever holds one need not know which it is.

States: *open* ─ ``finish()`` ▶ *finishing* (writes what is queued, then ends its direction) ; ``close()`` or ``cut()``
ends either at once. Reading goes on until it is paused; a paused end with nothing queued is not watched at all.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from tlsidecar.dataplane.linger import Lingerer, reset
from tlsidecar.dataplane.reactor import READ, WRITE, Reactor
from tlsidecar.dataplane.stream import DONE, FAILED, VIEW, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure

Readable = Callable[[int], None]

_NOTHING: list[bytes] = []  # what an end that has nothing queued holds: never changed, and shared by all of them


class Holder(Protocol):
    """Whose end it is."""

    def drained(self) -> None:
        """All that was queued is written."""
        ...

    def broken(self) -> None:
        """A write failed; the end's ``failure`` says why."""
        ...

    def fail(self) -> None:
        """A defect of ours showed itself in a handler of the end, which is cut by now."""
        ...


# So much of a plain socket is read at once: what the other side does not take is copied.
_WINDOW = VIEW[: 64 * 1024]


class Endpoint(ABC):
    """``readable`` is called when there is something to read, an end or a failure included; ``holder`` is told the
    rest."""

    __slots__ = (
        "_holder",
        "_queued",
        "_reactor",
        "_readable",
        "_watched",
        "closed",
        "failure",
        "finishing",
        "is_reading",
        "queued_bytes",
        "sock",
    )

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        self._reactor = reactor
        self.sock = sock
        self._readable: Readable = _nothing_to_read
        self._holder: Holder | None = None
        self.is_reading = False
        self._watched = 0
        self._queued = _NOTHING
        self.queued_bytes = 0
        self.finishing = False
        self.closed = False
        self.failure: SslFailure | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "finishing" if self.finishing else "open"
        return f"<{type(self).__name__} {state} queued={self.queued_bytes}>"

    # What the kinds differ in.

    @abstractmethod
    def read(self) -> int:
        """Fill the shared buffer from its start: how many bytes, or CLOSED, WANT_READ, WANT_WRITE, FAILED."""

    @abstractmethod
    def has_unread(self) -> bool:
        """Whether a readable socket holds data, an end or a failure: something to :meth:`read`."""

    @abstractmethod
    def _write(self, data: bytes | memoryview) -> int:
        """Write some of ``data``: how many bytes were taken, or WANT_READ, WANT_WRITE, FAILED."""

    @abstractmethod
    def _say_end(self) -> int:
        """What the protocol itself has to say at the end: DONE, WANT_READ, WANT_WRITE or FAILED."""

    @abstractmethod
    def _end_writing(self) -> int:
        """Tell the other end that no more comes: DONE, WANT_READ, WANT_WRITE or FAILED."""

    @abstractmethod
    def widen(self, wider: bool) -> None:
        """Read more at once from now on, where the other side keeps up, or as little as at first."""

    # Watching.

    def attach(self, readable: Readable, holder: Holder) -> None:
        """Whom to call, with epoll's events; begins to read. To be called once: while nothing is queued the reactor
        calls ``readable`` itself, so it is to be a method of ``holder``."""
        self._readable = readable
        self._holder = holder
        self.resume()

    def redirect(self, readable: Readable) -> None:
        """Call this from now on when there is something to read; what it is a method of fails as the holder does."""
        self._readable = readable
        if self._watched == READ:
            self._reactor.rewatch(self.sock.fileno(), READ, readable)

    def detach(self) -> None:
        """Nobody is called any more, and nothing is watched."""
        self._forget_holder()
        self._reactor.forget(self.sock.fileno())

    def _forget_holder(self) -> None:
        self._readable = _nothing_to_read
        self._holder = None
        self.is_reading = False
        self._watched = 0

    def pause(self) -> None:
        """Do not read for now."""
        if self.is_reading:
            self.is_reading = False
            self._interests()

    def resume(self) -> None:
        if not self.is_reading:
            self.is_reading = True
            self._interests()

    # Writing.

    @abstractmethod
    def send(self, data: bytes | memoryview) -> bool:
        """Write ``data``, or queue what would not go; False when the write failed (``failure`` says why). Each kind
        writes by itself: a call more for each write can be seen."""

    def send_read(self, count: int) -> bool:
        """:meth:`send` the first ``count`` bytes of the shared buffer: what was just read from another end."""
        return self.send(VIEW[:count])

    def _send_rest(self, data: bytes | memoryview, taken: int) -> bool:
        """``taken``: what the first write answered."""
        written = 0
        while taken > 0:
            written += taken
            if written == len(data):
                return True
            taken = self._write(data[written:])
        if taken == FAILED:
            return False
        rest = bytes(data[written:])
        if self._queued is _NOTHING:
            self._queued = [rest]
        else:
            self._queued.append(rest)
        self.queued_bytes += len(data) - written
        self._interests()
        return True

    def finish(self) -> None:
        """End this direction once everything queued is written."""
        if not self.finishing and not self.closed:
            self.finishing = True
            if not self._queued:
                self._flush()

    def hand_over(self) -> bytes:
        """Give the socket to somebody else: what was still to be written; this end is not to be used any more."""
        queued = b"".join(self._queued)
        self.detach()
        self._queued = _NOTHING
        self.queued_bytes = 0
        return queued

    def close(self) -> None:
        """Close at once, with an ordinary end."""
        if not self.closed:
            self._let_go()
            self.sock.close()

    def linger(self, lingerer: Lingerer) -> None:
        """Tell the end, where nothing has failed, then close once the other side has read everything."""
        if not self.closed:
            if self.failure is None:
                self._say_end()
            self._let_go(stays_watched=True)
            lingerer.close(self.sock)

    def cut(self, lingerer: Lingerer | None = None) -> None:
        """Close so that the other end cannot take what it has for the whole: at once, or once it has that."""
        if self.closed:
            return
        self._let_go(stays_watched=lingerer is not None)
        if lingerer is None:
            reset(self.sock)
        else:
            lingerer.cut(self.sock, hears_out=True)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler: whoever holds this end decides."""
        holder = self._holder
        self.cut()
        if holder is not None:
            holder.fail()

    def _let_go(self, *, stays_watched: bool = False) -> None:
        """``stays_watched``: somebody else takes the watch over at once."""
        if stays_watched:
            self._forget_holder()
        else:
            self.detach()
        self.closed = True
        self._queued = _NOTHING
        self.queued_bytes = 0

    def _event(self, events: int) -> None:
        """While something is queued, or the end is to be told."""
        self._flush()
        if self.is_reading and not self.closed:
            self._readable(events)

    def _flush(self) -> None:
        if self._queued:
            data = self._queued[0] if len(self._queued) == 1 else b"".join(self._queued)
            view = memoryview(data)
            while view:
                taken = self._write(view)
                if taken == FAILED:
                    self._tell_broken()
                    return
                if taken <= 0:
                    break
                view = view[taken:]
            self._queued = [bytes(view)] if view else _NOTHING
            self.queued_bytes = len(view)
            if view:
                self._interests()
                return
        if self.finishing:
            answer = self._end_writing()
            if answer == WANT_WRITE:
                self._interests()
                return
            if answer == FAILED:
                self._tell_broken()
                return
            self.finishing = False
        self._interests()
        if self._holder is not None:
            self._holder.drained()

    def _tell_broken(self) -> None:
        if self._holder is not None:
            self._holder.broken()

    def _interests(self) -> None:
        if self.closed:
            return
        wanted = (READ if self.is_reading else 0) | (WRITE if self._queued or self.finishing else 0)
        if wanted != self._watched:
            self._watched = wanted
            self._reactor.rewatch(self.sock.fileno(), wanted, self._readable if wanted == READ else self._event)


class PlainEndpoint(Endpoint):
    """A plain socket: the local service, or the local application."""

    __slots__ = ("_window",)

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        super().__init__(reactor, sock)
        self._window = _WINDOW

    def read(self) -> int:
        try:
            return self.sock.recv_into(self._window)
        except BlockingIOError:
            return WANT_READ
        except OSError as error:
            return self._failed(error)

    def has_unread(self) -> bool:
        return True

    def widen(self, wider: bool) -> None:
        self._window = VIEW if wider else _WINDOW

    def send(self, data: bytes | memoryview) -> bool:
        if self._queued or self.closed:
            return not self.closed and self._send_rest(data, 0)
        try:
            taken = self.sock.send(data)
        except BlockingIOError:
            taken = WANT_WRITE
        except OSError as error:
            taken = self._failed(error)
        return taken == len(data) or self._send_rest(data, taken)

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return WANT_WRITE
        except OSError as error:
            return self._failed(error)

    def _say_end(self) -> int:
        return DONE

    def _end_writing(self) -> int:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                return self._failed(error)
        return DONE

    def _failed(self, error: OSError) -> int:
        self.failure = SslFailure(FailureKind.RESET, os.strerror(error.errno or 0))
        return FAILED


def _nothing_to_read(_events: int) -> None:
    pass
