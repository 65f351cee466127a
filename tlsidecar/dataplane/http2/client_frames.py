"""What a client's frames come to: passed on as they are, made anew, answered, or an end of something."""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from tlsidecar.dataplane.http import names
from tlsidecar.dataplane.http.exchange import Exchange
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused, upstream_failed
from tlsidecar.dataplane.http2 import frames, passed_settings
from tlsidecar.dataplane.http2.closed_streams import FORBIDDEN, PASSES, SWALLOWED
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, StreamFault, broken, flow_control
from tlsidecar.dataplane.http2.frames import Frame
from tlsidecar.dataplane.http2.heads import Malformed, RequestHead
from tlsidecar.dataplane.http2.hpack import literal
from tlsidecar.dataplane.http2.known_requests import KnownRequest
from tlsidecar.dataplane.http2.passed_settings import MAX_STREAMS
from tlsidecar.dataplane.http2.streams import (
    ALONE,
    CLIENT,
    CREDIT_SAVED,
    MAY_BE_OWED,
    NO_TABLE,
    RELAYING,
    UPSTREAM,
    Stream,
    Streams,
)
from tlsidecar.dataplane.http2.windows import initial_window, overgrown
from tlsidecar.outcomes import Reason


class ClientFrames(Streams):
    """One by one, in order."""

    __slots__ = ()

    def _client_frame(self, frame: Frame) -> bool:
        """Whether it goes on as it came; what goes on instead, or before it, is in ``_made_upstream``."""
        kind, flags, number, _, _, payload = frame
        if not self._has_client_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise broken("it does not begin with SETTINGS")
            self._has_client_settings = True
            self._client_settings(payload)
            if self.state is ALONE:
                self._made_client.append(frames.SETTINGS_ACK)
            self._made_upstream.append(passed_settings.for_upstream(payload, self._limits.max_header_bytes, first=True))
            return False
        if kind == frames.DATA:
            self._client_passes = False  # whatever is found wrong with it
            passes = self._client_passes = self._client_data(frame)
            if not passes:
                self._give_back_client(self._swallow(frame, self._client, self._client_budgets))
            return passes
        if kind == frames.HEADERS:
            self._client_headers(number, flags, payload)
            return False
        relays = self.state is not ALONE
        acknowledges = kind == frames.SETTINGS and flags & frames.ACK
        if acknowledges or kind in MAY_BE_OWED:
            if self._client_credit > 0:
                self._client_credit -= 1
            else:
                self._client_budgets.idle.spend(self._clock.now)
        if kind == frames.WINDOW_UPDATE:
            if not self._client_grants(number, frames.number(payload) & frames.MAX_WINDOW):
                return False
            if relays and payload[0] & 0x80:
                self._made_upstream.append(frames.window_update(number, frames.number(payload) & frames.MAX_WINDOW))
                return False
            return relays
        if kind == frames.CONTINUATION:
            return False
        if kind == frames.RST_STREAM:
            return self._client_reset(number)
        if kind == frames.PING:
            if not flags & frames.ACK:
                self._upstream_credit += 1
            if flags & frames.ACK and payload == self._shutdown_ping:
                self._shutdown_ping = b""  # any other one is the upstream's to hear of
                self._say_last()
                return False
            if not relays and not flags & frames.ACK:
                self._made_client.append(frames.frame(frames.PING, frames.ACK, 0, payload))
            return relays
        if acknowledges:
            return relays
        self._client_budgets.idle.spend(self._clock.now)
        if kind == frames.SETTINGS:
            self._client_settings(payload)
            if relays:
                self._made_upstream.append(
                    passed_settings.for_upstream(payload, self._limits.max_header_bytes, first=False)
                )
            else:
                self._made_client.append(frames.SETTINGS_ACK)
            return False
        return kind == frames.GOAWAY and relays

    def _must_be_known(self, number: int) -> None:
        """Any other frame than HEADERS on a stream that is idle ends the connection (RFC 9113 section 5.1)."""
        if number > self._last or not number & 1:
            raise broken("a frame on a stream that was not opened")

    def _client_settings(self, payload: bytes) -> None:
        """Only the windows are held against what the upstream sends (RFC 9113 section 6.9.2)."""
        self._upstream_credit += 1  # it acknowledges them
        rooms = partial(map, attrgetter("client_room"), self.streams.values())
        self._client_initial = initial_window(payload, self._client_initial, rooms)

    def _client_grants(self, number: int, increment: int) -> bool:
        """Whether its WINDOW_UPDATE is of use to anybody."""
        if not number:
            self._client_room += increment
            if overgrown(self._client_room):
                raise flow_control("a window over 2^31-1")
            return True
        stream = self.streams.get(number)
        if stream is None:
            self._must_be_known(number)
            self._ask_dismissed(number, self._dismissed.granted(number, increment, self._client_initial))
            return False
        stream.client_room += increment
        if overgrown(self._client_initial + stream.client_room):
            self._malformed(stream, "a window over 2^31-1", Reason.H2_PROTOCOL_ERROR, ErrorCode.FLOW_CONTROL_ERROR)
            return False
        return True

    def _client_data(self, frame: Frame) -> bool:
        """DATA (RFC 9113 section 6.1), of which the end may still be to come: whether it goes on."""
        _, flags, number, at, end, _ = frame
        stream = self.streams.get(number)
        content = frames.content_bytes(self._client.data, frame)
        ends = flags & frames.END_STREAM
        if not content and not ends:
            self._client_budgets.idle.spend(self._clock.now)
        if stream is None:
            self._must_be_known(number)
            rule = self._closed.rules_of(number)[0]
            if rule == FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
            self._ask_dismissed(number, self._dismissed.sent(number, content, ends=bool(ends)))
            if ends:
                self._closed.forbid_client(number)
            if rule != PASSES or self.state is not RELAYING:
                return False
            self._takes_client_data(end - at - frames.HEAD_BYTES)
            return True
        if not stream.open & CLIENT:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        stream.active_at = self._clock.now
        exchange = stream.exchange
        exchange.bytes_in += end - at
        left = stream.request_left
        if left >= 0:
            left = stream.request_left = left - content
            if left > 0 and ends and not stream.open & UPSTREAM:
                self._stopped(stream)
                return False
            if left < 0 or (ends and left):
                self._malformed(stream, "content-length is not what came", Reason.BAD_CONTENT_LENGTH)
                return False
        elif self._limits.max_body_bytes is not None:
            stream.request_bytes += content
            if stream.request_bytes > self._limits.max_body_bytes:
                self._refuse(stream, MessageRefused(413, Reason.BODY_TOO_LARGE))
                return False
        if self._upstream_credit < CREDIT_SAVED:
            self._upstream_credit += 3  # two windows, and a PING that measures the way
        size = end - at - frames.HEAD_BYTES
        stream.upstream_room -= size
        self._takes_client_data(size)
        if ends:
            self._ended(stream, CLIENT)
        return True

    def _ask_dismissed(self, number: int, code: ErrorCode | None) -> None:
        if code is not None:
            self._ask_to_stop(number, code)

    def _takes_client_data(self, size: int) -> None:
        self._upstream_room -= size
        if self._upstream_room < 0:
            raise flow_control("more DATA than the window allows")

    def _client_reset(self, number: int) -> bool:
        """RST_STREAM (RFC 9113 section 6.4): whether it goes on."""
        self._must_be_known(number)
        if self._dismissed.stopped(number):
            self._closed.forbid_client(number)
            return False  # it has stopped by itself
        stream = self.streams.get(number)
        if stream is None or stream.open & UPSTREAM:
            self._client_budgets.resets.spend(self._clock.now)
        if stream is None:
            return False
        if stream.open & UPSTREAM:  # else it is answered, and says no more (RFC 9113 section 8.1)
            stream.exchange.cut(Reason.STREAM_RESET)
        self._over(stream, (FORBIDDEN, PASSES))
        return self.state is not ALONE

    def _client_headers(self, number: int, flags: int, block: bytes) -> None:
        """HEADERS (RFC 9113 sections 5.1.1 and 8.1): a request, trailers, or what comes too late. The block is decoded
        whatever becomes of it, for it may change the table (section 4.3)."""
        stream = self.streams.get(number)
        ends = bool(flags & frames.END_STREAM)
        if stream is not None:
            if not stream.open & CLIENT:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
            self._client_trailers(stream, block, ends=ends)
            return
        if not number & 1:
            raise broken("a stream id that is even")
        if number <= self._last:
            if self._closed.rules_of(number)[0] == FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            self._client_budgets.idle.spend(self._clock.now)
            self._client_decoder.decode(block)  # trailers that were under way
            self._ask_dismissed(number, self._dismissed.sent_head(number, ends=ends))
            if ends:
                self._closed.forbid_client(number)
            return
        self._last = number
        if number > self._goaway_last or number > self._upstream_last:
            self._client_decoder.decode(block)
            self._closed.add(number, (SWALLOWED, FORBIDDEN))
            return
        self._request(number, block, ends=ends)

    def _request(self, number: int, block: bytes, *, ends: bool) -> None:
        decoder = self._client_decoder
        if self._known_requests.version == decoder.version and len(self.streams) < MAX_STREAMS:
            known = self._known_requests.find(block)
            if known is not None and self.state is not ALONE and not (ends and known.length > 0):
                frame = self._known_request(known, number, block, ends=ends)
                if frame is not None:
                    self._made_upstream.append(frame)
                return
        now = self._clock.now
        self.requests += 1
        version = decoder.version
        head, problem = self._request_head(block)
        exchange = Exchange(self._downstream, head, now)
        exchange.bytes_in = len(block) + frames.HEAD_BYTES
        stream = Stream(number, exchange, now, is_grpc=head.is_grpc)
        if len(self.streams) >= MAX_STREAMS:
            # It cannot have missed the limit for long: whoever goes on is counted as one who resets.
            exchange.cut(Reason.H2_FLOOD, f"over {MAX_STREAMS} streams at once")
            exchange.finish(now)
            self._made_client.append(frames.rst_stream(number, ErrorCode.REFUSED_STREAM))
            self._closed.add(number, (SWALLOWED, FORBIDDEN))
            self._client_budgets.resets.spend(now)
            return
        self.streams[number] = stream
        stream.request_left = head.length
        if ends:
            stream.open = UPSTREAM
        if isinstance(problem, MessageRefused):
            self._refuse(stream, problem)
            return
        if problem is None and head.length > 0 and ends:
            problem = Malformed("content-length without a body", Reason.BAD_CONTENT_LENGTH)
        if problem is not None:
            self._malformed(stream, problem.detail, problem.reason)
            return
        target, request_id = head.target, head.request_id
        path = head.path
        try:
            if not self._downstream.admits_all:
                exchange.admit()
                if head.target != target:
                    path = self._heads.path(head)
            ours = self._stated.block(head)
            if head.destination is not None:
                ours += literal(names.DESTINATION, head.destination, secret=head.hides)
        except MessageRefused as refusal:
            self._refuse(stream, refusal)
            return
        if self.state is ALONE:
            exchange.tried = self._address
            self._refuse(stream, upstream_failed(*self._gone))
            return
        exchange.wait()
        if self._remote is not None:
            exchange.knows_remote(*self._remote)
        if self._address:
            exchange.attach(self._address, now)
        self._last_passed = number
        self._client_credit += 2
        if version == decoder.version and head.destination is None and not head.dropped_headers:
            self._remember_request(block, head, target, request_id)
        said = head.written(path, ours)
        if self._first_request:
            self._first_request = False
            said = NO_TABLE + said
        self._made_upstream.append(frames.headers(number, said, end_stream=ends))

    def _remember_request(self, block: bytes, head: RequestHead, target: bytes, request_id: bytes) -> None:
        """``target`` and ``request_id`` are the client's."""
        stated = self._stated
        if not stated.repeats(head):
            return
        head.request_id, given = request_id, head.request_id
        ours = stated.before_request_id(head)
        head.request_id = given
        version = self._client_decoder.version
        self._known_requests.remember(block, version, head, target=target, request_id=request_id, ours=ours)

    def _known_request(self, known: KnownRequest, number: int, block: bytes, *, ends: bool) -> bytes | None:
        """A request whose block is remembered: the frame that goes on, or None where it was refused. It begins and is
        let go on as any other is (:meth:`_request`); to share that would cost each request two calls."""
        now = self._clock.now
        self.requests += 1
        self._last = number
        request = Request(known.method, known.target, known.host)
        exchange = Exchange(self._downstream, request, now)
        exchange.bytes_in = len(block) + frames.HEAD_BYTES
        stream = self.streams[number] = Stream(number, exchange, now, is_grpc=known.is_grpc)
        if ends:
            stream.open = UPSTREAM
        stream.request_left = known.length
        path, request_id = known.path, known.request_id
        request.request_id = request_id
        if not self._downstream.admits_all:
            try:
                exchange.admit()
            except MessageRefused as refusal:
                self._refuse(stream, refusal)
                return None
            if request.target != known.target:
                path = literal(b":path", request.target)
        exchange.wait()
        if self._remote is not None:
            exchange.knows_remote(*self._remote)
        if self._address:
            exchange.attach(self._address, now)
        self._last_passed = number
        self._client_credit += 2
        if request_id:
            request_id = b""
        else:
            request_id = request.request_id = self._stated.next_request_id()
        said = b"%b%b%b%b" % (known.before, path, known.rest(block, self._client_decoder), request_id)
        return frames.headers(number, said, end_stream=ends)

    def _request_head(self, block: bytes) -> tuple[RequestHead, Malformed | MessageRefused | None]:
        fields = self._client_decoder.decode(block)
        try:
            return self._heads.request(fields, self._client_decoder.never_indexed), None
        except (Malformed, MessageRefused) as problem:
            told = dict(fields)
            shown = RequestHead(told.get(b":method", b""), told.get(b":path", b""), b"")
            shown.is_grpc = told.get(b"content-type", b"").startswith(b"application/grpc")
            return shown, problem.with_traceback(None)

    def _client_trailers(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        fields = self._client_decoder.decode(block)
        if not ends:
            self._malformed(stream, "a second head", Reason.BAD_TRAILER)
            return
        if stream.request_left > 0 and not stream.open & UPSTREAM:
            self._stopped(stream)
            return
        if stream.request_left > 0:
            self._malformed(stream, "content-length is not what came", Reason.BAD_CONTENT_LENGTH)
            return
        try:
            coded = self._heads.request_trailers(fields, self._client_decoder.never_indexed)
        except StreamFault as fault:
            self._malformed(stream, fault.detail, Reason.BAD_TRAILER)
            return
        self._made_upstream.append(frames.headers(stream.id, coded, end_stream=True))
        self._ended(stream, CLIENT)
