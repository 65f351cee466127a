"""A client that says HTTP/2 frame by frame, right or wrong, and what a conformance suite makes of what it hears.

A case is a list of steps: what is said, and what has to come then. As in the public suites a connection error may be
told by GOAWAY or by the end of the connection, a stream error by either of them or RST_STREAM; the end has to be one
that TLS vouches for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hpack import Encoder
from hpack.struct import HeaderTuple

from support.mtls import Peer

Field = tuple[str, str]
Step = Callable[["Client"], None]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
CLOSED = -1
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
INITIAL_WINDOW_SIZE = 4
MOST = 2**31 - 1

CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

GET: Sequence[Field] = ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "localhost"))
POST: Sequence[Field] = ((":method", "POST"), *GET[1:])
LONG = "x" * 4000


def dummies(count: int) -> list[Field]:
    return [(f"x-dummy{number}", LONG) for number in range(count)]


@dataclass(frozen=True)
class Event:
    kind: int
    flags: int = 0
    stream: int = 0
    payload: bytes = b""

    @property
    def code(self) -> str:
        """Of RST_STREAM and GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return CODES[struct.unpack_from(">I", self.payload, at)[0]]


class Client:
    """One connection whose TLS handshake is over."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.encoder = Encoder()
        self.heard: list[Event] = []
        self._unread = b""

    def say(self, data: bytes) -> None:
        self.peer.send(data)

    def block(self, fields: Iterable[Field]) -> bytes:
        """Huffman and a dynamic table, as most clients encode."""
        coded: bytes = self.encoder.encode([HeaderTuple(*field) for field in fields])
        return coded

    def next(self) -> Event:
        while True:
            if len(self._unread) >= 9:
                length = int.from_bytes(self._unread[:3], "big")
                if len(self._unread) >= 9 + length:
                    break
            more = self.peer.recv()
            if not more:
                assert not self._unread, "the connection ended within a frame"
                return self._keep(Event(CLOSED))
            self._unread += more
        kind, flags, stream = struct.unpack_from(">BBI", self._unread, 3)
        event = Event(kind, flags, stream, self._unread[9 : 9 + length])
        self._unread = self._unread[9 + length :]
        return self._keep(event)

    def _keep(self, event: Event) -> Event:
        self.heard.append(event)
        return event

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        while True:
            event = self.next()
            if wanted(event):
                return event
            assert event.kind != CLOSED, self.heard

    def shake_hands(self) -> None:
        """Both sides' SETTINGS, each acknowledged."""
        self.say(PREFACE + settings((INITIAL_WINDOW_SIZE, 65535)))
        theirs = acknowledged = False
        while not (theirs and acknowledged):
            event = self.until(lambda event: event.kind == SETTINGS)
            if event.flags & ACK:
                acknowledged = True
            else:
                theirs = True
                self.say(frame(SETTINGS, ACK, 0))


# What is said.


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def split(whole: bytes) -> tuple[bytes, bytes]:
    """A frame in two writes, as the public suite says those that it writes by hand: the head, and the rest."""
    return whole[:9], whole[9:]


def settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *value) for value in values))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def priority(stream: int, on: int = 0, weight: int = 255) -> bytes:
    return frame(PRIORITY, 0, stream, struct.pack(">IB", on, weight))


def data(stream: int, content: bytes = b"test", *, end: bool = True) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, content)


def say(*said: bytes) -> Step:
    """Each in a write of its own."""

    def step(client: Client) -> None:
        for each in said:
            client.say(each)

    return step


def head(
    fields: Iterable[Field] = GET,
    stream: int = 1,
    *,
    end: bool = True,
    whole: bool = True,
    before: bytes = b"",
    after: bytes = b"",
    priority: bytes = b"",
    padding: int = 0,
) -> Step:
    """HEADERS. ``before`` and ``after`` are put into the block as they are; not ``whole`` is without END_HEADERS."""
    fields = list(fields)

    def step(client: Client) -> None:
        flags = (END_STREAM if end else 0) | (END_HEADERS if whole else 0)
        payload = priority + before + client.block(fields) + after
        if priority:
            flags |= WITH_PRIORITY
        if padding:
            flags |= PADDED
            payload = bytes((padding,)) + payload + bytes(padding)
        client.say(frame(HEADERS, flags, stream, payload))

    return step


def continuation(fields: Iterable[Field], stream: int = 1, *, whole: bool = True) -> Step:
    fields = list(fields)
    return lambda client: client.say(frame(CONTINUATION, END_HEADERS if whole else 0, stream, client.block(fields)))


# What has to come.


def hears(kind: int, *, stream: int | None = None, length: int | None = None, ack: bool | None = None) -> Step:
    """The first frame of this kind, whatever comes before it, is such a one."""

    def step(client: Client) -> None:
        event = client.until(lambda event: event.kind == kind)
        assert stream is None or event.stream == stream, client.heard
        assert length is None or len(event.payload) == length, client.heard
        assert ack is None or bool(event.flags & ACK) is ack, client.heard

    return step


def hears_first(kind: int) -> Step:
    def step(client: Client) -> None:
        event = client.next()
        assert (event.kind, event.flags) == (kind, 0), client.heard

    return step


def pong(payload: bytes, *, or_end: bool = False) -> Step:
    def step(client: Client) -> None:
        event = client.until(lambda event: event.kind == PING or (or_end and event.kind == CLOSED))
        assert event.kind == CLOSED or (event.flags & ACK and event.payload == payload), client.heard

    return step


def told(kind: int, code: str) -> Step:
    """This frame itself, with this code: the end alone is not enough."""

    def step(client: Client) -> None:
        assert client.until(lambda event: event.kind == kind).code == code, client.heard

    return step


def connection_error(*codes: str) -> Step:
    def step(client: Client) -> None:
        client.until(lambda event: event.kind == CLOSED or (event.kind == GOAWAY and event.code in codes))

    return step


def stream_error(*codes: str) -> Step:
    def step(client: Client) -> None:
        client.until(lambda event: event.kind == CLOSED or (event.kind in (GOAWAY, RST_STREAM) and event.code in codes))

    return step


def ends(client: Client) -> None:
    """The connection does."""
    client.until(lambda event: event.kind == CLOSED)


def stream_ends(client: Client) -> None:
    client.until(
        lambda event: (
            (event.kind in (DATA, HEADERS) and bool(event.flags & END_STREAM))
            or (event.kind == RST_STREAM and event.code == "NO_ERROR")
        )
    )
