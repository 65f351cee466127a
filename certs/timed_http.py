"""HTTP connections of the standard library that are over by a moment, whatever the server does.

A socket's own timeout begins anew with each read: a server that sends a byte now and then holds whoever reads for as
long as it likes, and with them all that waits for the same thread, a renewal for instance. Here the connection has its
``timeout`` as a whole: to connect, to shake hands, to send a request and to read its answer to the end.

For requests of a few kilobytes on connections that serve one of them. What a proxy of the environment answers before
the server is reached is not timed as a whole.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Timed:
    """What ``http.client`` asks of its socket."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        """``ends_at`` is of the monotonic clock, in seconds."""
        self._sock = sock
        self._ends_at = ends_at

    def hurry(self) -> None:
        """Raises TimeoutError when the time is up; else the socket's next call has what is left of it."""
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer was not finished in time")
        self._sock.settimeout(left_s)

    def sendall(self, data: bytes) -> None:
        self.hurry()
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_TimedReads(self, self._sock))

    def close(self) -> None:
        self._sock.close()


class _TimedReads(io.RawIOBase):
    def __init__(self, timed: _Timed, sock: socket.socket) -> None:
        self._timed = timed
        self._reads = sock.makefile("rb", buffering=0)  # keeps the socket open until both are closed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        self._timed.hurry()
        return self._reads.readinto(buffer)

    def close(self) -> None:
        self._reads.close()
        super().close()


class HttpConnection(http.client.HTTPConnection):
    """Its ``timeout`` must be given."""

    def connect(self) -> None:
        assert self.timeout is not None
        ends_at = time.monotonic() + self.timeout
        super().connect()
        self.sock = _Timed(self.sock, ends_at)


class HttpsConnection(HttpConnection, http.client.HTTPSConnection):
    """Likewise; the handshake is a part of connecting."""


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(HttpConnection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(HttpsConnection, req)


def fetched(url: str, timeout_s: float, most_bytes: int) -> bytes:
    """The body that GET answers; redirects are followed, each with a time of its own. Raises OSError, also
    when ``timeout_s`` is over, and ValueError for more than ``most_bytes``."""
    opener = urllib.request.build_opener(_HttpHandler, _HttpsHandler)
    with opener.open(url, timeout=timeout_s) as answer:
        data: bytes = answer.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"longer than {most_bytes} bytes")
    return data
