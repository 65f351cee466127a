"""The client's side of one gRPC call on a connection of its own, without I/O: bytes in, messages and bytes out.

For our own calls (health checks, the SPIFFE Workload API), which are few and small: one message is sent, any number is
received, and every window is given back as soon as its bytes have come. Nothing of it is on the path of the traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Final
from urllib.parse import unquote

from tlsidecar.dataplane.http2 import frames, hpack
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, Http2Error, StreamFault
from tlsidecar.dataplane.http2.frames import FrameReader
from tlsidecar.lazy_dataclass import dataclass

_STREAM: Final = 1
_MESSAGE_HEAD_BYTES: Final = 5  # gRPC over HTTP/2: a byte for compression, four for the length
_MAX_FIELDS: Final = 100
_STATUS_DIGITS: Final = 3


@dataclass(slots=True)
class CallStatus:
    """How a call ended: gRPC's status, and its message in text. ``http`` is the HTTP status where there is no other."""

    grpc: int | None = None
    message: str = ""
    http: int = 0


@dataclass(slots=True)
class GrpcCall:
    """One call. Send :attr:`opening` first, and whatever :meth:`receive` leaves in :attr:`to_send` after each call of
    it; ``status`` is None until the call has ended. ``max_message_bytes`` bounds each message that is received."""

    path: str
    authority: str
    message: bytes
    metadata: Sequence[tuple[bytes, bytes]] = ()
    scheme: str = "http"
    max_message_bytes: int = 4 << 20
    status: CallStatus | None = None
    to_send: bytes = b""
    _reader: FrameReader = field(default_factory=FrameReader)
    _decoder: hpack.Decoder = field(default_factory=lambda: hpack.Decoder(_MAX_FIELDS, frames.MAX_BLOCK_BYTES))
    _said: dict[bytes, bytes] = field(default_factory=dict)
    _body: bytearray = field(default_factory=bytearray)
    _content_left: int = 0  # of the DATA frame that is under way, without padding
    _has_settings: bool = False
    _is_answered: bool = False
    _is_last_data: bool = False

    @property
    def opening(self) -> bytes:
        """The preface, our settings, and the whole request."""
        head = (
            (b":method", b"POST"),
            (b":scheme", self.scheme.encode()),
            (b":path", self.path.encode()),
            (b":authority", self.authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *self.metadata,
        )
        block = b"".join([hpack.literal(name, value) for name, value in head])
        content = b"\0" + len(self.message).to_bytes(4, "big") + self.message
        return b"".join(
            (
                frames.PREFACE,
                frames.settings([(frames.ENABLE_PUSH, 0)]),
                frames.headers(_STREAM, block, end_stream=False),
                frames.data(_STREAM, content, end_stream=True),
            )
        )

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that are whole now.

        Raises :class:`Http2Error` when the server breaks HTTP/2 or gRPC, or ends the connection or the call without a
        status.
        """
        out: list[bytes] = []
        reader = self._reader
        begin, found = reader.read(data, len(data))
        if begin:
            self._data(reader.data, 0, begin, out)
        for frame in found:
            self._frame(frame, out)
        self.to_send = b"".join(out)
        if reader.fault is not None:
            raise reader.fault
        messages = self._messages()
        if self._body and self.status is not None and self.status.grpc == 0:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "half a message at the end of the call")
        return messages

    def _frame(self, frame: frames.Frame, out: list[bytes]) -> None:
        kind, flags, stream, at, end, payload = frame
        if not self._has_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "it does not begin with SETTINGS")
            self._has_settings = True
        if kind == frames.SETTINGS and not flags & frames.ACK:
            out.append(frames.SETTINGS_ACK)
        elif kind == frames.PING and not flags & frames.ACK:
            out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY and frames.number(payload[:4]) < _STREAM:
            raise ConnectionFault(
                ErrorCode.REFUSED_STREAM, f"the server ended the connection, code {payload[4:8].hex()}"
            )
        elif kind in (frames.HEADERS, frames.DATA, frames.RST_STREAM) and stream != _STREAM:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that we have not opened")
        elif kind == frames.RST_STREAM and self.status is None:
            raise StreamFault(ErrorCode.CANCEL, f"the server reset the call, code {frames.number(payload)}")
        elif kind == frames.HEADERS:
            self._headers(payload, ended=bool(flags & frames.END_STREAM))
        elif kind == frames.DATA:
            self._content_left = frames.content_bytes(self._reader.data, frame)
            self._is_last_data = bool(flags & frames.END_STREAM)
            start = at + frames.HEAD_BYTES
            size = min(end, len(self._reader.data))
            if flags & frames.PADDED:
                start += 1
                self._give_back(1, out)
            self._data(self._reader.data, start, size, out)

    def _headers(self, block: bytes, *, ended: bool) -> None:
        said = dict(self._decoder.decode(block))
        if self._is_answered and not ended:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a second head")
        if self._is_answered:
            self._said.update(said)
        else:
            self._said = said  # nothing of an interim one is kept
            self._is_answered = not said.get(b":status", b"").startswith(b"1")
        if ended:
            self._end()

    def _data(self, data: frames.Buffer, start: int, end: int, out: list[bytes]) -> None:
        content = min(self._content_left, end - start)
        self._content_left -= content
        self._body += memoryview(data)[start : start + content]
        if end > start:
            self._give_back(end - start, out)
        if self._is_last_data and not self._reader.left:
            self._end()

    def _give_back(self, count: int, out: list[bytes]) -> None:
        out += [frames.window_update(0, count), frames.window_update(_STREAM, count)]

    def _messages(self) -> list[bytes]:
        found = []
        body = self._body
        while len(body) >= _MESSAGE_HEAD_BYTES:
            if body[0]:
                raise StreamFault(ErrorCode.INTERNAL_ERROR, "a compressed message, which we have not offered to read")
            length = int.from_bytes(body[1:_MESSAGE_HEAD_BYTES], "big")
            if length > self.max_message_bytes:
                raise StreamFault(ErrorCode.CANCEL, f"a message over {self.max_message_bytes} bytes")
            if len(body) < _MESSAGE_HEAD_BYTES + length:
                break
            found.append(bytes(body[_MESSAGE_HEAD_BYTES : _MESSAGE_HEAD_BYTES + length]))
            del body[: _MESSAGE_HEAD_BYTES + length]
        return found

    def _end(self) -> None:
        said = self._said
        self.status = CallStatus(
            grpc=_number(said.get(b"grpc-status", b"")),
            message=unquote(said.get(b"grpc-message", b"").decode("latin-1")),
            http=_number(said.get(b":status", b"")) or 0,
        )


def _number(text: bytes) -> int | None:
    """A status of either kind; what is longer than any of them is none."""
    return int(text) if text.isdigit() and len(text) <= _STATUS_DIGITS else None


__all__ = ["CallStatus", "GrpcCall", "Http2Error"]
