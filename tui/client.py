"""The admin API on asyncio, over whatever leads there.

Polls share one connection that is kept alive. Each change has a connection of its own, so that a drain of half a minute
does not hold up the polls; so has the event stream.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tlsidecar.api.client import EVENT_SILENCE_S, Conversation, Response
from tlsidecar.api.errors import AdminError, BadReply, Cut, Refused, Unreachable, os_error
from tlsidecar.api.sse import SseMessage
from tui.reach.channel import Channel
from tui.reach.endpoints import Endpoint
from tui.records import Json
from tui.text import EMPTY, SafeText

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
    """A conversation and what carries it."""

    def __init__(self, channel: Channel) -> None:
        self.conversation = Conversation("tlsidecar-ui")
        self.channel = channel

    @classmethod
    async def open(cls, endpoint: Endpoint) -> _Connection:
        return cls(await endpoint.open())

    async def receive(self) -> bytes:
        return await self.channel.receive()

    async def send(self, octets: bytes) -> None:
        await self.channel.send(octets)

    async def said(self, otherwise: SafeText) -> SafeText:
        """What the program in between tells of why there is no answer; ``otherwise`` where nothing does."""
        return await self.channel.why() or otherwise

    def close(self) -> None:
        self.channel.close()


@dataclass(slots=True)
class AdminClient:
    """One sidecar's admin API. With ``read_only`` no call can change anything."""

    endpoint: Endpoint
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
                    return await self._poll(connection, target, self.timeout_s)
            connection = await self._open()
            return await self._poll(connection, target, self.timeout_s + self.endpoint.login_s)

    async def _open(self) -> _Connection:
        """Whoever has to wait for a login waits for others' to end before; a socket answers at once or never."""
        if self.endpoint.login_s:
            return await _Connection.open(self.endpoint)
        async with _in_time(self.timeout_s):
            return await _Connection.open(self.endpoint)

    async def _poll(self, connection: _Connection, target: str, timeout_s: float) -> Json:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._exchange(connection, "GET", target, None)
            if connection.conversation.is_reusable:
                self._idle = connection
        except TimeoutError:
            silent = SafeText(f"no answer within {timeout_s:g} s")
            raise Unreachable(await connection.said(silent)) from None
        except BadReply as error:
            raise BadReply(_joined(error.message, await connection.said(EMPTY))) from None
        finally:
            if connection is not self._idle:
                connection.close()
        return response.document()

    async def change(
        self, method: str, path: str, body: Json | None = None, *, timeout_s: float = CHANGE_TIMEOUT_S
    ) -> Json:
        """``POST``, ``PUT`` or ``DELETE``; sent once, whatever happens. Raises as :meth:`read` does."""
        if self.read_only:
            raise Refused(SafeText("read-only: changes are switched off"), 0, "read_only", {})
        connection = await self._open()
        try:
            async with asyncio.timeout(timeout_s + self.endpoint.login_s):
                response = await self._exchange(connection, method, path, body)
        except Cut as error:
            raise Unreachable(SafeText(f"{error.message}: it may have been carried out")) from None
        except TimeoutError:
            raise Unreachable(SafeText(f"no answer within {timeout_s:g} s: it may still be under way")) from None
        finally:
            connection.close()
        return response.document()

    async def _exchange(self, connection: _Connection, method: str, target: str, body: Json | None) -> Response:
        talk = connection.conversation
        try:
            await connection.send(talk.call(method, target, body, headers={"Accept": "application/json"}))
            while (response := talk.receive(await connection.receive())) is None:
                pass
        except Cut as error:
            raise Cut(await connection.said(error.message)) from None
        except OSError as error:
            cut = SafeText(f"the connection was cut: {os_error(error)}")
            raise Cut(await connection.said(cut)) from None
        return response

    async def events(self, last_event_id: int | None = None, wanted: str = "") -> AsyncGenerator[SseMessage, None]:
        """``GET /v1/events``, those that the filter means, from after ``last_event_id``, until the connection ends.
        Raises as :meth:`read` does, and always ends by raising: an event stream has no end of its own."""
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        target = f"/v1/events?{urlencode({'filter': wanted})}" if wanted else "/v1/events"
        connection = await self._open()
        try:
            async with asyncio.timeout(self.timeout_s + self.endpoint.login_s):
                talk = connection.conversation
                await connection.send(talk.call("GET", target, headers=headers))
                messages = talk.receive_events(await connection.receive())
            while True:
                for message in messages:
                    yield message
                async with asyncio.timeout(EVENT_SILENCE_S):
                    messages = talk.receive_events(await connection.receive())
        except TimeoutError:
            raise Unreachable(SafeText("the event stream fell silent")) from None
        except Cut:
            raise Unreachable(await connection.said(SafeText("the event stream ended"))) from None
        except OSError as error:
            raise Unreachable(SafeText(f"the event stream was cut: {os_error(error)}")) from None
        finally:
            connection.close()

    async def close(self) -> None:
        """Close the kept connection; a later call opens a new one."""
        connection, self._idle = self._idle, None
        if connection is not None:
            connection.close()


@asynccontextmanager
async def _in_time(timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise Unreachable(SafeText(f"no answer within {timeout_s:g} s")) from None


def _joined(message: SafeText, said: SafeText) -> SafeText:
    return SafeText(f"{message} ({said})") if said else message


__all__ = ["AdminClient", "AdminError", "Backoff", "BadReply", "Refused", "Unreachable"]
