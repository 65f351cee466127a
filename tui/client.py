"""The admin API over a Unix socket: HTTP/1.1 by h11 on asyncio.

Polls share one connection that is kept alive. Each change has a connection of its own, so that a drain of half a minute
does not hold up the polls; so has the event stream.
"""

from __future__ import annotations

import asyncio
import errno
import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import h11

from tlsidecar.api.errors import AdminError, BadReply, Refused, Unreachable
from tlsidecar.api.sse import SseMessage, SseOverflow, SseParser
from tui.records import Json
from tui.text import SafeText, safe_text

TIMEOUT_S = 5.0
CHANGE_TIMEOUT_S = 30.0
EVENT_SILENCE_S = 45.0
"""The sidecar sends a comment every 15 s: three missing ones mean that the stream is dead."""

MAX_BODY_BYTES = 16 * 1024 * 1024
_READ_BYTES = 64 * 1024


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


class _Cut(Unreachable):
    """The connection ended before the whole reply was there."""


@dataclass(slots=True)
class _Response:
    status: int
    body: bytes


class _Connection:
    """One HTTP/1.1 connection. Any error leaves it closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.is_cut = False

    @classmethod
    async def open(cls, path: Path) -> _Connection:
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError as error:
            raise Unreachable(_connect_failure(path, error)) from None
        return cls(reader, writer)

    @property
    def is_reusable(self) -> bool:
        return self._http.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}

    async def send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> None:
        fields = {"Host": "localhost", "User-Agent": "tlsidecar-ui", **headers}
        if body is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        request = h11.Request(method=method, target=target, headers=list(fields.items()))
        octets = self._http.send(request) or b""
        if body:
            octets += self._http.send(h11.Data(body)) or b""
        octets += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(octets)
        await self._writer.drain()

    async def next_event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is h11.PAUSED:
                raise h11.RemoteProtocolError("more than one response")
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)
                return event
            octets = await self._reader.read(_READ_BYTES)
            self.is_cut = not octets
            self._http.receive_data(octets)

    async def head(self) -> h11.Response:
        while not isinstance(event := await self.next_event(), h11.Response):
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError
        return event

    async def body(self) -> AsyncGenerator[bytes, None]:
        while isinstance(event := await self.next_event(), h11.Data):
            yield bytes(event.data)

    async def response(self) -> _Response:
        head = await self.head()
        body = bytearray()
        async with aclosing(self.body()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BadReply(SafeText("the reply is larger than 16 MiB"))
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._http.start_next_cycle()
        return _Response(head.status_code, bytes(body))

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
                with suppress(_Cut):
                    return await self._poll(connection, target)
            return await self._poll(None, target)

    async def _poll(self, connection: _Connection | None, target: str) -> Json:
        try:
            async with asyncio.timeout(self.timeout_s):
                if connection is None:
                    connection = await _Connection.open(self.socket)
                response = await self._exchange(connection, "GET", target, None)
                if connection.is_reusable:
                    self._idle = connection
        except TimeoutError:
            raise Unreachable(SafeText(f"no answer within {self.timeout_s:g} s")) from None
        finally:
            if connection is not None and connection is not self._idle:
                connection.close()
        return _decoded(response)

    async def change(
        self, method: str, path: str, body: Json | None = None, *, timeout_s: float = CHANGE_TIMEOUT_S
    ) -> Json:
        """``POST``, ``PUT`` or ``DELETE``; sent once, whatever happens. Raises as :meth:`read` does."""
        if self.read_only:
            raise Refused(SafeText("read-only: changes are switched off"), 0, "read_only", None)
        octets = None if body is None else json.dumps(body).encode()
        try:
            async with asyncio.timeout(timeout_s):
                connection = await _Connection.open(self.socket)
                try:
                    response = await self._exchange(connection, method, path, octets)
                except _Cut as error:
                    raise Unreachable(SafeText(f"{error.message}: it may have been carried out")) from None
                finally:
                    connection.close()
        except TimeoutError:
            raise Unreachable(SafeText(f"no answer within {timeout_s:g} s: it may still be under way")) from None
        return _decoded(response)

    async def _exchange(self, connection: _Connection, method: str, target: str, body: bytes | None) -> _Response:
        try:
            await connection.send(method, target, body, {"Accept": "application/json"})
            return await connection.response()
        except h11.ProtocolError as error:
            if connection.is_cut:
                raise _Cut(SafeText("the sidecar closed the connection")) from None
            raise BadReply(SafeText(f"not an admin API: {safe_text(str(error), 80)}")) from None
        except OSError as error:
            raise _Cut(SafeText(f"the connection was cut: {_os_error(error)}")) from None

    async def events(self, last_event_id: int | None = None) -> AsyncGenerator[SseMessage, None]:
        """``GET /v1/events``, from after ``last_event_id``, until the connection ends. Raises as :meth:`read` does,
        and always ends by raising: an event stream has no end of its own."""
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        connection: _Connection | None = None
        parser = SseParser()
        try:
            async with asyncio.timeout(self.timeout_s):
                connection = await _Connection.open(self.socket)
                await connection.send("GET", "/v1/events", None, headers)
                head = await connection.head()
                if head.status_code != 200:
                    body = b"".join([chunk async for chunk in connection.body()])
                    _decoded(_Response(head.status_code, body))
                    raise BadReply(SafeText(f"unexpected status {head.status_code}"))
            while True:
                async with asyncio.timeout(EVENT_SILENCE_S):
                    event = await connection.next_event()
                if not isinstance(event, h11.Data):
                    raise Unreachable(SafeText("the event stream ended"))
                for message in parser.feed(bytes(event.data)):
                    yield message
        except TimeoutError:
            raise Unreachable(SafeText("the event stream fell silent")) from None
        except SseOverflow:
            raise BadReply(SafeText("an event is larger than 1 MiB")) from None
        except h11.ProtocolError:
            raise Unreachable(SafeText("the event stream was cut")) from None
        except OSError as error:
            raise Unreachable(SafeText(f"the event stream was cut: {_os_error(error)}")) from None
        finally:
            if connection is not None:
                connection.close()

    async def close(self) -> None:
        """Close the kept connection; a later call opens a new one."""
        connection, self._idle = self._idle, None
        if connection is not None:
            connection.close()


def _decoded(response: _Response) -> Json:
    try:
        reply = json.loads(response.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadReply(SafeText(f"status {response.status}, and the reply is not JSON")) from None
    if not isinstance(reply, dict):
        raise BadReply(SafeText(f"status {response.status}, and the reply is not a JSON object"))
    if 200 <= response.status < 300:
        return reply
    error = reply.get("error")
    details = error if isinstance(error, dict) else {}
    message = safe_text(details.get("message") or f"status {response.status}")
    raise Refused(message, response.status, str(details.get("code", "")), reply)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _os_error(error: OSError) -> SafeText:
    return safe_text(error.strerror or "the sidecar closed it", 80)


def _connect_failure(path: Path, error: OSError) -> SafeText:
    shown = safe_text(str(path))
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return SafeText(f"no socket at {shown}: is tlsidecar running?")
        case errno.EACCES | errno.EPERM:
            return SafeText(f"no permission for {shown}: only the sidecar's own user and root may connect")
        case errno.ECONNREFUSED:
            return SafeText(f"nobody listens on {shown}: the sidecar has ended")
        case errno.ENOTSOCK:
            return SafeText(f"{shown} is not a socket")
        case _:
            return SafeText(f"cannot connect to {shown}: {_os_error(error)}")


__all__ = ["AdminClient", "AdminError", "Backoff", "BadReply", "Refused", "Unreachable"]
