"""A connection on a listener for both HTTP/1.1 and HTTP/2, until it is known which it speaks.

Terminating, ALPN says so; originating, the first bytes do: an application that knows that HTTP/2 is spoken here begins
with its preface (RFC 9113 section 3.3). Whichever it is then takes this one's place.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.http2.frames import PREFACE
from tlsidecar.dataplane.reactor import EDGE, READ
from tlsidecar.outcomes import Reason
from tlsidecar.settings import H2

Make = Callable[[socket.socket, str], Connection]


class ChoosingConnection(Connection):
    """Only what comes before the first request."""

    __slots__ = ("_begun_at", "_http1", "_http2", "_is_waiting")

    def __init__(self, frontend: Frontend, http1: Make, http2: Make, sock: socket.socket, peer_address: str) -> None:
        super().__init__(frontend, sock, peer_address)
        self._http1 = http1
        self._http2 = http2
        self._is_waiting = False  # for the first bytes
        self._begun_at = 0.0  # since when a part of the preface is there; 0: nothing is

    @property
    def bytes_in(self) -> int:
        return 0

    @property
    def bytes_out(self) -> int:
        return 0

    @property
    def active_at(self) -> float:
        return self.accepted_at

    def start(self) -> None:
        if self.frontend.terminates:
            self.shake_hands()
            return
        self._is_waiting = True
        # Told of each arrival once: a part of the preface that lies there must not wake us again and again.
        self.reactor.watch(self.sock.fileno(), READ | EDGE, self)

    def authorised(self) -> None:
        assert self.peer is not None
        is_h2 = self.peer.stream.parameters().alpn == H2.decode()
        self._give_way(self._http2 if is_h2 else self._http1).authorised()

    def __call__(self, _events: int) -> None:
        """There is something to read, or an end."""
        try:
            begun = self.sock.recv(len(PREFACE), socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            begun = b""
        if begun and begun != PREFACE and PREFACE.startswith(begun):
            self._begun_at = self._begun_at or self.reactor.now
            return  # the rest of the preface, or something else, is still to come
        self.reactor.forget(self.sock.fileno())
        self._is_waiting = False
        self._give_way(self._http2 if begun == PREFACE else self._http1).start()

    def _give_way(self, make: Make) -> Connection:
        chosen = make(self.sock, self.peer_address)
        chosen.succeed(self)
        self.frontend.replaced(chosen)
        return chosen

    def drain(self) -> None:
        self.draining = True
        self.refuse(self._stage(), Reason.DRAINING)

    def retire(self, reason: Reason) -> None:
        self.close(reason)

    def check_time(self, now: float) -> None:
        """Who has said nothing is waited for as for the next request, and who has begun as for the rest of a head."""
        limits = self.frontend.limits
        if self._begun_at:
            is_late = now - self._begun_at > limits.head_timeout_s
        else:
            is_late = now - self.accepted_at > limits.keepalive_timeout_s
        if self._is_waiting and is_late:
            self.close(Reason.HEAD_TIMEOUT)

    def stop(self, ending: Ending) -> None:
        if self._is_waiting:
            self.reactor.forget(self.sock.fileno())
        self.stop_unserved()
