"""One client's HTTP/2 connection and the one upstream connection that belongs to it: the machine between them.

Bytes and events come in; bytes for either side, and the end, come out. Stream ids are the same on both sides. DATA,
WINDOW_UPDATE, PING, RST_STREAM and GOAWAY go on as they came, so flow control is end to end and nothing of a body is
kept here; HEADERS and SETTINGS are made anew. A stream is an exchange (:mod:`..http.exchange`).

    OPENING ──ready──▶ RELAYING ──the upstream is gone──▶ ALONE
       └───────missed───────────────────────────────────────▲

ALONE answers for an upstream that is not there, and says goodbye. The session is over once ``end`` says so: what is in
``to_client`` is still to be written then.

A client's stream is closed for us when both sides have ended it, or either has reset it. What may still come for one
that was reset is remembered for the last hundred or so: it goes on to where it was reset, whose end keeps the account
of the connection's window, or is swallowed and its window given back where we ourselves are that end.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Protocol

from certs.identity import Identity
from tlsidecar.dataplane.http import names
from tlsidecar.dataplane.http.exchange import Downstream, Exchange
from tlsidecar.dataplane.http.refusal import MessageRefused, upstream_failed
from tlsidecar.dataplane.http2 import answers, frames
from tlsidecar.dataplane.http2.budget import Budget
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, Flood, Http2Error, StreamFault
from tlsidecar.dataplane.http2.frames import Buffer, Frame, FrameReader
from tlsidecar.dataplane.http2.heads import Heads, Malformed, RequestHead, ResponseHead
from tlsidecar.dataplane.http2.hpack import Decoder, literal
from tlsidecar.dataplane.http2.stated import Stated
from tlsidecar.outcomes import Reason, Side, Stage

MAX_STREAMS: Final = 100
RESETS: Final = (200, 20)  # at once, and a second
IDLE_FRAMES: Final = (1000, 100)  # those that carry nothing
CLOSED_REMEMBERED: Final = 128
BLOCKS_REMEMBERED: Final = 8
SHUTDOWN_PING: Final = b"tlsdrain"
SHUTDOWN_WAIT_S: Final = 1.0  # for the answer to it, before the second GOAWAY
MISSED_ANSWERS_S: Final = 1.0  # how long streams are answered where the upstream was not reached

_CLIENT: Final = 1  # may still send on the stream
_UPSTREAM: Final = 2

# What becomes of frames for a stream that is closed.
_FORBIDDEN: Final = 0
_PASSES: Final = 1
_SWALLOWED: Final = 2

# The first block of a direction begins with a table of no size: whatever the peer allows, we need none.
_NO_TABLE: Final = b"\x20"


class State(Enum):
    OPENING = auto()
    RELAYING = auto()
    ALONE = auto()


class Clock(Protocol):
    @property
    def now(self) -> float: ...


class GrpcAccount(Protocol):
    def grpc_answered(self, status: str) -> None:
        """A gRPC call ended with this status, or with none."""
        ...


class Stream:
    """One exchange on the wire. ``*_left`` is what is still to come of a stated content-length, negative for none."""

    __slots__ = ("active_at", "answered", "exchange", "id", "open", "request_bytes", "request_left", "response_left")

    def __init__(self, number: int, exchange: Exchange, now: float) -> None:
        self.id = number
        self.exchange = exchange
        self.open = _CLIENT | _UPSTREAM
        self.answered = False  # the head of the final response has come
        self.request_left = -1
        self.request_bytes = 0  # of a body without a stated length, where there is a limit
        self.response_left = -1
        self.active_at = now

    def __repr__(self) -> str:
        return f"<Stream {self.id} open={self.open} {self.exchange!r}>"


class Session:
    """See the module. ``grpc`` is told how gRPC calls ended."""

    def __init__(self, heads: Heads, downstream: Downstream, clock: Clock, grpc: GrpcAccount) -> None:
        limits = heads.rules.limits
        self._heads = heads
        self._limits = limits
        self._downstream = downstream
        self._clock = clock
        self._grpc = grpc
        self._stated = Stated(heads, downstream.headers)
        now = clock.now
        self.state = State.OPENING
        self.streams: dict[int, Stream] = {}
        self.requests = 0
        self.to_client: list[bytes | memoryview] = []
        self.to_upstream: list[bytes | memoryview] = []
        self.end: tuple[Reason, str] | None = None
        self.active_at = now
        self.fault: tuple[Reason, str] | None = None  # to be told of once: how the client broke the rules
        self._made_client: list[bytes] = []  # ours, for when no DATA frame is in the middle
        self._made_upstream: list[bytes] = []
        self._client = FrameReader()
        self._upstream = FrameReader()
        self._client_decoder = Decoder(limits.max_header_fields, limits.max_header_bytes)
        self._upstream_decoder = Decoder(limits.max_header_fields, limits.max_header_bytes)
        self._client_passes = False  # the DATA frame that is under way goes on; else it is swallowed
        self._upstream_passes = False
        self._preface = frames.PREFACE  # what is still to come of it
        self._has_client_settings = False
        self._has_upstream_settings = False
        self._first_request = True
        self._first_response = True
        self._last = 0  # the client's newest stream
        self._last_passed = 0  # the newest that the upstream knows
        self._goaway_last = frames.MAX_WINDOW  # newer ones of the client's are not taken
        self._upstream_last = frames.MAX_WINDOW  # newer ones are not answered by the upstream
        self._closed: dict[int, tuple[int, int]] = {}  # id: what becomes of the client's frames, of the upstream's
        self._forgotten = 0  # up to this id it is not known any more
        self._resets = Budget(*RESETS, "resets", now)
        self._client_idle = Budget(*IDLE_FRAMES, "frames that carry nothing", now)
        self._upstream_idle = Budget(*IDLE_FRAMES, "frames that carry nothing", now)
        self._client_credit = 0  # frames that the client owes us for what was sent to it
        self._upstream_credit = 0
        self._request_blocks: dict[bytes, RequestHead] = {}
        self._response_blocks: dict[tuple[bytes, bytes], ResponseHead] = {}
        self._blocks_version = self._response_version = 0
        self._address = ""
        self._remote: tuple[Identity | None, str, Side] | None = None
        self._shutdown: Reason | None = None
        self._shutdown_at = 0.0
        self._alone_until = 0.0  # 0: not at all
        self._said_last = False
        self._begun_at = now
        self._idle_since = now  # while there is no stream
        self._gone = (Reason.UPSTREAM_CLOSED, "", Stage.UPSTREAM)  # why, once it is
        self._stalled_at = 0.0  # since when something is in the middle

    def __repr__(self) -> str:
        return f"<Session {self.state.name} streams={len(self.streams)} last={self._last} end={self.end}>"

    # --- Bytes ---------------------------------------------------------------------------------------------------

    def receive_client(self, buffer: Buffer, size: int) -> None:
        """The first ``size`` bytes of ``buffer`` came from the client. What goes on may be views on it."""
        self.active_at = self._clock.now
        if self._preface:
            begun = bytes(memoryview(buffer)[: min(size, len(self._preface))])
            if not self._preface.startswith(begun):
                self._client_fault(ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not the HTTP/2 preface"))
                return
            self._preface = self._preface[len(begun) :]
            if self._preface:
                return
            self.to_upstream.append(frames.PREFACE)
            buffer = bytes(memoryview(buffer)[len(begun) : size])
            size = len(buffer)
        if self.end is not None:
            return
        reader = self._client
        begin, found = reader.read(buffer, size)
        view = memoryview(reader.data)
        held_at = reader.end
        out, made = self.to_upstream, self._made_upstream
        run = begin
        if begin:
            if self._client_passes:
                run = 0
            else:
                self._give_back_client(begin)
        try:
            for frame in found:
                passes = self._client_frame(frame)
                if passes and not made:
                    continue
                at = frame[3]
                if at > run:
                    out.append(view[run:at])
                if made:
                    out += made
                    made.clear()
                run = at if passes else min(frame[4], held_at)
        except Http2Error as fault:
            self._client_fault(fault)
            return
        stop = min(found[-1][4], held_at) if found else begin
        if stop > run:
            out.append(view[run:stop])
        if reader.fault is not None:
            self._client_fault(reader.fault)
            return
        reader.data = b""
        self._settle()
        if self.state is State.ALONE:
            out.clear()

    def receive_upstream(self, buffer: Buffer, size: int) -> None:
        """The first ``size`` bytes of ``buffer`` came from the upstream. What goes on may be views on it."""
        self.active_at = self._clock.now
        if self.state is not State.RELAYING or self.end is not None:
            return
        reader = self._upstream
        begin, found = reader.read(buffer, size)
        view = memoryview(reader.data)
        held_at = reader.end
        out, made = self.to_client, self._made_client
        run = begin
        if begin:
            if self._upstream_passes:
                run = 0
            else:
                self._give_back_upstream(begin)
        try:
            for frame in found:
                passes = self._upstream_frame(frame)
                if passes and not made:
                    continue
                at = frame[3]
                if at > run:
                    out.append(view[run:at])
                if made:
                    out += made
                    made.clear()
                run = at if passes else min(frame[4], held_at)
        except Http2Error as fault:
            self._upstream_broke(fault)
            return
        stop = min(found[-1][4], held_at) if found else begin
        if stop > run:
            out.append(view[run:stop])
        if reader.fault is not None:
            self._upstream_broke(reader.fault)
            return
        reader.data = b""
        self._settle()

    def _settle(self) -> None:
        """Hand over what is ours, where no DATA frame is in the middle; end what has nothing left to do."""
        # SETTINGS come first (RFC 9113 section 3.4): until the upstream's are there our own frames wait, too.
        if self._made_client and self._has_upstream_settings and not (self._upstream.left and self._upstream_passes):
            self.to_client += self._made_client
            self._made_client.clear()
        if self._made_upstream and not (self._client.left and self._client_passes):
            self.to_upstream += self._made_upstream
            self._made_upstream.clear()
        if self._client.in_the_middle or self._upstream.in_the_middle:
            self._stalled_at = self._stalled_at or self.active_at
        else:
            self._stalled_at = 0.0
        if self._said_last and not self.streams and self.end is None:
            self.end = (self._shutdown or Reason.COMPLETED, "")

    # --- The client ----------------------------------------------------------------------------------------------

    def _client_frame(self, frame: Frame) -> bool:
        """Whether it goes on as it came; what goes on instead, or before it, is in ``_made_upstream``."""
        kind, flags, number, _, _, payload = frame
        if not self._has_client_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise _broken("it does not begin with SETTINGS")
            self._has_client_settings = True
            if self.state is State.ALONE:
                self._made_client.append(frames.SETTINGS_ACK)
            self._made_upstream.append(self._settings_for_upstream(payload, first=True))
            return False
        if kind == frames.DATA:
            passes = self._client_passes = self._client_data(frame)
            if not passes:
                self._give_back_client(min(frame[4], self._client.end) - frame[3] - frames.HEAD_BYTES)
            return passes
        if kind == frames.HEADERS:
            self._client_headers(number, flags, payload)
            return False
        relays = self.state is not State.ALONE
        if kind == frames.WINDOW_UPDATE:
            if self._client_credit > 0:
                self._client_credit -= 1
            else:
                self._client_idle.spend(self._clock.now)
            if number and number not in self.streams:
                self._must_be_known(number)
                return False
            if relays and payload[0] & 0x80:
                self._made_upstream.append(frames.window_update(number, frames.number(payload) & frames.MAX_WINDOW))
                return False
            return relays
        if kind == frames.CONTINUATION:
            return False
        if kind == frames.RST_STREAM:
            return self._client_reset(number)
        self._client_idle.spend(self._clock.now)
        if kind == frames.PING:
            if flags & frames.ACK and payload == SHUTDOWN_PING:
                if self._shutdown is not None:
                    self._say_last()
                return False
            if not relays and not flags & frames.ACK:
                self._made_client.append(frames.frame(frames.PING, frames.ACK, 0, payload))
            return relays
        if kind == frames.SETTINGS:
            if flags & frames.ACK:
                return relays
            if relays:
                self._made_upstream.append(self._settings_for_upstream(payload, first=False))
            else:
                self._made_client.append(frames.SETTINGS_ACK)
            return False
        return kind == frames.GOAWAY and relays

    def _must_be_known(self, number: int) -> None:
        if number > self._last or not number & 1:
            raise _broken("a frame on a stream that was not opened")

    def _client_data(self, frame: Frame) -> bool:
        _, flags, number, at, end, _ = frame
        stream = self.streams.get(number)
        content = frames.content_bytes(self._client.data, frame)
        ends = flags & frames.END_STREAM
        if not content and not ends:
            self._client_idle.spend(self._clock.now)
        if stream is None:
            self._must_be_known(number)
            rule = self._rules_of(number)[0]
            if rule == _FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
            return rule == _PASSES and self.state is State.RELAYING
        if not stream.open & _CLIENT:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        stream.active_at = self._clock.now
        exchange = stream.exchange
        exchange.bytes_in += end - at
        left = stream.request_left
        if left >= 0:
            left = stream.request_left = left - content
            if left < 0 or (ends and left):
                self._malformed(stream, "content-length is not what came", Reason.BAD_CONTENT_LENGTH)
                return False
        elif self._limits.max_body_bytes is not None:
            stream.request_bytes += content
            if stream.request_bytes > self._limits.max_body_bytes:
                self._refuse(stream, MessageRefused(413, Reason.BODY_TOO_LARGE))
                return False
        self._upstream_credit += 2
        if ends:
            self._ended(stream, _CLIENT)
        return True

    def _give_back_client(self, count: int) -> None:
        if count > 0:
            self._made_client.append(frames.window_update(0, count))

    def _client_reset(self, number: int) -> bool:
        self._must_be_known(number)
        self._resets.spend(self._clock.now)
        stream = self.streams.get(number)
        if stream is None:
            return False
        stream.exchange.cut(Reason.STREAM_RESET)
        self._over(stream, (_FORBIDDEN, _PASSES))
        return self.state is not State.ALONE

    def _client_headers(self, number: int, flags: int, block: bytes) -> None:
        stream = self.streams.get(number)
        ends = bool(flags & frames.END_STREAM)
        if stream is not None:
            if not stream.open & _CLIENT:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
            self._client_trailers(stream, block, ends=ends)
            return
        if not number & 1:
            raise _broken("a stream id that is even")
        if number <= self._last:
            if self._rules_of(number)[0] == _FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            self._client_decoder.decode(block)  # trailers that were under way
            return
        self._last = number
        if number > self._goaway_last or number > self._upstream_last:
            self._client_decoder.decode(block)
            self._remember(number, (_SWALLOWED, _FORBIDDEN))
            return
        self._request(number, block, ends=ends)

    def _request(self, number: int, block: bytes, *, ends: bool) -> None:
        now = self._clock.now
        self.requests += 1
        head, problem = self._request_head(block)
        exchange = Exchange(self._downstream, head, now)
        exchange.bytes_in = len(block) + frames.HEAD_BYTES
        stream = Stream(number, exchange, now)
        if len(self.streams) >= MAX_STREAMS:
            # It cannot have missed the limit for long: whoever goes on is counted as one who resets.
            exchange.cut(Reason.H2_FLOOD, f"over {MAX_STREAMS} streams at once")
            exchange.finish(now)
            self._made_client.append(frames.rst_stream(number, ErrorCode.REFUSED_STREAM))
            self._remember(number, (_SWALLOWED, _FORBIDDEN))
            self._resets.spend(now)
            return
        self.streams[number] = stream
        if ends:
            stream.open = _UPSTREAM
        if isinstance(problem, MessageRefused):
            self._refuse(stream, problem)
            return
        if problem is None and head.length > 0 and ends:
            problem = Malformed("content-length without a body", Reason.BAD_CONTENT_LENGTH)
        if problem is not None:
            self._malformed(stream, problem.detail, problem.reason)
            return
        stream.request_left = head.length
        try:
            if not self._downstream.admits_all:
                target = head.target
                exchange.admit()
                if head.target != target:
                    head.path = literal(b":path", head.target)
            ours = self._stated.block(head)
            if head.destination is not None:
                ours += literal(names.DESTINATION, head.destination)
        except MessageRefused as refusal:
            self._refuse(stream, refusal)
            return
        if self.state is State.ALONE:
            self._refuse(stream, upstream_failed(*self._gone))
            return
        exchange.wait()
        if self._remote is not None:
            exchange.knows_remote(*self._remote)
        if self._address:
            exchange.attach(self._address, now)
        self._last_passed = number
        self._client_credit += 2
        block = b"".join((head.before, head.path, head.after, ours))
        if self._first_request:
            self._first_request = False
            block = _NO_TABLE + block
        self._made_upstream.append(frames.headers(number, block, end_stream=ends))

    def _request_head(self, block: bytes) -> tuple[RequestHead, Malformed | MessageRefused | None]:
        decoder = self._client_decoder
        known = self._request_blocks.get(block)
        if known is not None and self._blocks_version == decoder.version:
            return known.again(), None
        version = decoder.version
        fields = decoder.decode(block)
        try:
            head = self._heads.request(fields)
        except (Malformed, MessageRefused) as problem:
            told = dict(fields)
            shown = RequestHead(told.get(b":method", b""), told.get(b":path", b""), b"")
            shown.is_grpc = told.get(b"content-type", b"").startswith(b"application/grpc")
            return shown, problem.with_traceback(None)
        if version == decoder.version and not head.has_secret and not head.kept and head.destination is None:
            if self._blocks_version != version or len(self._request_blocks) >= BLOCKS_REMEMBERED:
                self._request_blocks.clear()
                self._blocks_version = version
            self._request_blocks[block] = head.again()
        return head, None

    def _client_trailers(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        fields = self._client_decoder.decode(block)
        if not ends:
            self._malformed(stream, "a second head", Reason.BAD_TRAILER)
            return
        if stream.request_left > 0:
            self._malformed(stream, "content-length is not what came", Reason.BAD_CONTENT_LENGTH)
            return
        try:
            coded = self._heads.request_trailers(fields)
        except StreamFault as fault:
            self._malformed(stream, fault.detail, Reason.BAD_TRAILER)
            return
        self._made_upstream.append(frames.headers(stream.id, coded, end_stream=True))
        self._ended(stream, _CLIENT)

    def _malformed(self, stream: Stream, detail: str, reason: Reason) -> None:
        """RFC 9113 section 8.1.1: an error of the stream; to the account it is what HTTP/1 would answer 400."""
        self._resets.spend(self._clock.now)
        exchange = stream.exchange
        if exchange.status == 0:
            exchange.refuse(MessageRefused(400, reason, detail))
        else:
            exchange.cut(reason, detail)
        self._made_client.append(frames.rst_stream(stream.id, ErrorCode.PROTOCOL_ERROR))
        self._leave_upstream(stream)
        self._over(stream, _BOTH_SWALLOWED)

    def _refuse(self, stream: Stream, refusal: MessageRefused) -> None:
        """Answer in the upstream's place, and take nothing more of the request."""
        exchange = stream.exchange
        if stream.answered:
            self._cut(stream, refusal.reason, refusal.detail)
            return
        exchange.refuse(refusal)
        head = exchange.request
        assert isinstance(head, RequestHead)
        block = answers.block(refusal, grpc=head.is_grpc)
        if head.is_grpc:
            self._grpc.grpc_answered(str(answers.grpc_status(refusal.status)))
        if self._first_response:
            self._first_response = False
            block = _NO_TABLE + block
        answer = frames.headers(stream.id, block, end_stream=True)
        exchange.bytes_out += len(answer)
        self._made_client.append(answer)
        if stream.open & _CLIENT:
            # RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
            self._made_client.append(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
        self._leave_upstream(stream)
        self._over(stream, _BOTH_SWALLOWED)

    def _cut(self, stream: Stream, reason: Reason, detail: str) -> None:
        """End a stream whose answer has begun."""
        stream.exchange.cut(reason, detail)
        self._made_client.append(frames.rst_stream(stream.id, ErrorCode.INTERNAL_ERROR))
        self._leave_upstream(stream)
        self._over(stream, _BOTH_SWALLOWED)

    def _leave_upstream(self, stream: Stream) -> None:
        if self.state is not State.ALONE and stream.exchange.holds_upstream:
            self._made_upstream.append(frames.rst_stream(stream.id, ErrorCode.CANCEL))

    # --- The upstream --------------------------------------------------------------------------------------------

    def _upstream_frame(self, frame: Frame) -> bool:
        """Whether it goes on as it came; what goes on instead, or before it, is in ``_made_client``."""
        kind, flags, number, _, _, payload = frame
        if not self._has_upstream_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise _broken("it does not begin with SETTINGS")
            self._has_upstream_settings = True
            self._made_client.insert(0, self._settings_for_client(payload, first=True))
            return False
        if kind == frames.DATA:
            passes = self._upstream_passes = self._upstream_data(frame)
            if not passes:
                self._give_back_upstream(min(frame[4], self._upstream.end) - frame[3] - frames.HEAD_BYTES)
            return passes
        if kind == frames.HEADERS:
            self._upstream_headers(number, flags, payload)
            return False
        if kind == frames.WINDOW_UPDATE:
            if self._upstream_credit > 0:
                self._upstream_credit -= 1
            else:
                self._upstream_idle.spend(self._clock.now)
            if number and number not in self.streams:
                self._must_be_passed(number)
                return False
            if payload[0] & 0x80:
                self._made_client.append(frames.window_update(number, frames.number(payload) & frames.MAX_WINDOW))
                return False
            return True
        if kind == frames.CONTINUATION:
            return False
        if kind == frames.RST_STREAM:
            return self._upstream_reset(number, frames.number(payload))
        self._upstream_idle.spend(self._clock.now)
        if kind == frames.SETTINGS and not flags & frames.ACK:
            self._made_client.append(self._settings_for_client(payload, first=False))
            return False
        if kind == frames.GOAWAY:
            self._upstream_goaway(frames.number(payload[:4]) & frames.MAX_WINDOW)
            return not self._said_last
        return kind in (frames.PING, frames.SETTINGS)

    def _must_be_passed(self, number: int) -> None:
        if number > self._last_passed or not number & 1:
            raise _broken("a frame on a stream that was not opened")

    def _upstream_data(self, frame: Frame) -> bool:
        _, flags, number, at, end, _ = frame
        stream = self.streams.get(number)
        content = frames.content_bytes(self._upstream.data, frame)
        ends = flags & frames.END_STREAM
        if not content and not ends:
            self._upstream_idle.spend(self._clock.now)
        if stream is None:
            self._must_be_passed(number)
            rule = self._rules_of(number)[1]
            if rule == _FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
            return rule == _PASSES
        if not stream.open & _UPSTREAM:
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
        self._client_credit += 2
        if ends:
            self._ended(stream, _UPSTREAM)
        return True

    def _give_back_upstream(self, count: int) -> None:
        if count > 0:
            self._made_upstream.append(frames.window_update(0, count))

    def _upstream_headers(self, number: int, flags: int, block: bytes) -> None:
        stream = self.streams.get(number)
        ends = bool(flags & frames.END_STREAM)
        if stream is None:
            self._must_be_passed(number)
            self._upstream_decoder.decode(block)
            if self._rules_of(number)[1] == _FORBIDDEN:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            return
        if not stream.open & _UPSTREAM:
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
            stream.answered = True
            exchange.status = head.status
            stream.response_left = head.length
        elif ends:
            self._bad_response(stream, "an interim response that ends it")
            return
        coded = head.block
        exchange.bytes_out += len(coded) + frames.HEAD_BYTES
        self._client_credit += 1
        if self._first_response:
            self._first_response = False
            coded = _NO_TABLE + coded
        self._made_client.append(frames.headers(number, coded, end_stream=ends))
        if ends:
            request = exchange.request
            assert isinstance(request, RequestHead)
            if request.is_grpc:
                self._grpc.grpc_answered(head.grpc_status.decode("latin-1"))
            self._ended(stream, _UPSTREAM)

    def _response_head(self, block: bytes, method: bytes, *, trailers: bool) -> ResponseHead:
        decoder = self._upstream_decoder
        key = (block, b"" if trailers else method)
        known = self._response_blocks.get(key)
        if known is not None and self._response_version == decoder.version:
            return known
        version = decoder.version
        fields = decoder.decode(block)
        heads = self._heads
        head = heads.response_trailers(fields) if trailers else heads.response(fields, method)
        if version == decoder.version and not head.has_secret:
            if self._response_version != version or len(self._response_blocks) >= BLOCKS_REMEMBERED:
                self._response_blocks.clear()
                self._response_version = version
            self._response_blocks[key] = head
        return head

    def _bad_response(self, stream: Stream, detail: str) -> None:
        """RFC 9113 section 8.1.1, from the other side: 502, or the end of an answer that has begun."""
        self._resets.spend(self._clock.now)
        self._refuse(stream, MessageRefused(502, Reason.UPSTREAM_BAD_RESPONSE, detail, stage=Stage.UPSTREAM))

    def _upstream_reset(self, number: int, code: int) -> bool:
        self._must_be_passed(number)
        stream = self.streams.get(number)
        if stream is None:
            return False
        if stream.open & _UPSTREAM or code != ErrorCode.NO_ERROR:
            self._resets.spend(self._clock.now)
            stream.exchange.cut(Reason.UPSTREAM_RESET, f"RST_STREAM {code}")
        self._over(stream, (_PASSES, _FORBIDDEN))
        return True

    def _upstream_goaway(self, last: int) -> None:
        self._upstream_last = min(self._upstream_last, last)
        for stream in list(self.streams.values()):
            if stream.id > last:
                # The upstream has not begun with it, and the client learns from the same frame that it may try again.
                stream.exchange.cut(Reason.UPSTREAM_CLOSED, "GOAWAY")
                self._over(stream, (_SWALLOWED, _FORBIDDEN))

    # --- Streams -------------------------------------------------------------------------------------------------

    def _ended(self, stream: Stream, side: int) -> None:
        stream.open &= ~side
        if not stream.open:
            self._over(stream, _NEITHER)

    def _over(self, stream: Stream, rules: tuple[int, int]) -> None:
        """It has ended, or was reset by whomever; ``rules`` is what becomes of what either side may still send."""
        del self.streams[stream.id]
        self._remember(stream.id, rules if stream.open & _CLIENT else (_FORBIDDEN, rules[1]))
        now = self._idle_since = self._clock.now
        stream.exchange.release()
        stream.exchange.finish(now)

    def _remember(self, number: int, rules: tuple[int, int]) -> None:
        closed = self._closed
        if len(closed) >= CLOSED_REMEMBERED:
            oldest = next(iter(closed))
            del closed[oldest]
            self._forgotten = max(self._forgotten, oldest)
        closed[number] = rules

    def _rules_of(self, number: int) -> tuple[int, int]:
        """What becomes of frames for a closed stream. Raises :class:`ConnectionFault` for one that was passed over."""
        rules = self._closed.get(number)
        if rules is not None:
            return rules
        if number > self._forgotten:
            raise _broken("a stream id that was passed over")
        return _BOTH_SWALLOWED

    # --- Settings ------------------------------------------------------------------------------------------------

    def _settings_for_upstream(self, payload: bytes, *, first: bool) -> bytes:
        """The client's, as far as they are to be known: no push, no tables, frames of 16 KiB, nothing unknown."""
        kept = [(frames.ENABLE_PUSH, 0)] if first else []
        for number, value in frames.settings_in(payload):
            if number == frames.INITIAL_WINDOW_SIZE:
                kept.append((number, value))
        if first:
            kept.append((frames.MAX_HEADER_LIST_SIZE, self._limits.max_header_bytes))
        return frames.settings(kept)

    def _settings_for_client(self, payload: bytes, *, first: bool) -> bytes:
        kept: list[tuple[int, int]] = []
        streams = MAX_STREAMS
        has_streams = first
        for number, value in frames.settings_in(payload):
            if number == frames.ENABLE_PUSH and value:
                raise _broken("a server that enables push")
            if number == frames.MAX_CONCURRENT_STREAMS:
                streams = min(MAX_STREAMS, value)
                has_streams = True
            elif number == frames.INITIAL_WINDOW_SIZE:
                kept.append((number, value))
        if has_streams:
            kept.append((frames.MAX_CONCURRENT_STREAMS, streams))
        if first:
            kept.append((frames.MAX_HEADER_LIST_SIZE, self._limits.max_header_bytes))
        return frames.settings(kept)

    # --- Events --------------------------------------------------------------------------------------------------

    @property
    def is_begun(self) -> bool:
        """Whether the preface is there: the upstream is wanted from then on."""
        return not self._preface

    def knows_remote(self, identity: Identity | None, rule: str, side: Side = Side.LOCAL) -> None:
        """Who is at the upstream's end, where that shows a certificate."""
        self._remote = (identity, rule, side)
        for stream in self.streams.values():
            stream.exchange.knows_remote(identity, rule, side)

    def upstream_ready(self, address: str) -> None:
        """What was and will be in ``to_upstream`` goes there from now on."""
        self.state = State.RELAYING
        self._address = address
        now = self._clock.now
        for stream in self.streams.values():
            stream.exchange.attach(address, now)

    def upstream_missed(self, reason: Reason, detail: str = "", stage: Stage = Stage.UPSTREAM) -> None:
        """It was not reached. The client is told on each stream for a moment, and only then to dial anew: told at once
        it would do so at once, and again."""
        self._alone_until = self._clock.now + MISSED_ANSWERS_S
        self._lose_upstream(reason, detail, stage)

    def upstream_gone(self, reason: Reason, detail: str = "", stage: Stage = Stage.UPSTREAM) -> None:
        """It ended: every stream is answered for, or cut, and the client may dial anew."""
        self._lose_upstream(reason, detail, stage)

    def _lose_upstream(self, reason: Reason, detail: str, stage: Stage) -> None:
        if self.state is State.ALONE or self.end is not None:
            return
        self.state = State.ALONE
        self._gone = (reason, detail, stage)
        self.to_upstream.clear()
        self._made_upstream.clear()
        self._client_passes = False
        if self._upstream.left and self._upstream_passes:
            # The client waits for the rest of a DATA frame, and would take whatever comes for it.
            self._abandon(reason, detail)
            self.end = (reason, detail)
            return
        if not self._has_upstream_settings:
            self._has_upstream_settings = True
            ours = [self._settings_for_client(b"", first=True)]
            self._made_client[:0] = [*ours, frames.SETTINGS_ACK] if self._has_client_settings else ours
        for stream in list(self.streams.values()):
            self._refuse(stream, upstream_failed(reason, detail, stage))
        if not self._alone_until:
            self._shutdown = self._shutdown or Reason.COMPLETED
            self._say_last()
        self._settle()

    def client_gone(self, reason: Reason, detail: str = "") -> None:
        """Nothing can be told to it any more."""
        self._abandon(reason, detail)
        self.end = self.end or (reason, detail)

    def shut_down(self, reason: Reason) -> None:
        """Take no further stream, in two steps (RFC 9113 section 6.8), and end after the last one."""
        if self._shutdown is not None or self.end is not None:
            return
        self._shutdown = reason
        self._shutdown_at = self._clock.now
        if not self.is_begun:
            self.end = (reason, "")
            return
        self._made_client.append(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR))
        self._made_client.append(frames.frame(frames.PING, 0, 0, SHUTDOWN_PING))
        self._settle()

    def _say_last(self) -> None:
        if not self._said_last:
            self._said_last = True
            self._goaway_last = self._last
            self._made_client.append(frames.goaway(self._last, ErrorCode.NO_ERROR))

    def check_time(self, now: float) -> None:
        """End what has taken too long at ``now``."""
        if self.end is not None:
            return
        limits = self._limits
        if not self._has_client_settings:
            if now - self._begun_at > limits.head_timeout_s:
                self._client_fault(_late("no preface and SETTINGS in time"), Reason.HEAD_TIMEOUT)
            return
        if self._shutdown is not None and not self._said_last and now - self._shutdown_at > SHUTDOWN_WAIT_S:
            self._say_last()
            self._settle()
        if self._alone_until and now > self._alone_until:
            self._shutdown = self._shutdown or Reason.COMPLETED
            self._say_last()
            self._settle()
        if self._client.in_a_block and self._stalled_at and now - self._stalled_at > limits.head_timeout_s:
            self._client_fault(_late("half a frame"), Reason.HEAD_TIMEOUT)
            return
        for stream in list(self.streams.values()):
            if now - stream.active_at > limits.stream_idle_timeout_s:
                self._idle_stream(stream)
        self._settle()
        if not self.streams and now - self._idle_since > limits.keepalive_timeout_s:
            self._request_blocks.clear()
            self._response_blocks.clear()
            self._shutdown = self._shutdown or Reason.IDLE_TIMEOUT
            self._say_last()
            self._settle()

    def _idle_stream(self, stream: Stream) -> None:
        if stream.open & _CLIENT and not stream.answered:
            self._refuse(stream, MessageRefused(408, Reason.BODY_TIMEOUT))
        else:
            self._refuse(stream, upstream_failed(Reason.UPSTREAM_TIMEOUT))

    # --- Faults --------------------------------------------------------------------------------------------------

    def _client_fault(self, fault: Http2Error, reason: Reason | None = None) -> None:
        """The client broke the rules, or its budget: everything ends."""
        if reason is None:
            reason = Reason.H2_FLOOD if isinstance(fault, Flood) else Reason.H2_PROTOCOL_ERROR
        self.fault = (reason, fault.detail)
        if not (self._upstream.left and self._upstream_passes):
            if not self._has_upstream_settings:
                self._made_client.insert(0, self._settings_for_client(b"", first=True))
            self.to_client += self._made_client
            self.to_client.append(frames.goaway(self._last, fault.code))
        self._made_client.clear()
        self._abandon(reason, fault.detail)
        self.end = (reason, fault.detail)

    def _upstream_broke(self, fault: Http2Error) -> None:
        """The upstream did: the client loses its streams, and may dial anew."""
        reason = Reason.H2_FLOOD if isinstance(fault, Flood) else Reason.UPSTREAM_BAD_RESPONSE
        in_the_middle = self._client.left and self._client_passes
        self.upstream_gone(reason, fault.detail)
        if not in_the_middle:
            self.to_upstream.append(frames.goaway(0, fault.code))

    def _abandon(self, reason: Reason, detail: str) -> None:
        now = self._clock.now
        for stream in self.streams.values():
            stream.exchange.cut(reason, detail)
            stream.exchange.release()
            stream.exchange.finish(now)
        self.streams.clear()


_NEITHER: Final = (_FORBIDDEN, _FORBIDDEN)
_BOTH_SWALLOWED: Final = (_SWALLOWED, _SWALLOWED)


def _broken(detail: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, detail)


def _late(detail: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.NO_ERROR, detail)
