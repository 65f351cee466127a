"""An end of an HTTP exchange whose other end will not have it."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from OpenSSL import SSL
from support.mtls import client_context, server_context
from support.pki import Pki
from support.services import reset

from tlsidecar.dataplane import stream, stream_fast, stream_portable
from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.linger import Lingerer
from tlsidecar.dataplane.reactor import READ, Reactor
from tlsidecar.dataplane.stream import BUFFER_BYTES, CLOSED, DONE, FAILED, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_endpoint import RemoteEndpoint, TlsEndpoint
from tlsidecar.dataplane.tls_failure import FailureKind

ENGINES = {
    "fast": (stream_fast, stream_fast.FastStream),
    "portable": (stream_portable, stream_portable.PortableStream),
}


class TrustsAll:
    def verify(self, error: int, depth: int, leaf: stream.Leaf) -> int:
        return stream.VERIFIED


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> tuple[types.ModuleType, type]:
    return ENGINES[request.param]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname(), 10)
        far, _ = listener.accept()
    near.setblocking(False)
    with near, far:
        yield near, far


@pytest.mark.parametrize(
    "send",
    [lambda end: end.send(b"GET / HTTP/1.1\r\n\r\n"), lambda end: end.send_read(100)],
    ids=["data", "what was read"],
)
async def test_a_refusal_is_heard_though_a_reset_came_with_it(
    send: Callable[[RemoteEndpoint], bool],
    engine: tuple[types.ModuleType, type],
    pair: tuple[socket.socket, socket.socket],
    pki: Pki,
    tmp_path: Path,
) -> None:
    """The remote's alert and its reset are both there before anything is written."""
    near, _ = pair
    endpoint = RemoteEndpoint(Reactor(asyncio.get_running_loop()), near, refused(engine, pair, pki, tmp_path))
    assert not send(endpoint)
    assert endpoint.failure is not None
    assert (endpoint.failure.kind, endpoint.failure.alert) == (FailureKind.ALERT, "unknown_ca")
    endpoint.close()


async def test_a_refusal_is_one_though_it_came_between_the_look_and_the_write(
    engine: tuple[types.ModuleType, type], pair: tuple[socket.socket, socket.socket], pki: Pki, tmp_path: Path
) -> None:
    near, _ = pair
    endpoint = RemoteEndpoint(Reactor(asyncio.get_running_loop()), near, refused(engine, pair, pki, tmp_path))
    stream = endpoint._stream
    endpoint._stream = SimpleNamespace(  # type: ignore[assignment]
        peek=lambda: WANT_READ, write_bytes=stream.write_bytes, release=stream.release, failure=None
    )
    assert not endpoint.send(b"GET / HTTP/1.1\r\n\r\n")
    assert endpoint.failure is not None
    assert endpoint.failure.kind is FailureKind.ALERT
    endpoint.close()


@pytest.mark.parametrize("is_paused", [False, True])
async def test_what_looking_has_taken_in_is_read(is_paused: bool, pair: tuple[socket.socket, socket.socket]) -> None:
    """The socket does not become readable for it any more: the answer to an upload would wait for its end."""
    near, _ = pair
    heard: list[int] = []
    endpoint = RemoteEndpoint(Reactor(asyncio.get_running_loop()), near, SimpleNamespace())  # type: ignore[arg-type]
    endpoint._stream = SimpleNamespace(peek=lambda: 1, write_bytes=len, release=lambda: None)  # type: ignore[assignment]
    endpoint.attach(heard.append, SimpleNamespace())  # type: ignore[arg-type]
    if is_paused:
        endpoint.pause()
    assert endpoint.send(b"x")
    await asyncio.sleep(0)
    assert heard == ([] if is_paused else [READ])
    endpoint.resume()
    await asyncio.sleep(0)
    assert heard == [READ]
    endpoint.close()


def refused(
    engine: tuple[types.ModuleType, type], pair: tuple[socket.socket, socket.socket], pki: Pki, tmp_path: Path
) -> Stream:
    """Our end of a connection whose remote has found fault with our certificate, and reset."""
    module, kind = engine
    near, far = pair
    context = client_context(pki.trust, pki.issue("client", "client.test"))
    module.install_verifier(context, SSL.VERIFY_PEER)
    ours = kind(context, near, TrustsAll(), server_side=False)
    theirs = SSL.Connection(server_context(Pki(tmp_path / "other").trust, pki.issue("server", "localhost")), far)
    theirs.set_accept_state()
    ours.handshake()
    far.setblocking(False)
    with pytest.raises(SSL.WantReadError):
        theirs.do_handshake()
    assert ours.handshake() == DONE
    with pytest.raises(SSL.Error, match="verify failed"):
        theirs.do_handshake()
    reset(far)
    poll = select.poll()
    poll.register(near, select.POLLIN)
    assert poll.poll(5000)[0][1] & select.POLLERR
    return ours


class Reader:
    """Reads whenever it is told to, and keeps what each read gave."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.counts: list[int] = []
        self.over = asyncio.Event()

    def readable(self, _events: int) -> None:
        count = self.endpoint.read()
        if count not in (WANT_READ, WANT_WRITE):
            self.counts.append(count)
        if count in (CLOSED, FAILED):
            self.endpoint.pause()
            self.over.set()

    def drained(self) -> None: ...

    def broken(self) -> None: ...

    def fail(self) -> None:
        self.over.set()


SENT_BYTES = 100_000


@pytest.mark.parametrize("end", ["close_notify", "bad record"])
@pytest.mark.parametrize("wide", [False, True])
async def test_records_are_gathered_while_wide_and_their_end_is_told_after_them(
    wide: bool, end: str, engine: tuple[types.ModuleType, type], pair: tuple[socket.socket, socket.socket], pki: Pki
) -> None:
    """The end comes with the last record, and nothing after it that would make the socket readable once more."""
    module, kind = engine
    near, far = pair
    context = server_context(pki.trust, pki.issue("server", "localhost"))
    module.install_verifier(context, SSL.VERIFY_PEER)
    ours = kind(context, near, TrustsAll(), server_side=True)
    theirs = SSL.Connection(client_context(pki.trust, pki.issue("client", "client.test")), far)
    theirs.set_connect_state()
    far.setblocking(False)
    done = 0
    while done != DONE:
        with contextlib.suppress(SSL.WantReadError):
            theirs.do_handshake()
        done = ours.handshake()
    sent = 0
    while sent < SENT_BYTES:
        sent += theirs.send(bytes(min(16384, SENT_BYTES - sent)))
    if end == "close_notify":
        theirs.shutdown()
    else:
        far.send(b"\x17\x03\x03\x00\x13" + bytes(19))
    endpoint = TlsEndpoint(Reactor(asyncio.get_running_loop()), near, ours)
    endpoint.widen(wide)
    reader = Reader(endpoint)
    endpoint.attach(reader.readable, reader)
    await asyncio.wait_for(reader.over.wait(), 10)
    *counts, last = reader.counts
    assert sum(counts) == SENT_BYTES
    assert last == (CLOSED if end == "close_notify" else FAILED)
    assert (endpoint.failure is not None) is (last == FAILED)
    assert len(counts) == 1 if wide else len(counts) > 6
    endpoint.close()


async def test_a_wide_plain_end_reads_more_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.setblocking(False)
    sent = far.send(bytes(BUFFER_BYTES))
    assert sent > 150_000
    endpoint = PlainEndpoint(Reactor(asyncio.get_running_loop()), near)
    assert endpoint.read() == 64 * 1024
    endpoint.widen(True)
    assert endpoint.read() > 64 * 1024
    endpoint.close()


class CountingSocket(socket.socket):
    shutdowns = 0

    def shutdown(self, how: int) -> None:
        self.shutdowns += 1
        super().shutdown(how)


async def test_a_gentle_end_keeps_its_watch_and_ends_writing_once() -> None:
    """Each new HTTP connection ends so: forgotten, ended twice and watched anew it took three calls more."""
    reactor = Reactor(asyncio.get_running_loop())
    ours, far = socket.socketpair()
    near = CountingSocket(fileno=ours.detach())
    near.setblocking(False)
    asked: list[str] = []
    with far:
        lingerer = Lingerer(reactor)
        endpoint = PlainEndpoint(reactor, near)
        holder = SimpleNamespace(read=lambda _events: asked.append("read"))
        endpoint.attach(holder.read, holder)  # type: ignore[arg-type]
        epoll, reactor._epoll = reactor._epoll, None  # type: ignore[assignment]
        endpoint.linger(lingerer)  # without a word to the kernel
        reactor._epoll = epoll
        assert (near.shutdowns, len(lingerer), len(reactor)) == (1, 1, 1)
        assert far.recv(1) == b""
    reactor._registry.handlers[near.fileno()](READ)  # type: ignore[misc]
    assert (len(lingerer), len(reactor), asked) == (0, 0, [])
    reactor.close()
