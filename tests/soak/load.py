"""The load: each kind of client is a thread that goes on until told to stop, and counts what it did."""

from __future__ import annotations

import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL
from support.mtls import TIMEOUT_S, Alerted, Peer, client_context
from support.pki import Pair

PAUSE_S = 0.02  # between exchanges: the machine's cores are for the sidecar and for other tests, too


@dataclass(frozen=True)
class Target:
    """A listener, and what a client needs to reach it. Without ``trust`` it only looks whether what it is shown is for
    the name and has not expired: the CA is made anew while the load goes on."""

    port: int
    trust: Path | None
    pair: Pair
    stranger: Pair
    name: str = "localhost"
    pause_s: float = PAUSE_S


@dataclass(frozen=True)
class Failure:
    """What should not have happened: to whom, when (time.monotonic), and on the connection from which local port."""

    client: str
    at_s: float
    local_port: int
    what: str

    def __str__(self) -> str:
        return f"{self.client}, from port {self.local_port}: {self.what}"


@dataclass
class Client(threading.Thread, ABC):
    """``done`` counts exchanges."""

    target: Target
    over: threading.Event
    seed: int
    done: int = 0
    local_port: int = 0
    errors: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True, name=f"{type(self).__name__} {self.seed}")
        self.random = random.Random(self.seed)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.session()
            except Exception as error:
                what = f"after {self.done}: {error!r}"
                self.errors.append(Failure(self.name, time.monotonic(), self.local_port, what))
                self.over.wait(0.5)

    @abstractmethod
    def session(self) -> None:
        """One connection, or until told to stop."""

    def connect(self, pair: Pair | None = None) -> Peer:
        """A handshake that is finished, as ``pair``, or as whom the listener lets in."""
        target = self.target
        pair = pair or target.pair
        sock = socket.create_connection(("127.0.0.1", target.port), TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local_port = sock.getsockname()[1]
        try:
            if target.trust is not None:
                return Peer(client_context(target.trust, pair), sock, name=target.name).handshake()
            return self._looked_at(sock, pair)
        except BaseException:
            sock.close()
            raise

    def _looked_at(self, sock: socket.socket, pair: Pair) -> Peer:
        target = self.target
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.use_certificate_chain_file(str(pair.cert))
        context.use_privatekey_file(str(pair.key))
        peer = Peer(context, sock, name=target.name)
        leaf = peer.handshake().tls.get_peer_certificate(as_cryptography=True)
        assert leaf is not None
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if target.name not in names.get_values_for_type(x509.DNSName):
            raise AssertionError(f"shown the leaf of {names}")
        if leaf.not_valid_after_utc < datetime.now(UTC):
            raise AssertionError(f"shown a leaf that expired at {leaf.not_valid_after_utc}")
        return peer

    def leave(self, peer: Peer) -> None:
        peer.end_writing()
        if peer.recv_all():
            raise AssertionError("more came than was asked for")
        peer.close()


class KeepAlive(Client):
    """Requests on one connection: a few dozen, then another connection."""

    def session(self) -> None:
        peer = self.connect()
        for _ in range(self.random.randrange(10, 80)):
            if self.over.is_set():
                break
            body = b"b" * self.random.choice((0, 10, 3000))
            peer.send(b"POST /soak HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            _read_response(peer, body)
            self.done += 1
            time.sleep(self.target.pause_s)
        self.leave(peer)


class Tunnel(Client):
    """Blocks there and back on one long connection."""

    def session(self) -> None:
        peer = self.connect()
        while not self.over.is_set():
            block = self.random.randbytes(self.random.randrange(1, 100_000))
            peer.send(block)
            if peer.recv_exactly(len(block)) != block:
                raise AssertionError("other bytes came back")
            self.done += 1
            time.sleep(self.target.pause_s)
        self.leave(peer)


class Churn(Client):
    """A new connection for each exchange; one in ten is cut, as clients do."""

    def session(self) -> None:
        peer = self.connect()
        peer.send(b"churn")
        if peer.recv_exactly(5) != b"churn":
            raise AssertionError("other bytes came back")
        self.done += 1
        if self.random.randrange(10):
            self.leave(peer)
        else:
            peer.reset()
        time.sleep(self.target.pause_s)


class Stranger(Client):
    """Whoever is not allowed is refused, every time."""

    def session(self) -> None:
        try:
            peer = self.connect(self.target.stranger)
            try:
                peer.recv()
            finally:
                peer.close()
        except (Alerted, ConnectionError):
            self.done += 1
            self.over.wait(0.2)
            return
        raise AssertionError("a stranger was let in")


def every(interval_s: float, over: threading.Event, act: Callable[[int], None]) -> threading.Thread:
    """Call ``act`` with 1, 2, 3 … until told to stop."""

    def run() -> None:
        number = 0
        while not over.wait(interval_s):
            number += 1
            act(number)

    thread = threading.Thread(target=run, daemon=True, name="every")
    thread.start()
    return thread


def _read_response(peer: Peer, body: bytes) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv()
        if not more:
            raise AssertionError(f"ended in the head: {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise AssertionError(head.split(b"\r\n")[0].decode())
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    if len(rest) < length:
        rest += peer.recv_exactly(length - len(rest))
    if not rest.endswith(body):
        raise AssertionError("another body came back")
