"""Answers to an ACME CA's http-01 challenges (RFC 8555 section 8.3), on a plain port that is open only meanwhile.

Anybody may ask, and gets what is presented or 404; whoever is slow, or many, is cut off.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import cast

from certs.acme.challenges import HTTP_PATH, Challenge
from certs.acme.messages import AcmeError
from tlsidecar.settings import Address

MAX_CLIENTS = 64
MAX_REQUEST_BYTES = 8192
CLIENT_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 10.0

_REQUEST = re.compile(
    rb"GET (?:http://[^/ ]+)?(" + re.escape(HTTP_PATH).encode() + rb"[A-Za-z0-9_-]+) HTTP/1\.[01]\r\n"
)


class HttpChallenges:
    """Implements :class:`certs.acme.transport.Responder` for a thread beside the loop that it is made on."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._shown: dict[str, bytes] = {}
        self._clients: set[_Client] = set()

    def __repr__(self) -> str:
        return f"<HttpChallenges {self._address} shown={len(self._shown)}>"

    def present(self, challenge: Challenge) -> None:
        """Raises :class:`AcmeError` when the port cannot be had."""
        opened = asyncio.run_coroutine_threadsafe(self._open(challenge), self._loop)
        try:
            opened.result(OPEN_TIMEOUT_S)
        except TimeoutError:
            raise AcmeError(f"[identity.acme] http = {self._address} was not opened in time") from None

    def withdraw(self, challenge: Challenge) -> None:
        self._loop.call_soon_threadsafe(self._close, challenge)

    async def _open(self, challenge: Challenge) -> None:
        self._shown[challenge.path] = challenge.key_authorization.encode("ascii")
        if self._server is not None:
            return
        try:
            self._server = await self._loop.create_server(
                lambda: _Client(self._clients, self._shown),
                self._address.host,
                self._address.port,
                family=socket.AF_UNSPEC,
                backlog=MAX_CLIENTS,
            )
        except OSError as error:
            self._shown.clear()
            raise AcmeError(f"[identity.acme] http = {self._address} cannot be listened on: {error.strerror}") from None

    def _close(self, challenge: Challenge) -> None:
        self._shown.pop(challenge.path, None)
        if not self._shown and self._server is not None:
            self._server.close()
            self._server = None
            for client in list(self._clients):
                client.close()


class _Client(asyncio.Protocol):
    """One connection: one request, one answer."""

    def __init__(self, clients: set[_Client], shown: dict[str, bytes]) -> None:
        self._clients = clients
        self._shown = shown
        self._request = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if len(self._clients) >= MAX_CLIENTS:
            self.close()
            return
        self._clients.add(self)
        self._timer = asyncio.get_running_loop().call_later(CLIENT_TIMEOUT_S, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._request += data
        if b"\r\n\r\n" in self._request:
            self._transport.write(self._answer())
            self._transport.close()
        elif len(self._request) > MAX_REQUEST_BYTES:
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _answer(self) -> bytes:
        asked = _REQUEST.match(self._request)
        body = self._shown.get(asked[1].decode()) if asked is not None else None
        status = b"200 OK" if body is not None else b"404 Not Found"
        body = body or b""
        head = (
            b"HTTP/1.1 %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        )
        return head % (status, len(body)) + body
