"""One accepted connection, from accept to its one reason for ending.

States and legal moves (terminate reads down the left, originate down the right):

    HANDSHAKING ─▶ CONNECTING ─▶ RELAYING ─▶ CLOSED          terminate, tcp
    CONNECTING ─▶ HANDSHAKING ─▶ RELAYING ─▶ CLOSED          originate, tcp
    HANDSHAKING ─▶ RELAYING ─▶ CLOSED                        terminate, http (its upstreams are dialled per exchange)
    RELAYING ─▶ CLOSED                                       originate, http
    any ─▶ CLOSED

- Nothing is opened towards the upstream, and no byte is read for it, before the TLS peer is authorised; but where the
  server's greeting is the client's (:mod:`.starttls_connection`), it is opened, and not a byte is sent there.
- A connection is either *refused*, before RELAYING, or *opened* and then *closed*, and that is reported exactly once. A
  probe of our own is neither, nor is a client that goes without a byte: both are only counted.
- The way the sockets are closed says what happened (:mod:`.ending`): an end is an end (close_notify, FIN), a cut is a
  reset.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from enum import StrEnum

from certs.identity import Identity
from tlsidecar.dataplane.ending import Ending, ending_of
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.handshake import PLAINTEXT_ANSWER, Handshake, Peer
from tlsidecar.dataplane.parties import Party
from tlsidecar.dataplane.policy import kept_chain
from tlsidecar.dataplane.report import Opened
from tlsidecar.dataplane.snapshot import ConnectionDetail, ConnectionRecord
from tlsidecar.dataplane.stream import Parameters
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import AccessEntry, Reason, Refusal, Side, Stage

_log = logging.getLogger("tlsidecar.dataplane")

NO_PARAMETERS = Parameters("", "", "", "", "")


class ConnectionState(StrEnum):
    """See the module."""

    HANDSHAKING = "handshaking"
    CONNECTING = "connecting"
    RELAYING = "relaying"
    CLOSED = "closed"


# CPython 3.11 looks a member up in its class for three times what a name of the module takes.
HANDSHAKING, CONNECTING, RELAYING, CLOSED = ConnectionState


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
        self.state = HANDSHAKING
        self.opened_at = shared.wall()
        self.accepted_at = shared.reactor.now
        self.handshake: Handshake | None = None  # while it runs; one that failed stays, for the refusal's sake
        self.peer: Peer | None = None
        self.handshake_s = 0.0
        self.wait_s = 0.0
        self.upstream_address = ""
        self.draining = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.frontend.name} {self.state.value}>"

    # What the protocols differ in.

    @abstractmethod
    def start(self) -> None:
        """Begin, right after accept."""

    @abstractmethod
    def authorised(self) -> None:
        """The TLS peer is who it should be."""

    @abstractmethod
    def stop(self, ending: Ending) -> None:
        """Let go of every socket."""

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
    def under_way(self) -> tuple[str, int, int] | None:
        """As :class:`.parties.PartyConnection` says."""
        return None

    @property
    def party(self) -> Party | None:
        return self.peer.party if self.peer is not None else None

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
        self.state = HANDSHAKING
        frontend.tally.handshake_began()
        self.handshake = Handshake(frontend.handshake_terms, self.contexts, self.sock, self._shaken)
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
            parties = self.frontend.tally.parties
            is_probe = handshake.is_probe
            met = parties.rest if is_probe else parties.met(handshake.judge.identity, handshake.seconds)
            self.peer = Peer(handshake, met)
            self.handshake = None
            if is_probe:
                self._probed()
            else:
                self.authorised()
            return
        if handshake.reason is Reason.PLAINTEXT:
            with contextlib.suppress(OSError):
                handshake.sock.send(PLAINTEXT_ANSWER)
        self.refuse(handshake.stage, handshake.reason, handshake.detail, side=handshake.side)

    def _left_empty(self) -> None:
        """The client went without a byte: nobody was refused, so it is only counted."""
        tally = self.frontend.tally
        tally.handshake_dropped()
        self._end(Ending.POLITE)
        tally.empty()

    def _probed(self) -> None:
        """One of our own probes has seen our leaf, and that was all it came for."""
        self._end(Ending.POLITE)
        self.frontend.tally.probed()
        _log.debug("probed", extra={"fields": {"listener": self.frontend.name, "peer": self.peer_address}})

    def stop_unserved(self) -> None:
        """Let go of the socket that came in, where nobody has taken it over: its handshake is under way, has failed or
        was a probe's, or there is none."""
        if self.handshake is not None:
            self.handshake.cancel()
            self.handshake.stream.release()
        elif self.peer is not None:
            self.reactor.forget(self.sock.fileno())  # a handshake that succeeded leaves it watched
            self.peer.stream.close_notify()
            self.peer.stream.release()
        self.shared.lingerer.close(self.sock)

    # The end.

    def open(self) -> None:
        """The peer is authorised and the connection in use: from here on it will be *closed*, not refused."""
        self.state = RELAYING
        frontend = self.frontend
        peer = self.peer
        frontend.tally.opened(
            Opened(
                id=self.id,
                listener=frontend.name,
                mode=frontend.mode,
                protocol=frontend.protocol,
                peer_address=self.peer_address,
                identity=peer.identity.name if peer is not None else "",
                rule=peer.rule if peer is not None else "",
                generation=self.contexts.generation,
                own_identity=self.contexts.identity,
            )
        )

    def refuse(self, stage: Stage, reason: Reason, detail: str = "", *, side: Side = Side.LOCAL) -> None:
        """Turn the connection away: before it was opened."""
        if self.state is CLOSED:
            return
        refusal = self.refusal(stage, reason, detail, side=side)
        tally = self.frontend.tally
        if self.handshake is not None and self.handshake.is_running:
            tally.handshake_dropped()
        self._end(Ending.POLITE)
        tally.turned_away(refusal, self.party)

    def close(self, reason: Reason, detail: str = "") -> None:
        """End the connection, whatever state it is in; nothing happens when it has ended."""
        if self.state is CLOSED:
            return
        if self.state is not RELAYING:
            self.refuse(self._stage(), reason, detail)
            return
        entry = self.entry(reason)
        self._end(ending_of(reason))
        self.frontend.tally.closed(entry, self.party)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self.close(Reason.INTERNAL_ERROR)

    def _end(self, ending: Ending) -> None:
        """As :meth:`stop`; what is reported of it is the caller's business."""
        self.state = CLOSED
        self.stop(ending)
        self.frontend.gone(self.id, self.bytes_in, self.bytes_out)

    def _stage(self) -> Stage:
        return Stage.UPSTREAM if self.state is CONNECTING else Stage.HANDSHAKE

    # What is reported of it.

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
            own_identity=self.contexts.identity,
        )

    def _shown_chain(self) -> tuple[bytes, ...]:
        """What the TLS peer has shown, as much of it as is kept, whether it was let in or not."""
        if self.peer is not None:
            return kept_chain(self.peer_chain())
        return self.handshake.judge.chain if self.handshake is not None else ()

    def entry(self, reason: Reason) -> AccessEntry:
        """Of one that was opened, which ends for ``reason``."""
        peer = self.peer
        return AccessEntry(
            at=self.shared.wall(),
            protocol=self.frontend.protocol,
            listener=self.frontend.name,
            connection_id=self.id,
            generation=self.contexts.generation,
            peer_address=self.peer_address,
            identity=peer.identity.name if peer is not None else "",
            rule=peer.rule if peer is not None else "",
            reason=reason,
            upstream=self.upstream_address,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            handshake_s=self.handshake_s,
            wait_s=self.wait_s,
            upstream_s=0.0,
            total_s=self.reactor.loop.time() - self.accepted_at,
            own_identity=self.contexts.identity,
        )

    def parameters(self) -> Parameters:
        if self.peer is None or self.state is not RELAYING:
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
        chain = self.peer_chain() if self.state is RELAYING else ()
        return ConnectionDetail(self.record(now), chain)
