"""The ordinary way: frames that ask for no judgement but one that was made before.

A request or a response whose block is remembered, and DATA within what was stated and allowed, whole or in parts, go on
without a list of frames being made first. What is not as plain as that is left, with all that comes after it, to the
precise way (:mod:`.client_frames`, :mod:`.upstream_frames`), which says the same of these and knows what to say of the
others.
"""

from __future__ import annotations

from typing import Final

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.client_frames import ClientFrames
from tlsidecar.dataplane.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    WINDOW_UPDATE,
)
from tlsidecar.dataplane.http2.passed_settings import MAX_STREAMS
from tlsidecar.dataplane.http2.streams import CLIENT, CREDIT_SAVED, RELAYING, UPSTREAM
from tlsidecar.dataplane.http2.upstream_frames import UpstreamFrames

_WHOLE: Final = END_HEADERS | END_STREAM
_COLUMNS_PAY: Final = 16  # frames; for fewer a comparison for each is the faster
_GRANT: Final = 4 << 8 | WINDOW_UPDATE  # the length and the kind of each


def _run_of_data(data: frames.Buffer, at: int, end: int, size: int, room: int) -> tuple[int, int]:
    """Where the DATA frames end that follow the one from ``at`` to ``end``, which is neither the last one of its stream
    nor empty nor padded: whole, such as it, of the same stream, and of not more than ``room`` bytes together; and how
    many they are."""
    unpack = frames.unpack_head
    number = unpack(data, at)[2]
    count = 0
    while True:
        step = end - at
        length = step - HEAD_BYTES
        most = min((size - end) // step, room // length)
        if most > 0:
            # Messages of one length, as they often are, have one frame head.
            alike = _alike(data, at, step, most)
            end += alike * step
            count += alike
            room -= alike * length
        at = end
        if size - at <= HEAD_BYTES:
            break
        word, flags, stream = unpack(data, at)
        length = word >> 8
        after = at + HEAD_BYTES + length
        # The kind is zero, as are the flags.
        if (
            stream != number
            or flags
            or word & 0xFF
            or not 0 < length <= MAX_FRAME_BYTES
            or after > size
            or length > room
        ):
            break
        count += 1
        room -= length
        end = after
    return end, count


def _alike(data: frames.Buffer, at: int, step: int, most: int) -> int:
    """How many frames of ``step`` bytes after the one at ``at``, of at most ``most``, have the same head."""
    head = data[at : at + HEAD_BYTES]
    begun = at + step
    stop = begun + most * step
    if most >= _COLUMNS_PAY:
        # Column by column: nine comparisons instead of one for each frame.
        for column in range(HEAD_BYTES):
            if data[begun + column : stop : step] != head[column : column + 1] * most:
                break
        else:
            return most
    at = begun
    while at < stop and data.startswith(head, at):
        at += step
    return (at - begun) // step


class OrdinaryFrames(ClientFrames, UpstreamFrames):
    """Each method tells how many of the bytes were ordinary, and has passed those on: as views, where ``data`` is not
    ``bytes``. What it tells of ends where a frame does, or with all of them within DATA.

    The two are alike, and written out on purpose: a call for each frame, or looking up which side is meant, is what
    this way is there to avoid."""

    __slots__ = ()

    def _ordinary_client_frames(self, data: frames.Buffer, size: int) -> int:
        reader = self._client
        if (
            self.state is not RELAYING
            or self._first_request
            or self._shutdown is not None
            or self._made_upstream
            or self._upstream_window
            or reader.in_a_block
            or (reader.left and not self._client_passes)
            or self._known_requests.version != self._client_decoder.version
        ):
            return 0
        unpack, unpack_number = frames.unpack_head, frames.unpack_number
        find, streams = self._known_requests.find, self.streams
        out = self.to_upstream
        view = data if isinstance(data, bytes) else memoryview(data)
        run = 0  # what is from here on goes on as it came
        at = min(reader.left, size)
        reader.left -= at
        while size - at >= HEAD_BYTES:
            word, flags, number = unpack(data, at)
            kind = word & 0xFF
            length = word >> 8
            end = at + HEAD_BYTES + length
            if kind == HEADERS:
                block = bytes(view[at + HEAD_BYTES : end])
                known = find(block) if end <= size else None
                if (
                    known is None
                    or flags | END_STREAM != _WHOLE
                    or not self._last < number <= MAX_WINDOW
                    or not number & 1
                    or number > self._upstream_last
                    or len(streams) >= MAX_STREAMS
                    or (flags == _WHOLE and known.length > 0)
                ):
                    break
                if at > run:
                    out.append(view[run:at])
                at = run = end
                frame = self._known_request(known, number, block, ends=flags == _WHOLE)
                if frame is None:
                    break  # it was answered, and there is something to say now
                out.append(frame)
                continue
            if word == _GRANT:
                if end > size or self._client_credit <= 0:
                    break
                increment = unpack_number(data, at + HEAD_BYTES)[0]
                if not 0 < increment <= MAX_WINDOW:
                    break
                if not number:
                    room = self._client_room + increment
                    if room > MAX_WINDOW:
                        break
                    self._client_room = room
                else:
                    stream = streams.get(number)
                    if stream is None or self._client_initial + stream.client_room + increment > MAX_WINDOW:
                        break
                    stream.client_room += increment
                self._client_credit -= 1
                at = end
                continue
            if kind != DATA or flags > END_STREAM:
                break
            stream = streams.get(number)
            if (
                stream is None
                or not stream.open & CLIENT
                or not (length or flags)
                or length > MAX_FRAME_BYTES
                or length > self._upstream_room
            ):
                break
            left = stream.request_left
            if left >= 0:
                if length > left or (flags and length < left):
                    break
            elif self._limits.max_body_bytes is not None:
                break
            count = 1
            if not flags and data[end + 3 : end + HEAD_BYTES] == data[at + 3 : at + HEAD_BYTES]:
                room = self._upstream_room if left < 0 else min(self._upstream_room, left)
                end, more = _run_of_data(data, at, end, size, room - length)
                count += more
                length = end - at - count * HEAD_BYTES
            if left >= 0:
                stream.request_left = left - length
            stream.active_at = self.active_at
            stream.exchange.bytes_in += end - at
            stream.upstream_room -= length
            self._upstream_room -= length
            if self._upstream_credit < CREDIT_SAVED:
                self._upstream_credit = min(self._upstream_credit + 3 * count, CREDIT_SAVED + 2)
            if flags:
                self._ended(stream, CLIENT)
            at = end
            if end > size:
                reader.left = end - size
                self._client_passes = True
                at = size
        if at > run:
            out.append(view[run:at])
        return at

    def _ordinary_upstream_frames(self, data: frames.Buffer, size: int) -> int:
        reader = self._upstream
        if (
            self._first_response
            or self._shutdown is not None
            or self._made_client
            or self._client_window
            or reader.in_a_block
            or (reader.left and not self._upstream_passes)
            or self._response_version != self._upstream_decoder.version
        ):
            return 0
        unpack, unpack_number = frames.unpack_head, frames.unpack_number
        known_responses, streams = self._response_blocks, self.streams
        out = self.to_client
        view = data if isinstance(data, bytes) else memoryview(data)
        run = 0  # what is from here on goes on as it came
        at = min(reader.left, size)
        reader.left -= at
        while size - at >= HEAD_BYTES:
            word, flags, number = unpack(data, at)
            length = word >> 8
            end = at + HEAD_BYTES + length
            if word == _GRANT:
                if end > size or self._upstream_credit <= 0:
                    break
                increment = unpack_number(data, at + HEAD_BYTES)[0]
                if not 0 < increment <= MAX_WINDOW:
                    break
                if not number:
                    room = self._upstream_room + increment
                    if room > MAX_WINDOW:
                        break
                    self._upstream_room = room
                else:
                    stream = streams.get(number)
                    if stream is None or self._upstream_initial + stream.upstream_room + increment > MAX_WINDOW:
                        break
                    stream.upstream_room += increment
                self._upstream_credit -= 1
                at = end
                continue
            stream = streams.get(number)
            if stream is None or not stream.open & UPSTREAM:
                break
            kind = word & 0xFF
            exchange = stream.exchange
            if kind == DATA:
                if (
                    flags > END_STREAM
                    or not stream.answered
                    or not (length or flags)
                    or length > MAX_FRAME_BYTES
                    or length > self._client_room
                ):
                    break
                left = stream.response_left
                if left >= 0 and (length > left or (flags and length < left)):
                    break
                count = 1
                if not flags and data[end + 3 : end + HEAD_BYTES] == data[at + 3 : at + HEAD_BYTES]:
                    room = self._client_room if left < 0 else min(self._client_room, left)
                    end, more = _run_of_data(data, at, end, size, room - length)
                    count += more
                    length = end - at - count * HEAD_BYTES
                if left >= 0:
                    stream.response_left = left - length
                stream.active_at = self.active_at
                exchange.bytes_out += end - at
                stream.client_room -= length
                self._client_room -= length
                if self._client_credit < CREDIT_SAVED:
                    self._client_credit = min(self._client_credit + 3 * count, CREDIT_SAVED + 2)
                if flags:
                    self._ended(stream, UPSTREAM)
                at = end
                if end > size:
                    reader.left = end - size
                    self._upstream_passes = True
                    at = size
                continue
            if kind != HEADERS or flags | END_STREAM != _WHOLE or end > size:
                break
            answered = stream.answered
            block = bytes(view[at + HEAD_BYTES : end])
            head = known_responses.get((block, b"" if answered else exchange.request.method))
            if head is None or (
                (flags != _WHOLE or stream.response_left > 0)
                if answered
                else (head.status < 200 or (flags == _WHOLE and head.length > 0))
            ):
                break
            if at > run:
                out.append(view[run:at])
            at = run = end
            out.append(self._known_response(stream, head, ends=flags == _WHOLE))
        if at > run:
            out.append(view[run:at])
        return at
