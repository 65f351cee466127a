"""One accepted connection, from accept to its one reason for ending.

States and legal moves (terminate reads down the left, originate down the right):

    HANDSHAKING ─▶ CONNECTING ─▶ RELAYING ─▶ CLOSED          terminate, tcp
    CONNECTING ─▶ HANDSHAKING ─▶ RELAYING ─▶ CLOSED          originate, tcp
    HANDSHAKING ─▶ RELAYING ─▶ CLOSED                        terminate, http (its upstreams are dialled per exchange)
    RELAYING ─▶ CLOSED                                       originate, http
    any ─▶ CLOSED

- Nothing is opened towards the upstream, and no byte is read for it, before the TLS peer is authorised.
- A connection is *refused* when it is turned away before RELAYING, *opened* when it gets there and then *closed*; it
  is exactly one of the two, and it is told to the observer exactly once. A probe of our own is neither, nor is a client
  that goes without a byte; both are only counted.
- How the sockets are closed says what happened: an end is told as an end (close_notify, FIN), a cut as a reset.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from enum import StrEnum

from certs.identity import Identity
from tlsidecar.dataplane import proxy_protocol
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.handshake import Handshake, Peer
from tlsidecar.dataplane.linger import reset
from tlsidecar.dataplane.outbound.reach import Missed, Reach, Reached
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.policy import kept_chain
from tlsidecar.dataplane.relay import Relay
from tlsidecar.dataplane.report import Opened
from tlsidecar.dataplane.snapshot import ConnectionDetail, ConnectionRecord
from tlsidecar.dataplane.starttls import LOCALS, SERVERS, Ended, Negotiation, Next
from tlsidecar.dataplane.stream import Parameters
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import AccessEntry, Reason, Refusal, Side, Stage

# What a client that speaks plain HTTP to the TLS port is told, as nginx does it.
PLAINTEXT_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 42\r\nConnection: close\r\n\r\n"
    b"A plain HTTP request was sent to TLS port\n"
)

_log = logging.getLogger("tlsidecar.dataplane")

NO_PARAMETERS = Parameters("", "", "", "", "")

# These ends are told to both sides as ends; every other one but COMPLETED is a cut.
_POLITE = frozenset(
    {
        Reason.IDLE_TIMEOUT,
        Reason.HEAD_TIMEOUT,  # of a connection that never asked anything
        Reason.DRAINED,
        Reason.MAX_AGE,
        Reason.GENERATION_DRAINED,
        Reason.POLICY_CHANGED,
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
        "frontend",
        "handshake",
        "handshake_s",
        "id",
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

    def __init__(self, frontend: Frontend, sock: socket.socket, peer_address: str) -> None:
        shared = frontend.shared
        self.frontend = frontend
        self.shared = shared
        self.reactor = shared.reactor
        self.sock = sock
        self.peer_address = peer_address
        self.id = next(shared.ids)
        self.contexts: Contexts = frontend.current.contexts
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
        return f"<{type(self).__name__} {self.id} {self.frontend.name} {self.state.value}>"

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
    def streams(self) -> int:
        """How many of them are under way at once, where that can be many."""
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

    def peer_chain(self) -> tuple[bytes, ...]:
        """The DER of what the TLS peer has shown, the leaf first; empty before it has."""
        return self.peer.stream.peer_chain() if self.peer is not None else ()

    # The handshake.

    def shake_hands(self) -> None:
        """Begin the TLS handshake with the peer that came in."""
        frontend = self.frontend
        self.state = ConnectionState.HANDSHAKING
        frontend.tally.handshake_began()
        self.handshake = Handshake(
            self.reactor,
            self.shared.turnstile,
            frontend.handshake_deadlines,
            self.contexts,
            frontend.offered,
            self.sock,
            frontend.policy,
            self.shared.identities,
            self._shaken,
            server_side=True,
            denial=self.shared.denials.of,
            choice=frontend.choice,
        )
        self.handshake.start()

    def succeed(self, other: Connection) -> None:
        """Take the place of ``other``, which has found out what is spoken and is not used any more."""
        self.id, self.accepted_at, self.opened_at = other.id, other.accepted_at, other.opened_at
        self.contexts, self.peer, self.handshake_s = other.contexts, other.peer, other.handshake_s

    def _shaken(self, handshake: Handshake) -> None:
        if handshake.is_empty:
            self._left_empty()
            return
        self.frontend.tally.handshake_over(handshake.reason, handshake.seconds)
        self.handshake_s = handshake.seconds
        self.contexts = handshake.contexts
        if handshake.reason is None:
            self.peer = Peer(handshake)
            self.handshake = None
            if handshake.is_probe:
                self._probed()
            else:
                self.authorised()
            return
        if handshake.reason is Reason.PLAINTEXT:
            with contextlib.suppress(OSError):
                handshake.sock.send(PLAINTEXT_ANSWER)
        self.refuse(handshake.stage, handshake.reason, handshake.detail, side=handshake.side)

    def _left_empty(self) -> None:
        """The client went without a byte: nobody was refused, and there is nobody to tell of."""
        tally = self.frontend.tally
        tally.handshake_dropped()
        self.state = ConnectionState.CLOSED
        self.stop(polite=True, ended=False)
        self._gone()
        tally.empty()

    def _probed(self) -> None:
        """One of our own probes has seen our leaf, and that was all it came for."""
        self.state = ConnectionState.CLOSED
        self.stop(polite=True, ended=False)
        self._gone()
        self.frontend.tally.probed()
        _log.debug("probed", extra={"fields": {"listener": self.frontend.name, "peer": self.peer_address}})

    # The end.

    def open(self) -> None:
        """The peer is authorised and the connection in use: from here on it will be *closed*, not refused."""
        self.state = ConnectionState.RELAYING
        frontend = self.frontend
        identity = self.identity
        frontend.tally.opened(
            Opened(
                id=self.id,
                listener=frontend.name,
                mode=frontend.mode,
                protocol=frontend.protocol,
                peer_address=self.peer_address,
                identity=identity.name if identity is not None else "",
                rule=self.rule,
                generation=self.contexts.generation,
            )
        )

    def refuse(self, stage: Stage, reason: Reason, detail: str = "", *, side: Side = Side.LOCAL) -> None:
        """Turn the connection away: before it was opened."""
        if self.state is ConnectionState.CLOSED:
            return
        refusal = self.refusal(stage, reason, detail, side=side)
        tally = self.frontend.tally
        if self.handshake is not None and self.handshake.is_running:
            tally.handshake_dropped()
        self.state = ConnectionState.CLOSED
        self.stop(polite=True, ended=False)
        self._gone()
        tally.turned_away(refusal)

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
        self._gone()
        self.frontend.tally.closed(entry)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self.close(Reason.INTERNAL_ERROR)

    def _gone(self) -> None:
        self.frontend.gone(self.id, self.bytes_in, self.bytes_out)

    def _stage(self) -> Stage:
        return Stage.UPSTREAM if self.state is ConnectionState.CONNECTING else Stage.HANDSHAKE

    # What is told of it.

    def refusal(self, stage: Stage, reason: Reason, detail: str, *, side: Side = Side.LOCAL) -> Refusal:
        identity = self.identity
        return Refusal(
            at=self.shared.wall(),
            listener=self.frontend.name,
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
            upstream=self.upstream_address,
            leaf=identity.sha256 if identity else "",
            chain=self._shown_chain(),
        )

    def _shown_chain(self) -> tuple[bytes, ...]:
        """What the TLS peer has shown, as much of it as is kept, whether it was let in or not."""
        if self.peer is not None:
            return kept_chain(self.peer_chain())
        return self.handshake.judge.chain if self.handshake is not None else ()

    def entry(self, reason: Reason) -> AccessEntry:
        identity = self.identity
        return AccessEntry(
            at=self.shared.wall(),
            protocol=self.frontend.protocol,
            listener=self.frontend.name,
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
        frontend = self.frontend
        identity = self.identity
        parameters = self.parameters()
        return ConnectionRecord(
            id=self.id,
            listener=frontend.name,
            mode=frontend.mode,
            protocol=frontend.protocol,
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
            opened_at=datetime.fromtimestamp(self.opened_at, UTC),
            idle_s=max(0.0, now - self.active_at),
            generation=self.contexts.generation,
            rule=self.rule,
            state=self.state.value,
            upstream=self.upstream_address,
            not_after=identity.not_after if identity else None,
            worker=self.shared.worker,
            streams=self.streams,
            own_identity=self.contexts.identity,
        )

    def detail(self, now: float) -> ConnectionDetail:
        shown = self.peer is not None and self.state is ConnectionState.RELAYING
        chain = self.peer.stream.peer_chain() if shown and self.peer is not None else ()
        return ConnectionDetail(self.record(now), chain)


class TcpConnection(Connection):
    """Bytes of any protocol, relayed as they are."""

    __slots__ = ("_message", "_negotiation", "_reach", "_wanted_at", "other", "relay", "upstream")

    def __init__(self, frontend: Frontend, sock: socket.socket, peer_address: str) -> None:
        super().__init__(frontend, sock, peer_address)
        self.other: socket.socket | None = None
        self.upstream: Upstream | None = None
        self.relay: Relay | None = None
        self._reach: Reach | None = None
        self._negotiation: Negotiation | None = None  # of TLS, in the protocol's own words
        self._message = b""  # all that the service is to get
        self._wanted_at = 0.0  # since when the upstream is wanted

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
        starttls = self.frontend.settings.starttls
        if starttls:
            self._negotiate(starttls)
        elif self.frontend.terminates:
            self.shake_hands()
        else:
            self._reach_upstream()

    def _negotiate(self, starttls: str) -> None:
        """Agree on TLS with a peer, or go without it with a local application, as the protocol has it."""
        frontend = self.frontend
        frontend.tally.handshake_began()
        script = SERVERS[starttls]() if frontend.terminates else LOCALS[starttls]()
        self._negotiation = Negotiation(self.reactor, frontend.handshake_deadlines, self.sock, script, self._negotiated)
        self._negotiation.start()

    def _negotiated(self, how: Ended) -> None:
        self._negotiation = None
        if how.empty:
            self._left_empty()
            return
        self.frontend.tally.handshake_dropped()  # the one that follows is counted by itself
        match how.next:
            case Next.TLS:
                self.shake_hands()
            case Next.PLAIN:
                self._reach_upstream()
            case Next.CANCEL:
                self._message = how.message
                self._reach_upstream()
            case _:
                reason = Reason.HANDSHAKE_TIMEOUT if how.late else Reason.STARTTLS_REFUSED
                self.refuse(Stage.HANDSHAKE, reason, how.detail)

    def _passed_on(self) -> None:
        """The service has its one message: there is nothing more to say, to either side."""
        assert self.other is not None
        with contextlib.suppress(OSError):
            self.other.send(self._message)
        self.state = ConnectionState.CLOSED
        self.stop(polite=True, ended=True)
        self._gone()
        self.frontend.tally.cancel_passed()

    def authorised(self) -> None:
        self._reach_upstream()

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
        self._wanted_at = self.reactor.loop.time()
        self._reach = Reach(self.frontend.outbound, self.contexts, self._reached, self._missed, trying=self._trying)
        self._reach.start()

    def _trying(self, upstream: Upstream, shaking: bool) -> None:
        self.upstream_address = upstream.text
        self.state = ConnectionState.HANDSHAKING if shaking else ConnectionState.CONNECTING
        if shaking:
            self.wait_s = self.reactor.loop.time() - self._wanted_at

    def _reached(self, reached: Reached) -> None:
        self._reach = None
        self.upstream = reached.upstream
        self.other = reached.sock
        if self._message:
            self._passed_on()
            return
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
        assert self.other is not None
        tls, plain = self.sock, self.other
        if not self.frontend.terminates:
            tls, plain = plain, tls
        remote = not self.frontend.terminates
        self.relay = Relay(self.reactor, self.peer.stream, tls, plain, self.frontend.limits, self, remote=remote)
        self.open()
        if self.frontend.settings.proxy_protocol:
            self.relay.pending_in = proxy_protocol.header(self.sock, self.parameters(), self.identity)
        self.relay.start()

    def relay_ended(self, reason: Reason, detail: str) -> None:
        relay = self.relay
        assert relay is not None
        originate = not self.frontend.terminates
        if reason is Reason.UPSTREAM_RESET:
            if originate:
                reason = Reason.APP_RESET
            else:
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

    def stop(self, *, polite: bool, ended: bool) -> None:
        if self._negotiation is not None:
            self._negotiation.cancel()
            self._negotiation = None
            self.frontend.tally.handshake_dropped()
        if self._reach is not None:
            self._reach.cancel()
            self._reach = None
        if self.relay is not None:
            self.relay.stop()
        if self.upstream is not None:
            self.upstream.active -= 1
        if self.frontend.terminates:
            self._stop_peer(polite=polite, ended=ended)
            if self.other is not None:
                _stop_plain(self.other, gently=ended or polite)
        else:
            _stop_plain(self.sock, gently=ended or (polite and self.relay is not None))
            if self.other is not None:
                assert self.peer is not None
                self._stop_tls(self.other, self.peer.stream, polite=polite, ended=ended)

    def _stop_peer(self, *, polite: bool, ended: bool) -> None:
        """The socket that came in over TLS, however far its handshake got."""
        handshake, peer = self.handshake, self.peer
        if peer is not None:
            if self.relay is None:
                self.reactor.forget(self.sock.fileno())  # a handshake that succeeded leaves it watched
            self._stop_tls(self.sock, peer.stream, polite=polite, ended=ended)
            return
        if handshake is not None:
            handshake.cancel()
        if polite:
            self.shared.lingerer.close(self.sock)
        else:
            reset(self.sock)
        if handshake is not None:
            handshake.stream.release()

    def _stop_tls(self, sock: socket.socket, stream: Stream, *, polite: bool, ended: bool) -> None:
        if ended:
            sock.close()
        elif polite:
            stream.close_notify()
            self.shared.lingerer.close(sock)
        elif stream.failure is not None and stream.failure.was_alerted:
            self.shared.lingerer.close(sock)
        else:
            reset(sock)
        stream.release()


def _stop_plain(sock: socket.socket, *, gently: bool) -> None:
    """An application whose remote was refused, a service whose peer was cut off, must not take that for a clean end."""
    if gently:
        sock.close()
    else:
        reset(sock)
