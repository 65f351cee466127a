"""The upstream's side of an HTTP/1.1 connection: the upstream connection of the exchange at hand.

It comes from the pool, or is opened, or is the client's own: one that has learned who the client is (NTLM, Negotiate)
serves nobody else, and waits between two exchanges as ``_bound``.
"""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Callable

from tlsidecar.dataplane.endpoint import Endpoint
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.http.connection import HttpConnection
from tlsidecar.dataplane.http.exchange import Exchange
from tlsidecar.dataplane.http.services import HttpServices
from tlsidecar.dataplane.http1.commands import Command
from tlsidecar.dataplane.http1.conversation import Conversation
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.pool import UpstreamConnection
from tlsidecar.dataplane.outbound.reach import Reach
from tlsidecar.dataplane.stream import BUFFER, CLOSED, RECORD_BYTES, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind
from tlsidecar.outcomes import Reason, Side, Stage


class UpstreamSide(HttpConnection):
    """What is done with the upstream connection; :class:`~.connection.Http1Connection` has the client's."""

    __slots__ = (
        "_active_at",
        "_bound",
        "_conversation",
        "_opening",
        "_pool",
        "_unsent",
        "_upstream",
        "_upstream_answered",
    )

    def __init__(self, frontend: Frontend, services: HttpServices, sock: socket.socket, peer_address: str) -> None:
        super().__init__(frontend, services, sock, peer_address)
        self._pool = services.pool
        self._conversation: Conversation | None = None
        self._upstream: UpstreamConnection | None = None
        self._opening: Reach | None = None
        self._bound: UpstreamConnection | None = None  # between two exchanges, for this client alone
        self._unsent: list[bytes] | None = None  # for the upstream, while it is being opened
        self._upstream_answered = False  # something of the response at hand has come
        self._active_at = self.accepted_at

    @abstractmethod
    def _run(self, commands: list[Command]) -> None:
        """Carry out what the conversation asks for."""

    @abstractmethod
    def _settle(self) -> None:
        """Read from whom the other side can keep up with; close when that is wanted and nothing is queued."""

    # To have one, and to have had it.

    def _open_upstream(self) -> None:
        self._opening = self._pool.opening(self._upstream_open, self._upstream_missed)
        self._opening.start()
        if self._opening is not None and self._client is not None:  # mostly it is open by now, or has failed
            self._client.pause()

    def _upstream_open(self, upstream: UpstreamConnection) -> None:
        conversation = self._conversation
        assert conversation is not None
        self._opening = None
        now = self._active_at = self.reactor.refresh()
        self._attach(conversation.exchange, upstream, now)
        unsent, self._unsent = self._unsent, None
        for data in unsent or ():
            if not upstream.endpoint.send(data):
                self.upstream_broken()
                return
        self._settle()

    def _upstream_missed(self, missed: Missed) -> None:
        conversation = self._conversation
        assert conversation is not None
        self._opening = None
        self._unsent = None
        handshake, exchange = missed.handshake, conversation.exchange
        if exchange is not None:
            exchange.tried = missed.upstream
        if handshake is not None and exchange is not None:
            judge = handshake.judge
            exchange.knows_remote(judge.identity, judge.rule.text if judge.rule is not None else "", missed.side)
        self._run(
            conversation.upstream_failed(
                missed.reason, missed.detail, stage=missed.stage, nothing_sent=True, reused=False
            )
        )

    def _attach(self, exchange: Exchange | None, upstream: UpstreamConnection, now: float) -> None:
        assert exchange is not None
        self._upstream = upstream
        upstream.owner = self
        address = self.upstream_address = upstream.upstream.text
        exchange.attach(address, now)
        peer = upstream.peer
        if peer is not None:
            self.peer = peer
            exchange.knows_remote(peer.identity, peer.rule, party=peer.party)

    def _take_upstream(self) -> UpstreamConnection | None:
        """One that is open: the client's own, where it has one, or one that idles."""
        upstream = self._bound
        if upstream is None:
            return self._pool.take()
        if upstream.has_expired(self.reactor.now, self.frontend.current.contexts.generation):
            self._drop_bound()
            return None
        self._bound = None
        upstream.begin()
        return upstream

    def _release_upstream(self, *, reusable: bool, bound: bool = False) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        upstream.endpoint.widen(False)
        if reusable and bound and not upstream.endpoint.queued_bytes:
            upstream.end(self.reactor.now, reusable=True)
            upstream.owner = self  # nobody else gets it
            self._bound = upstream
        else:
            self._pool.give_back(upstream, reusable=reusable)

    def _cancel_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
            self._unsent = None

    def _leave_upstream(self) -> None:
        """Let go of whatever there is."""
        self._cancel_opening()
        self._release_upstream(reusable=False)
        self._drop_bound()

    def _drop_bound(self) -> None:
        upstream, self._bound = self._bound, None
        if upstream is not None:
            self._pool.give_back(upstream, reusable=False)

    # What comes from it.

    def upstream_readable(self) -> None:
        upstream, conversation, client = self._upstream, self._conversation, self._client
        if upstream is None:
            self._drop_bound()  # it ended, or spoke though nobody had asked
            return
        assert conversation is not None
        assert client is not None
        count = upstream.endpoint.read()
        if count > 0:
            self._active_at = self.reactor.now
            if self._upstream_answered:
                if conversation.response_data_in_one(BUFFER, count):
                    self._sent += count
                    if not client.send_read(count):
                        self.broken()
                    elif client.queued_bytes:
                        self._settle()
                    else:
                        self._lend(upstream, client, conversation)
                    return
            else:
                exchange = conversation.response_in_one(BUFFER, count)
                if exchange is not None:
                    self._upstream = None
                    self._pool.give_back(upstream, reusable=True)
                    self._sent += count
                    sent = client.send_read(count)
                    exchange.finish(self.reactor.now)
                    if not sent:
                        self.broken()
                    elif client.queued_bytes:
                        self._settle()
                    return
        self._upstream_said(upstream, count)

    def _upstream_said(self, upstream: UpstreamConnection, count: int) -> None:
        """``count`` is what reading from it answered; whatever there is goes to the conversation."""
        conversation, client = self._conversation, self._client
        assert conversation is not None
        assert client is not None
        if count > 0:
            self._active_at = self.reactor.now
            self._upstream_answered = True
            self._run(conversation.receive_upstream(BUFFER, 0, count))
            if count >= RECORD_BYTES:
                upstream.endpoint.widen(not client.queued_bytes and self._upstream is upstream)
        elif count == CLOSED:
            self._upstream_ended(clean=True, reason=Reason.UPSTREAM_CLOSED)
        elif count not in (WANT_READ, WANT_WRITE):
            self._upstream_failed(upstream)

    def _lend(self, upstream: UpstreamConnection, client: Endpoint, conversation: Conversation) -> None:
        """A read of the body went down as it is: the next ones likely do."""
        half, exchange = conversation.answering
        upstream.lend(_PassingBody(self, upstream, client, half.passes, exchange).readable)

    def upstream_drained(self) -> None:
        self._active_at = self.reactor.now
        self._settle()

    def upstream_broken(self) -> None:
        """A write to it failed. It may still have an answer for us: that a service refuses an upload, say."""
        conversation, upstream = self._conversation, self._upstream
        assert conversation is not None
        if upstream is None:
            return
        failure = upstream.endpoint.failure
        if failure is None or failure.kind is not FailureKind.ALERT:
            count = upstream.endpoint.read()
            if count > 0:
                self._upstream_answered = True
                self._run(conversation.receive_upstream(BUFFER, 0, count))
                return
        self._upstream_failed(upstream)

    def _upstream_failed(self, upstream: UpstreamConnection) -> None:
        failure = upstream.endpoint.failure
        assert failure is not None
        if failure.kind is FailureKind.ALERT and upstream.uses == 1 and not self._upstream_answered:
            self._refused_by_remote(upstream, failure.text)
            return
        truncated = failure.kind is FailureKind.TRUNCATED
        reason = Reason.UPSTREAM_CLOSED if truncated else Reason.UPSTREAM_RESET
        self._upstream_ended(clean=False, reason=reason, detail="" if truncated else failure.text)

    def _refused_by_remote(self, upstream: UpstreamConnection, detail: str) -> None:
        """In TLS 1.3 the remote's judgement of our certificate comes after our handshake is over (RFC 8446 section
        4.4.2.4)."""
        conversation, peer = self._conversation, upstream.peer
        assert conversation is not None
        upstream.endpoint.pause()
        exchange = conversation.exchange
        if exchange is not None and peer is not None:
            exchange.knows_remote(peer.identity, peer.rule, Side.PEER, peer.party)
        self.frontend.tally.upstream_failed(Reason.REFUSED_BY_PEER)
        self._run(
            conversation.upstream_failed(
                Reason.REFUSED_BY_PEER, detail, stage=Stage.VERIFY, nothing_sent=True, reused=False
            )
        )

    def _upstream_ended(self, *, clean: bool, reason: Reason, detail: str = "") -> None:
        conversation, upstream = self._conversation, self._upstream
        assert conversation is not None
        assert upstream is not None
        upstream.endpoint.pause()
        if not self._upstream_answered and upstream.uses > 1:
            # It was closed while it idled, or as our request was under way: the service has not begun with it. As Go's
            # client does, an idempotent request is then sent once more on a fresh connection (RFC 9112 section 9.3.1).
            self._release_upstream(reusable=False)
            self._run(conversation.upstream_failed(reason, detail, nothing_sent=True, reused=True))
            return
        self._run(conversation.upstream_closed(clean=clean, reason=reason, detail=detail))


class _PassingBody:
    """Reads a response's body in its side's place while it goes down as it is, which nothing but its end ends: each
    event of a stream comes this way, and is asked no question that the one before it has answered."""

    __slots__ = ("_client", "_endpoint", "_exchange", "_passes", "_side", "_upstream")

    def __init__(
        self,
        side: UpstreamSide,
        upstream: UpstreamConnection,
        client: Endpoint,
        passes: Callable[[Buffer, int], bool],
        exchange: Exchange,
    ) -> None:
        self._side = side
        self._upstream = upstream
        self._endpoint = upstream.endpoint
        self._client = client
        self._passes = passes
        self._exchange = exchange

    def readable(self, _events: int) -> None:
        count = self._endpoint.read()
        side = self._side
        if count > 0 and self._passes(BUFFER, count):
            side._active_at = side.reactor.now
            self._exchange.bytes_out += count
            side._sent += count
            client = self._client
            if not client.send_read(count):
                side.broken()
            elif client.queued_bytes:
                side._settle()
        else:
            side._upstream_said(self._upstream, count)

    def fail(self) -> None:
        """A defect of ours showed itself."""
        self._endpoint.fail()
