"""Upstream connections of one HTTP listener: opened when needed, kept alive, reused, bounded.

The pool asks a connection whether it is available, idle or expired, as httpcore does, and nothing of its protocol: one
of HTTP/1.1 is available while it is idle, one that carries many exchanges at once while it has room for another.

While a connection idles it is watched: whatever comes then, an end or a byte that nobody asked for, ends it. What came
since the loop last looked is found by looking once more before it is used: a byte that lies there would be taken for
the answer to somebody else's request.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint, Readable
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.outbound import Outbound
from tlsidecar.dataplane.outbound.reach import Reach, Reached
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.tls_endpoint import RemoteEndpoint

# Services close idle connections after 5 to 75 s; what was idle for longer than this is hardly worth trying.
MAX_IDLE_S = 60.0


class Pooled(Protocol):
    """What the pool asks of a connection: attributes and not methods where each exchange pays for the asking."""

    upstream: Upstream
    is_available: bool  # whether it may begin one more exchange
    is_idle: bool  # whether it carries none
    is_listed: bool  # the pool's own note: whether it has it among the available ones

    def has_expired(self, now: float, generation: int) -> bool:
        """Whether it is to be used no more: it idled for too long, was opened under another ``generation`` of our
        certificate, has ended, or holds something that nobody asked for."""
        ...

    def begin(self) -> None:
        """One more exchange begins."""

    def end(self, now: float, *, reusable: bool) -> None:
        """One exchange is over; when it left nothing ``reusable`` there will be no further one."""

    def close(self) -> None: ...


AnyPooled = TypeVar("AnyPooled", bound=Pooled)


class Pool(Generic[AnyPooled]):
    """The connections that are available for one more exchange, the one used last first."""

    def __init__(self, outbound: Outbound, limit: int, make: Callable[[Pool[AnyPooled], Reached], AnyPooled]) -> None:
        """At most ``limit`` are kept while they are idle; ``make`` takes over what was reached."""
        self._outbound = outbound
        self._current = outbound.current
        self._reactor = outbound.shared.reactor
        self._upstreams = outbound.upstreams
        self._single = len(outbound.upstreams.all) == 1
        self._limit = limit
        self._make = make
        self._available: list[AnyPooled] = []

    def __repr__(self) -> str:
        return f"<Pool available={len(self._available)} idle={self._idle}>"

    @property
    def _idle(self) -> int:
        """How many idle. To be asked rarely: they are all among the available ones."""
        return sum(upstream.idle for upstream in self._upstreams.all)

    def take(self) -> AnyPooled | None:
        """A connection to the upstream that would be chosen now, for one exchange, or None."""
        available = self._available
        while available:
            at = -1 if self._single else self._last_of(self._upstreams.choose())
            if at is None:
                return None
            connection = available[at]
            if connection.has_expired(self._reactor.now, self._current.contexts.generation):
                self._unlist(connection)
                if connection.is_idle:
                    connection.close()
                continue
            upstream = connection.upstream
            if connection.is_idle:
                upstream.idle -= 1
            upstream.active += 1
            connection.begin()
            if not connection.is_available:
                connection.is_listed = False
                del available[at]
            return connection
        return None

    def _last_of(self, wanted: Upstream) -> int | None:
        available = self._available
        return next((at for at in range(len(available) - 1, -1, -1) if available[at].upstream is wanted), None)

    def give_back(self, connection: AnyPooled, *, reusable: bool) -> None:
        """An exchange for which :meth:`take` or :meth:`opening` gave the connection is over."""
        upstream = connection.upstream
        upstream.active -= 1
        now = self._reactor.now
        connection.end(now, reusable=reusable)
        if reusable:
            upstream.answered(now)
        idle = connection.is_idle
        available, limit = self._available, self._limit
        if not connection.is_available or (idle and len(available) >= limit and self._idle >= limit):
            self._unlist(connection, was_idle=False)
            if idle:
                connection.close()
            return
        if idle:
            upstream.idle += 1
        if not connection.is_listed:
            connection.is_listed = True
            available.append(connection)

    def drop(self, connection: AnyPooled) -> None:
        """It ended, or spoke, while it carried no exchange."""
        self._unlist(connection)
        connection.close()

    def opening(self, got: Callable[[AnyPooled], None], missed: Callable[[Missed], None]) -> Reach:
        """A try to open a new connection, for one exchange to begin with: once started, ``got`` or ``missed`` is called
        once."""
        return Reach(self._outbound, self._current.contexts, partial(self._opened, got), missed)

    def close(self) -> None:
        """Close what idles, and keep nothing for reuse."""
        self._limit = 0
        for connection in list(self._available):
            self._unlist(connection)
            if connection.is_idle:
                connection.close()

    def _opened(self, got: Callable[[AnyPooled], None], reached: Reached) -> None:
        connection = self._make(self, reached)
        connection.begin()
        if connection.is_available:
            connection.is_listed = True
            self._available.append(connection)
        got(connection)

    def _unlist(self, connection: AnyPooled, *, was_idle: bool | None = None) -> None:
        if not connection.is_listed:
            return
        connection.is_listed = False
        self._available.remove(connection)
        if connection.is_idle if was_idle is None else was_idle:
            connection.upstream.idle -= 1


class PoolOwner(Protocol):
    """Whose exchange an upstream connection serves."""

    def upstream_readable(self) -> None: ...

    def upstream_drained(self) -> None: ...

    def upstream_broken(self) -> None: ...

    def fail(self) -> None: ...


class UpstreamConnection:
    """One HTTP/1.1 connection to the upstream: one exchange at a time. ``uses`` counts those it has begun; ``owner`` is
    whoever the current one belongs to."""

    __slots__ = (
        "_generation",
        "_idle_since",
        "_is_lent",
        "_poll",
        "_pool",
        "endpoint",
        "is_available",
        "is_idle",
        "is_listed",
        "owner",
        "peer",
        "upstream",
        "uses",
    )

    def __init__(self, pool: Pool[UpstreamConnection], reactor: Reactor, reached: Reached) -> None:
        peer = reached.peer
        sock = reached.sock
        self._pool = pool
        self.endpoint: Endpoint = (
            PlainEndpoint(reactor, sock) if peer is None else RemoteEndpoint(reactor, sock, peer.stream)
        )
        self.upstream = reached.upstream
        self.peer = peer
        self.uses = 0
        self.owner: PoolOwner | None = None
        self.is_listed = False
        self._generation = reached.generation
        self._idle_since = 0.0
        self._is_lent = False
        self.is_available = self.is_idle = True
        # Asked before each reuse: a poll object made once costs a third of what a read that would block does.
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self.endpoint.attach(self._readable, self)

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.upstream.text} uses={self.uses} {'idle' if self.is_idle else 'busy'}>"

    def has_expired(self, now: float, generation: int) -> bool:
        if now - self._idle_since > MAX_IDLE_S or (self.peer is not None and self._generation != generation):
            return True
        return bool(self._poll.poll(0)) and self.endpoint.has_unread()

    def begin(self) -> None:
        self.is_available = self.is_idle = False
        self.uses += 1

    def end(self, now: float, *, reusable: bool) -> None:
        endpoint = self.endpoint
        self.is_idle = True
        self.owner = None
        if not reusable or endpoint.queued_bytes or endpoint.closed:
            endpoint.close()
            return
        if self._is_lent:
            self._is_lent = False
            endpoint.redirect(self._readable)
        self.is_available = True
        self._idle_since = now
        if not endpoint.is_reading:
            endpoint.resume()

    def close(self) -> None:
        self.is_available = False
        self.endpoint.close()

    def lend(self, readable: Readable) -> None:
        """Until the exchange is over, call this when there is something to read, and not its owner."""
        self._is_lent = True
        self.endpoint.redirect(readable)

    def _readable(self, _events: int) -> None:
        owner = self.owner
        if owner is not None:
            owner.upstream_readable()
        else:
            self._pool.drop(self)  # it ended, or spoke though nobody had asked

    def drained(self) -> None:
        if self.owner is not None:
            self.owner.upstream_drained()

    def broken(self) -> None:
        if self.owner is not None:
            self.owner.upstream_broken()
        else:
            self._pool.drop(self)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        if self.owner is not None:
            self.owner.fail()
        else:
            self._pool.drop(self)


def upstream_pool(outbound: Outbound) -> Pool[UpstreamConnection]:
    """The pool of an HTTP/1.1 listener."""

    def make(pool: Pool[UpstreamConnection], reached: Reached) -> UpstreamConnection:
        return UpstreamConnection(pool, outbound.shared.reactor, reached)

    return Pool(outbound, outbound.settings.limits.max_upstream_idle, make)
