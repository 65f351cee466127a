"""A TCP connection whose sockets, upstream and relay are played by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.http.identities import identity
from unit.dataplane.shells import Frontend, Relay

from tlsidecar.dataplane import starttls_connection, tcp_connection
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.reach import Reached
from tlsidecar.dataplane.stream import Parameters
from tlsidecar.dataplane.tcp_connection import TcpConnection
from tlsidecar.dataplane.tls_failure import SslFailure
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Address, ListenerSettings, Mode

THEM = identity(dns=("them.test",))


class Socket:
    """``sent`` is what was written to it, ``end`` how it was let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = b""
        self.end = ""

    def __repr__(self) -> str:
        return self.name

    def fileno(self) -> int:
        return 99

    def getpeername(self) -> object:
        raise OSError

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def close(self) -> None:
        self.end = "closed"


class Stream:
    failure: SslFailure | None = None

    def __init__(self) -> None:
        self.done: list[str] = []
        self.written = b""

    def parameters(self) -> Parameters:
        return Parameters("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "", "here.test")

    def peer_chain(self) -> tuple[bytes, ...]:
        return ()

    def write_bytes(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def close_notify(self) -> int:
        self.done.append("close_notify")
        return 1

    def release(self) -> None:
        self.done.append("released")


@dataclass
class Reach:
    reached: Callable[[Reached], None]
    missed: Callable[[Missed], None]
    trying: Callable[[Any, bool], None]
    header: bytes = b""
    greeted: Callable[[bytes], None] | None = None
    state: str = ""
    asked: bytes = b""

    def start(self) -> None:
        self.state = "started"

    def cancel(self) -> None:
        self.state = "cancelled"

    def go_on(self, request: bytes) -> None:
        self.asked = request


def settings(mode: Mode = Mode.TERMINATE, **more: Any) -> ListenerSettings:
    return ListenerSettings("db", mode, Address("127.0.0.1", 1), (Address("127.0.0.1", 2),), **more)


class World(Frontend):
    """``came`` is the socket that was accepted, ``other`` the one to the upstream."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        mode: Mode = Mode.TERMINATE,
        make: type[TcpConnection] = TcpConnection,
        **more: Any,
    ) -> None:
        super().__init__(settings(mode, **more))
        self.came, self.other, self.stream = Socket("came"), Socket("other"), Stream()
        self.reaches: list[Reach] = []
        self.carried: list[tuple[str, int, int]] = []
        self.party = SimpleNamespace(carried=lambda *carried: self.carried.append(carried))
        self.peer = SimpleNamespace(identity=THEM, rule="dns:them.test", party=self.party, stream=self.stream)
        self.upstream = SimpleNamespace(
            text="127.0.0.1:2", address=Address("127.0.0.1", 2), active=1, refused=self.counted.append
        )
        for module in (tcp_connection, starttls_connection):
            monkeypatch.setattr(module, "Reach", self._reach)
            monkeypatch.setattr(module, "Relay", Relay)
        monkeypatch.setattr(tcp_connection, "reset", lambda sock: setattr(sock, "end", "reset"))
        self.connection = make(cast("Any", self.seen), cast("Any", self.came), "192.0.2.7:4711")

    def _reach(self, _outbound: object, _contexts: object, reached: Any, missed: Any, **more: Any) -> Reach:
        self.reaches.append(Reach(reached, missed, **more))
        return self.reaches[-1]

    @property
    def reach(self) -> Reach:
        return self.reaches[-1]

    @property
    def relay(self) -> Relay:
        assert isinstance(self.connection.relay, Relay)
        return self.connection.relay

    def is_authorised(self) -> None:
        """Terminating: the handshake of the peer is over."""
        self.connection.peer = cast("Any", self.peer)
        self.connection.authorised()

    def is_reached(self, greeting: bytes = b"") -> None:
        self.reach.trying(self.upstream, False)
        peer = None if self.seen.terminates else self.peer
        reached = Reached(cast("Any", self.upstream), cast("Any", self.other), cast("Any", peer), 0.25, 1, greeting)
        self.reach.reached(reached)

    def is_missed(self, reason: Reason = Reason.UPSTREAM_REFUSED, said: bytes = b"", handshake: Any = None) -> None:
        stage, side = (Stage.VERIFY, Side.PEER) if handshake is not None else (Stage.UPSTREAM, Side.LOCAL)
        self.reach.missed(Missed(stage, reason, "in vain", side, handshake, "127.0.0.1:2", said))

    def ended(self) -> dict[str, str]:
        """How each socket was let go."""
        ends = {str(sock): how for sock, how in self.left}
        return ends | {sock.name: sock.end for sock in (self.came, self.other) if sock.end}
