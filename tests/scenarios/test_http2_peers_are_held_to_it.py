"""What hostile HTTP/2 clients send over mutual TLS, what they are told, and what a recording service gets of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from support import configs
from support.mtls import Peer, client_context
from support.pki import Pair, Pki
from support.services import serving
from support.sidecar import Sidecar, running
from unit.dataplane.http2.talk import CALL, GET, OK, Side, head
from unit.dataplane.http2.test_hostile_peers import CONNECTION_ERRORS, FLOODS, MALFORMED

from tlsidecar.dataplane.http2 import frames

pytestmark = pytest.mark.xdist_group("http2_peers")


class Recorder:
    """A plaintext HTTP/2 service, by hyper h2, that answers each request and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[bytes, bytes]] = []
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        while data := sock.recv(65536):
            for event in connection.receive_data(data):  # it raises for what is not HTTP/2
                if isinstance(event, RequestReceived):
                    with self._lock:
                        self.asked.append(dict(event.headers or []))
                    connection.send_headers(event.stream_id or 0, OK, end_stream=True)
            sock.sendall(connection.data_to_send())


class World:
    def __init__(self, sidecar: Sidecar, service: Recorder, trust: Path, pair: Pair) -> None:
        self.sidecar = sidecar
        self.service = service
        self._context = client_context(trust, pair)
        self._context.set_alpn_protos([b"h2"])
        self._port = sidecar.port()

    def client(self) -> Peer:
        peer = Peer(self._context, socket.create_connection(("127.0.0.1", self._port), 10), name="localhost")
        peer.handshake()
        assert peer.tls.get_alpn_proto_negotiated() == b"h2"
        return peer

    def tell(self, *said: bytes) -> Side:
        """What a client hears that says this, up to the end of the connection or an answer on its last stream."""
        peer = self.client()
        side = Side()
        try:
            peer.send(b"".join((frames.PREFACE, frames.settings([]), *said)))
            while data := peer.recv():
                side.hear(data)
                if any(each[0] == "goaway" for each in side.heard):
                    break
                if side.heads(99):
                    break
        except ConnectionError:
            pass
        finally:
            peer.close()
        return side


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("http2")
    pki = Pki(directory / "pki")
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    recorder = Recorder()
    with serving(recorder) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http", http2="only")
        with running(directory / "sidecar", config) as sidecar:
            yield World(sidecar, recorder, pki.trust, client)


@pytest.mark.parametrize("said", FLOODS)
def test_a_flood(world: World, said: bytes) -> None:
    before = world.sidecar.metric("tlsidecar_refusals_total", reason="h2_flood")
    side = world.tell(said)
    assert [each[2] for each in side.of("goaway")] == ["ENHANCE_YOUR_CALM"]
    world.sidecar.counts(before + 1, "tlsidecar_refusals_total", reason="h2_flood")


@pytest.mark.parametrize(("said", "code"), CONNECTION_ERRORS)
def test_what_breaks_the_protocol(world: World, said: list[bytes], code: str) -> None:
    assert [each[2] for each in world.tell(*said).of("goaway")] == [code]


@pytest.mark.parametrize("fields", [pytest.param(row[1], id=row[0]) for row in MALFORMED])
def test_a_malformed_request(world: World, fields: list[tuple[bytes, bytes]]) -> None:
    """Its stream ends; the calls before and after it on the same connection are answered."""
    asked = len(world.service.asked)
    side = world.tell(head(1, CALL), head(3, fields), head(99))
    assert side.of("reset") == [("reset", 3, "PROTOCOL_ERROR")]
    assert side.heads(99)[0][b":status"] == b"200"
    assert [request[b":path"] for request in world.service.asked[asked:]] == [b"/demo.Echo/Unary", b"/x"]


def test_memory_stays_flat(world: World) -> None:
    def resident_kib() -> int:
        return int((Path("/proc") / str(world.sidecar.pid) / "statm").read_text().split()[1]) * 4

    floods = [each.values[0] for each in FLOODS]
    for said in floods:
        world.tell(said)  # type: ignore[arg-type]
    before = resident_kib()
    for said in floods * 5:
        world.tell(said)  # type: ignore[arg-type]
    assert resident_kib() < before + 4096
    assert world.tell(head(99, GET)).heads(99)[0][b":status"] == b"200"


def test_half_a_frame_and_silence(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(Recorder()) as service:
        config = configs.identity(server, pki.trust) + configs.limits(head_timeout="300ms", keepalive_timeout="600ms")
        config += configs.terminate(service.address, protocol="http", http2="only")
        with running(tmp_path / "sidecar", config) as sidecar:
            world = World(sidecar, Recorder(), pki.trust, client)
            for said in (head(1)[:12], b""):
                side = world.tell(said)
                assert [each[2] for each in side.of("goaway")] == ["NO_ERROR"]
            peer = world.client()
            assert peer.recv_all()  # nothing at all was said: SETTINGS and GOAWAY, then the end
            peer.close()
