"""What each connection moved lately: measured only while somebody looks, for it costs a walk over all connections every
two seconds. Connections that ended meanwhile are in it with what they moved: traffic of many short ones is traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.snapshot import ConnectionRecord
from tlsidecar.outcomes import Failure

TICK_S = 2.0
LOOKED_AT_FOR_S = 15.0
"""Nobody has asked for so long: measuring ends."""

MOST_ENDED = 5000
"""Of the connections that end within a tick, those that are kept; of those beyond nothing is known."""


class Moved(NamedTuple):
    """What one connection carried, or could not, within a tick."""

    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    failures: int = 0


NOTHING = Moved()


class Meter:
    """Asleep until :meth:`look`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: Callable[[], Iterable[Connection]]) -> None:
        self._loop = loop
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0
        self._began_at = 0.0  # this tick
        self._before: dict[int, Moved] = {}  # the totals at its beginning
        self._failures: dict[int, int] = {}
        self._ending: list[tuple[ConnectionRecord, Moved]] = []
        self.over_s: float | None = None
        self.moved: dict[int, Moved] = {}
        self.ended: Sequence[tuple[ConnectionRecord, Moved]] = ()

    def __repr__(self) -> str:
        return f"<Meter {'of' if self.is_on else 'off, was of'} {len(self.moved)} connections>"

    @property
    def is_on(self) -> bool:
        return self._timer is not None

    def look(self) -> None:
        """Somebody does: measure, and go on while this comes again."""
        self._looked_at = self._loop.time()
        if self._timer is None:
            self._before = {connection.id: _totals(connection) for connection in self._connections()}
            self._begin_tick()

    def gone(self, connection: Connection) -> None:
        """A connection is over, and still has what it carried."""
        if self._timer is not None and len(self._ending) < MOST_ENDED:
            moved = _difference(_totals(connection), self._before.pop(connection.id, NOTHING))
            self._ending.append((connection.record(self._loop.time()), moved))

    def failed(self, failure: Failure) -> None:
        if self._timer is not None and len(self._failures) < MOST_ENDED:
            number = failure.connection_id
            self._failures[number] = self._failures.get(number, 0) + 1

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._before, self._failures, self._ending = {}, {}, []
        self.moved, self.ended, self.over_s = {}, (), None

    def _begin_tick(self) -> None:
        self._began_at = self._loop.time()
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        if now - self._looked_at > LOOKED_AT_FOR_S:
            self.close()
            return
        before, failures = self._before, self._failures
        totals = {connection.id: _totals(connection) for connection in self._connections()}
        self.moved = {
            number: moved
            for number, total in totals.items()
            if (moved := _difference(total, before.get(number, NOTHING), failures.get(number, 0))) != NOTHING
        }
        self.ended = [(record, moved._replace(failures=failures.get(record.id, 0))) for record, moved in self._ending]
        self.over_s = now - self._began_at
        self._before, self._failures, self._ending = totals, {}, []
        self._begin_tick()


def _totals(connection: Connection) -> Moved:
    return Moved(connection.requests, connection.bytes_in, connection.bytes_out)


def _difference(total: Moved, before: Moved, failures: int = 0) -> Moved:
    return Moved(
        total.requests - before.requests,
        total.bytes_in - before.bytes_in,
        total.bytes_out - before.bytes_out,
        failures,
    )
