"""The streams of one session, and how one ends.

A client's stream is closed for us when both sides have ended it, or either has reset it (:mod:`.closed_streams`).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Protocol

from certs.identity import Identity
from tlsidecar.dataplane.http.exchange import Clock, Downstream, Exchange
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http2 import answers, frames
from tlsidecar.dataplane.http2.budget import Budgets
from tlsidecar.dataplane.http2.closed_streams import BOTH_SWALLOWED, FORBIDDEN, NEITHER, ClosedStreams, Rules
from tlsidecar.dataplane.http2.dismissals import Dismissals
from tlsidecar.dataplane.http2.errors import ErrorCode
from tlsidecar.dataplane.http2.frames import Frame, FrameReader
from tlsidecar.dataplane.http2.heads import Heads, ResponseHead
from tlsidecar.dataplane.http2.hpack import Decoder
from tlsidecar.dataplane.http2.known_requests import KnownRequests
from tlsidecar.dataplane.http2.stated import Stated
from tlsidecar.dataplane.parties import Party
from tlsidecar.outcomes import Reason, Side, Stage

CREDIT_SAVED: Final = 1 << 14  # frames that carry nothing, but are owed for what was sent
WAITING_FRAMES: Final = 256  # of ours for one side, before who causes them is read no further

CLIENT: Final = 1  # may still send on the stream
UPSTREAM: Final = 2

# What may answer to something that was sent: frames that carry nothing, and are not counted then.
MAY_BE_OWED: Final = (frames.WINDOW_UPDATE, frames.PING)

# The first block of a direction begins with a table of no size: whatever the peer allows, we need none.
NO_TABLE: Final = b"\x20"


class SessionState(Enum):
    """See :mod:`.session`."""

    OPENING = auto()
    RELAYING = auto()
    ALONE = auto()


# Looking a member up in its enumeration costs more than what is asked of it for each read.
RELAYING: Final = SessionState.RELAYING
ALONE: Final = SessionState.ALONE


class GrpcAccount(Protocol):
    """Where gRPC calls report."""

    def grpc_answered(self, status: str, *, http_status: int = 0) -> None:
        """A gRPC call ended with this status, or with none; ``http_status`` is that of the service's own answer."""
        ...


class Stream:
    """One exchange on the wire. ``*_left`` is what is still to come of a stated content-length, negative for none;
    ``*_room`` by how much a side's window for it is larger than its initial one."""

    __slots__ = (
        "active_at",
        "answered",
        "client_room",
        "exchange",
        "id",
        "interim",
        "open",
        "owes_grpc_status",
        "request_bytes",
        "request_left",
        "response_left",
        "upstream_room",
    )

    def __init__(self, number: int, exchange: Exchange, now: float, *, is_grpc: bool) -> None:
        self.id = number
        self.exchange = exchange
        self.open = CLIENT | UPSTREAM
        self.answered = False  # the head of the final response has come
        self.interim = 0  # how many came before it
        self.request_left = -1
        self.request_bytes = 0  # of a body without a stated length, where there is a limit
        self.response_left = -1
        self.client_room = 0
        self.upstream_room = 0
        self.owes_grpc_status = is_grpc  # to the account
        self.active_at = now

    @property
    def is_awaited(self) -> bool:
        """Whether the request is whole and no answer has begun. A gRPC call, which may be silent for long, never is."""
        return self.open == UPSTREAM and not self.answered and not self.owes_grpc_status

    def __repr__(self) -> str:
        return f"<Stream {self.id} open={self.open} {self.exchange!r}>"


class Streams:
    """What both directions of a session share. ``grpc`` is told how gRPC calls ended."""

    __slots__ = (
        "_address",
        "_alone_until",
        "_begun_at",
        "_client",
        "_client_block_since",
        "_client_budgets",
        "_client_credit",
        "_client_decoder",
        "_client_initial",
        "_client_passes",
        "_client_room",
        "_client_window",
        "_clock",
        "_closed",
        "_dismissed",
        "_downstream",
        "_first_request",
        "_first_response",
        "_goaway_at",
        "_goaway_last",
        "_gone",
        "_grpc",
        "_has_client_settings",
        "_has_upstream_settings",
        "_heads",
        "_held_since",
        "_idle_since",
        "_known_requests",
        "_last",
        "_last_passed",
        "_limits",
        "_made_client",
        "_made_upstream",
        "_owes_goaway",
        "_preface",
        "_ready_at",
        "_remote",
        "_response_blocks",
        "_response_version",
        "_said_last",
        "_shutdown",
        "_shutdown_at",
        "_shutdown_ping",
        "_stated",
        "_upstream",
        "_upstream_block_since",
        "_upstream_budgets",
        "_upstream_credit",
        "_upstream_decoder",
        "_upstream_initial",
        "_upstream_last",
        "_upstream_passes",
        "_upstream_room",
        "_upstream_window",
        "active_at",
        "end",
        "fault",
        "loss_is_told",
        "requests",
        "state",
        "streams",
        "to_client",
        "to_upstream",
        "unasked",
    )

    def __init__(self, heads: Heads, downstream: Downstream, clock: Clock, grpc: GrpcAccount) -> None:
        limits = heads.rules.limits
        self._heads = heads
        self._limits = limits
        self._downstream = downstream
        self._clock = clock
        self._grpc = grpc
        self._stated = Stated(heads, downstream.headers)
        now = clock.now
        self.state = SessionState.OPENING
        self.streams: dict[int, Stream] = {}
        self.requests = 0
        self.to_client: list[bytes | memoryview] = []
        self.to_upstream: list[bytes | memoryview] = []
        self.end: tuple[Reason, str] | None = None
        self.active_at = now
        self.fault: tuple[Reason, str] | None = None  # to be reported once: how the client broke the rules
        self.unasked: Reason | None = None  # the same: how the upstream failed while no stream was there to say so
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
        self._upstream_last = frames.MAX_WINDOW  # newer ones are not answered by the upstream, as it has said
        self._closed = ClosedStreams()
        self._dismissed = Dismissals()
        # Each side has its own budgets, and what it answers to the other is owed: neither is to pay for the other.
        self._client_budgets = Budgets(now)
        self._upstream_budgets = Budgets(now)
        self._client_credit = 0  # frames that the client owes us for what was sent to it
        self._upstream_credit = 0
        # What either side takes of DATA on the connection, and at first on each stream. Flow control is the ends' own;
        # this shows which of them breaks it.
        self._client_room = self._client_initial = frames.DEFAULT_WINDOW
        self._upstream_room = self._upstream_initial = frames.DEFAULT_WINDOW
        self._known_requests = KnownRequests()
        self._response_blocks: dict[tuple[bytes, bytes], ResponseHead] = {}
        self._response_version = 0
        self._address = ""
        self._remote: tuple[Identity | None, str, Side, Party | None] | None = None
        self._shutdown: Reason | None = None
        self._shutdown_at = 0.0
        self._shutdown_ping = b""  # what ours holds, until it is answered
        self._alone_until = 0.0  # 0: not at all
        self._said_last = False
        self._owes_goaway = False  # that no more are taken is to be said
        self._goaway_at = now  # not before this, where streams may yet be answered
        self._begun_at = now
        self._idle_since = now  # while there is no stream
        self._gone = (Reason.UPSTREAM_CLOSED, "", Stage.UPSTREAM)  # why, once it is
        self.loss_is_told = False  # by the account of a stream that has failed for it
        self._ready_at = 0.0  # when the upstream was reached
        self._held_since = 0.0  # since when half a DATA frame has kept what is ours from the other side; 0: it does not
        self._client_block_since = 0.0  # since when a header block of its, or half a frame, is under way; 0: none is
        self._upstream_block_since = 0.0
        self._client_window = 0  # of the connection's window: to be given back to the client, who is not to wait for it
        self._upstream_window = 0

    def __repr__(self) -> str:
        return f"<Session {self.state.name} streams={len(self.streams)} last={self._last} end={self.end}>"

    def _ended(self, stream: Stream, side: int) -> None:
        stream.open &= ~side
        if not stream.open:
            self._over(stream, NEITHER)

    def _over(self, stream: Stream, rules: Rules) -> None:
        """It has ended, or was reset by whomever; ``rules`` is what becomes of what either side may still send."""
        del self.streams[stream.id]
        self._closed.add(stream.id, rules if stream.open & CLIENT else (FORBIDDEN, rules[1]))
        if stream.owes_grpc_status:
            self._grpc.grpc_answered("")
        now = self._idle_since = self._clock.now
        stream.exchange.release()
        stream.exchange.finish(now)

    def _dismiss(self, stream: Stream) -> None:
        """The answer is whole, and nothing more of the request is wanted."""
        if stream.open & CLIENT:
            first = self._dismissed.add(stream.id, stream.request_left, stream.client_room, self._clock.now)
            if first is not None:
                self._ask_to_stop(first)
        self._over(stream, BOTH_SWALLOWED)

    def _stopped(self, stream: Stream) -> None:
        """The answer is whole, and the client has ended the request with less than it stated, which is no request to go
        on. So curl stops by itself, and then waits for a word."""
        stream.open &= ~CLIENT
        self._ask_to_stop(stream.id)
        self._leave_upstream(stream)
        self._over(stream, BOTH_SWALLOWED)

    def _ask_to_stop(self, number: int, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        if code != ErrorCode.NO_ERROR:
            self._client_budgets.resets.spend(self._clock.now)  # it has made us reset it
        self._made_client.append(frames.rst_stream(number, code))

    def _malformed(
        self, stream: Stream, detail: str, reason: Reason, code: ErrorCode = ErrorCode.PROTOCOL_ERROR
    ) -> None:
        """RFC 9113 section 8.1.1: an error of the stream; to the account it is what HTTP/1 would answer 400."""
        self._client_budgets.resets.spend(self._clock.now)
        exchange = stream.exchange
        if exchange.status == 0:
            exchange.refuse(MessageRefused(400, reason, detail))
        else:
            exchange.cut(reason, detail)
        self._made_client.append(frames.rst_stream(stream.id, code))
        self._leave_upstream(stream)
        self._over(stream, BOTH_SWALLOWED)

    def _refuse(self, stream: Stream, refusal: MessageRefused) -> None:
        """Answer in the upstream's place, and take nothing more of the request."""
        exchange = stream.exchange
        if stream.answered:
            self._cut(stream, refusal.reason, refusal.detail)
            return
        exchange.refuse(refusal)
        block = answers.block(refusal, grpc=stream.owes_grpc_status)
        if stream.owes_grpc_status:
            stream.owes_grpc_status = False
            self._grpc.grpc_answered(str(answers.grpc_status(refusal.status)))
        if self._first_response:
            self._first_response = False
            block = NO_TABLE + block
        answer = frames.headers(stream.id, block, end_stream=True)
        exchange.bytes_out += len(answer)
        self._made_client.append(answer)
        self._leave_upstream(stream)
        self._dismiss(stream)

    def _cut(self, stream: Stream, reason: Reason, detail: str) -> None:
        """End a stream whose answer has begun; one that has all of it has lost nothing."""
        if not stream.open & UPSTREAM:
            self._leave_upstream(stream)
            self._dismiss(stream)
            return
        stream.exchange.cut(reason, detail)
        self._made_client.append(frames.rst_stream(stream.id, ErrorCode.INTERNAL_ERROR))
        self._leave_upstream(stream)
        self._over(stream, BOTH_SWALLOWED)

    def _leave_upstream(self, stream: Stream) -> None:
        if self.state is not ALONE and stream.exchange.holds_upstream:
            self._made_upstream.append(frames.rst_stream(stream.id, ErrorCode.CANCEL))

    def _swallow(self, frame: Frame, reader: FrameReader, budgets: Budgets) -> int:
        """A DATA frame that does not go on: how much of it is here, whose window is to be given back."""
        budgets.swallowed.spend(self._clock.now)
        return min(frame[4], reader.end) - frame[3] - frames.HEAD_BYTES

    def _give_back_client(self, count: int) -> None:
        if count > 0:
            self._client_window += count

    def _give_back_upstream(self, count: int) -> None:
        if count > 0:
            self._upstream_window += count

    def _say_last(self) -> None:
        if not self._said_last:
            self._said_last = True
            self._goaway_last = self._last
            self._owes_goaway = True

    @property
    def _taken_last(self) -> int:
        """The newest stream that a GOAWAY for the client may name: none may name a newer one than an earlier GOAWAY
        did, ours or the upstream's (RFC 9113 section 6.8)."""
        return min(self._goaway_last, self._upstream_last)

    def _abandon(self, reason: Reason, detail: str) -> None:
        now = self._clock.now
        for stream in self.streams.values():
            if stream.owes_grpc_status:
                self._grpc.grpc_answered("")
            if stream.open & UPSTREAM:
                stream.exchange.cut(reason, detail)
            stream.exchange.release()
            stream.exchange.finish(now)
        self.streams.clear()
        self._dismissed.clear()
