"""What an upstream's frames come to: passed on as they are, made anew, or an end of something."""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from tlsidecar.dataplane.http.refusal import MAX_INTERIM_RESPONSES, bad_response
from tlsidecar.dataplane.http2 import frames, passed_settings
from tlsidecar.dataplane.http2.closed_streams import FORBIDDEN, PASSES, SWALLOWED
from tlsidecar.dataplane.http2.dismissals import ASKED_AFTER_S
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, StreamFault, broken, flow_control
from tlsidecar.dataplane.http2.frames import Frame
from tlsidecar.dataplane.http2.heads import ResponseHead
from tlsidecar.dataplane.http2.known_requests import BLOCKS_REMEMBERED
from tlsidecar.dataplane.http2.streams import (
    CLIENT,
    CREDIT_SAVED,
    MAY_BE_OWED,
    NO_TABLE,
    UPSTREAM,
    Stream,
    Streams,
)
from tlsidecar.dataplane.http2.windows import initial_window, overgrown
from tlsidecar.outcomes import Reason


class UpstreamFrames(Streams):
    """One by one, in order. Windows, SETTINGS and PING are what they are in :class:`.client_frames.ClientFrames`, with
    the sides exchanged: written out, for otherwise each frame would look up which side is meant."""

    __slots__ = ()

    def _upstream_frame(self, frame: Frame) -> bool:
        """Whether it goes on as it came; what goes on instead, or before it, is in ``_made_client``."""
        kind, flags, number, _, _, payload = frame
        if not self._has_upstream_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise broken("it does not begin with SETTINGS")
            self._has_upstream_settings = True
            self._upstream_settings(payload)
            self._made_client.insert(0, passed_settings.for_client(payload, self._limits.max_header_bytes, first=True))
            return False
        if kind == frames.DATA:
            self._upstream_passes = False  # whatever is found wrong with it
            passes = self._upstream_passes = self._upstream_data(frame)
            if not passes:
                self._give_back_upstream(self._swallow(frame, self._upstream, self._upstream_budgets))
            return passes
        if kind == frames.HEADERS:
            self._upstream_headers(number, flags, payload)
            return False
        acknowledges = kind == frames.SETTINGS and flags & frames.ACK
        if acknowledges or kind in MAY_BE_OWED:
            if self._upstream_credit > 0:
                self._upstream_credit -= 1
            else:
                self._upstream_budgets.idle.spend(self._clock.now)
        if kind == frames.WINDOW_UPDATE:
            if not self._upstream_grants(number, frames.number(payload) & frames.MAX_WINDOW):
                return False
            if payload[0] & 0x80:
                self._made_client.append(frames.window_update(number, frames.number(payload) & frames.MAX_WINDOW))
                return False
            return True
        if kind == frames.CONTINUATION:
            return False
        if kind == frames.RST_STREAM:
            return self._upstream_reset(number, frames.number(payload))
        if kind == frames.PING:
            if not flags & frames.ACK:
                self._client_credit += 1
            return True
        if acknowledges:
            return True
        self._upstream_budgets.idle.spend(self._clock.now)
        if kind == frames.SETTINGS:
            self._upstream_settings(payload)
            self._made_client.append(passed_settings.for_client(payload, self._limits.max_header_bytes, first=False))
            return False
        if kind == frames.GOAWAY:
            return self._upstream_goaway(payload)
        return False

    def _must_be_passed(self, number: int) -> None:
        """A service answers on the streams that it was asked on (RFC 9113 section 5.1.1)."""
        if number > self._last_passed or not number & 1:
            raise broken("a frame on a stream that was not opened")

    def _upstream_settings(self, payload: bytes) -> None:
        """Only the windows are held against what the client sends (RFC 9113 section 6.9.2)."""
        self._client_credit += 1  # it acknowledges them
        rooms = partial(map, attrgetter("upstream_room"), self.streams.values())
        self._upstream_initial = initial_window(payload, self._upstream_initial, rooms)

    def _upstream_grants(self, number: int, increment: int) -> bool:
        """Whether its WINDOW_UPDATE is of use to anybody."""
        if not number:
            self._upstream_room += increment
            if overgrown(self._upstream_room):
                raise flow_control("a window over 2^31-1")
            return True
        stream = self.streams.get(number)
        if stream is None:
            self._must_be_passed(number)
            return False
        stream.upstream_room += increment
        if overgrown(self._upstream_initial + stream.upstream_room):
            self._bad_response(stream, "a window over 2^31-1")
            return False
        return True

    def _upstream_data(self, frame: Frame) -> bool:
        """DATA (RFC 9113 section 6.1), of which the end may still be to come: whether it goes on."""
        _, flags, number, at, end, _ = frame
        stream = self.streams.get(number)
        content = frames.content_bytes(self._upstream.data, frame)
        ends = flags & frames.END_STREAM
        if not content and not ends:
            self._upstream_budgets.idle.spend(self._clock.now)
        if stream is None:
            self._must_be_passed(number)
            rule = self._closed.rules_of(number)[1]
            if rule == FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
            if rule != PASSES:
                return False
            self._takes_upstream_data(end - at - frames.HEAD_BYTES)
            return True
        if not stream.open & UPSTREAM:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        stream.active_at = self._clock.now
        stream.exchange.bytes_out += end - at
        if not stream.answered:
            self._bad_response(stream, "DATA before the head")
            return False
        left = stream.response_left
        if left >= 0:
            left = stream.response_left = left - content
            if left < 0 or (ends and left):
                self._bad_response(stream, "content-length is not what came")
                return False
        if self._client_credit < CREDIT_SAVED:
            self._client_credit += 3
        size = end - at - frames.HEAD_BYTES
        stream.client_room -= size
        self._takes_upstream_data(size)
        if ends:
            self._ended(stream, UPSTREAM)
        return True

    def _takes_upstream_data(self, size: int) -> None:
        self._client_room -= size
        if self._client_room < 0:
            raise flow_control("more DATA than the window allows")

    def _upstream_headers(self, number: int, flags: int, block: bytes) -> None:
        """HEADERS (RFC 9113 section 8.1): interim and final heads, trailers, or what comes too late."""
        stream = self.streams.get(number)
        ends = bool(flags & frames.END_STREAM)
        if stream is None:
            self._must_be_passed(number)
            self._upstream_budgets.idle.spend(self._clock.now)
            self._upstream_decoder.decode(block)
            if self._closed.rules_of(number)[1] == FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            return
        if not stream.open & UPSTREAM:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        stream.active_at = self._clock.now
        exchange = stream.exchange
        try:
            head = self._response_head(block, exchange.request.method, trailers=stream.answered)
        except StreamFault as fault:
            self._bad_response(stream, fault.detail)
            return
        if stream.answered:
            if not ends or stream.response_left > 0:
                self._bad_response(stream, "trailers that do not end it, or come too early")
                return
        elif head.status >= 200:
            if ends and head.length > 0:
                self._bad_response(stream, "content-length without a body")
                return
        else:
            stream.interim += 1
            if ends or stream.interim > MAX_INTERIM_RESPONSES:
                self._bad_response(
                    stream, "an interim response that ends it" if ends else "a flood of interim responses"
                )
                return
        self._made_client.append(self._known_response(stream, head, ends=ends))

    def _known_response(self, stream: Stream, head: ResponseHead, *, ends: bool) -> bytes:
        """The frame that goes on for a head, or trailers, that may come now."""
        exchange = stream.exchange
        stream.active_at = self._clock.now
        if head.status >= 200:
            stream.answered = True
            exchange.status = head.status
            stream.response_left = head.length
        coded = head.block
        exchange.bytes_out += len(coded) + frames.HEAD_BYTES
        self._client_credit += 1
        if self._first_response:
            self._first_response = False
            coded = NO_TABLE + coded
        if ends:
            if stream.owes_grpc_status:
                stream.owes_grpc_status = False
                self._grpc.grpc_answered(head.grpc_status.decode("latin-1"), http_status=exchange.status)
            self._ended(stream, UPSTREAM)
        return frames.headers(stream.id, coded, end_stream=ends)

    def _response_head(self, block: bytes, method: bytes, *, trailers: bool) -> ResponseHead:
        decoder = self._upstream_decoder
        key = (block, b"" if trailers else method)
        known = self._response_blocks.get(key)
        if known is not None and self._response_version == decoder.version:
            return known
        version = decoder.version
        fields = decoder.decode(block)
        heads = self._heads
        never_indexed = decoder.never_indexed
        if trailers:
            head = heads.response_trailers(fields, never_indexed)
        else:
            head = heads.response(fields, method, never_indexed)
        if version == decoder.version and not head.has_secret:
            if self._response_version != version or len(self._response_blocks) >= BLOCKS_REMEMBERED:
                self._response_blocks.clear()
                self._response_version = version
            self._response_blocks[key] = head
        return head

    def _bad_response(self, stream: Stream, detail: str) -> None:
        """RFC 9113 section 8.1.1, from the other side: 502, or the end of an answer that has begun."""
        self._upstream_budgets.resets.spend(self._clock.now)
        self._refuse(stream, bad_response(detail))

    def _upstream_reset(self, number: int, code: int) -> bool:
        """RST_STREAM (RFC 9113 section 6.4): whether it goes on at once. NO_ERROR after a whole answer is no failure
        (section 8.1): the service does not want the rest of the request."""
        self._must_be_passed(number)
        stream = self.streams.get(number)
        if stream is None:
            self._upstream_budgets.idle.spend(self._clock.now)
            return False
        if code == ErrorCode.NO_ERROR and not stream.open & UPSTREAM:
            self._dismiss(stream)
            return False
        self._upstream_budgets.resets.spend(self._clock.now)
        stream.exchange.cut(Reason.UPSTREAM_RESET, f"RST_STREAM {code}")
        self._over(stream, (PASSES, FORBIDDEN))
        return True

    def _upstream_goaway(self, payload: bytes) -> bool:
        """GOAWAY (RFC 9113 section 6.8): whether it goes on as it came. Streams after its last one were not begun with,
        and may be tried again, as the client learns from the same frame, if it gets that frame."""
        named = frames.number(payload[:4]) & frames.MAX_WINDOW
        last = self._upstream_last = min(self._upstream_last, named)
        passes = not self._said_last
        if passes and frames.number(payload[4:8]) == ErrorCode.NO_ERROR and self._answers_who_sends:
            passes = False
            self._owes_goaway = True
            self._goaway_at = self._clock.now + ASKED_AFTER_S
        for stream in list(self.streams.values()):
            if stream.id > last:
                if not passes:
                    self._made_client.append(frames.rst_stream(stream.id, ErrorCode.REFUSED_STREAM))
                stream.exchange.cut(Reason.UPSTREAM_CLOSED, "GOAWAY")
                self._over(stream, (SWALLOWED, FORBIDDEN))
        if passes and named > last:
            self._made_client.append(frames.frame(frames.GOAWAY, 0, 0, last.to_bytes(4, "big") + payload[4:]))
            return False
        return passes

    @property
    def _answers_who_sends(self) -> bool:
        """Whether a whole answer may just have been said to a client that still sends. Such a one may take a GOAWAY
        beside it for a failure, and lose it (:mod:`.dismissals`)."""
        return bool(self._dismissed) or any(stream.open == CLIENT for stream in self.streams.values())
