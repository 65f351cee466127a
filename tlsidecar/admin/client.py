"""A small synchronous client of the admin API, for the command line."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11

CONNECT_S = 5.0
ANSWER_S = 30.0
REPLY_BYTES = 64 * 1024 * 1024
READ_BYTES = 64 * 1024
# The server sends a comment every 15 s on a stream that has nothing to tell.
STREAM_SILENCE_S = 60.0

JsonObject = dict[str, Any]


class AdminUnreachable(Exception):
    """Nobody answers on the admin socket, or not in time, or not in HTTP."""


class AdminRefused(Exception):
    """The sidecar answered with an error. ``document`` is the whole reply; ``code`` and ``message`` are its error's."""

    def __init__(self, status: int, document: JsonObject) -> None:
        error = document.get("error")
        told = error if isinstance(error, dict) else {}
        self.status = status
        self.document = document
        self.code = str(told.get("code", "error"))
        self.message = str(told.get("message", f"HTTP status {status}"))
        super().__init__(self.message)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of any kind."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of the stream; ``data`` is its JSON object."""

    id: str
    event: str
    data: JsonObject


class AdminClient:
    """Calls the admin API on one socket; a connection for each call, since the command line makes few."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<AdminClient {self._path}>"

    def get(self, target: str) -> JsonObject:
        """Raises AdminUnreachable and AdminRefused."""
        return self.call("GET", target)

    def call(
        self, method: str, target: str, body: Mapping[str, object] | None = None, *, answer_s: float = ANSWER_S
    ) -> JsonObject:
        """The JSON reply. Raises AdminUnreachable, and AdminRefused for every status from 400 on."""
        reply = self.request(method, target, body, answer_s=answer_s)
        try:
            document = json.loads(reply.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            if reply.status < 400:
                raise AdminUnreachable(f"{self._path}: the answer is not JSON")
            document = {"error": {"message": reply.body[:200].decode("utf-8", "replace").strip()}}
        if reply.status >= 400:
            raise AdminRefused(reply.status, document)
        return document

    def request(
        self, method: str, target: str, body: Mapping[str, object] | None = None, *, answer_s: float = ANSWER_S
    ) -> Reply:
        """The reply as it is. Raises AdminUnreachable."""
        with self._connected(answer_s) as exchange:
            exchange.send(method, target, body, {"Connection": "close"})
            head = exchange.head()
            return Reply(head.status_code, b"".join(exchange.pieces(REPLY_BYTES)))

    def events(self, last_event_id: str = "") -> Iterator[ServerEvent]:
        """Events as they come, until the server ends the stream. Raises AdminUnreachable and AdminRefused."""
        with self._connected(STREAM_SILENCE_S) as exchange:
            exchange.send("GET", "/v1/events", None, {"Last-Event-ID": last_event_id} if last_event_id else {})
            head = exchange.head()
            if head.status_code >= 400:
                raise AdminRefused(head.status_code, json.loads(b"".join(exchange.pieces(REPLY_BYTES))))
            text = b""
            with contextlib.suppress(h11.RemoteProtocolError):  # cut in the middle: the sidecar has ended
                for piece in exchange.pieces(None):
                    *blocks, text = (text + piece).split(b"\n\n")
                    yield from filter(None, map(_event, blocks))

    @contextlib.contextmanager
    def _connected(self, answer_s: float) -> Iterator[_Exchange]:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(str(self._path))
            connection.settimeout(answer_s)
            yield _Exchange(connection)
        except TimeoutError:
            raise AdminUnreachable(f"{self._path}: no answer in time") from None
        except h11.RemoteProtocolError as error:
            raise AdminUnreachable(f"{self._path}: the answer is not HTTP: {error}") from None
        except OSError as error:
            raise AdminUnreachable(f"{self._path}: {_sentence(error)}") from None
        finally:
            connection.close()


class _Exchange:
    """One request and its reply on a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._http = h11.Connection(h11.CLIENT)

    def send(
        self, method: str, target: str, body: Mapping[str, object] | None, more_headers: Mapping[str, str]
    ) -> None:
        headers = [("Host", "localhost"), ("User-Agent", "tlsidecar"), *more_headers.items()]
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        data = self._http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        if content:
            data += self._http.send(h11.Data(data=content)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        # A sidecar that turns us away says so and closes without reading: its answer is there all the same.
        with contextlib.suppress(BrokenPipeError):
            self._socket.sendall(data)

    def head(self) -> h11.Response:
        while True:
            event = self._next()
            if isinstance(event, h11.Response):
                return event

    def pieces(self, limit_bytes: int | None) -> Iterator[bytes]:
        size = 0
        while not isinstance(event := self._next(), h11.EndOfMessage | h11.ConnectionClosed):
            if isinstance(event, h11.Data):
                size += len(event.data)
                if limit_bytes is not None and size > limit_bytes:
                    raise OSError(errno.EMSGSIZE, "the answer is too large")
                yield bytes(event.data)

    def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._socket.recv(READ_BYTES))
        return event


def _event(block: bytes) -> ServerEvent | None:
    """One block of a stream (WHATWG HTML, "Server-sent events"); None for comments."""
    fields: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\n"):
        name, colon, value = line.partition(":")
        if name and colon:
            fields[name] = value.removeprefix(" ")
    if "data" not in fields:
        return None
    return ServerEvent(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))


def _sentence(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such socket: is the sidecar running, and is this its --socket?"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens on it any more: the sidecar has ended"
    if isinstance(error, PermissionError):
        return "permission denied: the socket is its owner's and root's alone"
    return error.strerror or str(error) or type(error).__name__
