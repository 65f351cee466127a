"""An HTTP connection: the shell that owns the sockets, round the exchange machine that owns the messages.

The machine (:mod:`.exchange`) gets bytes and events and answers with commands; here they are carried out. The ordinary
exchange, one whole request and one whole response, goes by without commands: the machine is asked for what to send,
and it is sent.

A side whose other side cannot keep up is not read: the client while the upstream has more than the high-water mark
queued, or is not connected yet; the upstream while the client has.
"""

from __future__ import annotations

import socket
from collections import deque

from tlsidecar.dataplane.connection import Connection, ConnectionState
from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint, TlsEndpoint
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.handshake import Handshake
from tlsidecar.dataplane.http.services import HttpServices
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
from tlsidecar.dataplane.http1.conversation import Exchange
from tlsidecar.dataplane.http1.request_head import RequestHead
from tlsidecar.dataplane.http1.rules import Http1Rules
from tlsidecar.dataplane.http1.states import State
from tlsidecar.dataplane.outbound.pool import UpstreamConnection
from tlsidecar.dataplane.outbound.reach import Missed, Reach
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.relay import Relay
from tlsidecar.dataplane.stream import BUFFER, CLOSED, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind
from tlsidecar.outcomes import Reason, Side, Stage


class HttpConnection(Connection):
    """One client's connection and, while an exchange needs it, one upstream connection."""

    __slots__ = (
        "_active_at",
        "_begun_at",
        "_client",
        "_client_ended",
        "_close_wanted",
        "_commands",
        "_exchange",
        "_exchange_reason",
        "_high_water",
        "_last_handshake",
        "_only_counted",
        "_opening",
        "_pool",
        "_received",
        "_requests",
        "_retire_reason",
        "_rules",
        "_sent",
        "_sent_at",
        "_services",
        "_stuck_bytes",
        "_tunnel",
        "_unsent",
        "_upstream",
        "_upstream_answered",
    )

    def __init__(
        self,
        frontend: Frontend,
        services: HttpServices,
        sock: socket.socket,
        peer_address: str,
        *,
        rules: Http1Rules,
    ) -> None:
        super().__init__(frontend, sock, peer_address)
        self._rules = rules
        self._services = services
        self._pool = services.pool
        self._high_water = frontend.limits.buffer_bytes
        self._client: Endpoint | None = None
        self._exchange: Exchange | None = None
        self._upstream: UpstreamConnection | None = None
        self._opening: Reach | None = None
        self._unsent: list[bytes] | None = None  # for the upstream, while it is being opened
        self._tunnel: Relay | None = None
        self._last_handshake: Handshake | None = None
        self._client_ended = False
        self._upstream_answered = False
        self._close_wanted: Reason | None = None
        self._commands: deque[Command] | None = None  # while some are being carried out: those that wait
        self._received = 0
        self._sent = 0
        self._requests = 0
        self._active_at = self.accepted_at
        self._begun_at = self.accepted_at
        self._sent_at = self.accepted_at
        self._retire_reason = Reason.COMPLETED
        # Whether nobody wants to know more of an ordinary exchange than that there was one.
        self._only_counted = services.admits_all and not frontend.tally.wants_exchanges
        self._exchange_reason: Reason | None = None  # of the last exchange that was accounted for
        self._stuck_bytes = 0  # what waited for a side that did not read, when the time was last checked

    # What is told of it.

    @property
    def bytes_in(self) -> int:
        inward = self._received if self.frontend.terminates else self._sent
        return inward + (self._tunnel.bytes_in if self._tunnel is not None else 0)

    @property
    def bytes_out(self) -> int:
        outward = self._sent if self.frontend.terminates else self._received
        return outward + (self._tunnel.bytes_out if self._tunnel is not None else 0)

    @property
    def active_at(self) -> float:
        return self._tunnel.active_at if self._tunnel is not None else self._active_at

    @property
    def requests(self) -> int:
        return self._requests

    # Life.

    def start(self) -> None:
        if self.frontend.terminates:
            self.shake_hands()
        else:
            self._serve(PlainEndpoint(self.reactor, self.sock))

    def authorised(self) -> None:
        assert self.peer is not None
        self._serve(TlsEndpoint(self.reactor, self.sock, self.peer.stream))

    def _serve(self, client: Endpoint) -> None:
        services = self._services
        identity = self.identity
        host = self.peer_address.rpartition(":")[0].strip("[]") if self.peer_address != "unix" else ""
        self._client = client
        self._exchange = Exchange(
            self._rules,
            services.identity_headers(host, identity, self.contexts.material, self._peer_chain),
            services.routes.guard(identity) if services.routes is not None else None,
            None if services.admits_all else self._admit,
        )
        self._begun_at = self._active_at = self.reactor.now
        self.open()
        client.attach(self._client_readable, self)
        if self.frontend.terminates:
            self._client_readable(READ)

    def _peer_chain(self) -> tuple[bytes, ...]:
        return self.peer.stream.peer_chain() if self.peer is not None else ()

    def _admit(self, _head: RequestHead) -> None:
        identity = self.identity
        self._services.admit(identity.name if identity is not None else self.peer_address.rpartition(":")[0])

    def drain(self) -> None:
        self.draining = True
        if self._exchange is None:
            self.refuse(self._stage(), Reason.DRAINING)
        else:
            self.retire(Reason.DRAINED)

    def retire(self, reason: Reason) -> None:
        if self._tunnel is not None:
            if reason is not Reason.DRAINED:
                self.close(reason)
            return
        exchange = self._exchange
        if exchange is None:
            self.close(reason)
            return
        self._retire_reason = reason
        self._run(exchange.drain())

    def check_time(self, now: float) -> None:
        if self._tunnel is not None:
            if now - self._tunnel.active_at > self._tunnel.patience_s:
                self.close(self._tunnel.timeout_reason)
            return
        exchange, client = self._exchange, self._client
        if exchange is None or client is None:
            return
        limits = self.frontend.limits
        for_client = client.queued_bytes
        for_upstream = self._upstream.endpoint.queued_bytes if self._upstream is not None else 0
        before, self._stuck_bytes = self._stuck_bytes, for_client + for_upstream
        if self._stuck_bytes < before:
            self._active_at = now  # slowly, but it reads
        waited = now - self._active_at
        match exchange.state:
            case State.IDLE if for_client:
                if waited > limits.write_timeout_s:
                    self.close(Reason.SLOW_READER)
                return
            case State.IDLE:
                # A connection on which nothing was asked yet owes its first head.
                overdue = waited > (limits.keepalive_timeout_s if self._requests else limits.head_timeout_s)
                self._retire_reason = Reason.IDLE_TIMEOUT
            case State.HEAD:
                overdue = now - self._begun_at > limits.head_timeout_s
            case State.AWAITING:
                overdue = waited > limits.response_timeout_s
            case State.CLOSING:
                # What was queued for a client that does not read, or lets nobody close.
                if waited > limits.close_timeout_s:
                    self.close(Reason.SLOW_READER)
                return
            case _:
                stuck = for_client or for_upstream
                overdue = waited > (limits.write_timeout_s if stuck else limits.body_idle_timeout_s)
        if overdue:
            self._active_at = now
            self._run(exchange.expired(upstream_stalled=bool(for_upstream), downstream_stalled=bool(for_client)))

    def close(self, reason: Reason, detail: str = "") -> None:
        if self.state is ConnectionState.RELAYING and self._exchange is not None:
            self._finish_exchange(self._exchange, reason)
        super().close(reason, detail)

    def _finish_exchange(self, exchange: Exchange, reason: Reason) -> None:
        """The exchange under way, if there is one, is cut off with its connection."""
        tunnel = self._tunnel
        if tunnel is not None and exchange.state is State.TUNNEL:
            self._account(exchange.tunnel_ended(tunnel.bytes_in, tunnel.bytes_out, reason))
            return
        record = exchange.abandon(reason)
        if record is not None:
            self._account(record)

    def stop(self, *, polite: bool, ended: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.stop()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._release_upstream(reusable=False)
        client = self._client
        if client is None:
            if self.handshake is not None:
                self.handshake.cancel()
                self.handshake.stream.release()
            elif self.peer is not None:  # a probe's
                self.reactor.forget(self.sock.fileno())
                self.peer.stream.close_notify()
                self.peer.stream.release()
            self.shared.lingerer.close(self.sock)
        elif polite or ended:
            client.linger(self.shared.lingerer)
        else:
            client.cut()

    # The client.

    def _client_readable(self, _events: int) -> None:
        client, exchange = self._client, self._exchange
        assert client is not None
        assert exchange is not None
        count = client.read()
        if count > 0:
            self._received += count
            if self._close_wanted is not None:
                return  # it is still sending, and reads the answer that is queued only once it has sent all
            now = self._active_at = self.reactor.now
            if exchange.state is _IDLE:
                self._begun_at = now
            data = exchange.request_in_one(BUFFER, count)
            if data is None:
                self._run(exchange.receive_downstream(BUFFER, 0, count))
                return
            self._requests += 1
            self._upstream_answered = False
            upstream = self._pool.take()
            if upstream is None:
                self._unsent = [data]
                self._open_upstream()
                return
            self._attach(upstream)
            self._sent_at = now
            if not upstream.endpoint.send(data):
                self.upstream_broken()
            return
        if count in (WANT_READ, WANT_WRITE):
            return
        self._client_ended = True
        client.pause()
        failure = client.failure
        clean = count == CLOSED or (failure is not None and failure.kind is FailureKind.TRUNCATED and exchange.is_idle)
        self._run(exchange.downstream_closed(clean=clean))

    def drained(self) -> None:
        """Of the client, as :class:`.Holder` says; so is :meth:`broken`."""
        self._active_at = self.reactor.now
        self._settle()

    def broken(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        self._client_ended = True
        self._run(exchange.downstream_closed(clean=False))
        # Nothing that is still queued can be written any more.
        self.close(self._close_wanted or Reason.PEER_RESET)

    # The upstream.

    def _open_upstream(self) -> None:
        assert self._client is not None
        self._client.pause()
        self._opening = self._services.pool.opening(self._upstream_open, self._upstream_missed)
        self._opening.start()  # perhaps it is open, or has failed, before this returns

    def _upstream_open(self, upstream: UpstreamConnection) -> None:
        self._opening = None
        self._attach(upstream)
        self._active_at = self._sent_at = self.reactor.now
        unsent, self._unsent = self._unsent, None
        for data in unsent or ():
            if not upstream.endpoint.send(data):
                self.upstream_broken()
                return
        self._settle()

    def _upstream_missed(self, missed: Missed) -> None:
        exchange = self._exchange
        assert exchange is not None
        self._opening = None
        self._unsent = None
        self._last_handshake = missed.handshake
        self._run(exchange.upstream_failed(missed.reason, missed.detail, nothing_sent=True, reused=False))

    def _attach(self, upstream: UpstreamConnection) -> None:
        self._upstream = upstream
        if upstream.peer is not None:
            self.peer = upstream.peer
        self.upstream_address = upstream.upstream.text
        upstream.owner = self

    def upstream_readable(self) -> None:
        upstream, exchange, client = self._upstream, self._exchange, self._client
        assert upstream is not None
        assert exchange is not None
        assert client is not None
        count = upstream.endpoint.read()
        if count > 0:
            self._active_at = self.reactor.now
            status = 0 if self._upstream_answered else exchange.response_in_one(BUFFER, count)
            if status:
                self._upstream = None
                self._pool.give_back(upstream, reusable=True)
                self._sent += count
                sent = client.send_read(count)
                if self._only_counted:
                    self._count(status)
                else:
                    self._account(exchange.record())
                exchange.head = None  # told, and nothing to keep while the connection idles
                if not sent:
                    self.broken()
                elif client.queued_bytes:
                    self._settle()
                return
            self._upstream_answered = True
            self._run(exchange.receive_upstream(BUFFER, 0, count))
            return
        if count in (WANT_READ, WANT_WRITE):
            return
        if count == CLOSED:
            self._upstream_ended(clean=True, reason=Reason.UPSTREAM_CLOSED)
            return
        self._upstream_failed(upstream)

    def _upstream_failed(self, upstream: UpstreamConnection) -> None:
        failure = upstream.endpoint.failure
        truncated = failure is not None and failure.kind is FailureKind.TRUNCATED
        if failure is not None and failure.kind is FailureKind.ALERT:
            self._refused_by_remote(upstream, failure.text)
        self._upstream_ended(clean=False, reason=Reason.UPSTREAM_CLOSED if truncated else Reason.UPSTREAM_RESET)

    def _upstream_ended(self, *, clean: bool, reason: Reason) -> None:
        exchange, upstream = self._exchange, self._upstream
        assert exchange is not None
        assert upstream is not None
        upstream.endpoint.pause()
        if not self._upstream_answered and upstream.uses > 1:
            # It was closed while it idled, or as our request was under way: the service has not begun with it. As Go's
            # client does, an idempotent request is then sent once more on a fresh connection (RFC 9112 section 9.3.1).
            self._release_upstream(reusable=False)
            self._run(exchange.upstream_failed(reason, "", nothing_sent=True, reused=True))
            return
        if not clean or not self._upstream_answered:
            self.frontend.tally.upstream_failed(reason)
        self._run(exchange.upstream_closed(clean=clean, reason=reason))

    def upstream_drained(self) -> None:
        self._active_at = self.reactor.now
        self._settle()

    def upstream_broken(self) -> None:
        """A write to it failed. It may still have an answer for us: that a service refuses an upload, say."""
        exchange, upstream = self._exchange, self._upstream
        assert exchange is not None
        if upstream is None:
            return
        failure = upstream.endpoint.failure
        if failure is None or failure.kind is not FailureKind.ALERT:
            count = upstream.endpoint.read()
            if count > 0:
                self._upstream_answered = True
                self._run(exchange.receive_upstream(BUFFER, 0, count))
                return
        self._upstream_failed(upstream)

    def _refused_by_remote(self, upstream: UpstreamConnection, detail: str) -> None:
        """In TLS 1.3 the remote's judgement of our certificate comes after our handshake is over."""
        if upstream.uses == 1 and not self._upstream_answered:
            refusal = self.refusal(Stage.VERIFY, Reason.REFUSED_BY_PEER, detail, side=Side.PEER)
            self.frontend.tally.refused(refusal)

    def _release_upstream(self, *, reusable: bool) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._services.pool.give_back(upstream, reusable=reusable)

    # Commands.

    def _run(self, commands: list[Command]) -> None:
        """Carry out what the machine asks for, in the order it asked, and what comes of that.

        Carrying out a command may tell the machine something at once (an upstream that refuses, a client that is
        gone). What it then asks for waits its turn: a request must not overtake the one before it.
        """
        if self._commands is not None:
            self._commands += commands
            return
        waiting = self._commands = deque(commands)
        try:
            while waiting:
                self._carry_out(waiting.popleft())
        finally:
            self._commands = None
        self._settle()

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Finished):
            self._account(command.record)
        elif self.state is ConnectionState.CLOSED:
            return
        elif isinstance(command, SendDownstream):
            client = self._client
            assert client is not None
            self._sent += len(command.data)
            if not client.send(command.data) and not self._client_ended:
                self.broken()
        elif isinstance(command, SendUpstream):
            self._send_upstream(command.data)
        elif isinstance(command, Connect):
            self._connect(command)
        elif isinstance(command, ReleaseUpstream):
            if self._opening is not None:
                self._opening.cancel()
                self._opening = None
                self._unsent = None
            self._release_upstream(reusable=command.reusable)
        elif isinstance(command, CloseDownstream):
            self._close_wanted = self._retire_reason
        elif isinstance(command, AbortDownstream):
            reason = Reason.PEER_RESET if self._client_ended else self._exchange_reason
            self.close(reason or Reason.UPSTREAM_CLOSED)
        elif isinstance(command, StartTunnel):
            self._start_tunnel()

    def _send_upstream(self, data: bytes | memoryview) -> None:
        if self._upstream is None:
            if self._opening is not None:
                if self._unsent is None:
                    self._unsent = []
                self._unsent.append(bytes(data))
        elif not self._upstream.endpoint.send(data):
            # What was to follow is views on a buffer that the next read overwrites.
            waiting = self._commands
            assert waiting is not None
            left = [command for command in waiting if not isinstance(command, SendUpstream)]
            waiting.clear()
            waiting += left
            self.upstream_broken()

    def _connect(self, command: Connect) -> None:
        self._requests += 1
        self._upstream_answered = False
        self._last_handshake = None
        upstream = None if command.fresh else self._services.pool.take()
        self._sent_at = self.reactor.now
        if upstream is not None:
            self._attach(upstream)
        else:
            self._open_upstream()

    def _settle(self) -> None:
        """Read from whom the other side can keep up with; close when that is wanted and nothing is queued."""
        client, exchange = self._client, self._exchange
        if client is None or exchange is None or client.closed or self._tunnel is not None:
            return
        if self._close_wanted is not None:
            if not client.queued_bytes:
                self.close(self._close_wanted)
            elif self._client_ended:
                client.pause()
            else:
                client.resume()
            return
        upstream = self._upstream
        if (
            self._client_ended
            or self._opening is not None
            or not exchange.wants_downstream
            or (upstream is not None and upstream.endpoint.queued_bytes > self._high_water)
            # Who does not read the answers gets no further questions in.
            or (client.queued_bytes > self._high_water and exchange.state is State.IDLE)
        ):
            client.pause()
        else:
            client.resume()
        if upstream is not None:
            if client.queued_bytes > self._high_water:
                upstream.endpoint.pause()
            else:
                upstream.endpoint.resume()

    def _start_tunnel(self) -> None:
        """Both connections belong together now: the relay takes their sockets, with what was still to be written."""
        client, upstream, peer = self._client, self._upstream, self.peer
        assert client is not None
        assert upstream is not None
        assert peer is not None
        for_client, for_upstream = client.hand_over(), upstream.endpoint.hand_over()
        tls, plain = client.sock, upstream.endpoint.sock
        if not self.frontend.terminates:
            tls, plain = plain, tls
            for_client, for_upstream = for_upstream, for_client
        self._tunnel = Relay(self.reactor, peer.stream, tls, plain, self.frontend.limits, self)
        self._tunnel.pending_out = for_client
        self._tunnel.pending_in = for_upstream
        self._tunnel.start()

    def relay_ended(self, reason: Reason, detail: str) -> None:
        tunnel, exchange = self._tunnel, self._exchange
        assert tunnel is not None
        assert exchange is not None
        ended = reason is Reason.COMPLETED
        self._account(exchange.tunnel_ended(tunnel.bytes_in, tunnel.bytes_out, None if ended else reason))
        self.close(reason, detail)

    # Accounts.

    def _account(self, record: ExchangeRecord) -> None:
        now = self.reactor.now
        begun_at = self._begun_at
        self._count(record.status)
        if record.admitted:
            self._services.in_flight.leave()
        reason = self._exchange_reason = record.reason
        if reason is not None and record.status >= 400:
            self._record_refusal(record, reason)
        tally = self.frontend.tally
        if tally.wants_exchanges:
            entry = self.entry(reason if reason is not None else Reason.COMPLETED)
            tally.exchanged(
                entry._replace(
                    bytes_in=record.bytes_in,
                    bytes_out=record.bytes_out,
                    rule=record.rule or entry.rule,
                    wait_s=max(0.0, self._sent_at - begun_at),
                    upstream_s=max(0.0, now - self._sent_at),
                    total_s=now - begun_at,
                    method=record.method.decode("latin-1"),
                    target=record.target.decode("latin-1"),
                    status=record.status,
                    request_id=record.request_id.decode("latin-1"),
                    trace=record.trace,
                )
            )

    def _count(self, status: int) -> None:
        """One exchange is over, now."""
        now = self.reactor.now
        self.frontend.tally.answered(status, now - self._begun_at)
        self._begun_at = now

    def _record_refusal(self, record: ExchangeRecord, reason: Reason) -> None:
        shown = self._last_handshake
        if shown is not None:
            self.handshake, self.peer = shown, None  # it is the one to tell of, and not who answered before
        refusal = self.refusal(
            shown.stage if shown is not None else record.stage,
            reason,
            record.detail,
            side=shown.side if shown is not None else Side.LOCAL,
        )
        self.frontend.tally.refused(
            refusal.with_request(
                status=record.status,
                method=record.method.decode("latin-1"),
                target=record.target.decode("latin-1"),
                request_id=record.request_id.decode("latin-1"),
                rule=record.rule or refusal.rule,
            )
        )


# Looking a member up in its enumeration costs more than the comparison that needs it.
_IDLE = State.IDLE
