"""What one worker number has counted, over all the processes that have had it.

The last snapshot of a process that ended is added to what is reported of the next one, so that no counter goes
backwards; what can go down (connections and streams open, handshakes under way) ends with its process.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tlsidecar.dataplane.bind import bound_address
from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.snapshot import ListenerCounters, ListenerRecord, UpstreamRecord, WorkerSnapshot
from tlsidecar.outcomes import Reason
from tlsidecar.settings import ListenerSettings


class CarriedCounts:
    """``latest`` is the newest snapshot of the process that there is now, blank before its first."""

    def __init__(
        self,
        number: int,
        board: Board,
        sockets: Mapping[str, Sequence[socket.socket]],
        listeners: Sequence[ListenerSettings],
    ) -> None:
        self._number = number
        self._board = board
        self._sockets = sockets
        self._ended = {listener.name: ListenerCounters() for listener in listeners}
        self._ended_lines_dropped = 0
        self._ended_checks: dict[tuple[str, str], list[int]] = {}  # by listener and upstream: all, and those failed
        self.latest = self._blank(listeners)

    def fits(self, snapshot: WorkerSnapshot) -> bool:
        """Whether it is of these listeners."""
        return {record.name for record in snapshot.listeners} == self._ended.keys()

    def process_ended(self, listeners: Sequence[ListenerSettings]) -> int:
        """Carry over what it had counted; the next one is to have these listeners. Returns how many connections ended
        with it."""
        lost = 0
        last, self.latest = self.latest, self._blank(listeners)
        for at, record in enumerate(last.listeners):
            ended = self._ended[record.name]
            ended.add(replace(record.counters, connections_active=0, handshakes_active=0, streams_active=0))
            cut = self._board.active(self._number, at)
            if cut:
                lost += cut
                reason = Reason.WORKER_LOST.value
                ended.connections[reason] = ended.connections.get(reason, 0) + cut
            for upstream in record.upstreams:
                checks = self._ended_checks.setdefault((record.name, upstream.address), [0, 0])
                checks[0] += upstream.checks_total
                checks[1] += upstream.checks_failed
        self._ended_lines_dropped += last.log_lines_dropped
        return lost

    def report(self) -> WorkerSnapshot:
        """The latest snapshot, with what the processes before had counted."""
        latest = self.latest
        listeners = []
        for record in latest.listeners:
            counters = record.counters.copy()
            counters.add(self._ended[record.name])
            upstreams = tuple(self._with_checks(record.name, upstream) for upstream in record.upstreams)
            listeners.append(replace(record, counters=counters, upstreams=upstreams))
        return replace(
            latest,
            worker=self._number,
            listeners=tuple(listeners),
            log_lines_dropped=latest.log_lines_dropped + self._ended_lines_dropped,
        )

    def _with_checks(self, listener: str, upstream: UpstreamRecord) -> UpstreamRecord:
        total, failed = self._ended_checks.get((listener, upstream.address), (0, 0))
        return replace(
            upstream, checks_total=upstream.checks_total + total, checks_failed=upstream.checks_failed + failed
        )

    def _blank(self, listeners: Sequence[ListenerSettings]) -> WorkerSnapshot:
        """Of a process that has reported nothing yet."""
        return WorkerSnapshot(self._number, 0, 0, tuple(map(self._blank_listener, listeners)), {})

    def _blank_listener(self, listener: ListenerSettings) -> ListenerRecord:
        limits = listener.limits
        return ListenerRecord(
            name=listener.name,
            mode=listener.mode.value,
            protocol=listener.protocol.value,
            listen=str(listener.listen),
            bound=bound_address(sock for sock in self._sockets[listener.name] if sock.fileno() >= 0),
            upstreams=(),
            max_connections=limits.max_connections or 0,
            max_handshakes=limits.max_handshakes or 0,
            counters=ListenerCounters(),
        )
