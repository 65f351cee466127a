"""One connection to a sidecar's admin API, whatever carries it."""

from __future__ import annotations

import asyncio

from tlsidecar.api.client import READ_BYTES
from tui.text import EMPTY, SafeText


class Channel:
    """Bytes there and back on a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, octets: bytes) -> None:
        """Raises OSError."""
        self._writer.write(octets)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """What has come; nothing when the other end has closed. Raises OSError."""
        return await self._reader.read(READ_BYTES)

    async def why(self) -> SafeText:
        """What is known of why it ended, or says nothing; empty where nothing is."""
        return EMPTY

    def close(self) -> None:
        self._writer.close()
