"""One listener: it accepts, within its limits, and keeps the connections it has accepted and what was counted."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from certs.identity import Role
from certs.revocation_list import RevocationList
from tlsidecar.dataplane import descriptors
from tlsidecar.dataplane.acceptor import Acceptor
from tlsidecar.dataplane.bind import bound_address, close_listening
from tlsidecar.dataplane.board import Turn
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.protocols import connection_maker, health_checks, usual_handshakes
from tlsidecar.dataplane.reactor import EDGE, READ, Reactor
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.snapshot import ListenerCounters, ListenerRecord, TrafficCounters
from tlsidecar.dataplane.tally import Tally
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason, Refusal, Side, Stage
from tlsidecar.settings import ListenerSettings, Protocol

# Out of descriptors, accepting pauses: a listening socket stays readable and would spin the loop.
ACCEPT_PAUSE_S = 0.25

# Descriptors left alone for everything that is not a relayed connection: the admin socket, logs, files being read.
RESERVED_DESCRIPTORS = 24

_log = logging.getLogger("tlsidecar.dataplane")


def connection_limit(configured: int | None, listeners: int = 1) -> int:
    """How many connections one listener takes: as configured, else 45 % of the descriptor limit, each connection
    needing two, and the listeners sharing it."""
    if configured is not None:
        return configured
    most = min(descriptors.limit() * 45 // 100, (descriptors.limit() - RESERVED_DESCRIPTORS) // 2)
    return max(1, most // max(1, listeners))


@dataclass(slots=True)
class _Retired:
    """What is left of a frontend that serves no new connections."""

    close_services: Callable[[], None]
    left: int  # connections


class Listener:
    """Accepts on its sockets while it is told to, and hands what it accepted a :class:`.Frontend` to serve by."""

    def __init__(
        self,
        shared: Shared,
        network: Network,
        settings: ListenerSettings,
        sockets: Sequence[socket.socket],
        listeners: int = 1,
        turn: Turn | None = None,
    ) -> None:
        """``turn`` is for workers that accept on the same sockets as others."""
        self.shared = shared
        self.sockets = list(sockets)
        self.connections: dict[int, Connection] = {}
        self.on_gone: Callable[[Connection], None] | None = None  # called with each that is over
        self.accepting = False
        self._network = network
        self._cannot_accept = False
        self._retired: dict[Frontend, _Retired] = {}
        self._serve_by(settings, listeners, turn, self._front_for(settings))

    def _front_for(self, settings: ListenerSettings, tally: Tally | None = None) -> Frontend:
        return Frontend(self.shared, self._network, settings, self._gone, self._replaced, tally)

    def _serve_by(self, settings: ListenerSettings, listeners: int, turn: Turn | None, frontend: Frontend) -> None:
        """What is accepted from now on is served by these settings."""
        self.settings = settings
        self.turn = turn
        self.max_connections = connection_limit(settings.limits.max_connections, listeners)
        self.max_handshakes = settings.limits.max_handshakes or usual_handshakes(settings, self.max_connections)
        self.tally = frontend.tally
        self._frontend = frontend
        self._make, self._close_services = connection_maker(frontend)
        self._checks = health_checks(frontend.outbound, settings)

    def configure(self, settings: ListenerSettings, listeners: int, turn: Turn | None) -> None:
        """Other settings for the same sockets, mode and protocol: new connections are served by them, those that exist
        keep theirs. Counters go on."""
        if settings == self.settings:
            return
        before, close_services = self._frontend, self._close_services
        if self._checks is not None:
            self._checks.close()
            self._checks = None
        left = sum(connection.frontend is before for connection in self.connections.values())
        frontend = self._front_for(settings, self.tally)
        self._serve_by(settings, listeners, turn, frontend)
        if self._checks is not None and self.accepting:
            self._checks.start()
        self._retired[before] = _Retired(close_services, left)
        self._let_go(before, 0)

    def _let_go(self, frontend: Frontend, connections: int) -> None:
        """So many connections of a frontend that serves no new ones are over; with the last, what they shared is."""
        retired = self._retired.get(frontend)
        if retired is None:
            return
        retired.left -= connections
        if retired.left <= 0:
            del self._retired[frontend]
            retired.close_services()
            frontend.close()

    def no_longer_allowed(self) -> list[Connection]:
        """The connections whose peer the rules of now would not let in."""
        policy = self._frontend.policy
        return [
            connection
            for connection in self.connections.values()
            if connection.identity is not None
            and connection.frontend is not self._frontend
            and not policy.allows(connection.identity, Role.CLIENT if self._frontend.terminates else Role.SERVER)
        ]

    def __repr__(self) -> str:
        state = "accepting" if self.accepting else "closed"
        return f"<Listener {self.settings.name} {state} connections={len(self.connections)}>"

    @property
    def reactor(self) -> Reactor:
        return self.shared.reactor

    # Accepting.

    def start(self) -> None:
        self.accepting = True
        for sock in self.sockets:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is accepted inherits it
            self.shared.reactor.watch(sock.fileno(), self._accept_events, Acceptor(self, sock))
        if self._checks is not None:
            self._checks.start()

    def stop_accepting(self) -> None:
        """Close the listening sockets: a socket that is merely not served would let clients connect, and wait."""
        if not self.accepting:
            return
        self.accepting = False
        if self._checks is not None:
            self._checks.close()
        for sock in self.sockets:
            self.shared.reactor.forget(sock.fileno())
            close_listening(sock, unlink=self.turn is None)

    def listen_again(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these, after having stopped."""
        assert not self.accepting
        self.sockets = list(sockets)
        self._checks = health_checks(self._frontend.outbound, self.settings)
        self.start()

    def close(self) -> None:
        self.stop_accepting()
        self._close_services()
        self._frontend.close()
        for frontend, retired in self._retired.items():
            retired.close_services()
            frontend.close()

    @property
    def _accept_events(self) -> int:
        """With several workers, edges: whoever leaves a connection to another is not woken for it again."""
        return READ if self.turn is None else READ | EDGE

    def pause_accepting(self, number: int) -> None:
        """Accepting fails with this errno, mostly for want of descriptors."""
        if not self._cannot_accept:
            self._cannot_accept = True
            fields = {"listener": self.settings.name, "error": errno.errorcode.get(number, str(number))}
            _log.error("cannot accept: %s", os.strerror(number), extra={"fields": fields})
            if number in descriptors.OUT_OF_RESOURCES:
                self._refused_at_the_door("", Reason.FD_EXHAUSTED, os.strerror(number))
        self.pause()

    def pause(self) -> None:
        """Accept nobody for a moment: who comes now waits in the backlog."""
        for sock in self.sockets:
            self.shared.reactor.forget(sock.fileno())
        self.shared.reactor.loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if not self.accepting:
            return
        if not descriptors.have_room(self.sockets[0].fileno()):
            self.shared.reactor.loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting)
            return
        for sock in self.sockets:
            self.shared.reactor.rewatch(sock.fileno(), self._accept_events, Acceptor(self, sock))

    def accepted(self, sock: socket.socket, peer_address: str) -> None:
        if self._cannot_accept:
            self._cannot_accept = False
            _log.info("accepting again", extra={"fields": {"listener": self.settings.name}})
        tally = self.tally
        tally.accepted()
        turn = self.turn
        if turn is not None:
            turn.accepted()
        if len(self.connections) >= self.max_connections:
            sock.close()
            self._refused_at_the_door(peer_address, Reason.MAX_CONNECTIONS, f"the limit is {self.max_connections}")
            return
        if tally.counters.handshakes_active >= self.max_handshakes:
            sock.close()
            self._refused_at_the_door(peer_address, Reason.MAX_HANDSHAKES, f"the limit is {self.max_handshakes}")
            return
        sock.setblocking(False)
        challenges = self.shared.challenges
        if challenges and self._frontend.terminates:
            challenges.look(sock, partial(self._begin, sock, peer_address), tally.validated)
        else:
            self._begin(sock, peer_address)

    def _begin(self, sock: socket.socket, peer_address: str) -> None:
        connection = self._make(sock, peer_address)
        self.connections[connection.id] = connection
        active = self.tally.began()
        if self.turn is not None:
            self.turn.active(active)
        try:
            connection.start()
        except Exception:
            # A defect of ours: it costs this connection, and not the listening socket whose handler this is.
            _log.exception("a connection could not be begun", extra={"fields": {"reason": "internal_error"}})
            connection.fail()

    def _gone(self, connection_id: int, bytes_in: int, bytes_out: int) -> None:
        """A connection of ours is over."""
        connection = self.connections.pop(connection_id, None)
        if connection is None:
            return
        if self._retired:
            self._let_go(connection.frontend, 1)
        if self.on_gone is not None:
            self.on_gone(connection)
        party = connection.party
        if party is not None:
            party.ended(connection.requests, bytes_in, bytes_out)
        active = self.tally.gone(bytes_in, bytes_out)
        if self.turn is not None:
            self.turn.active(active)
        self.shared.gone()

    def _replaced(self, connection: Connection) -> None:
        """It has taken the place, and the id, of one that has found out what is spoken."""
        self.connections[connection.id] = connection

    def _refused_at_the_door(self, peer_address: str, reason: Reason, detail: str) -> None:
        self.tally.turned_away(
            Refusal(
                at=self.shared.wall(),
                listener=self.settings.name,
                peer_address=peer_address,
                side=Side.LOCAL,
                stage=Stage.ACCEPT,
                reason=reason,
                detail=detail,
            )
        )

    # What others ask.

    def sweep(self, now: float) -> None:
        """End what has been idle or stuck for too long, or is too old; ``now`` is monotonic seconds."""
        max_age_s = self.settings.limits.max_connection_age_s
        wall = self.shared.wall() if self.settings.close_on_peer_expiry else 0.0
        for connection in list(self.connections.values()):
            if max_age_s is not None and now - connection.accepted_at > max_age_s:
                connection.retire(Reason.MAX_AGE)
            elif wall and _has_expired(connection, wall):
                connection.retire(Reason.PEER_CERTIFICATE_EXPIRED)
            connection.check_time(now)

    def close_revoked(self, own: str, revocations: Iterable[RevocationList]) -> None:
        """Retire the connections, served under the identity of ours called ``own``, of peers whose leaf one of these
        lists names."""
        by_issuer: dict[bytes, dict[int, list[Connection]]] = {}
        for connection in self.connections.values():
            identity = connection.identity
            if identity is not None and connection.contexts.identity == own:
                by_serial = by_issuer.setdefault(identity.issuer_compared, {})
                by_serial.setdefault(int(identity.serial, 16), []).append(connection)
        for each in revocations:
            by_serial = by_issuer.get(each.issuer.compared, {})
            for serial in each.revoked_among(by_serial) if by_serial else ():
                for connection in by_serial.pop(serial, ()):
                    connection.retire(Reason.PEER_CERTIFICATE_REVOKED)

    @property
    def sweep_interval_s(self) -> float:
        """Often enough that a timeout is at most an eighth late."""
        limits = self.settings.limits
        shortest = [limits.idle_timeout_s, limits.close_timeout_s, limits.write_timeout_s]
        if self.settings.protocol is Protocol.HTTP:
            shortest += [
                limits.keepalive_timeout_s,
                limits.head_timeout_s,
                limits.body_idle_timeout_s,
                limits.response_idle_timeout_s,
                limits.response_timeout_s,
                limits.stream_idle_timeout_s,
            ]
        if limits.max_connection_age_s is not None:
            shortest.append(limits.max_connection_age_s)
        return min(5.0, max(0.02, min(shortest) / 8))

    def record(self) -> ListenerRecord:
        tally, upstreams = self.tally, self._frontend.outbound.upstreams.all
        live = tally.parties.look(
            self.connections.values(), {upstream.text for upstream in upstreams}, self.reactor.loop.time()
        )
        exchanges = tally.parties.total()
        counters = tally.counters.copy()
        counters.bytes_in += live.bytes_in
        counters.bytes_out += live.bytes_out
        counters.streams_active = live.streams
        counters.requests = exchanges.requests
        counters.exchange_seconds = exchanges.exchange_seconds
        wall = self.shared.wall()
        settings = self.settings
        return ListenerRecord(
            name=settings.name,
            mode=settings.mode.value,
            protocol=settings.protocol.value,
            listen=str(settings.listen),
            bound=bound_address(self.sockets) if self.accepting else "",
            upstreams=tuple(upstream.record(wall, self._traffic_at(upstream.text, counters)) for upstream in upstreams),
            max_connections=self.max_connections,
            max_handshakes=self.max_handshakes,
            counters=counters,
            parties=tally.parties.records(),
        )

    def _traffic_at(self, upstream: str, counters: ListenerCounters) -> TrafficCounters:
        """What is counted of an upstream, but for what it counts itself; ``counters`` are the listener's."""
        share = self.tally.parties.at(upstream)
        moved = (share.bytes_in, share.bytes_out) if self._frontend.terminates else (share.bytes_out, share.bytes_in)
        if len(self._frontend.outbound.upstreams.all) == 1:  # all there is, what is under way included
            moved = (counters.bytes_in, counters.bytes_out)
        return TrafficCounters(
            bytes_in=moved[0],
            bytes_out=moved[1],
            requests=share.requests,
            exchange_seconds=share.exchange_seconds,
            failures=dict(self.tally.failures_at.get(upstream, {})),
        )


def _has_expired(connection: Connection, wall: float) -> bool:
    identity = connection.identity
    return identity is not None and identity.not_after.timestamp() < wall
