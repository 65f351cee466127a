"""What the controller knows of a worker, wherever it runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

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
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from certs.acme.challenges import Challenge


class SupervisorError(Exception):
    """The workers do not start; the text is one clear line."""


class WorkerHandle(Protocol):
    """The few messages that a worker is driven by; see tlsidecar.dataplane.worker.Worker.

    A worker whose process is gone answers as one without connections, and with what it had counted."""

    @property
    def is_live(self) -> bool:
        """Whether its loop turns, or will do so in a moment."""
        ...

    @property
    def failing(self) -> tuple[str, datetime] | None:
        """What is wrong with it, and since when, if it does not stay up."""
        ...

    @property
    def connections_on_our_loop(self) -> int:
        """How many it serves on the loop of whoever asks."""
        ...

    async def apply(self, contexts: Contexts) -> None:
        """Returns when new connections under its identity get this generation."""
        ...

    async def present(self, challenges: Sequence[Challenge]) -> None:
        """Returns when these challenges of an ACME CA, and no others, are answered."""
        ...

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        """Returns when new connections are served by these settings; see tlsidecar.dataplane.worker.Worker."""
        ...

    async def snapshot(self) -> WorkerSnapshot: ...

    async def connections(self, query: ConnectionQuery) -> ConnectionPage: ...

    async def connection_keys(self, query: ConnectionQuery) -> ConnectionKeys: ...

    async def connection_groups(self, query: GroupQuery) -> GroupPage: ...

    async def connection(self, connection_id: int) -> ConnectionDetail | None: ...

    async def close_connection(self, connection_id: int) -> bool: ...

    async def drain(self, *, inbound_only: bool = False) -> int:
        """Begin to drain, or only what comes in by mutual TLS; how many connections were there."""
        ...

    async def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on as they are."""
        ...

    async def drained(self, *, inbound_only: bool = False) -> None:
        """Return once the last connection is gone that the drain so begun waits for."""
        ...

    async def deny(self, denials: Sequence[Denial]) -> None:
        """Returns when these identities, and no others, are kept out; whoever replaces the worker keeps them out."""
        ...

    async def count(self, selection: ConnectionSelection) -> int: ...

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool) -> int:
        """Cut those connections, or retire them ``gently``; how many there were."""
        ...

    async def close_all(self, reason: Reason) -> int: ...

    def set_log_level(self, level: str) -> None: ...

    def reopen_log(self) -> None:
        """The log file was renamed: write to a new one."""
        ...


class Supervisor(Protocol):
    """All workers of a sidecar."""

    @property
    def workers(self) -> Sequence[WorkerHandle]: ...

    async def start(self) -> None:
        """Returns when connections are accepted. Raises SupervisorError."""
        ...

    async def undrain(self, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        """Accept again after a drain is over, on these sockets. Raises SupervisorError."""
        ...

    def stop_listening(self, *, inbound_only: bool = False) -> None:
        """Refuse new connections from now on, in all workers at once."""
        ...

    async def close(self) -> None:
        """Let go of everything that is left, at once."""
        ...
