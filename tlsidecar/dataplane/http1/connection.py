"""An HTTP/1.1 connection: the shell that owns the sockets, round the conversation that owns the messages.

The conversation (:mod:`.conversation`) gets bytes and events and answers with commands; here they are carried out. The
ordinary exchange, one whole request and one whole response, goes by without commands: the conversation is asked for
what to send, and it is sent.

A side whose other side cannot keep up is not read: the client while the upstream has more than the high-water mark
queued, or is not connected yet; the upstream while the client has.
"""

from __future__ import annotations

import socket
from collections import deque

from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.ending import Ending, ending_of
from tlsidecar.dataplane.endpoint import Endpoint
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.http.exchange import Downstream, Exchange
from tlsidecar.dataplane.http.services import HttpServices
from tlsidecar.dataplane.http1 import states
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
from tlsidecar.dataplane.http1.conversation import Conversation
from tlsidecar.dataplane.http1.rules import Http1Rules
from tlsidecar.dataplane.http1.upstream_side import UpstreamSide
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.relay import Relay
from tlsidecar.dataplane.stream import BUFFER, CLOSED, RECORD_BYTES, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason, Side, Stage

_CLOSED = ConnectionState.CLOSED  # see :mod:`.states`


class Http1Connection(UpstreamSide):
    """One client's connection and, while an exchange needs it, one upstream connection."""

    __slots__ = (
        "_client_ended",
        "_close_wanted",
        "_commands",
        "_cut_reason",
        "_end_reason",
        "_requests",
        "_retire_reason",
        "_rules",
        "_tunnel",
    )

    def __init__(
        self, frontend: Frontend, services: HttpServices, sock: socket.socket, peer_address: str, *, rules: Http1Rules
    ) -> None:
        super().__init__(frontend, services, sock, peer_address)
        self._rules = rules
        self._tunnel: Relay | None = None
        self._client_ended = False
        self._end_reason = Reason.PEER_RESET  # what the client's end was, where that was none
        self._close_wanted: Reason | None = None
        self._commands: deque[Command] | None = None  # while some are being carried out: those that wait
        self._requests = 0
        self._retire_reason = Reason.COMPLETED
        self._cut_reason: Reason | None = None  # of the last exchange that was reported

    # What is reported of it.

    @property
    def bytes_in(self) -> int:
        return super().bytes_in + (self._tunnel.bytes_in if self._tunnel is not None else 0)

    @property
    def bytes_out(self) -> int:
        return super().bytes_out + (self._tunnel.bytes_out if self._tunnel is not None else 0)

    @property
    def active_at(self) -> float:
        return self._tunnel.active_at if self._tunnel is not None else self._active_at

    @property
    def requests(self) -> int:
        return self._requests

    @property
    def under_way(self) -> tuple[str, int, int] | None:
        exchange = self._conversation.exchange if self._conversation is not None else None
        if exchange is None or not exchange.upstream:
            return None
        tunnel = self._tunnel
        carried = (tunnel.bytes_in, tunnel.bytes_out) if tunnel is not None else (0, 0)
        return exchange.upstream, exchange.bytes_in + carried[0], exchange.bytes_out + carried[1]

    # Life.

    def _converse(self, client: Endpoint, downstream: Downstream) -> None:
        self._conversation = Conversation(self._rules, downstream, self.reactor)
        self._active_at = self.reactor.now

    def retire(self, reason: Reason) -> None:
        if self._tunnel is not None:
            if reason is not Reason.DRAINED:
                self.close(reason)
            return
        conversation = self._conversation
        if conversation is None:
            self.close(reason)
            return
        self._retire_reason = reason
        if reason is Reason.DRAINED and conversation.state is states.IDLE:
            # A request that has come already is under way: to close over it would leave it without an answer.
            conversation.draining = True
            self._client_readable(READ)
            if self.state is _CLOSED:
                return
        self._run(conversation.drain())

    def check_time(self, now: float) -> None:
        if self._tunnel is not None:
            if now - self._tunnel.active_at > self._tunnel.patience_s:
                self.close(self._tunnel.timeout_reason)
            return
        conversation, client = self._conversation, self._client
        if conversation is None or client is None:
            return
        for_client = client.queued_bytes
        for_upstream = self._upstream.endpoint.queued_bytes if self._upstream is not None else 0
        before, self._stuck_bytes = self._stuck_bytes, for_client + for_upstream
        if self._stuck_bytes < before:
            self._active_at = now  # slowly, but it reads
        state = conversation.state
        since = conversation.head_begun_at if state is states.HEAD else self._active_at
        if now - since <= conversation.patience_s(is_stalled=bool(self._stuck_bytes)):
            return
        if state is states.CLOSING or (state is states.IDLE and for_client):
            # What was queued for a client that does not read, or lets nobody close.
            self.close(Reason.SLOW_READER)
            return
        if state is states.IDLE:
            asked = self._requests or self._cut_reason is not None
            self._retire_reason = Reason.IDLE_TIMEOUT if asked else Reason.HEAD_TIMEOUT
        self._active_at = self.reactor.refresh()
        self._run(conversation.expired(upstream_stalled=bool(for_upstream), downstream_stalled=bool(for_client)))

    def close(self, reason: Reason, detail: str = "") -> None:
        conversation = self._conversation
        if self.state is ConnectionState.RELAYING and conversation is not None:
            self._abandon(conversation, reason)
        super().close(reason, detail)

    def _abandon(self, conversation: Conversation, reason: Reason) -> None:
        """The exchange under way, if there is one, is cut off with its connection."""
        tunnel = self._tunnel
        if tunnel is not None and conversation.state is states.TUNNEL:
            self._finish(conversation.tunnel_ended(tunnel.bytes_in, tunnel.bytes_out, reason))
            return
        exchange = conversation.abandon(reason)
        if exchange is not None:
            self._finish(exchange)

    def stop(self, ending: Ending) -> None:
        if self._tunnel is not None:
            self._tunnel.stop()
        self._leave_upstream()
        failure = self._client.failure if self._client is not None else None
        self._leave_client(Ending.POLITE if failure is not None and failure.was_alerted else ending)

    # The client.

    def _client_readable(self, _events: int) -> None:
        client, conversation = self._client, self._conversation
        assert client is not None
        assert conversation is not None
        count = client.read()
        if count > 0:
            self._received += count
            if self._close_wanted is not None:
                return  # it is still sending, and reads the answer that is queued only once it has sent all
            now = self._active_at = self.reactor.now
            data = conversation.request_in_one(BUFFER, count)
            if data is None:
                upstream = self._upstream
                if upstream is not None and conversation.request_data_in_one(BUFFER, count):
                    if not upstream.endpoint.send_read(count):
                        self.upstream_broken()
                    elif upstream.endpoint.queued_bytes:
                        self._settle()
                    return
                self._run(conversation.receive_downstream(BUFFER, 0, count))
                if count >= RECORD_BYTES:
                    upstream = self._upstream
                    # Requests ahead of their turn wait in memory: of these no more than need be is read.
                    client.widen(
                        upstream is not None
                        and not upstream.endpoint.queued_bytes
                        and conversation.state is states.SENDING
                    )
                return
            self._requests += 1
            self._upstream_answered = False
            upstream = self._pool.take()
            if upstream is None:
                self._unsent = [data]
                self._open_upstream()
                return
            self._attach(conversation.exchange, upstream, now)
            if not upstream.endpoint.send(data):
                self.upstream_broken()
            return
        if count in (WANT_READ, WANT_WRITE):
            return
        self._client_ended = True
        client.pause()
        if count == CLOSED:
            self._run(conversation.downstream_closed(clean=True))
            return
        self._client_failed(client.failure, conversation)

    def _client_failed(self, failure: SslFailure | None, conversation: Conversation) -> None:
        assert failure is not None
        if failure.kind is FailureKind.TRUNCATED:
            self._run(conversation.downstream_closed(clean=False))  # which is as good between two requests
            return
        reason = failure.stream_reason()
        self._end_reason = reason
        if conversation.is_idle:
            if failure.kind is not FailureKind.RESET:
                # No exchange will report it.
                side = Side.PEER if failure.kind is FailureKind.ALERT else Side.LOCAL
                self.frontend.tally.refused(self.refusal(Stage.REQUEST, reason, failure.text, side=side))
            self.close(reason, failure.text)
            return
        self._run(conversation.downstream_closed(clean=False, reason=reason, detail=failure.text))

    def drained(self) -> None:
        """Of the client, as :class:`.Holder` says; so is :meth:`broken`."""
        self._active_at = self.reactor.now
        self._settle()

    def broken(self) -> None:
        conversation = self._conversation
        assert conversation is not None
        self._client_ended = True
        if conversation.state is not states.IDLE:  # else its last answer was lost, and that is no ordinary end
            self._run(conversation.downstream_closed(clean=False))
        # Nothing that is still queued can be written any more.
        self.close(self._close_wanted or Reason.PEER_RESET)

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
            self._finish(command.exchange)
        elif self.state is _CLOSED:
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
            self._cancel_opening()
            self._release_upstream(reusable=command.reusable, bound=command.bound)
        elif isinstance(command, CloseDownstream):
            self._close_wanted = self._retire_reason
        elif isinstance(command, AbortDownstream):
            reason = (self._end_reason if self._client_ended else self._cut_reason) or Reason.UPSTREAM_CLOSED
            client = self._client
            if client is not None and client.queued_bytes and ending_of(reason) is Ending.CUT:
                self._close_wanted = reason  # after what of the answer had come
            else:
                self.close(reason)
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
        self._requests += not command.fresh
        self._upstream_answered = False
        upstream = None if command.fresh else self._take_upstream()
        if upstream is not None:
            self._attach(command.exchange, upstream, self.reactor.now)
        else:
            self._open_upstream()

    def _settle(self) -> None:
        """Read from whom the other side can keep up with; close when that is wanted and nothing is queued."""
        client, conversation = self._client, self._conversation
        if client is None or conversation is None or client.closed or self._tunnel is not None:
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
            or not conversation.wants_downstream
            or (upstream is not None and upstream.endpoint.queued_bytes > self._high_water)
            # Who does not read the answers gets no further questions in.
            or (client.queued_bytes > self._high_water and conversation.state is states.IDLE)
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
        tunnel, conversation = self._tunnel, self._conversation
        assert tunnel is not None
        assert conversation is not None
        ended = reason is Reason.COMPLETED
        self._finish(conversation.tunnel_ended(tunnel.bytes_in, tunnel.bytes_out, None if ended else reason, detail))
        self.close(reason, detail)

    def _finish(self, exchange: Exchange) -> None:
        self._cut_reason = exchange.reason
        exchange.finish(self.reactor.refresh())
