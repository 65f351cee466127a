"""What both directions of a conversation share: the exchange at hand, and the ways it may end.

Invariants:

- An upstream connection carries one exchange at a time, and goes back for reuse only after a response whose end was
  certain, to a request that was sent whole, and with no byte beyond it.
- Every request that was begun or refused gives exactly one ``Finished`` (see :mod:`.ordinary` for the exception).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from tlsidecar.dataplane.http.exchange import Clock, Downstream, Exchange
from tlsidecar.dataplane.http.grammar import MAX_CONTENT_LENGTH
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1 import answers, states
from tlsidecar.dataplane.http1.body import Piece
from tlsidecar.dataplane.http1.commands import (
    AbortDownstream,
    CloseDownstream,
    Command,
    Connect,
    Finished,
    ReleaseUpstream,
    SendDownstream,
    SendUpstream,
)
from tlsidecar.dataplane.http1.halves import RequestHalf, ResponseHalf
from tlsidecar.dataplane.http1.held import Held
from tlsidecar.dataplane.http1.request_head import RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead
from tlsidecar.dataplane.http1.rules import Http1Rules
from tlsidecar.dataplane.http1.states import UNANSWERED, Standing
from tlsidecar.outcomes import Reason

# Neighbouring pieces are joined up to the size of a TLS record: one copy costs less than one more system call.
JOINED_BYTES = 16 * 1024


class Messages(Standing, ABC):
    """``exchange`` is the request at hand, ``head`` its head; ``force_h11`` sends everything down the h11 lane.

    All slots are here: a class can have only one base with slots of its own, and a conversation has two.
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
    def _is_last(self) -> bool:
        return self.draining or (self.client_ended and not self._held)

    @abstractmethod
    def _next_request(self, out: list[Command]) -> None:
        """The turn of what the client sent ahead; ends the connection if that is nothing and no more will come."""

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

    def _refuse(self, out: list[Command], refusal: MessageRefused, *, stays: bool = False) -> None:
        """Answer with the refusal's status and close, unless the request was whole and the connection ``stays``; cut
        off a response that has begun."""
        if self.state not in UNANSWERED:
            if self.state is not states.CLOSING:
                self._give_up(out, refusal.reason, refusal.detail)
            return
        self._take_back(out)
        if self.state is not states.AWAITING or not stays or self.draining:
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
            answers.reply(refusal.status, close=close, with_body=with_body, retry_after_s=refusal.retry_after_s),
        )
        self._finish(out)
        if close:
            self._close(out)
        else:
            self.move(states.ANSWERED_BY_US)

    def _give_up(self, out: list[Command], reason: Reason, detail: str) -> None:
        """End without an answer: the client is gone, or has a part of a response that will not be completed."""
        self._take_back(out)
        self._at_hand().cut(reason, detail)
        self._finish(out)
        out.append(AbortDownstream())
        self._held = Held()
        self.move(states.ENDED)

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
        self.move(states.ENDED)
