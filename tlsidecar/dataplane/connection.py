"""One accepted connection, from accept to its one reason for ending.

States and legal moves (terminate reads down the left, originate down the right):

    HANDSHAKING ─▶ CONNECTING ─▶ RELAYING ─▶ CLOSED          terminate, tcp
    CONNECTING ─▶ HANDSHAKING ─▶ RELAYING ─▶ CLOSED          originate, tcp
    HANDSHAKING ─▶ RELAYING ─▶ CLOSED                        terminate, http (its upstreams are dialled per exchange)
    RELAYING ─▶ CLOSED                                       originate, http
    any ─▶ CLOSED

- Nothing is opened towards the upstream, and no byte is read for it, before the TLS peer is authorised.
- A connection is *refused* when it is turned away before RELAYING, *opened* when it gets there and then *closed*; it
  is exactly one of the two, and it is told to the observer exactly once. A probe of our own is neither, and only
  counted.
- How the sockets are closed says what happened: an end is told as an end (close_notify, FIN), a cut as a reset.
"""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING

from certs.identity import Identity
from tlsidecar.dataplane import proxy_protocol
from tlsidecar.dataplane.handshake import Handshake, Peer
from tlsidecar.dataplane.linger import reset
from tlsidecar.dataplane.outbound.dial import Dial
from tlsidecar.dataplane.relay import Relay
from tlsidecar.dataplane.snapshot import ConnectionDetail, ConnectionRecord
from tlsidecar.dataplane.stream import Parameters
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import AccessEntry, Reason, Refusal, Side, Stage

if TYPE_CHECKING:
    from tlsidecar.dataplane.listener import Listener
    from tlsidecar.dataplane.outbound.upstreams import Upstream

# What a client that speaks plain HTTP to the TLS port is told, as nginx does it.
PLAINTEXT_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 42\r\nConnection: close\r\n\r\n"
    b"A plain HTTP request was sent to TLS port\n"
)

NO_PARAMETERS = Parameters("", "", "", "", "")

# These ends are told to both sides as ends; every other one but COMPLETED is a cut.
_POLITE = frozenset(
    {
        Reason.IDLE_TIMEOUT,
        Reason.DRAINED,
        Reason.MAX_AGE,
        Reason.PEER_CERTIFICATE_EXPIRED,
        Reason.PEER_CERTIFICATE_REVOKED,
    }
)


class ConnectionState(StrEnum):
    HANDSHAKING = "handshaking"
    CONNECTING = "connecting"
    RELAYING = "relaying"
    CLOSED = "closed"


class Connection(ABC):
    """What TCP and HTTP connections have in common: who it is, the handshake, refusal and the end."""

    __slots__ = (
        "accepted_at",
        "contexts",
        "draining",
        "handshake",
        "handshake_s",
        "id",
        "listener",
        "opened_at",
        "peer",
        "peer_address",
        "reactor",
        "shared",
        "sock",
        "state",
        "upstream_address",
        "wait_s",
    )

    def __init__(self, listener: Listener, sock: socket.socket, peer_address: str) -> None:
        shared = listener.shared
        self.listener = listener
        self.shared = shared
        self.reactor = shared.reactor
        self.sock = sock
        self.peer_address = peer_address
        self.id = next(shared.ids)
        self.contexts: Contexts = shared.contexts
        self.state = ConnectionState.HANDSHAKING
        self.opened_at = shared.wall()
        self.accepted_at = shared.reactor.now
        self.handshake: Handshake | None = None  # while it is running, and one that failed until that was told
        self.peer: Peer | None = None
        self.handshake_s = 0.0
        self.wait_s = 0.0
        self.upstream_address = ""
        self.draining = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.listener.settings.name} {self.state.value}>"

    # What the subclasses are.

    @abstractmethod
    def start(self) -> None:
        """Begin, right after accept."""

    @abstractmethod
    def authorised(self) -> None:
        """The TLS peer is who it should be."""

    @abstractmethod
    def stop(self, *, polite: bool, ended: bool) -> None:
        """Let go of every socket: politely with an end, else with a cut; ``ended`` when both sides have ended."""

    @abstractmethod
    def drain(self) -> None:
        """Finish what is under way and close soon; a connection that is not open yet is turned away."""

    @abstractmethod
    def retire(self, reason: Reason) -> None:
        """End gracefully, for ``reason``: at once, or after the exchange that is under way."""

    @abstractmethod
    def check_time(self, now: float) -> None:
        """End what has been idle or stuck for too long at ``now`` (monotonic seconds)."""

    @property
    @abstractmethod
    def bytes_in(self) -> int: ...

    @property
    @abstractmethod
    def bytes_out(self) -> int: ...

    @property
    @abstractmethod
    def active_at(self) -> float: ...

    @property
    def requests(self) -> int:
        return 0

    @property
    def identity(self) -> Identity | None:
        if self.peer is not None:
            return self.peer.identity
        return self.handshake.judge.identity if self.handshake is not None else None

    @property
    def rule(self) -> str:
        if self.peer is not None:
            return self.peer.rule
        rule = self.handshake.judge.rule if self.handshake is not None else None
        return rule.text if rule is not None else ""

    # The handshake.

    def shake_hands(self, sock: socket.socket, *, server_name: str = "") -> None:
        """Begin the TLS handshake on ``sock``: as the server when terminating, as the client when originating."""
        listener = self.listener
        self.state = ConnectionState.HANDSHAKING
        listener.counters.handshakes_active += 1
        self.handshake = Handshake(
            self.reactor,
            self.shared.turnstile,
            listener.handshake_deadlines,
            self.contexts,
            listener.settings.protocol,
            sock,
            listener.policy,
            self.shared.identities,
            self._shaken,
            server_side=listener.terminates,
            server_name=server_name,
        )
        self.handshake.start()

    def _shaken(self, handshake: Handshake) -> None:
        self.listener.handshake_over(handshake)
        self.handshake_s = handshake.seconds
        if handshake.reason is None:
            self.peer = Peer(handshake)
            self.handshake = None
            if handshake.is_probe:
                self.state = ConnectionState.CLOSED
                self.stop(polite=True, ended=False)
                self.listener.connection_probed(self)
            else:
                self.authorised()
            return
        if handshake.reason is Reason.PLAINTEXT:
            with contextlib.suppress(OSError):
                handshake.sock.send(PLAINTEXT_ANSWER)
        self.refuse(handshake.stage, handshake.reason, handshake.detail, side=handshake.side)

    # The end.

    def open(self) -> None:
        """The peer is authorised and the connection in use: from here on it will be *closed*, not refused."""
        self.state = ConnectionState.RELAYING
        self.listener.connection_opened(self)

    def refuse(self, stage: Stage, reason: Reason, detail: str = "", *, side: Side = Side.LOCAL) -> None:
        """Turn the connection away: before it was opened."""
        if self.state is ConnectionState.CLOSED:
            return
        refusal = self.refusal(stage, reason, detail, side=side)
        self.state = ConnectionState.CLOSED
        self.stop(polite=True, ended=False)
        self.listener.connection_refused(self, refusal)

    def close(self, reason: Reason, detail: str = "") -> None:
        """End the connection, whatever state it is in; nothing happens when it has ended."""
        if self.state is ConnectionState.CLOSED:
            return
        if self.state is not ConnectionState.RELAYING:
            self.refuse(self._stage(), reason, detail)
            return
        self.state = ConnectionState.CLOSED
        entry = self.entry(reason)
        self.stop(polite=reason in _POLITE, ended=reason is Reason.COMPLETED)
        self.listener.connection_closed(self, entry)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self.close(Reason.INTERNAL_ERROR)

    def _stage(self) -> Stage:
        return Stage.UPSTREAM if self.state is ConnectionState.CONNECTING else Stage.HANDSHAKE

    # What is told of it.

    def refusal(self, stage: Stage, reason: Reason, detail: str, *, side: Side = Side.LOCAL) -> Refusal:
        identity = self.identity
        return Refusal(
            at=self.shared.wall(),
            listener=self.listener.settings.name,
            peer_address=self.peer_address,
            side=side,
            stage=stage,
            reason=reason,
            detail=detail,
            identity=identity.name if identity else "",
            subject=identity.subject if identity else "",
            issuer=identity.issuer if identity else "",
            serial=identity.serial if identity else "",
            not_after=identity.not_after.timestamp() if identity else None,
            rule=self.rule,
            connection_id=self.id,
        )

    def entry(self, reason: Reason) -> AccessEntry:
        identity = self.identity
        return AccessEntry(
            at=self.shared.wall(),
            protocol=self.listener.protocol,
            listener=self.listener.settings.name,
            connection_id=self.id,
            generation=self.contexts.generation,
            peer_address=self.peer_address,
            identity=identity.name if identity else "",
            rule=self.rule,
            reason=reason,
            upstream=self.upstream_address,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            handshake_s=self.handshake_s,
            wait_s=self.wait_s,
            upstream_s=0.0,
            total_s=self.reactor.loop.time() - self.accepted_at,
        )

    def parameters(self) -> Parameters:
        if self.peer is None or self.state is not ConnectionState.RELAYING:
            return NO_PARAMETERS
        return self.peer.stream.parameters()

    def record(self, now: float) -> ConnectionRecord:
        """``now`` is monotonic seconds."""
        settings = self.listener.settings
        identity = self.identity
        parameters = self.parameters()
        return ConnectionRecord(
            id=self.id,
            listener=settings.name,
            mode=settings.mode.value,
            protocol=settings.protocol.value,
            peer_address=self.peer_address,
            identity=identity.name if identity else "",
            subject=identity.subject if identity else "",
            serial=identity.serial if identity else "",
            sni=parameters.server_name,
            alpn=parameters.alpn,
            tls_version=parameters.version,
            cipher=parameters.cipher,
            group=parameters.group,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            requests=self.requests,
            opened_at=self.opened_at,
            idle_s=max(0.0, now - self.active_at),
            generation=self.contexts.generation,
            rule=self.rule,
            state=self.state.value,
            upstream=self.upstream_address,
            not_after=identity.not_after.timestamp() if identity else None,
            worker=self.shared.worker,
        )

    def detail(self, now: float) -> ConnectionDetail:
        shown = self.peer is not None and self.state is ConnectionState.RELAYING
        chain = self.peer.stream.peer_chain() if shown and self.peer is not None else ()
        return ConnectionDetail(self.record(now), chain)


class TcpConnection(Connection):
    """Bytes of any protocol, relayed as they are."""

    __slots__ = ("_dial", "_tried", "other", "relay", "upstream")

    def __init__(self, listener: Listener, sock: socket.socket, peer_address: str) -> None:
        super().__init__(listener, sock, peer_address)
        self.other: socket.socket | None = None
        self.upstream: Upstream | None = None
        self.relay: Relay | None = None
        self._dial: Dial | None = None
        self._tried: tuple[Upstream, ...] = ()

    @property
    def bytes_in(self) -> int:
        return self.relay.bytes_in if self.relay is not None else 0

    @property
    def bytes_out(self) -> int:
        return self.relay.bytes_out if self.relay is not None else 0

    @property
    def active_at(self) -> float:
        return self.relay.active_at if self.relay is not None else self.accepted_at

    def start(self) -> None:
        if self.listener.terminates:
            self.shake_hands(self.sock)
        else:
            self._reach_upstream()

    def authorised(self) -> None:
        if self.listener.terminates:
            self._reach_upstream()
        else:
            self._relay()

    def drain(self) -> None:
        self.draining = True
        if self.state is not ConnectionState.RELAYING:
            self.refuse(self._stage(), Reason.DRAINING)

    def retire(self, reason: Reason) -> None:
        self.close(reason)

    def check_time(self, now: float) -> None:
        relay = self.relay
        if relay is not None and now - relay.active_at > relay.patience_s:
            self.close(relay.timeout_reason)

    def _reach_upstream(self) -> None:
        self.state = ConnectionState.CONNECTING
        self.wait_s = self.reactor.loop.time()
        self._dial_next()

    def _dial_next(self) -> None:
        upstream = self.upstream = self.listener.upstreams.choose(self._tried)
        self._tried = (*self._tried, upstream)
        self.upstream_address = upstream.text
        upstream.active += 1
        self._dial = Dial(
            self.reactor,
            self.shared.resolver,
            self.listener.connect_deadlines,
            upstream.address,
            self._connected,
            self._unreachable,
        )
        self._dial.start()

    def _connected(self, sock: socket.socket) -> None:
        assert self.upstream is not None
        self.upstream.succeeded()
        self._dial = None
        self._tried = ()
        self.wait_s = self.reactor.loop.time() - self.wait_s
        self.other = sock
        if self.listener.terminates:
            self._relay()
        else:
            self.shake_hands(sock, server_name=self.listener.server_name(self.upstream.address))

    def _unreachable(self, reason: Reason, detail: str) -> None:
        assert self.upstream is not None
        self._dial = None
        if reason is not Reason.FD_EXHAUSTED:  # that is our trouble, not the upstream's
            self.upstream.failed(detail)
        self.listener.upstream_failed(reason)
        if len(self._tried) < len(self.listener.upstreams.all):
            self.upstream.active -= 1
            self._dial_next()
            return
        if reason is Reason.UPSTREAM_RESET and self.listener.terminates:
            # It had accepted before it reset, only sooner than we saw that it had: the peer is cut off all the same.
            self.wait_s = self.reactor.loop.time() - self.wait_s
            self.open()
            self.close(reason, detail)
            return
        self.refuse(Stage.UPSTREAM, reason, detail)

    def _relay(self) -> None:
        assert self.peer is not None
        assert self.other is not None
        tls, plain = self.sock, self.other
        if not self.listener.terminates:
            tls, plain = plain, tls
        self.relay = Relay(self.reactor, self.peer.stream, tls, plain, self.listener.settings.limits, self)
        self.open()
        if self.listener.settings.proxy_protocol:
            self.relay.pending_in = proxy_protocol.header(self.sock, self.parameters(), self.identity)
        self.relay.start()

    def relay_ended(self, reason: Reason, detail: str) -> None:
        relay = self.relay
        assert relay is not None
        originate = not self.listener.terminates
        if reason is Reason.UPSTREAM_RESET:
            if originate:
                reason = Reason.APP_RESET
            else:
                self.listener.upstream_failed(reason)
        elif reason is Reason.REFUSED_BY_PEER and originate and not relay.bytes_in:
            # In TLS 1.3 the client's handshake is over before the server has judged its certificate (RFC 8446
            # section 4.4.2.4): an alert before the first byte is that judgement.
            self.listener.record_refusal(self.refusal(Stage.VERIFY, reason, detail, side=Side.PEER))
        self.close(reason, detail)

    def stop(self, *, polite: bool, ended: bool) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self.relay is not None:
            self.relay.stop()
        if self.upstream is not None:
            self.upstream.active -= 1
        originate = not self.listener.terminates
        tls, plain = (self.other, self.sock) if originate else (self.sock, self.other)
        handshake, peer = self.handshake, self.peer
        if handshake is not None:
            handshake.cancel()
        elif tls is not None and self.relay is None:
            self.reactor.forget(tls.fileno())  # a handshake that succeeded leaves it watched
        if plain is not None:
            # An application whose remote was refused must not take that for a clean end.
            if ended or (polite and self.relay is not None):
                plain.close()
            else:
                reset(plain)
        if tls is not None:
            if ended:
                tls.close()
            elif polite:
                if peer is not None:
                    peer.stream.close_notify()
                self.shared.lingerer.close(tls)
            else:
                reset(tls)
        if peer is not None:
            peer.stream.release()
        elif handshake is not None:
            handshake.stream.release()
