"""Frames (RFC 9113 sections 4 and 6): a strict reader that judges each frame by itself, and what writes them.

The reader knows nothing of streams: it says what is wrong whatever the state of a stream is. DATA is handed out in
parts as it comes; a header block is handed out whole, its CONTINUATIONs gathered; everything else once it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, TypeAlias

from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, Flood

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# RFC 9113 section 6. Plain integers: an enumeration's member costs more to compare.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
UNKNOWN: Final = 0xA  # what the reader hands out for each kind that it does not know

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384  # the default of SETTINGS_MAX_FRAME_SIZE, and all that we ever allow
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
MAX_CONTINUATIONS: Final = 8
MAX_SETTINGS: Final = 32  # in one frame, as nghttp2 has it; there are no more than a dozen kinds
MAX_BLOCK_BYTES: Final = 32 * 1024

_WITH_MORE: Final = PADDED | WITH_PRIORITY
COPIED_BYTES: Final = 8 * 1024  # of a read: slices of the copy are then cheaper than of the shared buffer

Buffer: TypeAlias = "bytes | bytearray"

# kind, flags, stream, offset of its first byte, offset after its last, payload. The offsets count in the reader's
# ``data``. The payload is empty for DATA; a header block whole, without padding and priority, for HEADERS, whose flags
# are those of its first frame. A DATA frame that is not all there ends beyond the data.
Frame: TypeAlias = "tuple[int, int, int, int, int, bytes]"

_HEAD: Final = Struct(">IBI")
_LONG: Final = Struct(">I")
unpack_head: Final = _HEAD.unpack_from  # length and kind, flags, stream with its reserved bit
unpack_number: Final = _LONG.unpack_from  # what WINDOW_UPDATE holds, with its reserved bit
_SETTING: Final = Struct(">HI")

# Of each kind: the least and the greatest length, and whether it is about a stream, the connection, or either (None).
# What is wrong with a frame in itself ends the connection, also where the RFC would let it go with a stream (RFC 9113
# section 5.4.1 allows it): who writes such frames writes others.
_RULES: Final[tuple[tuple[int, int, bool | None], ...]] = (
    (0, MAX_FRAME_BYTES, True),  # DATA
    (0, MAX_FRAME_BYTES, True),  # HEADERS
    (5, 5, True),  # PRIORITY
    (4, 4, True),  # RST_STREAM
    (0, MAX_FRAME_BYTES, False),  # SETTINGS
    (4, MAX_FRAME_BYTES, True),  # PUSH_PROMISE
    (8, 8, False),  # PING
    (8, MAX_FRAME_BYTES, False),  # GOAWAY
    (4, 4, None),  # WINDOW_UPDATE
    (0, MAX_FRAME_BYTES, True),  # CONTINUATION
)


class FrameReader:
    """One direction of one connection, after its preface."""

    __slots__ = (
        "_block",
        "_continuations",
        "_first_flags",
        "_held",
        "_stream",
        "data",
        "end",
        "fault",
        "in_a_block",
        "left",
    )

    def __init__(self) -> None:
        self.data: Buffer = b""  # what the offsets of the frames handed out last count in
        self.end = 0  # where it ends
        self.left = 0  # so many bytes of a DATA frame are still to come
        self.fault: ConnectionFault | None = None  # what is wrong with the frame after those handed out last
        self.in_a_block = False  # a header block has begun that has not ended, or a frame that may be another than DATA
        self._held = b""  # the beginning of a frame
        self._block: bytearray | None = None  # a header block that goes on
        self._stream = 0
        self._first_flags = 0
        self._continuations = 0

    def __repr__(self) -> str:
        return f"<FrameReader held={len(self._held)} left={self.left}>"

    def read(self, buffer: Buffer, size: int) -> tuple[int, list[Frame]]:
        """The frames in the first ``size`` bytes of ``buffer``, after what was held back of the bytes before them.

        What comes first belongs to the DATA frame that was begun (:attr:`left` says how much there was to come): the
        offset where it ends is returned with the frames. Where a frame cannot be taken, those before it are handed out
        and :attr:`fault` says why; nothing is to be read after that.
        """
        if self._held:
            buffer = self._held + bytes(memoryview(buffer)[:size])
            size = len(buffer)
            self._held = b""
        elif size <= COPIED_BYTES and not (isinstance(buffer, bytes) and len(buffer) == size):
            buffer = bytes(memoryview(buffer)[:size])
        self.data = buffer
        self.end = size
        begin = min(self.left, size)
        self.left -= begin
        frames: list[Frame] = []
        try:
            self._split(buffer, begin, size, frames)
        except ConnectionFault as fault:
            self.fault = fault.with_traceback(None)  # its frames hold the buffer
        self.in_a_block = self._block is not None or bool(self._held)
        return begin, frames

    def _split(self, buffer: Buffer, at: int, size: int, frames: list[Frame]) -> None:
        unpack = unpack_head
        while size - at >= HEAD_BYTES:
            word, flags, stream = unpack(buffer, at)
            kind = word & 0xFF
            end = at + HEAD_BYTES + (word >> 8)
            if stream > MAX_WINDOW:
                stream &= MAX_WINDOW
                # RFC 9113 section 4.1: ignored here, and cleared for whoever gets the frame as it came.
                self.data = buffer = bytearray(buffer) if isinstance(buffer, bytes) else buffer
                buffer[at + 5] &= 0x7F
            if self._block is not None and (kind != CONTINUATION or stream != self._stream):
                raise _broken("another frame within a header block")
            if kind > CONTINUATION:
                if word >> 8 > MAX_FRAME_BYTES:
                    raise _missized("a frame over the limit")
                if end > size:
                    break
                frames.append((UNKNOWN, flags, stream, at, end, b""))
                at = end
                continue
            least, most, about = _RULES[kind]
            if not least <= word >> 8 <= most:
                raise _missized("a frame with a length that its kind does not have")
            if about is not None and about != bool(stream):
                raise _broken("a frame on a stream that its kind is not about")
            if kind == DATA:
                if flags & PADDED:
                    if end == at + HEAD_BYTES:
                        raise _missized("a padded frame without padding")
                    if size - at == HEAD_BYTES:
                        break
                    if buffer[at + HEAD_BYTES] >= word >> 8:
                        raise _broken("more padding than payload")
                frames.append((kind, flags, stream, at, end, b""))
                at = end
                if end > size:
                    self.left = end - size
                    at = size
                continue
            if end > size:
                if kind == SETTINGS:
                    _judge_settings_length(flags, word >> 8)  # the rest may never come
                break
            payload = bytes(buffer[at + HEAD_BYTES : end])
            if kind == HEADERS:
                if flags & _WITH_MORE:
                    payload = _fragment(payload, flags, stream)
                if not flags & END_HEADERS:
                    self._block = bytearray(payload)
                    self._stream = stream
                    self._first_flags = flags
                    self._continuations = 0
                    frames.append((CONTINUATION, 0, stream, at, end, b""))
                else:
                    frames.append((kind, flags, stream, at, end, payload))
            elif kind == CONTINUATION:
                frames.append(self._continue(flags, stream, at, end, payload))
            else:
                if kind != PING:
                    _judge(kind, flags, stream, payload)
                frames.append((kind, flags, stream, at, end, payload))
            at = end
        if at < size:
            self._held = bytes(buffer[at:size])

    def _continue(self, flags: int, stream: int, at: int, end: int, payload: bytes) -> Frame:
        block = self._block
        if block is None:
            raise _broken("CONTINUATION without a header block")
        self._continuations += 1
        block += payload
        if self._continuations > MAX_CONTINUATIONS:
            raise Flood("too many CONTINUATION frames")
        if len(block) > MAX_BLOCK_BYTES:
            raise Flood("a header block over the limit")
        if not flags & END_HEADERS:
            return (CONTINUATION, 0, stream, at, end, b"")
        self._block = None
        return (HEADERS, self._first_flags, stream, at, end, bytes(block))


def content_bytes(data: Buffer, frame: Frame) -> int:
    """How much of a DATA frame is neither its head nor padding."""
    _, flags, _, at, end, _ = frame
    length = end - at - HEAD_BYTES
    return length - 1 - data[at + HEAD_BYTES] if flags & PADDED else length


def content(data: Buffer, frame: Frame) -> bytes:
    """The content of a DATA frame that is all there."""
    at = frame[3] + HEAD_BYTES + bool(frame[1] & PADDED)
    return bytes(data[at : at + content_bytes(data, frame)])


def _fragment(payload: bytes, flags: int, stream: int) -> bytes:
    """What a HEADERS frame has of its header block, without padding and priority (RFC 9113 section 6.2)."""
    start = padding = 0
    if flags & PADDED:
        if not payload:
            raise _missized("a padded frame without padding")
        padding = payload[0]
        start = 1
    if flags & WITH_PRIORITY:
        start += 5
        if len(payload) < start:
            raise _missized("a frame too short for its priority")
        _judge_dependency(payload, start - 5, stream)
    if padding > len(payload) - start:
        raise _broken("more padding than payload")
    return payload[start : len(payload) - padding] if start else payload


def _judge(kind: int, flags: int, stream: int, payload: bytes) -> None:
    """RFC 9113 sections 6.3, 6.5, 6.6 and 6.9, of frames that are all there and as long as they may be."""
    if kind == WINDOW_UPDATE:
        if not _LONG.unpack(payload)[0] & MAX_WINDOW:
            raise _broken("a window that grows by nothing")
    elif kind == SETTINGS:
        _judge_settings_length(flags, len(payload))
        for number, value in _SETTING.iter_unpack(payload):
            _judge_setting(number, value)
    elif kind == PRIORITY:
        _judge_dependency(payload, 0, stream)
    elif kind == PUSH_PROMISE:
        raise _broken("PUSH_PROMISE, which nobody here has asked for")


def _judge_settings_length(flags: int, length: int) -> None:
    if flags & ACK and length:
        raise _missized("SETTINGS that are acknowledged with a payload")
    if length % _SETTING.size:
        raise _missized("SETTINGS that are not whole")
    if length > MAX_SETTINGS * _SETTING.size:
        raise Flood("too many settings in a frame")


def _judge_setting(number: int, value: int) -> None:
    """RFC 9113 section 6.5.2."""
    if number == ENABLE_PUSH and value > 1:
        raise _broken("ENABLE_PUSH is neither 0 nor 1")
    if number == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an initial window over 2^31-1")
    if number == MAX_FRAME_SIZE and not MAX_FRAME_BYTES <= value < 2**24:
        raise _broken("MAX_FRAME_SIZE is not within its bounds")


def _judge_dependency(payload: bytes, at: int, stream: int) -> None:
    """RFC 7540 section 5.3.1. RFC 9113 has no priorities any more; a peer of the older one must not do this."""
    if _LONG.unpack_from(payload, at)[0] & MAX_WINDOW == stream:
        raise _broken("a stream that depends on itself")


def _broken(detail: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, detail)


def _missized(detail: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, detail)


# Payloads.


def number(payload: bytes) -> int:
    """What WINDOW_UPDATE and RST_STREAM hold: an increment without its reserved bit, or an error code."""
    return int(_LONG.unpack(payload)[0])


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """Pairs of identifier and value, in order; the length must have been judged (RFC 9113 section 6.5.1)."""
    return list(_SETTING.iter_unpack(payload))


# Writing.


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame (RFC 9113 section 4.1)."""
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def headers(stream: int, block: bytes, *, end_stream: bool) -> bytes:
    """A whole header block, in as many frames as it takes."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= MAX_FRAME_BYTES:
        return _HEAD.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, stream) + block
    pieces = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)]
    written = [frame(HEADERS, flags, stream, pieces[0])]
    written += [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    written.append(frame(CONTINUATION, END_HEADERS, stream, pieces[-1]))
    return b"".join(written)


def data(stream: int, content: bytes, *, end_stream: bool) -> bytes:
    """``content`` of at most 16 KiB."""
    return frame(DATA, END_STREAM if end_stream else 0, stream, content)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """SETTINGS of these identifiers and values (section 6.5)."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(number, value) for number, value in values]))


def goaway(last_stream: int, code: int) -> bytes:
    """GOAWAY (section 6.8): streams above ``last_stream`` were not and will not be dealt with."""
    return frame(GOAWAY, 0, 0, _LONG.pack(last_stream) + _LONG.pack(code))


def rst_stream(stream: int, code: int) -> bytes:
    """RST_STREAM (section 6.4)."""
    return _HEAD.pack(4 << 8 | RST_STREAM, 0, stream) + _LONG.pack(code)


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE (section 6.9); ``stream`` 0 is the connection."""
    return _HEAD.pack(4 << 8 | WINDOW_UPDATE, 0, stream) + _LONG.pack(increment)


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)
