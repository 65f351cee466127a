"""The port for scrapers and probes on other machines: three paths, and no way to any other.

In the clear it is a door of its own with a table of routes of its own. With ``allow`` the door is a Unix socket beside
the admin socket, and a listener of the data plane stands before it: mutual TLS, rotation, revocation and limits are
what every other listener has.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from tlsidecar.admin import reads
from tlsidecar.admin.access import Access
from tlsidecar.admin.api import Api, Route
from tlsidecar.admin.binding import SocketFile, bind_tcp
from tlsidecar.admin.door import Door
from tlsidecar.admin.guard import ChangeGuard
from tlsidecar.admin.messages import PLAIN_TEXT, AdminRequest, Reply
from tlsidecar.background import Background
from tlsidecar.control.interface import Control
from tlsidecar.observe.audit import AuditLog
from tlsidecar.settings import METRICS_LISTENER, Address, Settings


async def _readyz(api: Api, request: AdminRequest) -> Reply:
    """Without the reasons, which name files and services."""
    if api.control.is_ready():
        return Reply(200, b"ready\n", PLAIN_TEXT)
    return Reply(503, b"not ready\n", PLAIN_TEXT)


ROUTES = (
    Route("GET", "/metrics", Access.PROBE, reads.metrics, "Prometheus text format 0.0.4", "Text"),
    Route("GET", "/healthz", Access.PROBE, reads.healthz, "Whether the loop turns", "Text"),
    Route("GET", "/readyz", Access.PROBE, _readyz, "Whether it serves", "Text"),
)


class ScrapingServer:
    """Serves what ``[metrics]`` asks for; nothing where it asks for nothing."""

    def __init__(self, control: Control, settings: Settings) -> None:
        self._control = control
        self._metrics = settings.metrics
        in_front = [one for one in settings.listeners if settings.metrics.allow and one.name == METRICS_LISTENER]
        # Where the listener in front goes on to; None when we are in the clear.
        self._behind = in_front[0].upstreams[0] if in_front else None
        self._socket: socket.socket | None = None
        self._serving = Background()
        self._given_back = contextlib.ExitStack()

    def __repr__(self) -> str:
        return f"<ScrapingServer {self._metrics.listen}, {'serving' if self._socket is not None else 'closed'}>"

    @property
    def address(self) -> Address | None:
        """What is really bound in the clear; None when nothing is."""
        if self._socket is None or self._behind is not None:
            return None
        host, port = self._socket.getsockname()[:2]
        return Address(host=host, port=port)

    async def start(self) -> None:
        """Raises AdminSocketError."""
        if self._metrics.listen is None:
            return
        self._socket = self._bind(self._metrics.listen)
        guard = ChangeGuard(AuditLog(self._control.clock), self._control.clock)
        door = Door(self._socket, Access.PROBE, None, None, Api(ROUTES, self._control, guard))
        self._given_back.callback(door.close)
        self._serving.begin(self._serve(door), "scraping-server")

    async def close(self) -> None:
        """Stop serving, and give back what ``start`` took."""
        await self._serving.close()
        self._given_back.close()
        self._socket = None

    def _bind(self, listen: Address) -> socket.socket:
        if self._behind is None:
            sock = bind_tcp(listen, "metrics.listen")
            self._given_back.callback(sock.close)
            return sock
        file = SocketFile(Path(self._behind.path))
        self._given_back.callback(file.close)
        return file.socket

    async def _serve(self, door: Door) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(door.stay_open())
