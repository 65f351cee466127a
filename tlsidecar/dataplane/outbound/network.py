"""What all listeners of a worker know together of where they go: what names resolve to, and which addresses fail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from tlsidecar.dataplane.outbound.resolve import Resolver
from tlsidecar.dataplane.outbound.upstreams import Health
from tlsidecar.settings import Address

# Connects where this process may not: a socket that does not block and its address; an errno as connect_ex's.
Connector = Callable[[socket.socket, Any], int]


class Network:
    """One for each worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connector: Connector | None = None) -> None:
        """``connector`` is asked where connecting is not permitted to this process."""
        self.loop = loop
        self.connector = connector
        self.resolver = Resolver(loop)
        self._health: dict[Address, Health] = {}

    def __repr__(self) -> str:
        return f"<Network addresses={len(self._health)}>"

    def health(self, address: Address) -> Health:
        """How connecting to ``address`` goes, whichever listener tries."""
        known = self._health.get(address)
        if known is None:
            known = self._health[address] = Health(self.loop)
        return known

    def close(self) -> None:
        self.resolver.close()
