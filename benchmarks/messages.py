"""Small messages pushed one by one: the service that pushes and the client that is pushed to, in one process
(``python -m benchmarks.messages TALLY SECONDS KIND ENTRANCE PORT CONNECTIONS``).

The client asks by the entrance of a proxy, and the service behind it, on PORT, is led there by the path. On each
connection one message is under way at a time: the next is sent when the one before has come out, so that each is read
and written by itself, and a proxy that stands still is sent nothing. The tally counts the messages that came out.

- ``events``: Server-Sent Events, each in a chunk; only the service sends.
- ``frames``: WebSocket (RFC 6455); the client sends a masked frame and the service sends it back: two messages.
"""

from __future__ import annotations

import gc
import select
import socket
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.tally import Tally

WITHIN_S = 20.0
LONGEST_WAIT_S = 0.5
BUFFER_BYTES = 65536

EVENT = b'data: {"count": 1234567, "of": "small"}\n\n'
_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the one of RFC 6455, section 1.3, and what is answered to it
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_TEXT = b"sixteen bytes..!"
_MASK = b"mask"
FRAME = b"\x81" + bytes([len(_TEXT)]) + _TEXT
MASKED = b"\x81" + bytes([0x80 | len(_TEXT)]) + _MASK + bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(_TEXT))


class Pair(ABC):
    """The two ends of one connection; ``step`` is called when there is something to read at ``client``, or at
    ``service`` where that is read, too."""

    request: bytes
    response: bytes
    service_is_read = False

    def __init__(self, client: socket.socket, service: socket.socket) -> None:
        self.client = client
        self.service = service

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def step(self, data: bytes, *, at_client: bool) -> int:
        """How many messages have come out."""


class Events(Pair):
    request = b"Accept: text/event-stream\r\n"
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    _chunk = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
    _ends_in_half = False

    def begin(self) -> None:
        self.service.send(self._chunk)

    def step(self, data: bytes, *, at_client: bool) -> int:
        # Whatever the chunks have become, an event ends with two line feeds, and nothing else has them.
        if self._ends_in_half:
            data = b"\n" + data
        seen = data.count(b"\n\n")
        self._ends_in_half = data.endswith(b"\n") and not data.endswith(b"\n\n")
        for _ in range(seen):
            self.begin()
        return seen


class Frames(Pair):
    request = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        + _KEY
        + b"\r\n"
    )
    response = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
        + _ACCEPT
        + b"\r\n\r\n"
    )
    service_is_read = True

    def __init__(self, client: socket.socket, service: socket.socket) -> None:
        super().__init__(client, service)
        self._left_at_client = len(FRAME)
        self._left_at_service = len(MASKED)

    def begin(self) -> None:
        self.client.send(MASKED)

    def step(self, data: bytes, *, at_client: bool) -> int:
        if at_client:
            self._left_at_client -= len(data)
            if self._left_at_client > 0:
                return 0
            self._left_at_client = len(FRAME)
            self.client.send(MASKED)
        else:
            self._left_at_service -= len(data)
            if self._left_at_service > 0:
                return 0
            self._left_at_service = len(MASKED)
            self.service.send(FRAME)
        return 1


KINDS: dict[str, type[Pair]] = {"events": Events, "frames": Frames}


def connect(kind: type[Pair], entrance: int, listener: socket.socket) -> Pair:
    """A connection by way of the proxy, up to the end of both heads. Raises OSError."""
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", entrance), WITHIN_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(b"GET /messages/%d HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (port, kind.request))
    service, _ = listener.accept()
    service.settimeout(WITHIN_S)
    service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _read_head(service)
    service.sendall(kind.response)
    _read_head(client)
    for sock in (client, service):
        sock.setblocking(False)
    return kind(client, service)


def work(pairs: list[Pair], tally: Tally, seconds: float) -> None:
    """Raises ConnectionError when one of the connections ends."""
    poll = select.epoll()
    ends: dict[int, tuple[Pair, socket.socket, bool]] = {}
    for pair in pairs:
        ends[pair.client.fileno()] = (pair, pair.client, True)
        if pair.service_is_read:
            ends[pair.service.fileno()] = (pair, pair.service, False)
    for descriptor in ends:
        poll.register(descriptor, select.EPOLLIN)
    for pair in pairs:
        pair.begin()
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for descriptor, _ in poll.poll(LONGEST_WAIT_S):
            pair, sock, at_client = ends[descriptor]
            data = sock.recv(BUFFER_BYTES)
            if not data:
                raise ConnectionError("a connection has ended")
            done += pair.step(data, at_client=at_client)
            tally.count = done


def _read_head(sock: socket.socket) -> None:
    """To its end and no further: nothing follows it yet."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = sock.recv(BUFFER_BYTES)
        if not more:
            raise ConnectionError(f"ended in a head: {data!r}")
        data += more
    if data.startswith(b"HTTP/") and data.split(b" ", 2)[1] not in (b"200", b"101"):
        raise ConnectionError(f"another answer: {data!r}")


def main() -> None:
    tally, seconds, kind, entrance, port, connections = sys.argv[1:]
    with socket.create_server(("127.0.0.1", int(port)), backlog=256) as listener:
        listener.settimeout(WITHIN_S)
        pairs = [connect(KINDS[kind], int(entrance), listener) for _ in range(int(connections))]
        gc.collect()
        gc.disable()
        work(pairs, Tally(Path(tally)), float(seconds))


if __name__ == "__main__":
    main()
