"""The worker of a single-process sidecar: called directly, on the controller's own loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tlsidecar.dataplane.denials import Denial
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
from tlsidecar.dataplane.worker import Worker
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from certs.acme.challenges import Challenge


class LocalWorker:
    """A :class:`~.handle.WorkerHandle` without anything in between, and a :class:`~.handle.Supervisor` of one."""

    failing = None

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._drained = {inbound_only: asyncio.Event() for inbound_only in (False, True)}

    @property
    def workers(self) -> Sequence[LocalWorker]:
        return (self,)

    async def start(self) -> None:
        self._worker.start()

    async def undrain(self, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        self._drained = {inbound_only: asyncio.Event() for inbound_only in (False, True)}
        self._worker.undrain(sockets)

    def stop_listening(self, *, inbound_only: bool = False) -> None:
        self._worker.stop_accepting(inbound_only=inbound_only)

    async def close(self) -> None:
        self._worker.close()

    @property
    def is_live(self) -> bool:
        return True  # whoever asks runs on the loop in question

    @property
    def connections_on_our_loop(self) -> int:
        return self._worker.connection_count

    async def apply(self, contexts: Contexts) -> None:
        self._worker.apply(contexts)

    async def present(self, challenges: Sequence[Challenge]) -> None:
        self._worker.present(challenges)

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        return self._worker.configure(settings, contexts)

    async def snapshot(self) -> WorkerSnapshot:
        return self._worker.snapshot()

    async def connections(self, query: ConnectionQuery) -> ConnectionPage:
        return self._worker.connections(query)

    async def connection_keys(self, query: ConnectionQuery) -> ConnectionKeys:
        return self._worker.connection_keys(query)

    async def connection_groups(self, query: GroupQuery) -> GroupPage:
        return self._worker.connection_groups(query)

    async def connection(self, connection_id: int) -> ConnectionDetail | None:
        return self._worker.connection(connection_id)

    async def close_connection(self, connection_id: int) -> bool:
        return self._worker.close_connection(connection_id)

    async def drain(self, *, inbound_only: bool = False) -> int:
        connections = self._worker.connection_count
        self._worker.drain(self._drained[inbound_only].set, inbound_only=inbound_only)
        return connections

    async def stop_accepting(self) -> None:
        self._worker.stop_accepting()

    async def drained(self, *, inbound_only: bool = False) -> None:
        await self._drained[inbound_only].wait()

    async def deny(self, denials: Sequence[Denial]) -> None:
        self._worker.deny(denials)

    async def count(self, selection: ConnectionSelection) -> int:
        return self._worker.count(selection)

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool) -> int:
        return self._worker.end(selection, reason, gently=gently)

    async def close_all(self, reason: Reason) -> int:
        return self._worker.close_all(reason)

    def set_log_level(self, level: str) -> None:
        pass  # the process's log is the controller's

    def reopen_log(self) -> None:
        pass
