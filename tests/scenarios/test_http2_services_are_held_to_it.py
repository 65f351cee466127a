"""What hostile HTTP/2 services say over mutual TLS through an ambassador: what its application hears of it, and who is
named for it. Its other connections, and its next one, do not notice."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, server_context
from support.pki import Pair, Pki
from support.services import serving
from support.sidecar import Sidecar, running
from support.waiting import eventually
from unit.dataplane.http2.talk import CALL, OK, Side, head
from unit.dataplane.http2.test_upstream_frames import BREAKS, FLOODS

from tlsidecar.dataplane.http2 import frames

pytestmark = pytest.mark.xdist_group("http2_services")

_GREETING = frames.settings([]) + frames.SETTINGS_ACK
_ASKED = head(1) + head(3, CALL) + head(5)


class Remote:
    """Says ``says`` once it has been asked anything, or at once where it says it ``unasked``; answers where that is
    empty."""

    def __init__(self, trust: Path, pair: Pair) -> None:
        self._context = server_context(trust, pair)
        self._context.set_alpn_select_callback(lambda _connection, _offered: b"h2")
        self.says = b""
        self.unasked = False

    def __call__(self, sock: socket.socket) -> None:
        peer = Peer(self._context, sock, server_side=True)
        heard = Side()
        says = self.says
        with contextlib.suppress(SSL.Error, OSError, Alerted):
            peer.handshake()
            peer.send(_GREETING + (says if self.unasked else b""))
            unread = b""
            while data := peer.recv():
                unread += data
                if len(unread) < len(frames.PREFACE):
                    continue
                if unread.startswith(frames.PREFACE):
                    unread = unread[len(frames.PREFACE) :]
                heard.hear(unread)
                unread = b""
                asked = [each[1] for each in heard.of("head")]
                if says and len(asked) == 3:
                    peer.send(says)
                elif not says:
                    heard.heard.clear()
                    peer.send(b"".join([head(number, OK) for number in asked]))  # type: ignore[arg-type]


class World:
    def __init__(self, sidecar: Sidecar, remote: Remote) -> None:
        self.sidecar = sidecar
        self.remote = remote
        self._port = sidecar.port()

    def application(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), 20)
        sock.sendall(frames.PREFACE + frames.settings([]))
        return sock

    def hears(self, sock: socket.socket, *said: bytes, until: int = 0) -> Side:
        """Up to the end, or a head on the stream ``until``."""
        side = Side()
        sock.sendall(b"".join(said))
        while not (until and side.heads(until)) and (data := sock.recv(65536)):
            side.hear(data)
        return side

    def lost(self, application: str) -> list[dict[str, Any]]:
        """The access log's lines of calls of this application's address that were answered 502."""
        lines = [line for line in self.sidecar.access_lines() if line["peer"] == application]
        return [line for line in lines if line.get("target") == "/demo.Echo/Unary" and line["status"] == 502]

    def failed(self) -> float:
        return self.sidecar.metric("tlsidecar_upstream_errors_total", reason="upstream_bad_response")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("services")
    pki = Pki(directory / "pki")
    remote = Remote(pki.trust, pki.issue("remote", "localhost"))
    with serving(remote) as service:
        config = configs.identity(pki.issue("ours", "ours.test"), pki.trust)
        config += configs.originate(f"localhost:{service.port}", protocol="http", http2="only")
        with running(directory / "sidecar", config) as sidecar:
            yield World(sidecar, remote)


@pytest.mark.parametrize("said", [*[pytest.param(each.values[0], id=each.id) for each in BREAKS], *FLOODS])
def test_it_costs_the_service_its_connection(world: World, said: bytes) -> None:
    before = world.failed()
    world.remote.says = b""
    with world.application() as neighbour:
        assert world.hears(neighbour, head(1), until=1).heads(1) == [dict(OK)]
        world.remote.says = said
        with world.application() as sock:
            address = "{}:{}".format(*sock.getsockname())
            side = world.hears(sock, _ASKED)
        assert side.heard[-1] == ("goaway", 5, "NO_ERROR")  # and may come again
        assert side.heads(3)[-1][b"grpc-status"] == b"14"
        assert world.hears(neighbour, head(3), until=3).heads(3) == [dict(OK)]
    assert world.failed() > before  # for each call that it has failed
    (line,) = eventually(lambda: world.lost(address))
    assert (line["identity"], line["reason"]) == ("localhost", "upstream_bad_response")
    failure = world.sidecar.failures()[0]
    assert (failure["last_identity"], failure["reason"]) == ("localhost", line["reason"])
    assert failure["detail"]


def test_one_that_was_asked_nothing(world: World) -> None:
    world.remote.says, world.remote.unasked = frames.frame(5, 4, 1, b"\0\0\0\2"), True
    before = world.sidecar.metric("tlsidecar_failures_total", reason="upstream_bad_response")
    try:
        with world.application() as sock:
            assert world.hears(sock).heard[-1] == ("goaway", 0, "NO_ERROR")
    finally:
        world.remote.unasked = False
    failure = world.sidecar.failure(
        reason="upstream_bad_response", detail="PUSH_PROMISE, which nobody here has asked for"
    )
    assert failure["last_identity"] == "localhost"
    world.sidecar.counts(before + 1, "tlsidecar_failures_total", reason="upstream_bad_response")


def test_memory_stays_flat(world: World) -> None:
    def all_of_them(times: int) -> None:
        for each in FLOODS * times:
            world.remote.says = each.values[0]  # type: ignore[assignment]
            with world.application() as sock:
                world.hears(sock, _ASKED)

    all_of_them(1)
    before = world.sidecar.resident_bytes()
    all_of_them(5)
    assert world.sidecar.resident_bytes() < before + (4 << 20)
