"""A worker: all listeners of one process (or of the only one), driven through a few messages.

The controller calls these methods directly, or across a socketpair when there are several workers: so every argument
and answer is plain data, but for the sockets and the contexts that a worker is made with.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from certs.clock import Clock
from tlsidecar.dataplane.board import Board, Turn
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.denials import Denial
from tlsidecar.dataplane.grouping import grouped
from tlsidecar.dataplane.listener import Listener, connection_limit
from tlsidecar.dataplane.meter import Meter
from tlsidecar.dataplane.outbound.network import Connector, Network
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.report import Observer
from tlsidecar.dataplane.selection import SORT_KEYS, goes_by, matching, matching_ended, ordered, selected
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionKeys,
    ConnectionPage,
    ConnectionQuery,
    ConnectionSelection,
    GroupPage,
    GroupQuery,
    PolicyChange,
    WorkerSnapshot,
)
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Mode, Settings

if TYPE_CHECKING:
    from certs.acme.challenges import Challenge

# How often a worker shows that its loop turns, and measures how late it is.
HEARTBEAT_S = 0.5


class Worker:
    """Serves every listener on one event loop."""

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        sockets: Mapping[str, Sequence[socket.socket]],
        contexts: Sequence[Contexts],
        observer: Observer,
        clock: Clock,
        *,
        number: int = 0,
        board: Board | None = None,
        shares: Mapping[str, Sequence[int]] | None = None,
        connector: Connector | None = None,
    ) -> None:
        """``contexts`` has, of each identity, the generation that new connections get. With others, ``board`` is what
        they share, and ``shares`` how many connections each may have open on each listener. ``connector`` is asked
        where connecting is not permitted to this process."""
        self.number = number
        self._board = board
        self.reactor = Reactor(loop)
        ids = board.ids(number) if board is not None else None
        self.shared = Shared(self.reactor, clock, observer, contexts, ids, number)
        if board is not None:
            self.shared.rates = board.rates(number)
        self.network = Network(loop, connector)
        if settings.tracing.endpoint:
            self.shared.trace_ratio = settings.tracing.sample_ratio
        count = len(settings.listeners)
        self.listeners = [
            Listener(self.shared, self.network, each, sockets[each.name], count, self._turn(place, each.name, shares))
            for place, each in enumerate(settings.listeners)
        ]
        self.meter = Meter(loop, self._connections)
        for listener in self.listeners:
            listener.on_gone = self.meter.gone
            listener.tally.on_failure = self.meter.failed
        self.loop_lag_s = 0.0
        self._heartbeat: asyncio.TimerHandle | None = None
        self.draining = False
        self._drains: list[_Drain] = []
        self._sweeps: dict[str, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Worker {self.number} connections={self.connection_count}>"

    def _turn(self, place: int, listener: str, shares: Mapping[str, Sequence[int]] | None) -> Turn | None:
        if self._board is None or shares is None:
            return None
        return Turn(self._board, self.number, place, shares[listener])

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
        self._beat(self.reactor.loop.time())
        for listener in self.listeners:
            listener.start()
            self._sweep(listener)

    def apply(self, contexts: Contexts) -> None:
        """New connections under this identity get this generation from now on; those that exist keep theirs, but for
        those whose peer it says is revoked, where the listener wants them closed."""
        self.shared.use(contexts)
        self._close_revoked(contexts)

    def _close_revoked(self, contexts: Contexts) -> None:
        for listener in self.listeners:
            if listener.settings.close_on_revocation and contexts.material.crls:
                listener.close_revoked(contexts.identity, contexts.material.crls)

    def present(self, challenges: Sequence[Challenge]) -> None:
        """Answer these challenges of an ACME CA from now on, and no others."""
        self.shared.present(challenges)

    def configure(
        self,
        settings: Settings,
        contexts: Sequence[Contexts],
        shares: Mapping[str, Sequence[int]] | None = None,
    ) -> tuple[PolicyChange, ...]:
        """New connections are served by these settings, on the same listeners, with these contexts, one of each
        identity; those that exist keep theirs. Whose peer the new rules would not let in is listed, and retired where
        the listener wants it."""
        changes = []
        self.shared.use_only(contexts)
        for each_identity in contexts:
            self._close_revoked(each_identity)
        count = len(settings.listeners)
        for place, (listener, each) in enumerate(zip(self.listeners, settings.listeners, strict=True)):
            listener.tally.ask_again()
            listener.configure(each, count, self._turn(place, each.name, shares))
            for connection in listener.no_longer_allowed():
                assert connection.identity is not None
                closes = each.close_on_policy_change
                changes.append(PolicyChange(connection.id, each.name, connection.identity.name, closes))
                if closes:
                    connection.retire(Reason.POLICY_CHANGED)
        return tuple(changes)

    def stop_accepting(self, *, inbound_only: bool = False) -> None:
        for listener in self._those(inbound_only):
            listener.stop_accepting()

    def drain(self, drained: Callable[[], None], *, inbound_only: bool = False) -> None:
        """Accept nothing more; connections finish what is under way; ``drained`` is called when the last is gone.

        With ``inbound_only`` the listeners that originate go on, for the sake of what the others have under way.
        """
        listeners = self._those(inbound_only)
        self.draining = self.draining or not inbound_only
        self._drains.append(_Drain(listeners, inbound_only, drained))
        self.shared.on_gone = self._gone
        self.stop_accepting(inbound_only=inbound_only)
        if not inbound_only:
            self.shared.lingerer.drain()
        for listener in listeners:
            for connection in list(listener.connections.values()):
                connection.drain()
        self._gone()

    def undrain(self, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        """Accept again, on these sockets, after a drain is over."""
        self.draining = False
        self._drains.clear()
        self.shared.lingerer.undrain()
        for listener in self.listeners:
            listener.listen_again(sockets[listener.settings.name])

    def _those(self, inbound_only: bool) -> list[Listener]:
        return [one for one in self.listeners if not inbound_only or one.settings.mode is Mode.TERMINATE]

    def close_connection(self, connection_id: int) -> bool:
        """Cut one connection; False when there is none of that id."""
        for listener in self.listeners:
            connection = listener.connections.get(connection_id)
            if connection is not None:
                connection.close(Reason.CLOSED_BY_ADMIN)
                return True
        return False

    def deny(self, denials: Sequence[Denial]) -> None:
        """These identities, and no others, are kept out from now on, until their time is over."""
        self.shared.denials.replace(denials)

    def count(self, selection: ConnectionSelection) -> int:
        """How many connections are meant."""
        return len(self._selected(selection))

    def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool) -> int:
        """Cut the connections that are meant, or retire them ``gently``; how many there were."""
        found = self._selected(selection)
        for connection in found:
            if gently:
                connection.retire(reason)
            else:
                connection.close(reason)
        return len(found)

    def _selected(self, selection: ConnectionSelection) -> list[Connection]:
        return selected(self._connections(), selection, self.reactor.loop.time(), self.shared.wall())

    def close_all(self, reason: Reason) -> int:
        """Cut every connection that is left; how many there were."""
        connections = list(self._connections())
        for connection in connections:
            connection.close(reason)
        return len(connections)

    def close(self) -> None:
        """Let go of everything."""
        self.close_all(Reason.DRAIN_FORCED)
        for timer in (*self._sweeps.values(), self._heartbeat):
            if timer is not None:
                timer.cancel()
        for listener in self.listeners:
            listener.close()
        self.meter.close()
        self.network.close()
        self.shared.close()
        self.reactor.close()

    def snapshot(self) -> WorkerSnapshot:
        generations: dict[tuple[str, int], int] = {}
        for connection in self._connections():
            key = (connection.contexts.identity, connection.contexts.generation)
            generations[key] = generations.get(key, 0) + 1
        return WorkerSnapshot(
            worker=self.number,
            pid=os.getpid(),
            connections=self.connection_count,
            listeners=tuple(listener.record() for listener in self.listeners),
            connections_by_generation=generations,
            loop_lag_s=self.loop_lag_s,
        )

    def connections(self, query: ConnectionQuery) -> ConnectionPage:
        """A window on the connections. Records are made only for the rows shown, unless a filter must see them all."""
        total, matching = self._ordered(query)
        now = self.reactor.loop.time()
        rows = matching[query.offset : query.offset + query.limit]
        return ConnectionPage(total, len(matching), tuple(connection.record(now) for connection in rows))

    def connection_keys(self, query: ConnectionQuery) -> ConnectionKeys:
        """What the first connections, up to the end of the window, are sorted by: for merging with other workers'."""
        total, matching = self._ordered(query)
        key_of = SORT_KEYS[query.sort]
        keys = (key_of(connection) for connection in matching[: query.offset + query.limit])
        return ConnectionKeys(total, len(matching), tuple(keys))

    def connection_groups(self, query: GroupQuery) -> GroupPage:
        """The first groups, without regard to the window: for merging with other workers'."""
        self.meter.look()
        now, wall = self.reactor.loop.time(), self.shared.wall()
        matched = matching(self._connections(), query.filter, now, wall)
        ended = matching_ended(self.meter.ended, query.filter, self.shared.clock.now())
        return grouped(self.connection_count, matched, ended, self.meter, query)

    def _ordered(self, query: ConnectionQuery) -> tuple[int, list[Connection]]:
        matched = matching(self._connections(), query.filter, self.reactor.loop.time(), self.shared.wall())
        if query.identity:
            matched = [connection for connection in matched if goes_by(connection, query.identity)]
        return self.connection_count, ordered(matched, query)

    def connection(self, connection_id: int) -> ConnectionDetail | None:
        for listener in self.listeners:
            connection = listener.connections.get(connection_id)
            if connection is not None:
                return connection.detail(self.reactor.loop.time())
        return None

    def _connections(self) -> Iterator[Connection]:
        for listener in self.listeners:
            yield from listener.connections.values()

    def _beat(self, due: float) -> None:
        loop = self.reactor.loop
        now = loop.time()
        self.loop_lag_s = max(0.0, now - due)
        if self._board is not None:
            self._board.beat(self.number, time.monotonic())
        self._heartbeat = loop.call_later(HEARTBEAT_S, self._beat, now + HEARTBEAT_S)

    def _gone(self) -> None:
        for drain in list(self._drains):
            over = not any(listener.connections for listener in drain.listeners)
            if over and (drain.inbound_only or self.is_empty):
                self._drains.remove(drain)
                drain.drained()

    def _sweep(self, listener: Listener) -> None:
        loop = self.reactor.loop
        listener.sweep(loop.time())
        self._sweeps[listener.settings.name] = loop.call_later(listener.sweep_interval_s, self._sweep, listener)


@dataclass(frozen=True, slots=True)
class _Drain:
    """One that is under way."""

    listeners: list[Listener]
    inbound_only: bool
    drained: Callable[[], None]


def connection_shares(settings: Settings, workers: int) -> dict[str, tuple[int, ...]]:
    """How many connections each of several workers may have open on each listener.

    A configured limit is divided. The one worked out from the descriptor limit is not: that limit is each process's.
    """
    shares: dict[str, tuple[int, ...]] = {}
    for listener in settings.listeners:
        configured = listener.limits.max_connections
        if configured is None:
            shares[listener.name] = (connection_limit(None, len(settings.listeners)),) * workers
        else:
            shares[listener.name] = tuple(share_of(configured, workers, number) for number in range(workers))
    return shares


def share_of(limit: int, workers: int, number: int) -> int:
    """One worker's part of a limit; the parts add up to it."""
    return limit // workers + (number < limit % workers)
