"""What two sidecars cannot share, so that one lets go of it for its successor: the admin sockets, the metrics port, and
the socket at which somebody may take over.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

from tlsidecar.admin.scraping import ScrapingServer
from tlsidecar.admin.server import AdminServer
from tlsidecar.control.controller import Controller
from tlsidecar.handover import Predecessor, handover_path
from tlsidecar.settings import Settings

_log = logging.getLogger("tlsidecar.entrances")


class Entrances:
    """Open from :meth:`open` to :meth:`close`, or until somebody has taken over."""

    def __init__(
        self, controller: Controller, admin: AdminServer, settings: Settings, bound: Mapping[str, list[socket.socket]]
    ) -> None:
        """``bound`` are the listening sockets by listener, which a successor gets."""
        self._controller = controller
        self._admin = admin
        self._scraping = ScrapingServer(controller, settings)
        self._settings = settings
        self._bound = bound
        self._predecessor: Predecessor | None = None
        self.handed_over = False

    def __repr__(self) -> str:
        state = "handed over" if self.handed_over else "closed" if self._predecessor is None else "open"
        return f"<Entrances {self._settings.admin.socket}, {state}>"

    async def open(self) -> None:
        """Raises AdminSocketError."""
        await self._admin.start()
        await self._scraping.start()
        if self._scraping.address is not None:
            _log.info("metrics", extra={"fields": {"address": str(self._scraping.address)}})
        path = handover_path(self._settings.admin.socket)
        self._predecessor = Predecessor(path, self._settings.listeners, self._bound, self._let_go)

    async def wait_for_successor(self) -> None:
        """Ends when somebody has taken over."""
        assert self._predecessor is not None
        await self._predecessor.wait()

    async def _let_go(self) -> None:
        self.handed_over = True
        await self.close()
        self._controller.stopping.set()

    async def close(self) -> None:
        """Let go of all of them; a second time does nothing."""
        if self._predecessor is not None:
            self._predecessor.close()
            self._predecessor = None
        await self._scraping.close()
        await self._admin.close()
