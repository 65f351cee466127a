"""A client's connection that carries requests, of whichever version: how it begins, and how its client is left.

The versions' own connections are built on it (:mod:`..http1.connection`, :mod:`..http2.connection`). Each has a machine
that knows its messages and no sockets; here is the end of the client's.
"""

from __future__ import annotations

import socket
from abc import abstractmethod

from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.http.exchange import Downstream
from tlsidecar.dataplane.http.services import HttpServices
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.tls_endpoint import TlsEndpoint
from tlsidecar.outcomes import Reason


class HttpConnection(Connection):
    """``_received`` and ``_sent`` count the bytes that the client has sent and was sent, without TLS's own."""

    __slots__ = ("_client", "_high_water", "_received", "_sent", "_services", "_stuck_bytes")

    def __init__(self, frontend: Frontend, services: HttpServices, sock: socket.socket, peer_address: str) -> None:
        super().__init__(frontend, sock, peer_address)
        self._services = services
        self._high_water = frontend.limits.buffer_bytes
        self._client: Endpoint | None = None  # until it is authorised
        self._received = 0
        self._sent = 0
        self._stuck_bytes = 0  # what waited for a side that did not read, when the time was last checked

    @property
    def bytes_in(self) -> int:
        return self._received if self.frontend.terminates else self._sent

    @property
    def bytes_out(self) -> int:
        return self._sent if self.frontend.terminates else self._received

    def start(self) -> None:
        if self.frontend.terminates:
            self.shake_hands()
        else:
            self._serve(PlainEndpoint(self.reactor, self.sock))

    def authorised(self) -> None:
        assert self.peer is not None
        self._serve(TlsEndpoint(self.reactor, self.sock, self.peer.stream))

    def _serve(self, client: Endpoint) -> None:
        self._client = client
        self._converse(client, self._services.downstream(self, self.peer_chain))
        self.open()
        client.attach(self._client_readable, self)
        if self.frontend.terminates:
            self._client_readable(READ)  # OpenSSL may have read the first request along with the handshake

    @abstractmethod
    def _converse(self, client: Endpoint, downstream: Downstream) -> None:
        """Make the machine that knows the messages: the client's first bytes are about to be read."""

    @abstractmethod
    def _client_readable(self, events: int) -> None:
        """There is something to read from the client, or an end or a failure."""

    @abstractmethod
    def drained(self) -> None:
        """Of the client, as :class:`.endpoint.Holder` says."""

    @abstractmethod
    def broken(self) -> None:
        """The same."""

    def drain(self) -> None:
        self.draining = True
        if self._client is None:
            self.refuse(self._stage(), Reason.DRAINING)
        else:
            self.retire(Reason.DRAINED)

    def _leave_client(self, ending: Ending) -> None:
        """Let go of its socket, so that what was sent last is still read."""
        client = self._client
        if client is None:
            self.stop_unserved()
        elif ending is Ending.CUT:
            client.cut(self.shared.lingerer)
        elif ending is Ending.KILLED:
            client.cut()
        else:
            client.linger(self.shared.lingerer)
