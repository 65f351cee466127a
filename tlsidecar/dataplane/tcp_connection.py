"""A TCP connection: bytes of any protocol, relayed as they are once the peer is authorised and the upstream reached."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tlsidecar.dataplane import proxy_protocol
from tlsidecar.dataplane.connection import CONNECTING, HANDSHAKING, RELAYING, Connection
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.linger import reset
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.reach import Reach, Reached
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.relay import Relay
from tlsidecar.outcomes import Reason, Side, Stage

if TYPE_CHECKING:
    from tlsidecar.dataplane.starttls.interlude import Interlude


class TcpConnection(Connection):
    """Bytes of any protocol, relayed as they are."""

    __slots__ = ("_reach", "_wanted_at", "other", "relay", "upstream")

    def __init__(self, frontend: Frontend, sock: socket.socket, peer_address: str) -> None:
        super().__init__(frontend, sock, peer_address)
        self.other: socket.socket | None = None
        self.upstream: Upstream | None = None
        self.relay: Relay | Interlude | None = None
        self._reach: Reach | None = None
        self._wanted_at = 0.0  # since when the upstream is wanted

    @property
    def bytes_in(self) -> int:
        return self.relay.bytes_in if self.relay is not None else 0

    @property
    def bytes_out(self) -> int:
        return self.relay.bytes_out if self.relay is not None else 0

    @property
    def under_way(self) -> tuple[str, int, int] | None:
        if self.relay is None:
            return None
        carried = (self.relay.bytes_in, self.relay.bytes_out)
        return (self.upstream_address, *(carried if self.frontend.terminates else carried[::-1]))

    @property
    def active_at(self) -> float:
        return self.relay.active_at if self.relay is not None else self.accepted_at

    def start(self) -> None:
        if self.frontend.terminates:
            self.shake_hands()
        else:
            self._reach_upstream()

    def authorised(self) -> None:
        self._reach_upstream()

    def drain(self) -> None:
        self.draining = True
        if self.state is not RELAYING:
            self.refuse(self._stage(), Reason.DRAINING)

    def retire(self, reason: Reason) -> None:
        self.close(reason)

    def check_time(self, now: float) -> None:
        relay = self.relay
        if relay is not None and now - relay.active_at > relay.patience_s:
            self.close(relay.timeout_reason)

    def _reach_upstream(self) -> None:
        self._wanted_at = self.reactor.loop.time()
        self._reach = self._make_reach()
        self._reach.start()

    def _make_reach(self) -> Reach:
        return Reach(self.frontend.outbound, self.contexts, self._reached, self._missed, trying=self._trying)

    def _trying(self, upstream: Upstream, shaking: bool) -> None:
        self.upstream_address = upstream.text
        self.state = HANDSHAKING if shaking else CONNECTING
        if shaking:
            self.wait_s = self.reactor.loop.time() - self._wanted_at

    def _reached(self, reached: Reached) -> None:
        self._reach = None
        self.upstream = reached.upstream
        self.other = reached.sock
        if reached.peer is not None:
            self.peer = reached.peer
            self.handshake_s = reached.handshake_s
        else:
            self.wait_s = self.reactor.loop.time() - self._wanted_at
        self._relay()

    def _missed(self, missed: Missed) -> None:
        self._reach = None
        reason = missed.reason
        if reason is Reason.UPSTREAM_RESET and self.peer is not None:
            # It had accepted before it reset, only sooner than we saw that it had: the peer is cut off all the same.
            self.wait_s = self.reactor.loop.time() - self._wanted_at
            self.open()
            self.close(reason, missed.detail)
            return
        if missed.handshake is not None:
            self.handshake = missed.handshake
            self.handshake_s = missed.handshake.seconds
        self.refuse(missed.stage, reason, missed.detail, side=missed.side)

    def _relay(self) -> None:
        assert self.peer is not None
        remote = not self.frontend.terminates
        relay = Relay(self.reactor, self.peer.stream, *self._ends(), self.frontend.limits, self, remote=remote)
        self.relay = relay
        self.open()
        if self.frontend.settings.proxy_protocol:
            relay.pending_in = proxy_protocol.header(self.sock, self.parameters(), self.identity)
        relay.start()

    def _ends(self) -> tuple[socket.socket, socket.socket]:
        """The one that speaks TLS, and the plain one."""
        assert self.other is not None
        return (self.sock, self.other) if self.frontend.terminates else (self.other, self.sock)

    def relay_ended(self, reason: Reason, detail: str) -> None:
        relay = self.relay
        assert relay is not None
        originate = not self.frontend.terminates
        if reason is Reason.UPSTREAM_RESET:
            if originate:
                reason = Reason.APP_RESET
            else:
                self.frontend.tally.upstream_failed(reason)
        elif reason is Reason.PEER_RESET and originate:
            reason = Reason.UPSTREAM_RESET
            self.frontend.tally.upstream_failed(reason)
        elif reason is Reason.REFUSED_BY_PEER and originate and not relay.bytes_in:
            # In TLS 1.3 the client's handshake is over before the server has judged its certificate (RFC 8446
            # section 4.4.2.4): an alert before the first byte is that judgement.
            assert self.upstream is not None
            self.upstream.refused(detail)
            tally = self.frontend.tally
            tally.upstream_failed(reason)
            tally.refused(self.refusal(Stage.VERIFY, reason, detail, side=Side.PEER))
        self.close(reason, detail)

    def stop(self, ending: Ending) -> None:
        if self._reach is not None:
            self._reach.cancel()
            self._reach = None
        if self.relay is not None:
            self.relay.stop()
            carried, party = self.under_way, self.party
            if carried is not None and party is not None:
                party.carried(*carried)
        if self.upstream is not None:
            self.upstream.active -= 1
        if self.frontend.terminates:
            if self.peer is None:
                self.stop_unserved()
            else:
                if self.relay is None:
                    self.reactor.forget(self.sock.fileno())  # a handshake that succeeded leaves it watched
                self._stop_tls(self.sock, self.peer.stream, ending, hears_out=True)
            if self.other is not None:
                self._stop_plain(self.other, ending, hears_out=False)
        else:
            # An application whose remote was refused must not take that for an end.
            self.stop_application(Ending.KILLED if ending is Ending.POLITE and self.relay is None else ending)
            if self.other is not None:
                assert self.peer is not None
                self._stop_tls(self.other, self.peer.stream, ending, hears_out=False)

    def stop_application(self, ending: Ending) -> None:
        """The local application's socket."""
        self._stop_plain(self.sock, ending, hears_out=True)

    def _stop_tls(self, sock: socket.socket, stream: Stream, ending: Ending, *, hears_out: bool) -> None:
        lingerer = self.shared.lingerer
        if ending is Ending.ENDED:
            sock.close()
        elif ending is Ending.POLITE:
            stream.close_notify()
            lingerer.close(sock)
        elif stream.failure is not None and stream.failure.was_alerted:
            lingerer.close(sock)
        elif ending is Ending.CUT:
            lingerer.cut(sock, hears_out=hears_out)
        else:
            reset(sock)
        stream.release()

    def _stop_plain(self, sock: socket.socket, ending: Ending, *, hears_out: bool) -> None:
        if ending is Ending.CUT:
            self.shared.lingerer.cut(sock, hears_out=hears_out)
        elif ending is Ending.KILLED:
            reset(sock)
        else:
            sock.close()
