"""The admin server: its sockets, from start to close."""

from __future__ import annotations

import asyncio
import socket

from tlsidecar.admin.access import Access
from tlsidecar.admin.api import Api
from tlsidecar.admin.binding import AdminSocketError, AdminSocketTaken, SocketFile, bind_loopback, group_id
from tlsidecar.admin.door import Door
from tlsidecar.admin.guard import ChangeGuard
from tlsidecar.admin.routes import ROUTES
from tlsidecar.background import Background
from tlsidecar.control.interface import Control
from tlsidecar.observe.audit import AuditLog
from tlsidecar.settings import Address, Admin

__all__ = ["AdminServer", "AdminSocketError", "AdminSocketTaken"]

SOCKET_HOSTS = frozenset({"localhost"})
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class AdminServer:
    """Serves the admin API on the sockets that ``admin`` names, on the loop that called ``start``."""

    def __init__(self, control: Control, admin: Admin, audit: AuditLog | None = None) -> None:
        """``audit`` is where changes and denials are recorded; by default one that does not know its sink."""
        self._admin = admin
        guard = ChangeGuard(audit or AuditLog(control.clock), control.clock)
        self._api = Api(ROUTES, control, guard)
        self._files: list[SocketFile] = []
        self._loopback: socket.socket | None = None
        self._doors: list[Door] = []
        self._serving = Background()

    def __repr__(self) -> str:
        return f"<AdminServer {self._admin.socket}, {'serving' if self._doors else 'closed'}>"

    @property
    def http_address(self) -> Address | None:
        """The loopback address really bound, a port 0 resolved; None when there is none."""
        if self._loopback is None:
            return None
        host, port = self._loopback.getsockname()[:2]
        return Address(host=host, port=port)

    async def start(self) -> None:
        """Bind every socket, or none and raise AdminSocketError; then serve until ``close``.

        Call it before there are threads that make files: it sets the umask for a moment.
        """
        try:
            self._bind()
        except BaseException:
            self._unbind()
            raise
        self._serving.begin(self._serve(), "admin-server")

    async def close(self) -> None:
        """Stop serving, let calls in progress finish for a second, and remove our own socket files."""
        await self._serving.close()
        self._unbind()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for door in self._doors:
                tasks.create_task(door.stay_open())

    def _bind(self) -> None:
        admin = self._admin
        self._open(SocketFile(admin.socket), Access.CONTROL, None)
        if admin.view_socket is not None:
            self._open(
                SocketFile(admin.view_socket, admin.view_group),
                Access.VIEW,
                group_id(admin.view_group) if admin.view_group else None,
            )
        if admin.http is not None:
            self._loopback = bind_loopback(admin.http)
            self._doors.append(Door(self._loopback, Access.PROBE, LOOPBACK_HOSTS, None, self._api))

    def _open(self, file: SocketFile, access: Access, gid: int | None) -> None:
        self._files.append(file)
        self._doors.append(Door(file.socket, access, SOCKET_HOSTS, gid, self._api))

    def _unbind(self) -> None:
        for door in self._doors:
            door.close()
        for file in self._files:
            file.close()
        if self._loopback is not None:
            self._loopback.close()
        self._doors, self._files, self._loopback = [], [], None
