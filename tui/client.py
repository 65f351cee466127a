"""The admin API over a Unix socket, on asyncio.

Polls share one connection that is kept alive. Each change has a connection of its own, so that a drain of half a minute
does not hold up the polls; so has the event stream.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from tlsidecar.api.client import EVENT_SILENCE_S, READ_BYTES, Conversation, Response
from tlsidecar.api.errors import AdminError, BadReply, Cut, Refused, Unreachable, connect_failure, os_error
from tlsidecar.api.sse import SseMessage
from tlsidecar.api.text import SafeText
from tui.records import Json

TIMEOUT_S = 5.0
CHANGE_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Backoff:
    """How long to wait before attempt ``n``: doubling up to a cap, each wait shortened at random by up to a half so
    that several consoles do not come back at the same moment."""

    randomness: random.Random
    first_s: float = 0.5
    cap_s: float = 10.0

    def delay_s(self, attempt: int) -> float:
        """Seconds before the attempt that follows ``attempt`` failed ones."""
        longest_s = min(self.cap_s, self.first_s * float(2 ** min(attempt - 1, 16)))
        return longest_s * self.randomness.uniform(0.5, 1.0)


class _Connection:
    """A conversation and its socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversation = Conversation("tlsidecar-ui")
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: Path) -> _Connection:
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError as error:
            raise connect_failure(path, error) from None
        return cls(reader, writer)

    async def send(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()

    async def receive(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    def close(self) -> None:
        self._writer.close()


@dataclass(slots=True)
class AdminClient:
    """One sidecar's admin API. With ``read_only`` no call can change anything."""

    socket: Path
    read_only: bool = False
    timeout_s: float = TIMEOUT_S
    _idle: _Connection | None = None
    _polls: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, path: str, **parameters: str | int) -> Json:
        """``GET``. Raises :class:`Unreachable`, :class:`BadReply` or :class:`Refused`."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        async with self._polls:
            connection, self._idle = self._idle, None
            if connection is not None:
                # The sidecar may have closed it since: a read is safe to send a second time.
                with suppress(Cut):
                    return await self._poll(connection, target)
            return await self._poll(None, target)

    async def _poll(self, connection: _Connection | None, target: str) -> Json:
        try:
            async with asyncio.timeout(self.timeout_s):
                if connection is None:
                    connection = await _Connection.open(self.socket)
                response = await self._exchange(connection, "GET", target, None)
                if connection.conversation.is_reusable:
                    self._idle = connection
        except TimeoutError:
            raise Unreachable(SafeText(f"no answer within {self.timeout_s:g} s")) from None
        finally:
            if connection is not None and connection is not self._idle:
                connection.close()
        return response.document()

    async def change(
        self, method: str, path: str, body: Json | None = None, *, timeout_s: float = CHANGE_TIMEOUT_S
    ) -> Json:
        """``POST``, ``PUT`` or ``DELETE``; sent once, whatever happens. Raises as :meth:`read` does."""
        if self.read_only:
            raise Refused(SafeText("read-only: changes are switched off"), 0, "read_only", {})
        try:
            async with asyncio.timeout(timeout_s):
                connection = await _Connection.open(self.socket)
                try:
                    response = await self._exchange(connection, method, path, body)
                except Cut as error:
                    raise Unreachable(SafeText(f"{error.message}: it may have been carried out")) from None
                finally:
                    connection.close()
        except TimeoutError:
            raise Unreachable(SafeText(f"no answer within {timeout_s:g} s: it may still be under way")) from None
        return response.document()

    async def _exchange(self, connection: _Connection, method: str, target: str, body: Json | None) -> Response:
        talk = connection.conversation
        try:
            await connection.send(talk.call(method, target, body, headers={"Accept": "application/json"}))
            while (response := talk.receive(await connection.receive())) is None:
                pass
        except OSError as error:
            raise Cut(SafeText(f"the connection was cut: {os_error(error)}")) from None
        return response

    async def events(self, last_event_id: int | None = None) -> AsyncGenerator[SseMessage, None]:
        """``GET /v1/events``, from after ``last_event_id``, until the connection ends. Raises as :meth:`read` does,
        and always ends by raising: an event stream has no end of its own."""
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self.timeout_s):
                connection = await _Connection.open(self.socket)
                talk = connection.conversation
                await connection.send(talk.call("GET", "/v1/events", headers=headers))
                messages = talk.receive_events(await connection.receive())
            while True:
                for message in messages:
                    yield message
                async with asyncio.timeout(EVENT_SILENCE_S):
                    messages = talk.receive_events(await connection.receive())
        except TimeoutError:
            raise Unreachable(SafeText("the event stream fell silent")) from None
        except Cut:
            raise Unreachable(SafeText("the event stream ended")) from None
        except OSError as error:
            raise Unreachable(SafeText(f"the event stream was cut: {os_error(error)}")) from None
        finally:
            if connection is not None:
                connection.close()

    async def close(self) -> None:
        """Close the kept connection; a later call opens a new one."""
        connection, self._idle = self._idle, None
        if connection is not None:
            connection.close()


__all__ = ["AdminClient", "AdminError", "Backoff", "BadReply", "Refused", "Unreachable"]
