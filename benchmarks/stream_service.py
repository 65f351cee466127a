"""``python -m benchmarks.stream_service PORT``: plaintext HTTP/2 that answers whatever it is asked with a stream of
small gRPC messages, each in a DATA frame and a write of its own, as far as the connection's window allows.

What it is asked is not read: any HEADERS frame is a request. A stream's own window holds all that it is sent.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections import deque

MESSAGES = 1000
CONTENT = b"\0\0\0\0\x10sixteen bytes..!"

_PREFACE_BYTES = 24
_HEAD = struct.Struct(">IBI")
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
_DEFAULT_WINDOW = 65_535
# HPACK, nothing indexed: ":status: 200", "content-type: application/grpc"; "grpc-status: 0".
_BLOCK = b"\x88\x0f\x10\x10application/grpc"
_TRAILERS = b"\0\x0bgrpc-status\x010"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


class Service(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._preface_left = _PREFACE_BYTES
        self._window = _DEFAULT_WINDOW
        self._waiting: deque[bytes] = deque()  # DATA frames, and the trailers behind them

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(frame(_SETTINGS, 0, 0))

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        at = min(self._preface_left, len(data))
        self._preface_left -= at
        while len(data) - at >= _HEAD.size:
            word, flags, stream = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + (word >> 8)
            if end > len(data):
                break
            self._take(word & 0xFF, flags, stream & 0x7FFFFFFF, data[at + _HEAD.size : end])
            at = end
        self._held = data[at:]
        self._go_on()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _HEADERS:
            self._transport.write(frame(_HEADERS, END_HEADERS, stream, _BLOCK))
            self._waiting.extend([frame(_DATA, 0, stream, CONTENT)] * MESSAGES)
            self._waiting.append(frame(_HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS))
        elif kind == _WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind in (_SETTINGS, _PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == _PING else b""))

    def _go_on(self) -> None:
        assert self._transport is not None
        while self._waiting and self._window >= len(CONTENT):
            said = self._waiting.popleft()
            if said[3] == _DATA:
                self._window -= len(CONTENT)
            self._transport.write(said)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
