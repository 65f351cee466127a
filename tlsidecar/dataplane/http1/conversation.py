"""One downstream connection's requests and responses, in order: bytes and events in, commands out.

The states and their moves are in :mod:`states`. Invariants:

- An upstream connection carries one exchange at a time, and goes back for reuse only after a response whose end was
  certain, to a request that was sent whole, and with no byte beyond it.
- Requests that arrive before their turn wait in ``_held``, unjudged. Once it is over its bound, ``wants_downstream``
  is false and the shell stops reading.
- Every request that was begun or refused gives exactly one ``Finished`` (of the ordinary exchange, which has no
  commands, :meth:`~Conversation.response_in_one` says that it is).

What a request is and what becomes of it is the business of its :class:`~tlsidecar.dataplane.http.exchange.Exchange`;
here are order, keep-alive, pipelining and bytes.

:meth:`Conversation.request_in_one` and :meth:`Conversation.response_in_one` are the ordinary exchange in two calls;
they make the same moves as the general way, or none.
"""

from __future__ import annotations

import re
from typing import Protocol

from tlsidecar.dataplane.http.exchange import Downstream, Exchange
from tlsidecar.dataplane.http.grammar import CONNECTION_SCHEMES, MAX_CONTENT_LENGTH
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused, bad_response, upstream_failed
from tlsidecar.dataplane.http1 import forward, responses
from tlsidecar.dataplane.http1.body import Piece, is_whole_in_chunks
from tlsidecar.dataplane.http1.commands import (
    AbortDownstream,
    CloseDownstream,
    Command,
    Connect,
    Finished,
    ReleaseUpstream,
    SendDownstream,
    SendUpstream,
    StartTunnel,
)
from tlsidecar.dataplane.http1.halves import RequestHalf, ResponseHalf
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.held import Held
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead
from tlsidecar.dataplane.http1.rules import Http1Rules
from tlsidecar.dataplane.http1.states import READING, UNANSWERED, Event, Life, State
from tlsidecar.outcomes import Reason, Stage

# Neighbouring pieces are joined up to the size of a TLS record: one copy costs less than one more system call.
JOINED_BYTES = 16 * 1024

# Methods whose request bodies have no meaning (RFC 9110 sections 9.3.1, 9.3.2, 9.3.5 and 9.3.7).
_BODY_WITHOUT_MEANING = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})

_ASKS_FOR_CONNECTION = re.compile(rb"(?i)\nWWW-Authenticate:[^\r]*?\b" + CONNECTION_SCHEMES + rb"\b").search

_IDLE = State.IDLE
# Before a request, ignored (RFC 9112 section 2.2).
MAX_EMPTY_LINES = 8
_CR = 0x0D

_AWAITING = State.AWAITING
_SENDING = State.SENDING
_ANSWERING = State.ANSWERING
_CHUNKED = Framing.CHUNKED


class Clock(Protocol):
    """``now`` is monotonic seconds."""

    now: float


class Conversation(Life):
    """The messages of one downstream connection. ``exchange`` is the request at hand, ``head`` its head.

    ``force_h11`` sends everything down the h11 lane.
    """

    __slots__ = (
        "_asks_first",
        "_binds_upstream",
        "_bounds_bodies",
        "_clock",
        "_downstream",
        "_empty_lines",
        "_force_h11",
        "_held",
        "_identity",
        "_is_ordinary",
        "_is_single_use",
        "_max_body_bytes",
        "_max_held_bytes",
        "_partial_bytes",
        "_replay",
        "_request_half",
        "_requests",
        "_requests_left",
        "_response_half",
        "_response_head",
        "_responses",
        "_rules",
        "_used_halves",
        "exchange",
        "head",
        "head_begun_at",
    )

    def __init__(self, rules: Http1Rules, downstream: Downstream, clock: Clock, *, force_h11: bool = False) -> None:
        super().__init__()
        limits = rules.limits
        self._clock = clock
        self._downstream = downstream
        self._identity = downstream.headers
        self._bounds_bodies = limits.max_body_bytes is not None
        self._max_body_bytes = limits.max_body_bytes if limits.max_body_bytes is not None else MAX_CONTENT_LENGTH
        self._max_held_bytes = limits.buffer_bytes
        self._requests_left = limits.max_requests_per_connection
        self._is_ordinary = not rules.host_rewrite and not force_h11
        self._asks_first = not downstream.admits_all or self._requests_left is not None
        self._requests = rules.requests
        self._responses = rules.responses
        self._rules = rules
        self._force_h11 = force_h11
        self._binds_upstream = False  # its upstream connection knows this client now: nobody else may have it
        self._held = Held()  # from downstream: a part of a head, or what came before its turn
        self.head_begun_at = 0.0  # in HEAD: since when
        self._empty_lines = 0  # before the next request
        self._reset()

    def _reset(self) -> None:
        """Forget the last exchange. One in two calls sets of this what it changes, and has no halves."""
        self.exchange: Exchange | None = None
        self.head: RequestHead | None = None
        self.stays = True
        self._used_halves = False
        self._request_half: RequestHalf | None = None
        self._response_half: ResponseHalf | None = None
        self._response_head: ResponseHead | None = None
        self._replay: bytes | None = None  # a request in one, while it can be handed over again
        self._is_single_use = False  # the upstream connection ends with this exchange
        self._partial_bytes = 0  # of a head that is not whole yet

    def __repr__(self) -> str:
        halves = (self._request_half, self._response_half)
        lane = "h11" if any(half is not None and half.lane for half in halves) else "plain"
        return f"<Conversation {self.state.name} {lane} {self.head!r} held={len(self._held)}>"

    @property
    def _request(self) -> RequestHalf:
        """Made when it is needed: an ordinary exchange does without, and most connections have no other."""
        half = self._request_half
        if half is None:
            half = self._request_half = RequestHalf(self._rules, self._identity, force_h11=self._force_h11)
        return half

    @property
    def _response(self) -> ResponseHalf:
        half = self._response_half
        if half is None:
            half = self._response_half = ResponseHalf(self._rules)
        return half

    @property
    def wants_downstream(self) -> bool:
        """Whether the shell may read from downstream. False while requests ahead of their turn fill their bound."""
        return self.state in READING or len(self._held) < self._max_held_bytes

    @property
    def _is_last(self) -> bool:
        return self.draining or (self.client_ended and not self._held)

    @property
    def is_idle(self) -> bool:
        """Between two requests, with nothing waiting."""
        return self.state is State.IDLE and not self._held

    # --- The ordinary exchange -------------------------------------------------------------------------------------

    def request_in_one(self, buffer: Buffer, end: int) -> bytes | None:
        """What goes upstream, if ``buffer[:end]`` is exactly one ordinary request; else ``None``, and nothing has
        happened: call :meth:`receive_downstream`.

        The shell then gets an upstream connection, as for ``Connect``, and sends it.
        """
        if self.state is not _IDLE or self._held.data or not self._is_ordinary:
            return None
        head = self._requests.fast(buffer, 0, end)
        if head is None:
            return None
        body_end = head.end + head.length
        if head.framing is _CHUNKED:
            # How much is in chunks nobody has counted: not where a bound would have to be kept.
            if self._bounds_bodies or not is_whole_in_chunks(buffer, head.end, end):
                return None
            body_end = end
        if body_end != end:
            return None
        if body_end > head.end and head.method in _BODY_WITHOUT_MEANING:
            return None
        if head.binds_connection or self._binds_upstream:
            return None
        if self._used_halves:
            self._reset()
        exchange = Exchange(self._downstream, head, self._clock.now)
        if head.length > self._max_body_bytes or (self._asks_first and not self._is_let_through(exchange, head)):
            return None
        self.head = head
        self.exchange = exchange
        self.stays = head.keep_alive and not self.draining
        exchange.bytes_in = end
        exchange.holds_upstream = exchange.was_wanted = True
        self.state = _AWAITING
        data = forward.request_bytes(head, buffer, self._identity)
        if body_end > head.end:
            data += buffer[head.end : end]
        self._replay = data
        return data

    def response_in_one(self, buffer: Buffer, end: int) -> Exchange | None:
        """The exchange, which is over, if ``buffer[:end]`` is exactly the ordinary response that is awaited and goes on
        as it is; else ``None``, and nothing has happened: call :meth:`receive_upstream`.

        The shell then sends ``buffer[:end]`` downstream, takes the upstream connection back for reuse and finishes the
        exchange.
        """
        if self.state is not _AWAITING or self._used_halves or not self.stays or self._held.data:
            return None
        exchange = self.exchange
        if self.draining or self.client_ended or exchange is None or exchange.request.method == b"HEAD":
            return None
        status = self._responses.whole(buffer, end)
        if not status or status == 401:
            return None
        exchange.status = status
        exchange.bytes_out = end
        exchange.holds_upstream = False
        self.exchange = self.head = self._replay = None
        self.state = _IDLE
        return exchange

    def request_data_in_one(self, buffer: Buffer, end: int) -> bool:
        """Whether all of ``buffer[:end]`` is of a body that is being sent, goes up as it is, and goes on after it; else
        nothing has happened."""
        if self.state is not _SENDING or not self._request.passes(buffer, end):
            return False
        assert self.exchange is not None
        self.exchange.bytes_in += end
        return True

    def response_data_in_one(self, buffer: Buffer, end: int) -> bool:
        """The same of a response."""
        if self.state is not _ANSWERING or not self._response.passes(buffer, end):
            return False
        assert self.exchange is not None
        self.exchange.bytes_out += end
        return True

    def _is_let_through(self, exchange: Exchange, head: RequestHead) -> bool:
        """Ask whoever has a say, as :meth:`_begin` does; ``False`` leaves it to that."""
        if self._requests_left is not None and self._requests_left <= 1:
            return False
        target = head.target
        try:
            exchange.admit()
        except MessageRefused:
            return False
        if self._requests_left is not None:
            self._requests_left -= 1
        head.target_rewritten = head.target != target
        return True

    # --- Events ----------------------------------------------------------------------------------------------------

    def receive_downstream(self, buffer: Buffer, start: int, end: int) -> list[Command]:
        """Bytes from the client."""
        out: list[Command] = []
        if self._held:
            self._held.add(buffer, start, end, self._clock.now)
            self._read_held(out)
            return out
        position = self._read_downstream(buffer, start, end, out)
        if position < end:
            self._held.add(buffer, position, end, self._clock.now)
        return out

    def downstream_closed(self, *, clean: bool, reason: Reason = Reason.PEER_RESET, detail: str = "") -> list[Command]:
        """The client sends no more. ``clean``: it said so (close_notify, FIN), and may still be reading; else
        ``reason`` is what became of it."""
        out: list[Command] = []
        if self.state is State.CLOSING:
            return out
        if self.state is State.IDLE:
            self._close(out)
        elif clean and self.state in (State.AWAITING, State.ANSWERING):
            self.client_ended = True
        elif clean and self.state in UNANSWERED:
            self._refuse(out, MessageRefused(400, Reason.INCOMPLETE_REQUEST))
        else:
            if reason is Reason.PEER_RESET and self.state in READING:
                reason = Reason.INCOMPLETE_REQUEST
            self._give_up(out, reason, detail)
        return out

    def receive_upstream(self, buffer: Buffer, start: int, end: int) -> list[Command]:
        """Bytes from the upstream connection at hand."""
        out: list[Command] = []
        partial = self._response.partial_head
        if partial:
            partial += memoryview(buffer)[start:end]
            buffer, start, end = partial, 0, len(partial)
        refusal = None
        try:
            self._read_upstream(buffer, start, end, out)
        except MessageRefused as refused:
            refusal = refused.with_traceback(None)  # its frames hold views on our buffers
        if refusal is not None:
            self._refuse(out, refusal)
        elif self.state is State.TUNNEL:
            # Last: what was said ahead has gone out by then, or is handed over with the sockets.
            out.append(StartTunnel())
        return out

    def upstream_closed(
        self, *, clean: bool, reason: Reason = Reason.UPSTREAM_CLOSED, detail: str = ""
    ) -> list[Command]:
        """The upstream connection ended after something was sent on it. ``clean``: it said so (FIN, close_notify)."""
        out: list[Command] = []
        if self.exchange is None or not self.exchange.holds_upstream or self.state is State.TUNNEL:
            return out
        if self.state in UNANSWERED:
            if self._response.partial_head:
                detail = "in the middle of its response's head"
            self._refuse(out, MessageRefused(502, reason, detail, stage=Stage.UPSTREAM), stays=True)
        elif clean and self._response.ends_by_close:
            try:
                rest = self._response.finish()
            except MessageRefused as refused:
                self._give_up(out, refused.reason, refused.detail)
            else:
                self._downstream_data(out, rest)
                self._end_response(out, beyond=False)
        else:
            self._give_up(out, reason, "in the middle of its response")
        return out

    def upstream_failed(
        self,
        reason: Reason,
        detail: str = "",
        *,
        stage: Stage = Stage.UPSTREAM,
        nothing_sent: bool,
        reused: bool,
    ) -> list[Command]:
        """The upstream connection could not be had, or broke before the response's first byte.

        ``nothing_sent``: no byte of this request left this process. ``reused``: it had served another request before.
        """
        out: list[Command] = []
        exchange = self.exchange
        replay = [self._replay] if self._replay is not None else self._request.replay
        if nothing_sent and reused and replay is not None and self.state in UNANSWERED:
            assert exchange is not None
            if exchange.may_retry():
                self._used_halves = True
                return [Connect(exchange, fresh=True), *(SendUpstream(data) for data in replay)]
        self._refuse(out, upstream_failed(reason, detail, stage), stays=True)
        return out

    def expired(self, *, upstream_stalled: bool = False, downstream_stalled: bool = False) -> list[Command]:
        """The time allowed to the state at hand ran out. ``upstream_stalled``: the upstream does not take the body;
        ``downstream_stalled``: the client does not take the response."""
        out: list[Command] = []
        match self.state:
            case State.IDLE:
                self._close(out)
            case State.HEAD:
                self._refuse(out, MessageRefused(408, Reason.HEAD_TIMEOUT))
            case State.SENDING if not upstream_stalled:
                self._refuse(out, MessageRefused(408, Reason.BODY_TIMEOUT))
            case State.SENDING | State.AWAITING:
                self._refuse(out, upstream_failed(Reason.UPSTREAM_TIMEOUT), stays=True)
            case State.CROSSING | State.ANSWERING if downstream_stalled:
                self._give_up(out, Reason.SLOW_READER, "")
            case State.CROSSING | State.ANSWERING:
                self._give_up(out, Reason.UPSTREAM_TIMEOUT, "in the middle of its response")
            case State.TUNNEL:
                self._give_up(out, Reason.IDLE_TIMEOUT, "")
            case State.CLOSING:
                pass
        return out

    def drain(self) -> list[Command]:
        """Take no further request: the connection ends after the exchange at hand, or now."""
        out: list[Command] = []
        self.draining = True
        if self.state is State.IDLE:
            self._close(out)
        return out

    def tunnel_ended(self, bytes_in: int, bytes_out: int, reason: Reason | None = None, detail: str = "") -> Exchange:
        """The shell's tunnel is over, having carried so many bytes each way: the exchange, for the shell to finish."""
        exchange = self.exchange
        assert exchange is not None
        exchange.bytes_in += bytes_in
        exchange.bytes_out += bytes_out
        if reason is not None:
            exchange.cut(reason, detail)
        self.move(Event.ENDED)
        return exchange

    def abandon(self, reason: Reason) -> Exchange | None:
        """The connection is being cut, whatever is under way on it: the exchange that the shell is to finish, if there
        is one."""
        if self.state is State.IDLE or self.state is State.CLOSING:
            return None
        exchange = self._at_hand()
        exchange.release()
        exchange.cut(reason)
        self.move(Event.ENDED)
        return exchange

    # --- Requests --------------------------------------------------------------------------------------------------

    def _read_held(self, out: list[Command]) -> None:
        held = self._held
        position = self._read_downstream(held.data, 0, len(held), out)
        if self._held is held:
            held.drop(position)

    def _read_downstream(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        """Take what has its turn; returns where the rest starts."""
        position = start
        refusal = None
        try:
            while position < end:
                if self.state is State.IDLE or self.state is State.HEAD:
                    if self.state is State.IDLE and buffer[position] == _CR:
                        position = self._skip_empty_lines(buffer, position, end)
                        if position == end or (position + 1 == end and buffer[position] == _CR):
                            return position
                    head = self._scan(buffer, position, end)
                    if head is None:
                        return position
                    position = head.end
                    self._begin(head, buffer, out)
                elif self.state is State.SENDING or self.state is State.CROSSING:
                    position = self._request_data(buffer, position, end, out)
                elif self.state is State.TUNNEL:
                    out.append(SendUpstream(self._kept(buffer, memoryview(buffer)[position:end])))
                    return end
                elif self.state is State.CLOSING:
                    return end
                else:
                    return position
        except MessageRefused as refused:
            refusal = refused.with_traceback(None)  # its frames hold views on our buffers
        if refusal is None:
            return position
        self._refuse(out, refusal)
        return end

    def _skip_empty_lines(self, buffer: Buffer, start: int, end: int) -> int:
        """Where the empty lines before a request end (RFC 9112 section 2.2); some clients send one after a body."""
        while self._empty_lines < MAX_EMPTY_LINES and start + 2 <= end and buffer[start : start + 2] == b"\r\n":
            self._empty_lines += 1
            start += 2
        return start

    def _scan(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        if self.state is State.IDLE:
            self._reset()
        self._partial_bytes = end - start
        head = self._request.scan(buffer, start, end)
        if head is None and self.state is State.IDLE:
            self.head_begun_at = self._clock.now
            self.move(Event.HEAD_BEGUN)
        return head

    def _begin(self, head: RequestHead, buffer: Buffer, out: list[Command]) -> None:
        now = self._held.arrived(head.end) if buffer is self._held.data else self._clock.now
        self.head = head
        exchange = self.exchange = Exchange(self._downstream, head, now)
        exchange.bytes_in = head.end - head.start
        self._used_halves = True
        self._empty_lines = 0
        self._binds_upstream |= head.binds_connection
        if self._requests_left is not None:
            self._requests_left -= 1
        self.stays = head.keep_alive and not self.draining and self._requests_left != 0
        if head.length > self._max_body_bytes:
            raise MessageRefused(413, Reason.BODY_TOO_LARGE)
        target = head.target
        try:
            exchange.admit()
        except MessageRefused as refusal:
            if head.length or head.framing is Framing.CHUNKED:
                raise  # its body would have to be read first
            self._answer(out, refusal)
            return
        head.target_rewritten = head.target != target
        # Services ignore such a body now and then, and what is hidden in it would be their next request.
        self._is_single_use = head.method in _BODY_WITHOUT_MEANING and head.has_body
        data = self._request.begin(head, buffer, last=self._is_single_use)
        self._response.lane = self._request.lane
        out += [Connect(exchange), SendUpstream(data)]
        exchange.wait()
        self.move(Event.REQUEST_WHOLE if self._request.done else Event.REQUEST_BEGUN)

    def _request_data(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        position, pieces = self._request.read(buffer, start, end)
        assert self.exchange is not None
        self.exchange.bytes_in += position - start
        for piece in pieces:
            last = out[-1] if out else None
            if isinstance(last, SendUpstream) and len(last.data) + len(piece) <= JOINED_BYTES:
                last.data = b"".join((last.data, piece))
            elif piece:
                out.append(SendUpstream(self._kept(buffer, piece)))
        if self._request.done:
            self.move(Event.REQUEST_WHOLE)
        return position

    def _kept(self, buffer: Buffer, piece: Piece) -> Piece:
        """What is held is about to be cut off at its start, which no view may outlive."""
        return bytes(piece) if buffer is self._held.data else piece

    # --- Responses -------------------------------------------------------------------------------------------------

    def _read_upstream(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> None:
        position = start
        while position < end:
            if self.state is State.SENDING or self.state is State.AWAITING:
                assert self.head is not None
                response = self._response.scan(buffer, position, end, self.head)
                if response is None:
                    break
                self._used_halves = True
                position = response.end
                if response.status < 200:
                    self._pass_interim(response, buffer, out)
                    continue
                self._respond(response, buffer, out)
            elif self.state is State.ANSWERING or self.state is State.CROSSING:
                position = self._response_data(buffer, position, end, out)
            elif self.state is State.TUNNEL:
                self._downstream_data(out, memoryview(buffer)[position:end])
                return
            else:
                return
            if self._response.done:
                # Whatever lies beyond belongs to no response: the next request may have begun by now.
                self._end_response(out, beyond=position < end)
                return
        if buffer is not self._response.partial_head or position > start:
            self._used_halves = True
            self._response.partial_head = bytearray(memoryview(buffer)[position:end])

    def _respond(self, response: ResponseHead, buffer: Buffer, out: list[Command]) -> None:
        request = self.head
        assert request is not None
        if self._is_last or request.minor == 0 or self.state is State.SENDING:
            # In SENDING: the rest of the request may never come, and where it ends would not be certain.
            self.stays = False
        assert self.exchange is not None
        self.exchange.status = response.status
        self._response_head = response
        if response.status == 401 and _ASKS_FOR_CONNECTION(buffer, response.start, response.end):
            self._binds_upstream = True
        self._replay = self._request.replay = None
        self._downstream_data(out, self._response.begin(response, buffer, request, close=not self.stays))
        self.move(Event.RESPONSE_BEGUN)

    def _pass_interim(self, response: ResponseHead, buffer: Buffer, out: list[Command]) -> None:
        assert self.head is not None
        self._replay = self._request.replay = None
        data = self._response.interim(response, buffer, self.head)
        if response.status != 101:
            self._downstream_data(out, data)
            return
        if self.state is not State.AWAITING:
            raise bad_response("101 before the request was whole")
        assert self.exchange is not None
        self.exchange.status = 101
        self.move(Event.SWITCHED)
        self._downstream_data(out, data)
        if self._held:
            # Data of the new protocol that the client sent ahead.
            out.append(SendUpstream(bytes(self._held.data)))
            self._held.clear()

    def _response_data(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        position, pieces = self._response.read(buffer, start, end)
        for piece in pieces:
            self._downstream_data(out, piece)
        return position

    def _end_response(self, out: list[Command], *, beyond: bool) -> None:
        """The response was forwarded whole; ``beyond``: the upstream sent more than it."""
        response = self._response_head
        assert response is not None
        request_whole = self.state is State.ANSWERING
        certain = response.keep_alive and response.framing is not Framing.CLOSE and not response.body_may_follow
        self._release(out, reusable=request_whole and certain and not beyond and not self._is_single_use)
        self._finish(out)
        if not self.stays:
            self._close(out)
            return
        self.move(Event.RESPONSE_WHOLE)
        self._next_request(out)

    def _next_request(self, out: list[Command]) -> None:
        if self._held:
            self._read_held(out)
        if self.client_ended and self.state is State.HEAD:
            self._refuse(out, MessageRefused(400, Reason.INCOMPLETE_REQUEST))
        elif self._is_last and self.state is State.IDLE:
            self._close(out)

    def _downstream_data(self, out: list[Command], data: Piece) -> None:
        if not data:
            return
        assert self.exchange is not None
        self.exchange.bytes_out += len(data)
        last = out[-1] if out else None
        if isinstance(last, SendDownstream) and len(last.data) + len(data) <= JOINED_BYTES:
            last.data = b"".join((last.data, data))
        else:
            out.append(SendDownstream(data))

    # --- Ends ------------------------------------------------------------------------------------------------------

    def _refuse(self, out: list[Command], refusal: MessageRefused, *, stays: bool = False) -> None:
        """Answer with the refusal's status and close, unless the request was whole and the connection ``stays``; cut
        off a response that has begun."""
        if self.state not in UNANSWERED:
            if self.state is not State.CLOSING:
                self._give_up(out, refusal.reason, refusal.detail)
            return
        self._take_back(out)
        if self.state is not State.AWAITING or not stays or self.draining:
            self.stays = False
        self._answer(out, refusal)
        if self.stays:
            self._next_request(out)

    def _answer(self, out: list[Command], refusal: MessageRefused) -> None:
        """Answer in the upstream's place; the connection stays if it may."""
        exchange = self._at_hand()
        exchange.refuse(refusal)
        close = not self.stays
        with_body = exchange.request.method != b"HEAD"
        self._downstream_data(
            out,
            responses.reply(refusal.status, close=close, with_body=with_body, retry_after_s=refusal.retry_after_s),
        )
        self._finish(out)
        if close:
            self._close(out)
        else:
            self.move(Event.ANSWERED_BY_US)

    def _give_up(self, out: list[Command], reason: Reason, detail: str) -> None:
        """End without an answer: the client is gone, or has a part of a response that will not be completed."""
        self._take_back(out)
        self._at_hand().cut(reason, detail)
        self._finish(out)
        out.append(AbortDownstream())
        self._held = Held()
        self.move(Event.ENDED)

    def _at_hand(self) -> Exchange:
        """The exchange at hand; for a head that never was whole one is made, of what is known of it."""
        exchange = self.exchange
        if exchange is None:
            exchange = self.exchange = Exchange(self._downstream, Request(*self._request.seen, b""), self._clock.now)
            exchange.bytes_in = self._partial_bytes
        return exchange

    def _finish(self, out: list[Command]) -> None:
        out.append(Finished(self._at_hand()))

    def _take_back(self, out: list[Command]) -> None:
        """Let go of the upstream. What this same call was about to send it is not sent: half a request is worse than
        none."""
        connecting = any(isinstance(command, Connect) for command in out)
        out[:] = [command for command in out if not isinstance(command, (Connect, SendUpstream))]
        if connecting and self.exchange is not None:
            self.exchange.release()
        self._release(out, reusable=False)

    def _release(self, out: list[Command], *, reusable: bool) -> None:
        if self.exchange is not None and self.exchange.release():
            out.append(ReleaseUpstream(reusable, self._binds_upstream))

    def _close(self, out: list[Command]) -> None:
        out.append(CloseDownstream())
        self._held = Held()
        self.move(Event.ENDED)
