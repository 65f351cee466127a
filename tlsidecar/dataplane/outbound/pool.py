"""Upstream connections of one HTTP listener: opened when needed, kept alive, reused, bounded.

A connection serves one exchange at a time. While it idles it is watched: whatever comes then, an end or a byte that
nobody asked for, ends it. One that was opened under an earlier generation of our certificate is not used again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint, RemoteEndpoint
from tlsidecar.dataplane.handshake import Handshake, Peer
from tlsidecar.dataplane.outbound.dial import Dial
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.outcomes import Reason, Stage

if TYPE_CHECKING:
    from tlsidecar.dataplane.listener import Listener

# Services close idle connections after 5 to 75 s; what was idle for longer than this is hardly worth trying.
MAX_IDLE_S = 60.0


class Owner(Protocol):
    """Whose exchange an upstream connection serves."""

    def upstream_readable(self) -> None: ...

    def upstream_drained(self) -> None: ...

    def upstream_broken(self) -> None: ...

    def fail(self) -> None: ...


class UpstreamConnection:
    """One established connection to the upstream. ``uses`` counts the exchanges it has begun; ``owner`` is None while
    it idles."""

    __slots__ = ("_pool", "endpoint", "generation", "idle_since", "owner", "peer", "upstream", "uses")

    def __init__(
        self, pool: UpstreamPool, endpoint: Endpoint, upstream: Upstream, generation: int, peer: Peer | None
    ) -> None:
        self._pool = pool
        self.endpoint = endpoint
        self.upstream = upstream
        self.generation = generation
        self.peer = peer
        self.idle_since = 0.0
        self.uses = 0
        self.owner: Owner | None = None
        endpoint.attach(self._readable, self)

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.upstream.address} uses={self.uses}>"

    def _readable(self, _events: int) -> None:
        owner = self.owner
        if owner is not None:
            owner.upstream_readable()
        else:
            self._pool.drop_idle(self)  # it ended, or spoke though nobody had asked

    def drained(self) -> None:
        if self.owner is not None:
            self.owner.upstream_drained()

    def broken(self) -> None:
        if self.owner is not None:
            self.owner.upstream_broken()
        else:
            self._pool.drop_idle(self)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        if self.owner is not None:
            self.owner.fail()
        else:
            self._pool.drop_idle(self)


Got = Callable[[UpstreamConnection], None]
Missed = Callable[[Stage, Reason, str, Handshake | None], None]


class UpstreamPool:
    """Idle connections, the one used last first."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._shared = listener.shared
        self._reactor = listener.shared.reactor
        self._limit = listener.settings.limits.max_upstream_idle
        self._single = len(listener.upstreams.all) == 1
        self._originates = not listener.terminates
        self._idle: list[UpstreamConnection] = []

    def __repr__(self) -> str:
        return f"<UpstreamPool idle={len(self._idle)}>"

    def take(self) -> UpstreamConnection | None:
        """An idle connection to the upstream that would be chosen now, or None."""
        idle = self._idle
        while idle:
            if self._single:
                connection = idle.pop()
            else:
                wanted = self._listener.upstreams.choose()
                at = next((i for i in range(len(idle) - 1, -1, -1) if idle[i].upstream is wanted), None)
                if at is None:
                    return None
                connection = idle.pop(at)
            upstream = connection.upstream
            upstream.idle -= 1
            stale = self._originates and connection.generation != self._shared.contexts.generation
            if stale or self._reactor.now - connection.idle_since > MAX_IDLE_S:
                connection.endpoint.close()
                continue
            upstream.active += 1
            connection.uses += 1
            return connection
        return None

    def give_back(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """Done with a connection: keep it, or close it."""
        upstream = connection.upstream
        upstream.active -= 1
        connection.owner = None
        endpoint = connection.endpoint
        if not reusable or len(self._idle) >= self._limit or endpoint.closed or endpoint.queued_bytes:
            endpoint.close()
            return
        connection.idle_since = self._reactor.now
        upstream.idle += 1
        if not endpoint.is_reading:
            endpoint.resume()
        self._idle.append(connection)

    def drop_idle(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            connection.upstream.idle -= 1
        connection.endpoint.close()

    def opening(self, got: Got, missed: Missed) -> Opening:
        """An attempt to open a new connection: once started, ``got`` or ``missed`` is called once."""
        return Opening(self, self._listener, got, missed)

    def close(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            connection.upstream.idle -= 1
            connection.endpoint.close()


class Opening:
    """One attempt: each upstream in turn, and on the originate side the handshake with it. One of the callbacks is
    called once, perhaps before ``start`` returns."""

    def __init__(self, pool: UpstreamPool, listener: Listener, got: Got, missed: Missed) -> None:
        self._pool = pool
        self._listener = listener
        self._got: Got | None = got
        self._missed = missed
        self._tried: list[Upstream] = []
        self._dial: Dial | None = None
        self._handshake: Handshake | None = None
        self._contexts = listener.shared.contexts

    def start(self) -> None:
        listener = self._listener
        upstream = listener.upstreams.choose(self._tried)
        self._tried.append(upstream)
        self._dial = Dial(
            listener.shared.reactor,
            listener.shared.resolver,
            listener.connect_deadlines,
            upstream.address,
            self._connected,
            self._unreachable,
        )
        self._dial.start()

    def cancel(self) -> None:
        """Give up; nobody is called any more."""
        self._got = None
        if self._dial is not None:
            self._dial.cancel()
        if self._handshake is not None:
            self._end_handshake()

    def _connected(self, sock: socket.socket) -> None:
        self._dial = None
        listener = self._listener
        upstream = self._tried[-1]
        if listener.terminates:
            upstream.succeeded()
            self._done(PlainEndpoint(listener.shared.reactor, sock), None)
            return
        listener.counters.handshakes_active += 1
        self._handshake = Handshake(
            listener.shared.reactor,
            listener.shared.turnstile,
            listener.handshake_deadlines,
            self._contexts,
            listener.settings.protocol,
            sock,
            listener.policy,
            listener.shared.identities,
            self._shaken,
            server_side=False,
            server_name=listener.server_name(upstream.address),
        )
        self._handshake.start()

    def _shaken(self, handshake: Handshake) -> None:
        self._handshake = None
        self._listener.handshake_over(handshake)
        upstream = self._tried[-1]
        if handshake.reason is None:
            upstream.succeeded()
            reactor = self._listener.shared.reactor
            self._done(RemoteEndpoint(reactor, handshake.sock, handshake.stream), Peer(handshake))
            return
        upstream.failed(handshake.detail)
        handshake.stream.release()
        self._listener.shared.lingerer.close(handshake.sock)
        if self._got is not None:
            self._got = None
            self._missed(handshake.stage, handshake.reason, handshake.detail, handshake)

    def _done(self, endpoint: Endpoint, peer: Peer | None) -> None:
        got, self._got = self._got, None
        if got is None:
            endpoint.close()
            return
        upstream = self._tried[-1]
        upstream.active += 1
        connection = UpstreamConnection(self._pool, endpoint, upstream, self._contexts.generation, peer)
        connection.uses = 1
        got(connection)

    def _unreachable(self, reason: Reason, detail: str) -> None:
        self._dial = None
        if reason is not Reason.FD_EXHAUSTED:  # that is our trouble, not the upstream's
            self._tried[-1].failed(detail)
        self._listener.upstream_failed(reason)
        if self._got is None:
            return
        if len(self._tried) < len(self._listener.upstreams.all):
            self.start()
            return
        self._got = None
        self._missed(Stage.UPSTREAM, reason, detail, None)

    def _end_handshake(self) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        handshake.cancel()
        self._listener.counters.handshakes_active -= 1
        handshake.stream.release()
        handshake.sock.close()
