"""An HTTP/2 connection: the shell that owns the sockets, round the session that owns the frames.

The upstream connection (:mod:`.upstream_end`) is its own, dialled once the client's preface is there; when it ends so
does this one, after telling the client (GOAWAY), who dials anew.

A side whose other side cannot keep up is not read: flow control bounds each stream, and this all of them together.
"""

from __future__ import annotations

import socket

from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.http.connection import HttpConnection
from tlsidecar.dataplane.http.exchange import Downstream
from tlsidecar.dataplane.http.services import HttpServices
from tlsidecar.dataplane.http2.frames import COPIED_BYTES
from tlsidecar.dataplane.http2.heads import Heads
from tlsidecar.dataplane.http2.session import Session
from tlsidecar.dataplane.http2.streams import ALONE
from tlsidecar.dataplane.http2.upstream_end import UpstreamEnd
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.reach import Reach, Reached
from tlsidecar.dataplane.stream import BUFFER, CLOSED, VIEW, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_endpoint import RemoteEndpoint
from tlsidecar.dataplane.tls_failure import FailureKind
from tlsidecar.outcomes import Failure, Reason, Stage
from tlsidecar.settings import H2

# Reading goes on while this many high-water marks wait for a client: it may be busy sending, and says in the same
# direction how much it can take.
_CLIENT_PATIENCE = 4

_RELAYING = ConnectionState.RELAYING  # looked up once: see :mod:`.streams`


class Http2Connection(HttpConnection):
    """One client's connection and its upstream connection."""

    __slots__ = (
        "_close_wanted",
        "_goodbye",
        "_heads",
        "_reach",
        "_read_at",
        "_session",
        "_unsent",
        "_upstream",
    )

    def __init__(
        self, frontend: Frontend, services: HttpServices, sock: socket.socket, peer_address: str, *, heads: Heads
    ) -> None:
        super().__init__(frontend, services, sock, peer_address)
        self._heads = heads
        self._session: Session | None = None
        self._reach: Reach | None = None
        self._upstream: UpstreamEnd | None = None
        self._unsent: list[bytes] = []  # for the upstream, until it is there
        self._close_wanted: tuple[Reason, str] | None = None
        self._goodbye = False  # the client is to read what was said last
        self._read_at = self.accepted_at  # when a queue was last seen to shrink

    # What is reported of it.

    @property
    def active_at(self) -> float:
        return self._session.active_at if self._session is not None else self.accepted_at

    @property
    def requests(self) -> int:
        return self._session.requests if self._session is not None else 0

    @property
    def under_way(self) -> tuple[str, int, int] | None:
        if self._session is None or not self.upstream_address:
            return None
        exchanges = [stream.exchange for stream in self._session.streams.values()]
        return (
            self.upstream_address,
            sum(each.bytes_in for each in exchanges),
            sum(each.bytes_out for each in exchanges),
        )

    @property
    def streams(self) -> int:
        return len(self._session.streams) if self._session is not None else 0

    def _converse(self, client: Endpoint, downstream: Downstream) -> None:
        self._session = Session(self._heads, downstream, self.reactor, self.frontend.tally)
        client.widen(True)  # the records of a large body, several at once

    def retire(self, reason: Reason) -> None:
        session = self._session
        if session is None:
            self.close(reason)
            return
        self.reactor.refresh()
        session.shut_down(reason)
        self.pump()

    def check_time(self, now: float) -> None:
        session, client = self._session, self._client
        if session is None or client is None:
            return
        upstream = self._upstream
        stuck = client.queued_bytes + (upstream.endpoint.queued_bytes if upstream is not None else 0)
        if stuck < self._stuck_bytes or not stuck:
            self._read_at = now
        self._stuck_bytes = stuck
        self.reactor.refresh()
        if stuck and now - self._read_at > self.frontend.limits.write_timeout_s:
            if client.queued_bytes:
                self.close(Reason.SLOW_READER)
            else:
                self.upstream_ended(Reason.UPSTREAM_TIMEOUT, "it takes nothing", Stage.UPSTREAM)
            return
        session.check_time(now, is_stuck=bool(stuck) or self._reach is not None)
        self.pump()

    def close(self, reason: Reason, detail: str = "") -> None:
        if self._session is not None and self.state is _RELAYING:
            self.reactor.refresh()
            self._session.client_gone(reason, detail)
        super().close(reason, detail)

    def stop(self, ending: Ending) -> None:
        if self._reach is not None:
            self._reach.cancel()
            self._reach = None
        self._leave_upstream()
        self._leave_client(Ending.POLITE if self._goodbye else ending)

    # The client.

    def _client_readable(self, _events: int) -> None:
        client, session = self._client, self._session
        assert client is not None
        assert session is not None
        count = client.read()
        if count > 0:
            self._received += count
            session.receive_client(bytes(VIEW[:count]) if count <= COPIED_BYTES else BUFFER, count)
            self.pump()
            return
        if count in (WANT_READ, WANT_WRITE):
            return
        client.pause()
        failure = client.failure
        if count == CLOSED or (failure is not None and failure.kind is FailureKind.TRUNCATED and not session.streams):
            self.close(Reason.COMPLETED if not session.streams else Reason.PEER_RESET)
            return
        assert failure is not None
        reason = failure.stream_reason()
        if failure.kind is FailureKind.PROTOCOL:
            self._goodbye = True  # OpenSSL has sent an alert, which a reset would destroy
            self.frontend.tally.refused(self.refusal(Stage.REQUEST, reason, failure.text))
        self.close(reason, failure.text)

    def drained(self) -> None:
        """Of either side, as :class:`.Holder` says; :meth:`broken` is of the client."""
        self._settle()

    def broken(self) -> None:
        self.close(Reason.PEER_RESET)

    # The upstream.

    def _open_upstream(self) -> None:
        alpn = () if self.frontend.terminates else (H2,)
        self._reach = Reach(self.frontend.outbound, self.contexts, self._reached, self._missed, alpn=alpn)
        self._reach.start()  # perhaps it is there, or missed, before this returns

    def _reached(self, reached: Reached) -> None:
        session = self._session
        assert session is not None
        self._reach = None
        upstream, peer, reactor = reached.upstream, reached.peer, self.reactor
        self.upstream_address = upstream.text
        if peer is None:
            endpoint: Endpoint = PlainEndpoint(reactor, reached.sock)
        else:
            endpoint = RemoteEndpoint(reactor, reached.sock, peer.stream)
            self.peer = peer
            self.handshake_s = reached.handshake_s
            session.knows_remote(peer.identity, peer.rule, party=peer.party)
        reactor.refresh()
        if peer is not None and peer.stream.parameters().alpn != H2.decode():
            upstream.active -= 1
            endpoint.close()
            self.frontend.tally.upstream_failed(Reason.UPSTREAM_NO_H2)
            session.upstream_missed(Reason.UPSTREAM_NO_H2, address=upstream.text)
            self.pump()
            return
        self._upstream = UpstreamEnd(self, session, upstream, endpoint, peer)
        session.upstream_ready(upstream.text)
        unsent, self._unsent = self._unsent, []
        if unsent and not endpoint.send(b"".join(unsent)):
            self._upstream.broken()
            return
        self._upstream.attach()
        self.pump()

    def _missed(self, missed: Missed) -> None:
        session = self._session
        assert session is not None
        self._reach = None
        self.reactor.refresh()
        if missed.handshake is not None:
            judge = missed.handshake.judge
            session.knows_remote(judge.identity, judge.rule.text if judge.rule is not None else "", missed.side)
        session.upstream_missed(missed.reason, missed.detail, missed.stage, address=missed.upstream)
        self.pump()

    def upstream_ended(self, reason: Reason, detail: str, stage: Stage) -> None:
        session = self._session
        assert session is not None
        if reason is Reason.REFUSED_BY_PEER:  # which is no failure of the upstream's to the streams
            self.frontend.tally.upstream_failed(reason)
        self._leave_upstream()
        session.upstream_gone(reason, detail, stage)
        self.pump()

    def _give_up_upstream(self) -> None:
        """It broke the rules, or was late: its connection is of no use any more."""
        assert self._session is not None
        reason, detail = self._session.loss
        if not self._session.loss_is_told:
            self.frontend.tally.failed(Failure.of(self.refusal(Stage.UPSTREAM, reason, detail)), self.party)
        self._leave_upstream()

    def _leave_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.leave()

    # What goes out.

    def pump(self) -> None:
        """Write what the session has for either side, and do what it wants done."""
        session, client = self._session, self._client
        assert session is not None
        assert client is not None
        if self.state is not _RELAYING:
            return
        if session.to_client and not self.tell_client():
            return
        upstream = self._upstream
        parts = session.to_upstream
        if parts:
            session.to_upstream = []
            if upstream is None:
                self._unsent.append(b"".join(parts))
            elif not upstream.endpoint.send(parts[0] if len(parts) == 1 else b"".join(parts)):
                upstream.broken()
                return
            upstream = self._upstream
        if (
            upstream is not None
            and session.is_quiet
            and not client.queued_bytes
            and not upstream.endpoint.queued_bytes
            and client.is_reading
            and upstream.endpoint.is_reading
        ):
            return
        if session.fault is not None:
            (reason, detail), session.fault = session.fault, None
            self._goodbye = True
            self.frontend.tally.refused(self.refusal(Stage.REQUEST, reason, detail))
        if session.state is ALONE and self._upstream is not None:
            self._give_up_upstream()
        if session.unasked is not None:
            unasked, session.unasked = session.unasked, None
            self.frontend.tally.upstream_failed(unasked)
        if session.end is not None:
            self._close_wanted = session.end
        elif session.state is not ALONE and session.is_begun and self._upstream is None and self._reach is None:
            self._open_upstream()
            return
        self._settle()

    def tell_client(self) -> bool:
        """Write what the session has for it; False once it is gone."""
        session, client = self._session, self._client
        assert session is not None
        assert client is not None
        parts = session.to_client
        if not parts:
            return True
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        session.to_client = []
        self._sent += len(data)
        if client.send(data):
            return True
        self.broken()
        return False

    def _settle(self) -> None:
        """Read from whom the other side can keep up with; close when that is wanted and nothing is queued."""
        client, upstream, session = self._client, self._upstream, self._session
        assert client is not None
        assert session is not None
        if client.closed:
            return
        waiting = client.queued_bytes
        if self._close_wanted is not None:
            if waiting:
                client.pause()
            else:
                self.close(*self._close_wanted)
            return
        high_water = self._high_water
        if (
            self._reach is not None
            or (upstream is not None and upstream.endpoint.queued_bytes > high_water)
            or waiting > _CLIENT_PATIENCE * high_water
            or session.client_must_wait
        ):
            client.pause()
        else:
            client.resume()
        if upstream is not None:
            if waiting > high_water or session.upstream_must_wait:
                upstream.endpoint.pause()
            else:
                upstream.endpoint.resume()
