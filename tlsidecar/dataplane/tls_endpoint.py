"""An end of an HTTP exchange that speaks TLS: a client of ours, or a remote whose client we are."""

from __future__ import annotations

import socket

from tlsidecar.dataplane.endpoint import Endpoint
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.late_alert import late_alert
from tlsidecar.dataplane.reactor import READ, Reactor
from tlsidecar.dataplane.stream import (
    CLOSED,
    DONE,
    FAILED,
    MOST_GATHERED_BYTES,
    RECORD_BYTES,
    VIEW,
    WANT_READ,
    WANT_WRITE,
)


class TlsEndpoint(Endpoint):
    """A TLS stream after its handshake.

    OpenSSL reads a record at a time. While the other side keeps up several of them are gathered, for one large send
    there costs less than several. An end that was met on the way is told after what came before it.
    """

    __slots__ = ("_gathers", "_met", "_stream")

    def __init__(self, reactor: Reactor, sock: socket.socket, stream: Stream) -> None:
        super().__init__(reactor, sock)
        self._stream = stream
        self._gathers = False
        self._met = WANT_READ  # or the end that was met, CLOSED or FAILED: nothing is read any more

    def read(self) -> int:
        stream = self._stream
        count = stream.read() if self._met == WANT_READ else self._met
        if count == FAILED:
            self.failure = stream.failure
        elif count == RECORD_BYTES and self._gathers:
            return self._gather(count)
        return count

    def _gather(self, count: int) -> int:
        """Read on after a full record: others are likely at hand."""
        stream = self._stream
        while count < MOST_GATHERED_BYTES:
            more = stream.read_more(count)
            if more > 0:
                count += more
            elif more in (CLOSED, FAILED):
                self._met = more
                self._reactor.loop.call_soon(self._tell_end)  # the socket need not become readable for it
            if more != RECORD_BYTES:
                break
        return count

    def _tell_end(self) -> None:
        if self.is_reading and not self.closed:
            try:
                self._readable(READ)
            except Exception:
                self._reactor.crashed(self.sock.fileno(), self._readable)

    def resume(self) -> None:
        if self._met != WANT_READ and not self.is_reading:
            self._reactor.loop.call_soon(self._tell_end)
        super().resume()

    def widen(self, wider: bool) -> None:
        self._gathers = wider

    def has_unread(self) -> bool:
        # A record of the protocol's own, a session ticket say, is taken in by looking.
        return self._stream.peek() not in (WANT_READ, WANT_WRITE)

    def send(self, data: bytes | memoryview) -> bool:
        if self._queued or self.closed:
            return not self.closed and self._send_rest(data, 0)
        stream = self._stream
        taken = stream.write_bytes(data)
        if taken == len(data):
            return True
        if taken == FAILED:
            self.failure = stream.failure
        return self._send_rest(data, taken)

    def send_read(self, count: int) -> bool:
        if self._queued or self.closed:
            return self.send(VIEW[:count])
        stream = self._stream
        taken = stream.write(0, count)
        if taken == count:
            return True
        if taken == FAILED:
            self.failure = stream.failure
        return self._send_rest(VIEW[:count], taken)

    def _write(self, data: bytes | memoryview) -> int:
        taken = self._stream.write_bytes(data)
        if taken == FAILED:
            self.failure = self._stream.failure
        return taken

    def _say_end(self) -> int:
        answer = self._stream.close_notify()
        if answer == FAILED:
            self.failure = self._stream.failure
        return answer

    def _end_writing(self) -> int:
        answer = self._say_end()
        if answer == DONE:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                return DONE
        return answer

    def _let_go(self, *, stays_watched: bool = False) -> None:
        super()._let_go(stays_watched=stays_watched)
        self._stream.release()


class RemoteEndpoint(TlsEndpoint):
    """The server that we have shaken hands with as its client.

    In TLS 1.3 a client is told after its handshake that the server will not have it: see :mod:`.late_alert`.
    """

    __slots__ = ("_has_peeked", "_may_refuse")

    def __init__(self, reactor: Reactor, sock: socket.socket, stream: Stream) -> None:
        super().__init__(reactor, sock, stream)
        self._may_refuse = True
        self._has_peeked = False  # a record is in OpenSSL by now, for which the socket need not become readable

    def resume(self) -> None:
        if self._has_peeked and not self.is_reading:
            self._reactor.loop.call_soon(self._tell_end)
        super().resume()

    def read(self) -> int:
        self._has_peeked = False
        count = super().read()
        if count > 0:
            self._may_refuse = False
        return count

    def send(self, data: bytes | memoryview) -> bool:
        if not self._may_refuse or self._queued or self.closed:
            return super().send(data)
        taken = self._write(data)
        return taken == len(data) or self._send_rest(data, taken)

    def send_read(self, count: int) -> bool:
        return self.send(VIEW[:count]) if self._may_refuse else super().send_read(count)

    def _write(self, data: bytes | memoryview) -> int:
        if not self._may_refuse:
            return super()._write(data)
        peeked = self._stream.peek()
        if peeked == FAILED:
            self.failure = self._stream.failure
            return FAILED
        if peeked not in (WANT_READ, WANT_WRITE):
            self._may_refuse = False  # it speaks
            self._has_peeked = True
            self._reactor.loop.call_soon(self._tell_end)
        taken = super()._write(data[:RECORD_BYTES])
        if taken == FAILED:
            self.failure = late_alert(self.sock) or self.failure
        return taken
