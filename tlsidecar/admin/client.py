"""Calls the admin API over a blocking socket, for the command line."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from tlsidecar.api.client import EVENT_SILENCE_S, READ_BYTES, Conversation, Response
from tlsidecar.api.errors import BadReply, Cut, Unreachable, connect_failure, os_error
from tlsidecar.api.sse import SseMessage
from tlsidecar.api.text import SafeText, safe_text
from tlsidecar.api.times import moment

CONNECT_S = 5.0
ANSWER_S = 30.0

Row: TypeAlias = dict[str, Any]
"""One of the objects that a reply lists, as it came."""


class AdminClient:
    """Calls the admin API on one socket; a connection for each call, since the command line makes few.

    Every call raises Unreachable, BadReply and, where the sidecar answers with an error, Refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<AdminClient {self.path}>"

    def get(self, target: str) -> dict[str, Any]:
        """The JSON reply to a read; ``target`` is path and query."""
        return self.call("GET", target)

    def call(
        self, method: str, target: str, body: Mapping[str, object] | None = None, *, answer_s: float = ANSWER_S
    ) -> dict[str, Any]:
        """The JSON reply. Each of the API's tells the sidecar's time: what does not is somebody else's."""
        document = self.request(method, target, body, answer_s=answer_s).document()
        if moment(document.get("now")) is None:
            raise BadReply(SafeText(f"{safe_text(str(self.path))}: not an admin API: the reply does not tell the time"))
        return document

    def request(
        self, method: str, target: str, body: Mapping[str, object] | None = None, *, answer_s: float = ANSWER_S
    ) -> Response:
        """The reply as it is, errors too."""
        with self._connected(answer_s) as connection:
            talk = Conversation("tlsidecar")
            _send(connection, talk.call(method, target, body, headers={"Connection": "close"}))
            while (response := talk.receive(connection.recv(READ_BYTES))) is None:
                pass
            return response

    def events(self, last_event_id: str = "", *, wanted: str = "", follow: bool = True) -> Iterator[SseMessage]:
        """Events as they come, those that the filter means, until the server ends the stream: where it shall not be
        followed, after those it keeps."""
        query = ({"filter": wanted} if wanted else {}) | ({} if follow else {"follow": "no"})
        with self._connected(EVENT_SILENCE_S) as connection:
            talk = Conversation("tlsidecar")
            _send(
                connection,
                talk.call(
                    "GET",
                    f"/v1/events?{urlencode(query)}" if query else "/v1/events",
                    headers={"Last-Event-ID": last_event_id} if last_event_id else {},
                ),
            )
            with contextlib.suppress(Cut):
                while True:
                    yield from talk.receive_events(connection.recv(READ_BYTES))

    @contextlib.contextmanager
    def _connected(self, answer_s: float) -> Iterator[socket.socket]:
        try:
            with connected(self.path) as connection:
                connection.settimeout(answer_s)
                yield connection
        except TimeoutError:
            raise Unreachable(SafeText(f"{safe_text(str(self.path))}: no answer in time")) from None
        except OSError as error:
            raise Unreachable(SafeText(f"{safe_text(str(self.path))}: {os_error(error)}")) from None


def rows_in(document: Mapping[str, Any], name: str) -> list[Row]:
    """The rows of this name in a reply; none where it has none."""
    listed = document.get(name)
    return [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []


def connected(path: Path) -> socket.socket:
    """A socket that is connected to the admin socket at ``path`` and has no timeout. Raises Unreachable."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(CONNECT_S)
        connection.connect(str(path))
    except TimeoutError:
        connection.close()
        raise Unreachable(SafeText(f"{safe_text(str(path))}: no answer in time")) from None
    except OSError as error:
        connection.close()
        raise connect_failure(path, error) from None
    connection.settimeout(None)
    return connection


def _send(connection: socket.socket, octets: bytes) -> None:
    # A sidecar that turns us away says so and closes without reading: its answer is there all the same.
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(octets)
