"""Calling the admin API, without I/O: bytes to send, bytes received, and what they say. The command line drives it on a
blocking socket, the console on asyncio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, NoReturn

import h11

from tlsidecar.api.errors import BadReply, Cut, Refused
from tlsidecar.api.sse import SseMessage, SseOverflow, SseParser
from tlsidecar.api.text import SafeText, safe_text
from tlsidecar.lazy_dataclass import dataclass

READ_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024

_STATUS_LINE = b"HTTP/1."

EVENT_SILENCE_S = 45.0
"""The sidecar sends a comment every 15 s: three missing ones mean that an event stream is dead."""


@dataclass(frozen=True, slots=True)
class Response:
    """A reply of any kind."""

    status: int
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object that it is. Raises BadReply for anything else, and Refused when it tells of an error."""
        try:
            reply = json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise BadReply(SafeText(f"status {self.status}, and the reply is not JSON")) from None
        if not isinstance(reply, dict):
            raise BadReply(SafeText(f"status {self.status}, and the reply is not a JSON object"))
        if 200 <= self.status < 300:
            return reply
        error = reply.get("error")
        details = error if isinstance(error, dict) else {}
        message = safe_text(details.get("message") or f"status {self.status}")
        raise Refused(message, self.status, str(details.get("code", "")), reply)


@dataclass(slots=True)
class Conversation:
    """One connection to the admin API. Any error leaves it unfit for another call."""

    agent: str
    _http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))
    _status: int = 0
    _body: bytearray = field(default_factory=bytearray)
    _events: SseParser = field(default_factory=SseParser)
    _is_cut: bool = False
    _beginning: bytes = b""  # of the reply, while it is not known to be one
    _is_begun: bool = False

    @property
    def is_reusable(self) -> bool:
        """Whether another call may follow."""
        return self._http.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}

    def call(
        self, method: str, target: str, body: Mapping[str, object] | None = None, *, headers: Mapping[str, str]
    ) -> bytes:
        """What to send for one call."""
        content = None if body is None else json.dumps(body).encode()
        fields = {"Host": "localhost", "User-Agent": self.agent, **headers}
        if content is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        self._status, self._body = 0, bytearray()
        self._beginning, self._is_begun = b"", False
        octets = self._http.send(h11.Request(method=method, target=target, headers=list(fields.items()))) or b""
        if content:
            octets += self._http.send(h11.Data(content)) or b""
        return octets + (self._http.send(h11.EndOfMessage()) or b"")

    def receive(self, octets: bytes) -> Response | None:
        """Take what came (nothing: the other end closed). The whole reply once it is there. Raises BadReply and Cut."""
        self._take(octets)
        while (event := self._next()) is not None:
            match event:
                case h11.Response():
                    self._status = event.status_code
                case h11.Data():
                    self._body += event.data
                    if len(self._body) > MAX_BODY_BYTES:
                        raise BadReply(SafeText(f"the reply is larger than {MAX_BODY_BYTES // 2**20} MiB"))
                case h11.EndOfMessage():
                    if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                        self._http.start_next_cycle()
                    return Response(self._status, bytes(self._body))
        return None

    def receive_events(self, octets: bytes) -> list[SseMessage]:
        """The same for an event stream: the messages that are complete now. Raises also Refused, and Cut at its end:
        an event stream has none of its own."""
        if self._status not in (0, 200):
            return self._no_events(octets)
        self._take(octets)
        messages: list[SseMessage] = []
        while (event := self._next()) is not None:
            match event:
                case h11.Response():
                    self._status = event.status_code
                    if self._status != 200:
                        return self._no_events(None)
                case h11.Data():
                    try:
                        messages += self._events.feed(bytes(event.data))
                    except SseOverflow:
                        raise BadReply(SafeText("an event is larger than 1 MiB")) from None
                case h11.EndOfMessage() if not messages:
                    raise Cut(SafeText("the event stream ended"))
        return messages

    def _no_events(self, octets: bytes | None) -> list[SseMessage]:
        response = self.receive(octets) if octets is not None else self._rest()
        if response is not None:
            response.document()
            raise BadReply(SafeText(f"unexpected status {response.status}"))
        return []

    def _rest(self) -> Response | None:
        """What of the reply is here already."""
        while (event := self._next()) is not None:
            if isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Response(self._status, bytes(self._body))
        return None

    def _take(self, octets: bytes) -> None:
        self._is_cut = not octets
        self._check_beginning(octets)
        try:
            self._http.receive_data(octets)
        except h11.ProtocolError as error:
            self._fail(error)

    def _check_beginning(self, octets: bytes) -> None:
        """h11 waits for a whole head. What is none (a login's greeting) may never end in an empty line."""
        if self._is_begun:
            return
        self._beginning += octets
        if not _STATUS_LINE.startswith(self._beginning[: len(_STATUS_LINE)]):
            said = safe_text(self._beginning.partition(b"\n")[0].strip().decode(errors="replace"), 80)
            raise BadReply(SafeText(f"not an admin API: it says '{said}'"))
        self._is_begun = len(self._beginning) >= len(_STATUS_LINE)

    def _next(self) -> h11.Event | None:
        try:
            event = self._http.next_event()
        except h11.ProtocolError as error:
            self._fail(error)
        if isinstance(event, h11.ConnectionClosed):
            raise Cut(SafeText("the sidecar closed the connection"))
        return None if isinstance(event, type) else event

    def _fail(self, error: h11.ProtocolError) -> NoReturn:
        if self._is_cut:
            raise Cut(SafeText("the sidecar closed the connection")) from None
        raise BadReply(SafeText(f"not an admin API: {safe_text(str(error), 80)}")) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
