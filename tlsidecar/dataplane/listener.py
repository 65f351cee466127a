"""One listener: it accepts, within its limits, and keeps the connections it has accepted and what was counted."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509

from tlsidecar.dataplane import descriptors
from tlsidecar.dataplane.bind import bound_address, close_listening
from tlsidecar.dataplane.board import Turn
from tlsidecar.dataplane.connection import Connection, TcpConnection
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.handshake import Handshake
from tlsidecar.dataplane.outbound.health import HealthChecks
from tlsidecar.dataplane.outbound.upstreams import Upstreams
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.reactor import EDGE, READ
from tlsidecar.dataplane.report import Opened
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.snapshot import ListenerCounters, ListenerRecord
from tlsidecar.outcomes import AccessEntry, Reason, Refusal, Side, Stage
from tlsidecar.settings import Address, Mode, Protocol
from tlsidecar.settings import Listener as ListenerSettings

if TYPE_CHECKING:
    from tlsidecar.dataplane.http.services import HttpServices

# So many connections are accepted in one turn before the established ones are served again.
ACCEPTS_PER_EVENT = 64

# A worker whose turn it is not looks again so often, while somebody waits to be accepted …
LOOK_AGAIN_S = 0.001
# … and when those whose turn it is have taken nobody for this long, it takes one in their place each time.
PATIENCE_S = 0.005

# Out of descriptors, accepting pauses: a listening socket stays readable and would spin the loop.
ACCEPT_PAUSE_S = 0.25

# Descriptors left alone for everything that is not a relayed connection: the admin socket, logs, files being read.
RESERVED_DESCRIPTORS = 24

# What was wrong with one connection that waited, or a firewall's word about it: the next one may be accepted at once
# (accept(2), "Error handling").
_OF_ONE_CONNECTION = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
    }
)

# How a peer's address is written, of what accept(2) tells.
_ADDRESS_FORMS = {socket.AF_INET: "{}:{}", socket.AF_INET6: "[{}]:{}"}

_log = logging.getLogger("tlsidecar.dataplane")


def connection_limit(configured: int | None, listeners: int = 1) -> int:
    """How many connections one listener takes: as configured, else 45 % of the descriptor limit, each connection
    needing two, and the listeners sharing it."""
    if configured is not None:
        return configured
    most = min(descriptors.limit() * 45 // 100, (descriptors.limit() - RESERVED_DESCRIPTORS) // 2)
    return max(1, most // max(1, listeners))


class Listener:
    """Accepts on its sockets while it is told to; ``counters`` holds everything but what open connections carry."""

    def __init__(
        self,
        shared: Shared,
        settings: ListenerSettings,
        sockets: Sequence[socket.socket],
        listeners: int = 1,
        turn: Turn | None = None,
    ) -> None:
        """``turn`` is for workers that accept on the same sockets as others."""
        loop = shared.reactor.loop
        limits = settings.limits
        self.shared = shared
        self.settings = settings
        self.terminates = settings.mode is Mode.TERMINATE
        self.mode = settings.mode.value
        self.protocol = settings.protocol.value
        self.sockets = list(sockets)
        self.turn = turn
        self.policy = Policy.of(settings)
        self.upstreams = Upstreams(loop, settings.upstreams)
        self.counters = ListenerCounters()
        self.connections: dict[int, Connection] = {}
        self.handshake_deadlines = DeadlineQueue(loop, limits.handshake_timeout_s)
        self.connect_deadlines = DeadlineQueue(loop, limits.upstream_connect_timeout_s)
        self.max_connections = connection_limit(limits.max_connections, listeners)
        self.max_handshakes = limits.max_handshakes or max(1, self.max_connections // 4)
        self.accepting = False
        self.http: HttpServices | None = None
        self._make: Callable[[Listener, socket.socket, str], Connection] = TcpConnection
        if settings.protocol is Protocol.HTTP:
            # Here and not above: h11 is for those who need it.
            from tlsidecar.dataplane.http.services import HttpServices
            from tlsidecar.dataplane.http1.connection import HttpConnection
            from tlsidecar.dataplane.http1.rules import Http1Rules

            self.http = HttpServices(self)
            self._make = partial(HttpConnection, rules=Http1Rules(self.http.rules))
        self._checks = HealthChecks(self, settings.health_check) if settings.health_check is not None else None
        self._cannot_accept = False

    def __repr__(self) -> str:
        state = "accepting" if self.accepting else "closed"
        return f"<Listener {self.settings.name} {state} connections={len(self.connections)}>"

    # Accepting.

    def start(self) -> None:
        self.accepting = True
        for sock in self.sockets:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is accepted inherits it
            self.shared.reactor.watch(sock.fileno(), self._accept_events, _Acceptor(self, sock))
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

    def close(self) -> None:
        self.stop_accepting()
        if self.http is not None:
            self.http.pool.close()
        self.handshake_deadlines.clear()
        self.connect_deadlines.clear()

    @property
    def _accept_events(self) -> int:
        """Of several workers, each is told of each connection once: whoever leaves it to another is not told again."""
        return READ if self.turn is None else READ | EDGE

    def pause_accepting(self, number: int) -> None:
        """Accepting fails with this errno, mostly for want of descriptors: who comes now waits in the backlog."""
        if not self._cannot_accept:
            self._cannot_accept = True
            fields = {"listener": self.settings.name, "error": errno.errorcode.get(number, str(number))}
            _log.error("cannot accept: %s", os.strerror(number), extra={"fields": fields})
            if number in descriptors.OUT_OF_RESOURCES:
                self._refused_at_the_door("", Reason.FD_EXHAUSTED, os.strerror(number))
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
            self.shared.reactor.rewatch(sock.fileno(), self._accept_events, _Acceptor(self, sock))

    def accepted(self, sock: socket.socket, peer_address: str) -> None:
        if self._cannot_accept:
            self._cannot_accept = False
            _log.info("accepting again", extra={"fields": {"listener": self.settings.name}})
        counters = self.counters
        count(counters.connections, "accepted")
        turn = self.turn
        if turn is not None:
            turn.accepted()
        if len(self.connections) >= self.max_connections:
            sock.close()
            self._refused_at_the_door(peer_address, Reason.MAX_CONNECTIONS, f"the limit is {self.max_connections}")
            return
        if counters.handshakes_active >= self.max_handshakes:
            sock.close()
            self._refused_at_the_door(peer_address, Reason.MAX_HANDSHAKES, f"the limit is {self.max_handshakes}")
            return
        sock.setblocking(False)
        connection = self._make(self, sock, peer_address)
        self.connections[connection.id] = connection
        counters.connections_active += 1
        if turn is not None:
            turn.active(counters.connections_active)
        try:
            connection.start()
        except Exception:
            # A defect of ours: it costs this connection, and not the listening socket whose handler this is.
            _log.exception("a connection could not be begun", extra={"fields": {"reason": "internal_error"}})
            connection.fail()

    # What connections report.

    def handshake_over(self, handshake: Handshake) -> None:
        counters = self.counters
        counters.handshakes_active -= 1
        outcome = "ok" if handshake.reason is None else "failed"
        count(counters.handshakes, (outcome, handshake.reason.value if handshake.reason else ""))
        counters.handshake_seconds.observe(handshake.seconds)
        if handshake.reason is not None and not handshake.server_side:
            self.upstream_failed(Reason.UPSTREAM_TLS)

    def upstream_failed(self, reason: Reason) -> None:
        count(self.counters.upstream_errors, reason.value)

    def connection_opened(self, connection: Connection) -> None:
        count(self.counters.connections, "established")
        identity = connection.identity
        self.shared.observer.opened(
            Opened(
                id=connection.id,
                listener=self.settings.name,
                mode=self.mode,
                protocol=self.protocol,
                peer_address=connection.peer_address,
                identity=identity.name if identity is not None else "",
                rule=connection.rule,
                generation=connection.contexts.generation,
            )
        )

    def connection_closed(self, connection: Connection, entry: AccessEntry) -> None:
        self._forget(connection)
        count(self.counters.connections, entry.reason.value)
        self.shared.observer.closed(entry)

    def connection_refused(self, connection: Connection, refusal: Refusal) -> None:
        self._forget(connection)
        handshake = connection.handshake
        if handshake is not None and handshake.is_running:
            self.counters.handshakes_active -= 1
        count(self.counters.connections, "refused")
        self.record_refusal(refusal)

    def connection_probed(self, connection: Connection) -> None:
        """One of our own probes has seen our leaf, and is gone."""
        self._forget(connection)
        count(self.counters.connections, "probe")
        _log.debug("probed", extra={"fields": {"listener": self.settings.name, "peer": connection.peer_address}})

    def record_refusal(self, refusal: Refusal) -> None:
        count(self.counters.refusals, (refusal.stage.value, refusal.reason.value))
        self.shared.observer.refused(refusal)

    def _forget(self, connection: Connection) -> None:
        if self.connections.pop(connection.id, None) is None:
            return
        counters = self.counters
        counters.connections_active -= 1
        if self.turn is not None:
            self.turn.active(counters.connections_active)
        counters.bytes_in += connection.bytes_in
        counters.bytes_out += connection.bytes_out
        self.shared.gone()

    def _refused_at_the_door(self, peer_address: str, reason: Reason, detail: str) -> None:
        count(self.counters.connections, "refused")
        self.record_refusal(
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

    def server_name(self, upstream: Address) -> str:
        """The name asked of an upstream by SNI."""
        return self.settings.server_name or upstream.host

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

    def close_revoked(self, revocations: Iterable[x509.CertificateRevocationList]) -> None:
        """Retire the connections of peers whose leaf one of these lists names."""
        lists = [(each.issuer.rfc4514_string(), each) for each in revocations]
        for connection in list(self.connections.values()):
            identity = connection.identity
            if identity is None:
                continue
            serial = int(identity.serial, 16)
            for issuer, each in lists:
                if issuer == identity.issuer and each.get_revoked_certificate_by_serial_number(serial) is not None:
                    connection.retire(Reason.PEER_CERTIFICATE_REVOKED)
                    break

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
                limits.response_timeout_s,
            ]
        if limits.max_connection_age_s is not None:
            shortest.append(limits.max_connection_age_s)
        return min(5.0, max(0.02, min(shortest) / 8))

    def record(self) -> ListenerRecord:
        counters = self.counters
        live_in = sum(connection.bytes_in for connection in self.connections.values())
        live_out = sum(connection.bytes_out for connection in self.connections.values())
        wall = self.shared.wall()
        settings = self.settings
        return ListenerRecord(
            name=settings.name,
            mode=settings.mode.value,
            protocol=settings.protocol.value,
            listen=str(settings.listen),
            bound=bound_address(self.sockets) if self.accepting else "",
            upstreams=tuple(upstream.record(wall) for upstream in self.upstreams.all),
            max_connections=self.max_connections,
            max_handshakes=self.max_handshakes,
            counters=counters.copy_with(bytes_in=counters.bytes_in + live_in, bytes_out=counters.bytes_out + live_out),
        )


class _Acceptor:
    """The handler of one listening socket."""

    __slots__ = ("_accepts", "_listener", "_looks_again", "_others_took", "_patient_until", "_socket", "_written")

    def __init__(self, listener: Listener, sock: socket.socket) -> None:
        self._listener = listener
        self._socket = sock
        self._written = _ADDRESS_FORMS.get(sock.family, "unix")
        self._looks_again = False
        self._accepts = 1
        self._others_took = -1
        self._patient_until = 0.0

    def __call__(self, _events: int) -> None:
        if self._listener.turn is not None:
            self._accept_in_turn(self._listener.turn)
            return
        # One at first: mostly there is one, and asking for another costs more than being told of it. While the queue
        # proves longer, twice as many each time.
        for _ in range(self._accepts):
            if not self._accept():
                self._accepts = 1
                return
        self._accepts = min(2 * self._accepts, ACCEPTS_PER_EVENT)

    def _accept_in_turn(self, turn: Turn) -> None:
        for _ in range(ACCEPTS_PER_EVENT):
            if not turn.is_mine():
                break
            if not self._accept():
                return
        self._look_again()

    def _accept(self) -> bool:
        """Accept one, or pass over one that failed; False when there is none, or nothing to accept it with."""
        listener = self._listener
        try:
            sock, name = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _OF_ONE_CONNECTION:
                return True
            if error.errno != errno.EINVAL:  # another process ended listening (tlsidecar.dataplane.bind.stop_listening)
                listener.pause_accepting(error.errno or 0)
            return False
        has_room = descriptors.may_accept(sock.fileno())
        listener.accepted(sock, self._written.format(*name) if name else self._written)
        if not has_room:
            listener.pause_accepting(errno.EMFILE)
        return has_room

    def _look_again(self) -> None:
        if not self._looks_again:
            self._looks_again = True
            self._listener.shared.reactor.loop.call_later(LOOK_AGAIN_S, self._second_look)

    def _second_look(self) -> None:
        """Take who is still there when it is our turn by now, or when whoever's turn it is takes nobody: it is busy, or
        stopped, or dead."""
        self._looks_again = False
        turn = self._listener.turn
        if turn is None or self._socket.fileno() < 0:
            return
        if not turn.is_mine() and not _is_readable(self._socket):
            return  # mostly: another has it
        now = self._listener.shared.reactor.loop.time()
        others_took = turn.others_took()
        if others_took != self._others_took:
            self._others_took = others_took
            self._patient_until = now + PATIENCE_S
        if not turn.is_mine() and now >= self._patient_until and turn.may_help() and not self._accept():
            return
        self._accept_in_turn(turn)


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _has_expired(connection: Connection, wall: float) -> bool:
    identity = connection.identity
    return identity is not None and identity.not_after.timestamp() < wall


Key = TypeVar("Key")


def count(counts: dict[Key, int], key: Key) -> None:
    counts[key] = counts.get(key, 0) + 1
