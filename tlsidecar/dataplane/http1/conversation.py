"""One downstream connection's requests and responses, in order: bytes and events in, commands out.

The states and their moves are in :mod:`states`. Invariants:

- An upstream connection carries one exchange at a time, and goes back for reuse only after a response whose end was
  certain, to a request that was sent whole, and with no byte beyond it.
- Requests that arrive before their turn wait in ``_held``, unjudged. Once it is over its bound, ``wants_downstream``
  is false and the shell stops reading.
- Every request that was begun or refused gives exactly one ``Finished`` (the ordinary exchange, which has no
  commands, gives its record when asked).

:meth:`Exchange.request_in_one` and :meth:`Exchange.response_in_one` are the ordinary exchange in two calls; they make
the same moves as the general way, or none.
"""

from __future__ import annotations

from collections.abc import Callable

from tlsidecar.dataplane.http.grammar import MAX_CONTENT_LENGTH
from tlsidecar.dataplane.http.identity_headers import IdentityHeaders
from tlsidecar.dataplane.http.refusal import RETRY_AFTER_S, MessageRefused, bad_response
from tlsidecar.dataplane.http.routes import RouteGuard
from tlsidecar.dataplane.http1 import forward, responses
from tlsidecar.dataplane.http1.body import Piece
from tlsidecar.dataplane.http1.commands import (
    AbortDownstream,
    CloseDownstream,
    Command,
    Connect,
    ExchangeRecord,
    Finished,
    ReleaseUpstream,
    SendDownstream,
    SendUpstream,
    StartTunnel,
)
from tlsidecar.dataplane.http1.halves import RequestHalf, ResponseHalf
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead
from tlsidecar.dataplane.http1.rules import Http1Rules
from tlsidecar.dataplane.http1.states import READING, TRANSITIONS, UNANSWERED, Event, State
from tlsidecar.outcomes import Reason, Stage

# Neighbouring pieces are joined up to the size of a TLS record: one copy costs less than one more system call.
JOINED_BYTES = 16 * 1024

IDEMPOTENT_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})  # RFC 9110 section 9.2.2

Admission = Callable[[RequestHead], None]

# Looking a member up in its enumeration costs more than the comparison that needs it.
_NO_FAULT_OF_THE_UPSTREAM = (Reason.UPSTREAM_EJECTED, Reason.FD_EXHAUSTED)  # 503: try again soon

_IDLE = State.IDLE
_AWAITING = State.AWAITING
_LENGTH = Framing.LENGTH


class Exchange:
    """The messages of one downstream connection.

    ``guard`` judges the path where the listener has routes; ``admission`` may refuse a request by raising
    :class:`MessageRefused` (rate, load), and is asked last. ``force_h11`` sends everything down the h11 lane.
    """

    __slots__ = (
        "_admission",
        "_admitted",
        "_asks_first",
        "_bytes_in",
        "_bytes_out",
        "_downstream_ended",
        "_draining",
        "_force_h11",
        "_guard",
        "_held",
        "_identity",
        "_is_ordinary",
        "_max_body_bytes",
        "_max_held_bytes",
        "_replay",
        "_request_half",
        "_requests",
        "_requests_left",
        "_response_half",
        "_response_head",
        "_responses",
        "_retried",
        "_rules",
        "_stays",
        "_upstream_attached",
        "_used_halves",
        "head",
        "state",
        "status",
    )

    def __init__(
        self,
        rules: Http1Rules,
        identity: IdentityHeaders,
        guard: RouteGuard | None = None,
        admission: Admission | None = None,
        *,
        force_h11: bool = False,
    ) -> None:
        limits = rules.limits
        self._identity = identity
        self._guard = guard
        self._admission = admission
        self._max_body_bytes = limits.max_body_bytes if limits.max_body_bytes is not None else MAX_CONTENT_LENGTH
        self._max_held_bytes = limits.buffer_bytes
        self._requests_left = limits.max_requests_per_connection
        self._is_ordinary = not rules.host_rewrite and not force_h11
        self._asks_first = guard is not None or admission is not None or self._requests_left is not None
        self._requests = rules.requests
        self._responses = rules.responses
        self._rules = rules
        self._force_h11 = force_h11
        self._held = bytearray()  # from downstream: a part of a head, or what came before its turn
        self._draining = False
        self._downstream_ended = False
        self.state = State.IDLE
        self.head: RequestHead | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget the last exchange. One in two calls sets of this what it changes, and has no halves."""
        self._used_halves = False
        self._request_half: RequestHalf | None = None
        self._response_half: ResponseHalf | None = None
        self._replay: bytes | None = None  # a request in one, while it can be handed over again
        self.status = 0
        self._stays = True  # whether the downstream connection outlives this exchange
        self._response_head: ResponseHead | None = None
        self._upstream_attached = False
        self._retried = False
        self._admitted = False
        self._bytes_in = 0
        self._bytes_out = 0

    def __repr__(self) -> str:
        halves = (self._request_half, self._response_half)
        lane = "h11" if any(half is not None and half.lane for half in halves) else "plain"
        return f"<Exchange {self.state.name} {lane} {self.head!r} held={len(self._held)}>"

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
            half = self._response_half = ResponseHalf(self._rules, force_h11=self._force_h11)
        return half

    @property
    def wants_downstream(self) -> bool:
        """Whether the shell may read from downstream. False while requests ahead of their turn fill their bound."""
        return self.state in READING or len(self._held) < self._max_held_bytes

    @property
    def _is_last(self) -> bool:
        return self._draining or (self._downstream_ended and not self._held)

    @property
    def is_idle(self) -> bool:
        """Between two requests, with nothing waiting."""
        return self.state is State.IDLE and not self._held

    def record(self, reason: Reason | None = None, detail: str = "") -> ExchangeRecord:
        """What there is to tell of the exchange at hand, or of the last one while the next has not begun."""
        record = ExchangeRecord(
            status=self.status,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            reason=reason,
            detail=detail,
            admitted=self._admitted,
            retried=self._retried,
        )
        head = self.head
        if head is not None:
            record.method = head.method
            record.target = head.target
            record.host = head.host
            record.request_id = head.request_id
            record.trace = head.trace
            record.upgrade = head.upgrade if self.status == 101 else b""
        return record

    # --- The ordinary exchange -------------------------------------------------------------------------------------

    def request_in_one(self, buffer: Buffer, end: int) -> bytes | None:
        """What goes upstream, if ``buffer[:end]`` is exactly one ordinary request; else ``None``, and nothing has
        happened: call :meth:`receive_downstream`.

        The shell then gets an upstream connection, as for ``Connect``, and sends it.
        """
        if self.state is not _IDLE or self._held or not self._is_ordinary:
            return None
        head = self._requests.fast(buffer, 0, end)
        if head is None or head.framing > _LENGTH or head.end + head.length != end:
            return None
        if self._used_halves:
            self._clean()
        if head.length > self._max_body_bytes or (self._asks_first and not self._is_let_through(head)):
            return None
        self.head = head
        self.status = 0
        self._bytes_out = 0
        self._stays = head.keep_alive and not self._draining
        self._upstream_attached = True
        self._bytes_in = end
        self.state = _AWAITING
        data = forward.request_bytes(head, buffer, self._identity)
        if head.length:
            data += buffer[head.end : end]
        self._replay = data
        return data

    def response_in_one(self, buffer: Buffer, end: int) -> int:
        """The status, if ``buffer[:end]`` is exactly the ordinary response that is awaited and goes on as it is; else
        0, and nothing has happened: call :meth:`receive_upstream`.

        The shell then sends ``buffer[:end]`` downstream and takes the upstream connection back for reuse; there is no
        ``Finished``: :meth:`record` tells of it.
        """
        if self.state is not _AWAITING or self._used_halves or not self._stays or self._held:
            return 0
        if self._draining or self._downstream_ended or self.head is None or self.head.method == b"HEAD":
            return 0
        status = self._responses.whole(buffer, end)
        if status:
            self._replay = None
            self.status = status
            self._bytes_out = end
            self._upstream_attached = False
            self.state = _IDLE
        return status

    def _is_let_through(self, head: RequestHead) -> bool:
        """Ask whoever has a say, as :meth:`_begin` does; ``False`` leaves it to that."""
        if self._requests_left is not None and self._requests_left <= 1:
            return False
        try:
            if self._guard is not None and self._guard.judge(head.method, head.target) != head.target:
                return False
            if self._admission is not None:
                self._admission(head)
        except MessageRefused:
            return False
        if self._requests_left is not None:
            self._requests_left -= 1
        self._admitted = self._admission is not None
        return True

    # --- Events ----------------------------------------------------------------------------------------------------

    def receive_downstream(self, buffer: Buffer, start: int, end: int) -> list[Command]:
        """Bytes from the client."""
        out: list[Command] = []
        if self._held:
            self._held += memoryview(buffer)[start:end]
            self._read_held(out)
            return out
        position = self._read_downstream(buffer, start, end, out)
        if position < end:
            self._held += memoryview(buffer)[position:end]
        return out

    def downstream_closed(self, *, clean: bool) -> list[Command]:
        """The client sends no more. ``clean``: it said so (close_notify, FIN), and may still be reading."""
        out: list[Command] = []
        if self.state is State.CLOSING:
            return out
        if self.state is State.IDLE:
            self._close(out, linger=False)
        elif clean and self.state in (State.AWAITING, State.ANSWERING):
            self._downstream_ended = True
        elif clean and self.state in UNANSWERED:
            self._refuse(out, MessageRefused(400, Reason.INCOMPLETE_REQUEST))
        else:
            reason = Reason.INCOMPLETE_REQUEST if self.state in READING else Reason.PEER_RESET
            self._give_up(out, reason, "")
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

    def upstream_closed(self, *, clean: bool, reason: Reason = Reason.UPSTREAM_CLOSED) -> list[Command]:
        """The upstream connection ended after something was sent on it. ``clean``: it said so (FIN, close_notify)."""
        out: list[Command] = []
        if not self._upstream_attached or self.state is State.TUNNEL:
            return out
        if self.state in UNANSWERED:
            detail = "in the middle of its response's head" if self._response.partial_head else ""
            self._refuse(out, MessageRefused(502, reason, detail, stage=Stage.UPSTREAM))
        elif clean and self._response.ends_by_close:
            try:
                rest = self._response.finish()
            except MessageRefused as refused:
                self._give_up(out, refused.reason, refused.detail)
            else:
                self._downstream(out, rest)
                self._end_response(out, beyond=False)
        else:
            self._give_up(out, reason, "in the middle of its response")
        return out

    def upstream_failed(self, reason: Reason, detail: str = "", *, nothing_sent: bool, reused: bool) -> list[Command]:
        """The upstream connection could not be had, or broke before the response's first byte.

        ``nothing_sent``: no byte of this request left this process. ``reused``: it had served another request before.
        """
        out: list[Command] = []
        head = self.head
        replay = [self._replay] if self._replay is not None else self._request.replay
        if nothing_sent and reused and not self._retried and replay is not None and self.state in UNANSWERED:
            assert head is not None
            if head.method in IDEMPOTENT_METHODS:
                self._retried = self._used_halves = True
                return [Connect(fresh=True), *(SendUpstream(data) for data in replay)]
        status = 504 if reason is Reason.UPSTREAM_TIMEOUT else 503 if reason in _NO_FAULT_OF_THE_UPSTREAM else 502
        retry_after_s = RETRY_AFTER_S if status == 503 else None
        self._refuse(out, MessageRefused(status, reason, detail, stage=Stage.UPSTREAM, retry_after_s=retry_after_s))
        return out

    def expired(self, *, upstream_stalled: bool = False, downstream_stalled: bool = False) -> list[Command]:
        """The time allowed to the state at hand ran out. ``upstream_stalled``: the upstream does not take the body;
        ``downstream_stalled``: the client does not take the response."""
        out: list[Command] = []
        match self.state:
            case State.IDLE:
                self._close(out, linger=False)
            case State.HEAD:
                self._refuse(out, MessageRefused(408, Reason.HEAD_TIMEOUT))
            case State.SENDING if not upstream_stalled:
                self._refuse(out, MessageRefused(408, Reason.BODY_TIMEOUT))
            case State.SENDING | State.AWAITING:
                self._refuse(out, MessageRefused(504, Reason.UPSTREAM_TIMEOUT, stage=Stage.UPSTREAM))
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
        self._draining = True
        if self.state is State.IDLE:
            self._close(out, linger=False)
        return out

    def tunnel_ended(self, bytes_in: int, bytes_out: int, reason: Reason | None = None) -> ExchangeRecord:
        """The shell's tunnel is over, having carried so many bytes each way."""
        self._bytes_in += bytes_in
        self._bytes_out += bytes_out
        self._move(Event.ENDED)
        return self.record(reason)

    def abandon(self, reason: Reason) -> ExchangeRecord | None:
        """The connection is being cut, whatever is under way on it: what there is to tell of that, if anything."""
        if self.state is State.IDLE or self.state is State.CLOSING:
            return None
        self._upstream_attached = False
        self._move(Event.ENDED)
        return self.record(reason)

    # --- Requests --------------------------------------------------------------------------------------------------

    def _read_held(self, out: list[Command]) -> None:
        position = self._read_downstream(self._held, 0, len(self._held), out)
        del self._held[:position]

    def _read_downstream(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        """Take what has its turn; returns where the rest starts."""
        position = start
        refusal = None
        try:
            while position < end:
                if self.state is State.IDLE or self.state is State.HEAD:
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

    def _scan(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        if self.state is State.IDLE:
            self._clean()
        head = self._request.scan(buffer, start, end)
        if head is not None:
            self._bytes_in = head.end - head.start
            return head
        self._bytes_in = end - start
        if self.state is State.IDLE:
            self._move(Event.HEAD_BEGUN)
        return None

    def _clean(self) -> None:
        self.head = None
        self._reset()

    def _begin(self, head: RequestHead, buffer: Buffer, out: list[Command]) -> None:
        self.head = head
        self._used_halves = True
        if self._requests_left is not None:
            self._requests_left -= 1
        self._stays = head.keep_alive and not self._draining and self._requests_left != 0
        if head.length > self._max_body_bytes:
            raise MessageRefused(413, Reason.BODY_TOO_LARGE)
        try:
            if self._guard is not None:
                target = self._guard.judge(head.method, head.target)
                head.target_rewritten = target != head.target
                head.target = target
            if self._admission is not None:
                self._admission(head)
                self._admitted = True
        except MessageRefused as refusal:
            if head.length or head.framing is Framing.CHUNKED:
                raise  # its body would have to be read first
            self._answer(out, refusal)
            return
        data = self._request.begin(head, buffer)
        self._response.lane = self._request.lane
        out += [Connect(), SendUpstream(data)]
        self._upstream_attached = True
        self._move(Event.REQUEST_WHOLE if self._request.done else Event.REQUEST_BEGUN)

    def _request_data(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        position, pieces = self._request.read(buffer, start, end)
        self._bytes_in += position - start
        for piece in pieces:
            last = out[-1] if out else None
            if isinstance(last, SendUpstream) and len(last.data) + len(piece) <= JOINED_BYTES:
                last.data = b"".join((last.data, piece))
            elif piece:
                out.append(SendUpstream(self._kept(buffer, piece)))
        if self._request.done:
            self._move(Event.REQUEST_WHOLE)
        return position

    def _kept(self, buffer: Buffer, piece: Piece) -> Piece:
        """What is held is about to be cut off at its start, which no view may outlive."""
        return bytes(piece) if buffer is self._held else piece

    # --- Responses -------------------------------------------------------------------------------------------------

    def _read_upstream(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> None:
        position = start
        while position < end:
            if self.state is State.SENDING or self.state is State.AWAITING:
                assert self.head is not None
                response = self._response.scan(buffer, position, end, self.head.method)
                if response is None:
                    break
                self._used_halves = True
                position = response.end
                if response.status < 200:
                    self._pass_interim(response, buffer, out)
                    continue
                self._respond(response, buffer, end, out)
            elif self.state is State.ANSWERING or self.state is State.CROSSING:
                position = self._response_data(buffer, position, end, out)
            elif self.state is State.TUNNEL:
                self._downstream(out, memoryview(buffer)[position:end])
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

    def _respond(self, response: ResponseHead, buffer: Buffer, end: int, out: list[Command]) -> None:
        request = self.head
        assert request is not None
        if response.framing is Framing.NONE and response.end < end:
            raise bad_response("a body where there is none: HEAD, 204 or 304")
        if self._is_last or request.minor == 0 or self.state is State.SENDING:
            # In SENDING: the rest of the request may never come, and where it ends would not be certain.
            self._stays = False
        self.status = response.status
        self._response_head = response
        self._replay = self._request.replay = None
        self._downstream(out, self._response.begin(response, buffer, request, close=not self._stays))
        self._move(Event.RESPONSE_BEGUN)

    def _pass_interim(self, response: ResponseHead, buffer: Buffer, out: list[Command]) -> None:
        assert self.head is not None
        self._replay = self._request.replay = None
        data = self._response.interim(response, buffer, self.head)
        if response.status != 101:
            self._downstream(out, data)
            return
        if self.state is not State.AWAITING:
            raise bad_response("101 before the request was whole")
        self.status = 101
        self._move(Event.SWITCHED)
        self._downstream(out, data)
        if self._held:
            # Data of the new protocol that the client sent ahead.
            out.append(SendUpstream(bytes(self._held)))
            self._held = bytearray()

    def _response_data(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        position, pieces = self._response.read(buffer, start, end)
        for piece in pieces:
            self._downstream(out, piece)
        return position

    def _end_response(self, out: list[Command], *, beyond: bool) -> None:
        """The response was forwarded whole; ``beyond``: the upstream sent more than it."""
        response = self._response_head
        assert response is not None
        request_whole = self.state is State.ANSWERING
        certain = response.keep_alive and response.framing is not Framing.CLOSE and not beyond
        self._release(out, reusable=request_whole and certain)
        out.append(Finished(self.record()))
        if not self._stays:
            self._close(out, linger=not request_whole or bool(self._held))
            return
        self._move(Event.RESPONSE_WHOLE)
        self._next_request(out)

    def _next_request(self, out: list[Command]) -> None:
        if self._held:
            self._read_held(out)
        if self._downstream_ended and self.state is State.HEAD:
            self._refuse(out, MessageRefused(400, Reason.INCOMPLETE_REQUEST))
        elif self._is_last and self.state is State.IDLE:
            self._close(out, linger=False)

    def _downstream(self, out: list[Command], data: Piece) -> None:
        if not data:
            return
        self._bytes_out += len(data)
        last = out[-1] if out else None
        if isinstance(last, SendDownstream) and len(last.data) + len(data) <= JOINED_BYTES:
            last.data = b"".join((last.data, data))
        else:
            out.append(SendDownstream(data))

    # --- Ends ------------------------------------------------------------------------------------------------------

    def _refuse(self, out: list[Command], refusal: MessageRefused) -> None:
        """Answer with the refusal's status and, unless it was only the upstream's fault, close; cut off a response
        that has begun."""
        if self.state not in UNANSWERED:
            if self.state is not State.CLOSING:
                self._give_up(out, refusal.reason, refusal.detail)
            return
        self._take_back(out)
        upstream_down = refusal.stage is Stage.UPSTREAM and refusal.reason is not Reason.UPSTREAM_BAD_RESPONSE
        if self.state is not State.AWAITING or not upstream_down or self._draining:
            self._stays = False
        self._answer(out, refusal)
        if self._stays:
            self._next_request(out)

    def _answer(self, out: list[Command], refusal: MessageRefused) -> None:
        """Answer in the upstream's place; the connection stays if it may."""
        if self.head is not None:
            self._identity.begin_trace(self.head)
        with_body = self.head is None or self.head.method != b"HEAD"
        close = not self._stays
        self.status = refusal.status
        self._downstream(
            out,
            responses.reply(refusal.status, close=close, with_body=with_body, retry_after_s=refusal.retry_after_s),
        )
        record = self.record(refusal.reason, refusal.detail)
        record.stage = refusal.stage
        record.rule = refusal.rule
        out.append(Finished(record))
        if close:
            self._close(out, linger=True)
        else:
            self._move(Event.ANSWERED_BY_US)

    def _give_up(self, out: list[Command], reason: Reason, detail: str) -> None:
        """End without an answer: the client is gone, or has a part of a response that will not be completed."""
        self._take_back(out)
        out += [Finished(self.record(reason, detail)), AbortDownstream()]
        self._held = bytearray()
        self._move(Event.ENDED)

    def _take_back(self, out: list[Command]) -> None:
        """Let go of the upstream. What this same call was about to send it is not sent: half a request is worse than
        none."""
        connecting = any(isinstance(command, Connect) for command in out)
        out[:] = [command for command in out if not isinstance(command, (Connect, SendUpstream))]
        if connecting:
            self._upstream_attached = False
        self._release(out, reusable=False)

    def _release(self, out: list[Command], *, reusable: bool) -> None:
        if self._upstream_attached:
            self._upstream_attached = False
            out.append(ReleaseUpstream(reusable))

    def _close(self, out: list[Command], *, linger: bool) -> None:
        out.append(CloseDownstream(linger))
        self._held = bytearray()
        self._move(Event.ENDED)

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state][event]
