"""A worker: all listeners of one process (or of the only one), driven through a few messages.

The controller calls these methods directly, or across a socketpair when there are several workers: so every argument
and answer is plain data, but for the sockets and the contexts that a worker is made with.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from certs.clock import Clock
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.listener import Listener
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.report import Observer
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionPage,
    ConnectionQuery,
    WorkerSnapshot,
)
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Settings


class Worker:
    """Serves every listener on one event loop. ``contexts`` is the generation that new connections get."""

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        sockets: Mapping[str, Sequence[socket.socket]],
        contexts: Contexts,
        observer: Observer,
        clock: Clock,
        *,
        number: int = 0,
        ids: Iterator[int] | None = None,
    ) -> None:
        self.number = number
        self.reactor = Reactor(loop)
        self.shared = Shared(self.reactor, clock, observer, contexts, ids)
        self.shared.worker = number
        if settings.tracing.endpoint:
            self.shared.trace_ratio = settings.tracing.sample_ratio
        self.listeners = [
            Listener(self.shared, listener, sockets[listener.name], len(settings.listeners))
            for listener in settings.listeners
        ]
        self.draining = False
        self._drained: Callable[[], None] | None = None
        self._sweeps: dict[str, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Worker {self.number} connections={self.connection_count}>"

    @property
    def connection_count(self) -> int:
        return sum(len(listener.connections) for listener in self.listeners)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, sockets that are being closed gently included."""
        return not self.connection_count and not len(self.shared.lingerer)

    # Messages.

    def start(self) -> None:
        """Accept, and keep the time."""
        for listener in self.listeners:
            listener.start()
            self._sweep(listener)

    def apply(self, contexts: Contexts) -> None:
        """New connections get this generation from now on; those that exist keep theirs, but for those whose peer it
        says is revoked, where the listener wants them closed."""
        self.shared.contexts = contexts
        for listener in self.listeners:
            if listener.settings.close_on_revocation and contexts.material.crls:
                listener.close_revoked(contexts.material.crls)

    def stop_accepting(self) -> None:
        for listener in self.listeners:
            listener.stop_accepting()

    def drain(self, drained: Callable[[], None] | None = None) -> None:
        """Accept nothing more; connections finish what is under way; ``drained`` is called when the last is gone."""
        self.draining = True
        self._drained = drained
        self.shared.on_gone = self._gone
        self.stop_accepting()
        for connection in list(self._connections()):
            connection.drain()
        self._gone()

    def close_connection(self, connection_id: int, reason: Reason = Reason.CLOSED_BY_ADMIN) -> bool:
        """Cut one connection; False when there is none of that id."""
        for listener in self.listeners:
            connection = listener.connections.get(connection_id)
            if connection is not None:
                connection.close(reason)
                return True
        return False

    def close_all(self, reason: Reason) -> int:
        """Cut every connection that is left; how many there were."""
        connections = list(self._connections())
        for connection in connections:
            connection.close(reason)
        return len(connections)

    def close(self) -> None:
        """Let go of everything."""
        self.close_all(Reason.DRAIN_FORCED)
        for timer in self._sweeps.values():
            timer.cancel()
        for listener in self.listeners:
            listener.close()
        self.shared.close()
        self.reactor.close()

    def snapshot(self) -> WorkerSnapshot:
        generations: dict[int, int] = {}
        for connection in self._connections():
            number = connection.contexts.generation
            generations[number] = generations.get(number, 0) + 1
        return WorkerSnapshot(
            worker=self.number,
            pid=os.getpid(),
            connections=self.connection_count,
            listeners=tuple(listener.record() for listener in self.listeners),
            connections_by_generation=generations,
        )

    def connections(self, query: ConnectionQuery) -> ConnectionPage:
        """A window on the connections. Records are made only for the rows shown, unless a filter must see them all."""
        now = self.reactor.loop.time()
        everything = list(self._connections())
        total = len(everything)
        if query.filter:
            wanted = query.filter.casefold()
            everything = [connection for connection in everything if _matches(connection, wanted)]
        everything.sort(key=_SORT_KEYS[query.sort], reverse=query.descending != (query.sort == "idle_s"))
        rows = everything[query.offset : query.offset + query.limit]
        return ConnectionPage(total, len(everything), tuple(connection.record(now) for connection in rows))

    def connection(self, connection_id: int) -> ConnectionDetail | None:
        for listener in self.listeners:
            connection = listener.connections.get(connection_id)
            if connection is not None:
                return connection.detail(self.reactor.loop.time())
        return None

    def _connections(self) -> Iterator[Connection]:
        for listener in self.listeners:
            yield from listener.connections.values()

    def _gone(self) -> None:
        if self._drained is not None and self.is_empty:
            drained, self._drained = self._drained, None
            drained()

    def _sweep(self, listener: Listener) -> None:
        loop = self.reactor.loop
        listener.sweep(loop.time())
        self._sweeps[listener.settings.name] = loop.call_later(listener.sweep_interval_s, self._sweep, listener)


def _identity_name(connection: Connection) -> str:
    identity = connection.identity
    return identity.name if identity is not None else ""


# Sorting by idle time is sorting by the time of the last activity, the other way round.
_SORT_KEYS: dict[str, Callable[[Connection], Any]] = {
    "id": lambda connection: connection.id,
    "listener": lambda connection: connection.listener.settings.name,
    "peer_address": lambda connection: connection.peer_address,
    "identity": _identity_name,
    "state": lambda connection: connection.state.value,
    "bytes_in": lambda connection: connection.bytes_in,
    "bytes_out": lambda connection: connection.bytes_out,
    "requests": lambda connection: connection.requests,
    "opened_at": lambda connection: connection.opened_at,
    "idle_s": lambda connection: connection.active_at,
    "generation": lambda connection: connection.contexts.generation,
}


def _matches(connection: Connection, wanted: str) -> bool:
    identity = connection.identity
    texts = (
        connection.listener.settings.name,
        connection.peer_address,
        connection.state.value,
        connection.rule,
        connection.upstream_address,
        *((identity.name, identity.subject, identity.serial) if identity is not None else ()),
    )
    return any(wanted in text.casefold() for text in texts)
