"""One downstream connection's requests and responses, in order: bytes and events in, commands out.

The states and their moves are in :mod:`.states`. What a request is and what becomes of it is the business of its
:class:`~tlsidecar.dataplane.http.exchange.Exchange`; here are order, keep-alive, pipelining and bytes. Built in steps:

    :mod:`.messages`           the exchange at hand, and how it ends
    :mod:`.client_messages`    requests, in their order
    :mod:`.upstream_messages`  responses
    :mod:`.ordinary`           the ordinary exchange, in two calls and without commands
    this module                what may happen, from the first byte to the end of the connection
"""

from __future__ import annotations

from tlsidecar.dataplane.http.exchange import Exchange
from tlsidecar.dataplane.http.refusal import MessageRefused, upstream_failed
from tlsidecar.dataplane.http1 import states
from tlsidecar.dataplane.http1.commands import Command, Connect, SendUpstream, StartTunnel
from tlsidecar.dataplane.http1.halves import ResponseHalf
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.ordinary import OrdinaryMessages
from tlsidecar.dataplane.http1.states import READING, UNANSWERED
from tlsidecar.outcomes import Reason, Stage


class Conversation(OrdinaryMessages):
    """The messages of one downstream connection."""

    __slots__ = ()

    @property
    def wants_downstream(self) -> bool:
        """Whether the shell may read from downstream. False while requests ahead of their turn fill their bound."""
        return self.state in READING or len(self._held) < self._max_held_bytes

    @property
    def answering(self) -> tuple[ResponseHalf, Exchange]:
        """While a response's body is under way."""
        half, exchange = self._response_half, self.exchange
        assert half is not None
        assert exchange is not None
        return half, exchange

    @property
    def is_idle(self) -> bool:
        """Between two requests, with nothing waiting."""
        return self.state is states.IDLE and not self._held

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
        if self.state is states.CLOSING:
            return out
        if self.state is states.IDLE:
            self._close(out)
        elif clean and self.state in (states.AWAITING, states.ANSWERING):
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
        elif self.state is states.TUNNEL:
            # Last: what was said ahead has gone out by then, or is handed over with the sockets.
            out.append(StartTunnel())
        return out

    def upstream_closed(
        self, *, clean: bool, reason: Reason = Reason.UPSTREAM_CLOSED, detail: str = ""
    ) -> list[Command]:
        """The upstream connection ended after something was sent on it. ``clean``: it said so (FIN, close_notify)."""
        out: list[Command] = []
        if self.exchange is None or not self.exchange.holds_upstream or self.state is states.TUNNEL:
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

    def patience_s(self, *, is_stalled: bool) -> float:
        """How long the state at hand may last: in HEAD since ``head_begun_at``, else since a byte moved either way.
        ``is_stalled``: what is queued for a side is not taken by it."""
        limits = self._rules.limits
        match self.state:
            case states.IDLE:  # the first: so are most, and each is asked once a second
                # One that was opened ahead and never used waits as long as one that is kept.
                return limits.write_timeout_s if is_stalled else limits.keepalive_timeout_s
            case states.HEAD:
                return limits.head_timeout_s
            case states.AWAITING:
                return limits.response_timeout_s
            case states.CLOSING:
                return limits.close_timeout_s
            case _ if is_stalled:
                return limits.write_timeout_s
            case states.SENDING:
                return limits.body_idle_timeout_s
            case _:
                return limits.response_idle_timeout_s

    def expired(self, *, upstream_stalled: bool = False, downstream_stalled: bool = False) -> list[Command]:
        """:meth:`patience_s` is over. ``upstream_stalled``: the upstream does not take the body;
        ``downstream_stalled``: the client does not take the response."""
        out: list[Command] = []
        match self.state:
            case states.IDLE:
                self._close(out)
            case states.HEAD:
                self._refuse(out, MessageRefused(408, Reason.HEAD_TIMEOUT))
            case states.SENDING if not upstream_stalled:
                self._refuse(out, MessageRefused(408, Reason.BODY_TIMEOUT))
            case states.SENDING | states.AWAITING:
                self._refuse(out, upstream_failed(Reason.UPSTREAM_TIMEOUT), stays=True)
            case states.CROSSING | states.ANSWERING if downstream_stalled:
                self._give_up(out, Reason.SLOW_READER, "")
            case states.CROSSING | states.ANSWERING:
                self._give_up(out, Reason.UPSTREAM_TIMEOUT, "in the middle of its response")
            case states.TUNNEL:
                self._give_up(out, Reason.IDLE_TIMEOUT, "")
            case states.CLOSING:
                pass
        return out

    def drain(self) -> list[Command]:
        """Take no further request: the connection ends after the exchange at hand, or now."""
        out: list[Command] = []
        self.draining = True
        if self.state is states.IDLE:
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
        self.move(states.ENDED)
        return exchange

    def abandon(self, reason: Reason) -> Exchange | None:
        """The connection is being cut, whatever is under way on it: the exchange that the shell is to finish, if there
        is one."""
        if self.state is states.IDLE or self.state is states.CLOSING:
            return None
        exchange = self._at_hand()
        exchange.release()
        exchange.cut(reason)
        self.move(states.ENDED)
        return exchange
