"""A drain, a reload, the end of one connection and a revocation meet HTTP/2 streams in every state, with two workers:
each stream that is under way is finished, and only what was to end does."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from support import configs
from support.mtls import Alerted, Peer, connect
from support.pki import Pair, Pki
from support.services import serving
from support.several import several_workers
from support.sidecar import Sidecar
from support.waiting import eventually
from unit.dataplane.http2.talk import GET, Field, Side, head

from tlsidecar.dataplane.http2 import frames

HALF = b"half of it"


class Service:
    """Answers ``/early`` at once, half of ``/half``, and ``/late`` not at all, before it may go on and the request has
    ended."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def __call__(self, sock: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        asked: dict[int, bytes] = {}
        whole: set[int] = set()
        while True:
            sock.sendall(connection.data_to_send())
            if select.select([sock], [], [], 0.01)[0]:
                data = sock.recv(65536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        number = event.stream_id or 0
                        asked[number] = path = dict(event.headers or [])[b":path"]
                        if path != b"/late":
                            connection.send_headers(number, [(b":status", b"200")], end_stream=path == b"/early")
                        if path == b"/half":
                            self._say(connection, number)
                    elif isinstance(event, StreamEnded):
                        whole.add(event.stream_id or 0)
            if self.may_go_on.is_set():
                for number in [each for each, path in asked.items() if path != b"/early" and each in whole]:
                    if asked[number] == b"/late":
                        connection.send_headers(number, [(b":status", b"200")])
                        self._say(connection, number)
                    if connection.local_flow_control_window(number) >= len(HALF):
                        connection.send_data(number, HALF, end_stream=True)
                        del asked[number]
                    elif asked[number] == b"/late":
                        asked[number] = b"/half"

    def _say(self, connection: H2Connection, number: int) -> None:
        if connection.local_flow_control_window(number) >= len(HALF):
            connection.send_data(number, HALF)


def asks(path: bytes, method: bytes = b"GET") -> list[Field]:
    said = {b":method": method, b":path": path}
    return [(name, said.get(name, value)) for name, value in GET]


class Client:
    """One connection with one stream in some state: ``says`` brings it there, ``until`` tells that it is, ``then`` is
    what it still has to say, and ``answer`` what it hears in the end."""

    def __init__(
        self, says: bytes, until: Callable[[Side], object], then: bytes = b"", answer: bytes = b"", window: int = 65535
    ) -> None:
        self._says = frames.PREFACE + frames.settings([(frames.INITIAL_WINDOW_SIZE, window)]) + says
        self._until = until
        self._then = then
        self.answer = answer
        self.side = Side()
        self._pongs = 0

    def arrives(self, port: int, trust: Path, pair: Pair) -> None:
        self.peer: Peer = connect(port, trust, pair, protocols=[b"h2"])
        self.peer.send(self._says)
        self.hears(self._until)

    def hears(self, until: Callable[[Side], object]) -> None:
        while not until(self.side):
            data = self.peer.recv()
            assert data, self.side.heard
            self._take(data)

    def _take(self, data: bytes) -> None:
        self.side.hear(data)
        for _, payload in self.side.of("ping")[self._pongs :]:
            self._pongs += 1
            self.peer.send(frames.frame(frames.PING, frames.ACK, 0, payload))  # type: ignore[arg-type]

    def goes_on(self) -> None:
        if self._then:
            self.peer.send(self._then)

    def is_whole(self, side: Side) -> bool:
        ended = any(each[1] == 1 and each[3] for each in side.of("head", "data"))
        return ended and side.heads(1)[0][b":status"] == b"200" and side.data(1) == self.answer

    def ends(self) -> None:
        """In order: close_notify."""
        while data := self.peer.recv():
            self._take(data)


def _head(side: Side) -> object:
    return side.heads(1)


def _settings(side: Side) -> object:
    return len(side.of("ack", "settings")) == 2


def clients() -> dict[str, Client]:
    end = frames.data(1, b"", end_stream=True)
    grants = frames.window_update(1, 100)
    return {
        "idle": Client(head(1, asks(b"/early")), _head),
        "asking": Client(head(1, asks(b"/late", b"POST"), end=False), _settings, end, HALF * 2),
        "asked": Client(head(1, asks(b"/late")), _settings, b"", HALF * 2),
        "answered by half": Client(head(1, asks(b"/half")), lambda side: side.data(1), b"", HALF * 2),
        "answered, and still asking": Client(head(1, asks(b"/early", b"POST"), end=False), _head, end),
        "without a window": Client(head(1, asks(b"/half")), _head, grants, HALF, window=0),
        "half a window": Client(head(1, asks(b"/half")), lambda side: side.data(1), grants, HALF * 2, window=len(HALF)),
    }


class World:
    def __init__(self, sidecar: Sidecar, service: Service, pki: Pki, pair: Pair) -> None:
        self.sidecar = sidecar
        self.service = service
        self.pki = pki
        self.pair = pair
        self.clients = clients()
        for client in self.clients.values():
            client.arrives(sidecar.port(), pki.trust, self.pair)

    def go_on(self, *, but: Collection[str] = ()) -> None:
        self.service.may_go_on.set()
        for name, client in self.clients.items():
            if name not in but:
                client.goes_on()
                client.hears(client.is_whole)


@pytest.fixture
def world(pki: Pki, tmp_path: Path) -> Iterator[World]:
    server, client = pki.issue("server", "localhost"), pki.issue("one", "one.test")
    crl = pki.revoke()
    service = Service()
    with serving(service) as served:
        config = configs.identity(server, pki.trust, crl=str(crl), poll_interval="1h")
        config += configs.terminate(served.address, protocol="http", http2="only", close_on_revocation=True)
        with several_workers(tmp_path / "sidecar", config) as sidecar:
            world = World(sidecar, service, pki, client)
            yield world
            for client in world.clients.values():
                client.peer.close()


def _said_goodbye(side: Side) -> bool:
    return [each[1] for each in side.of("goaway")] == [frames.MAX_WINDOW, 1]


@pytest.mark.parametrize("why", ["a drain", "a revocation"])
def test_streams_are_finished_first(why: str, world: World) -> None:
    if why == "a drain":
        ended = threading.Thread(target=world.sidecar.call, args=("POST", "/v1/drain"), daemon=True)
        ended.start()
    else:
        world.pki.revoke(world.pair)
        assert world.sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
    for client in world.clients.values():
        client.hears(_said_goodbye)
    world.go_on()
    for client in world.clients.values():
        client.ends()
        assert client.side.of("reset") == []
        client.peer.close()
    reason = "drained" if why == "a drain" else "peer_certificate_revoked"
    world.sidecar.counts(len(world.clients), "tlsidecar_connections_total", outcome=reason)

    def logged() -> list[int]:
        return [line["status"] for line in world.sidecar.access_lines() if line["access"] == "request"]

    eventually(lambda: len(logged()) == len(world.clients))
    assert set(logged()) == {200}


def test_a_reload_is_not_noticed(world: World) -> None:
    path = world.sidecar.config_path
    path.write_text(path.read_text().replace('"any"', '"dns:one.test"'))
    assert world.sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
    world.go_on()
    assert [client.side.of("goaway", "reset") for client in world.clients.values()] == [[]] * len(world.clients)


def test_some_are_killed_alone(world: World) -> None:
    rows = {row["peer_address"]: row for row in world.sidecar.json("/v1/connections")["connections"]}
    killed = ["idle", "asked", "answered by half", "without a window"]
    for name in killed:
        client = world.clients[name]
        row = rows["{}:{}".format(*client.peer.sock.getsockname())]
        assert (row["alpn"], row["streams"]) == ("h2", 0 if name == "idle" else 1)
        assert world.sidecar.call("DELETE", f"/v1/connections/{row['id']}")[0] == 200
        with contextlib.suppress(ConnectionError, Alerted):
            client.ends()
        assert not (name != "idle" and client.is_whole(client.side))
    world.go_on(but=killed)
    world.sidecar.counts(len(world.clients) - len(killed), "tlsidecar_connections_active", listener="in")
