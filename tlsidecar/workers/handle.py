"""What the controller knows of a worker, wherever it runs."""

from __future__ import annotations

from typing import Protocol

from tlsidecar.dataplane.snapshot import ConnectionDetail, ConnectionPage, ConnectionQuery, WorkerSnapshot
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason


class WorkerHandle(Protocol):
    """The message interface of architecture's data plane rule 6; see tlsidecar.dataplane.worker.Worker."""

    @property
    def is_live(self) -> bool:
        """Whether its loop turns."""
        ...

    async def apply(self, contexts: Contexts) -> None: ...

    async def snapshot(self) -> WorkerSnapshot: ...

    async def connections(self, query: ConnectionQuery) -> ConnectionPage: ...

    async def connection(self, connection_id: int) -> ConnectionDetail | None: ...

    async def close_connection(self, connection_id: int) -> bool: ...

    async def drain(self) -> int:
        """Begin to drain; how many connections were there."""
        ...

    async def drained(self) -> None:
        """Return once the last connection is gone."""
        ...

    async def close_all(self, reason: Reason) -> int: ...

    async def close(self) -> None: ...
