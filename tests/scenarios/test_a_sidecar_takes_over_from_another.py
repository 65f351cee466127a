"""`run --take-over`: the new one listens on the same sockets before the old one lets go; nobody is turned away."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import READY_WITHIN_S, STOP_WITHIN_S, Sidecar, running
from support.waiting import eventually

# `make storm` has 40,000 connects during ten, as fast as they come.
HAND_OVERS = int(os.environ.get("HAND_OVERS", "2"))
CONNECTS = int(os.environ.get("CONNECTS", "1000"))
AT_LENGTH = CONNECTS > 1000
STORMERS = 4
PAUSE_S = 0.0 if AT_LENGTH else 0.005


class BareStorm(threading.Thread):
    """Connects again and again, and sends what is no TLS: whoever accepts says so in the clear, so an answer shows
    that one of the two took it."""

    def __init__(self, pki: Pki, client: Pair, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.done = 0
        self.failures: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(PAUSE_S):
            try:
                with socket.create_connection(("127.0.0.1", self._port), 20) as sock:
                    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    assert sock.recv(4096).startswith(b"HTTP/1.1 400"), "no answer"
                    self.done += 1
            except Exception as error:
                self.failures.append(repr(error))


class Storm(threading.Thread):
    """Connects again and again, each time with a handshake and a byte there and back."""

    def __init__(self, pki: Pki, client: Pair, port: int) -> None:
        super().__init__(daemon=True)
        self._pki, self._client, self._port = pki, client, port
        self.done = 0
        self.failures: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(PAUSE_S):
            try:
                with connected(self._port, self._pki.trust, self._client) as peer:
                    peer.send(b"!")
                    assert peer.recv_exactly(1) == b"!"
                    self.done += 1
            except Exception as error:
                self.failures.append(repr(error))


def successor(directory: Path, config: str, of: Sidecar, workers: str, **env: str) -> Sidecar:
    """A sidecar of its own directory, with the socket of another."""
    sidecar = Sidecar(directory, "", env={"TLSIDECAR_WORKERS": workers, **env}, arguments=["--take-over"])
    sidecar.config_path.write_text(f'[admin]\nsocket = "{of.socket_path}"\n{config}')
    sidecar.socket_path = of.socket_path
    return sidecar


@contextlib.contextmanager
def storming(
    pki: Pki, client: Pair, port: int, kind: type[Storm | BareStorm] = Storm
) -> Iterator[list[Storm | BareStorm]]:
    storms = [kind(pki, client, port) for _ in range(STORMERS)]
    for storm in storms:
        storm.start()
    try:
        yield storms
    finally:
        for storm in storms:
            storm.over.set()
        for storm in storms:
            storm.join(30)


@pytest.mark.slow
@pytest.mark.timeout(0 if AT_LENGTH else 120)
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("kind", "connects"), [(Storm, 50), (BareStorm, CONNECTS)])
def test_nobody_is_turned_away(
    pki: Pki, tmp_path: Path, workers: str, kind: type[Storm | BareStorm], connects: int
) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        current = Sidecar(tmp_path / "0", config, env={"TLSIDECAR_WORKERS": workers})
        current.start()
        try:
            port = current.port()
            with storming(pki, client, port, kind) as storms:
                for number in range(1, HAND_OVERS + 1):
                    before = [storm.done for storm in storms]
                    follower = successor(tmp_path / str(number), config, current, workers)
                    follower.start(wait=False)
                    try:
                        eventually(lambda follower=follower: "taken over" in follower.log_text, READY_WITHIN_S)
                        assert current.wait(STOP_WITHIN_S) == 0, current.log_text
                    finally:
                        current.kill()
                        current = follower
                    current.answers()
                    assert current.port() == port
                    assert current.status()["pid"] == current.pid
                    eventually(lambda before=before: all(s.done > was for s, was in zip(storms, before, strict=True)))
                    wanted = connects * number // HAND_OVERS
                    eventually(lambda wanted=wanted: sum(storm.done for storm in storms) >= wanted, 60)
            failures = [failure for storm in storms for failure in storm.failures]
            assert failures == []
            assert sum(storm.done for storm in storms) >= connects
            assert current.stop() == 0
        finally:
            current.kill()


def test_what_is_open_stays_with_the_old_one(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        old = Sidecar(tmp_path / "old", config)
        old.start()
        new = successor(tmp_path / "new", config, old, "1")
        try:
            with connected(old.port(), pki.trust, client) as peer:
                new.start(wait=False)
                eventually(lambda: "taken over" in new.log_text, READY_WITHIN_S)
                peer.send(b"still here")
                assert peer.recv_exactly(10) == b"still here"
                peer.end_writing()
                assert peer.recv_all() == b""
            assert old.wait() == 0
            new.answers()
            assert new.stop() == 0
        finally:
            old.kill()
            new.kill()


def test_a_unix_socket_keeps_its_path(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    path = tmp_path / "in.sock"
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, listen=f"unix:{path}")
        old = Sidecar(tmp_path / "old", config)
        old.start()
        new = successor(tmp_path / "new", config, old, "1")
        try:
            new.start(wait=False)
            eventually(lambda: "taken over" in new.log_text, READY_WITHIN_S)
            assert old.wait() == 0
            new.answers()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
            assert client
            assert new.stop() == 0
            assert not path.exists()
        finally:
            old.kill()
            new.kill()


@pytest.mark.parametrize("fails", ["configuration", "material", "port"])
def test_a_successor_that_fails_leaves_the_old_one_serving(pki: Pki, tmp_path: Path, fails: str) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service, socket.create_server(("127.0.0.1", 0)) as taken:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "old", config) as old:
            bad = {
                "configuration": config + "nonsense = 1\n",
                "material": config.replace("ca.crt", "nowhere.crt"),
                "port": config
                + configs.terminate(service.address, name="more", listen=f"127.0.0.1:{taken.getsockname()[1]}"),
            }[fails]
            new = successor(tmp_path / "new", bad, old, "1")
            new.start(wait=False)
            assert new.wait() in (1, 2)
            with connected(old.port(), pki.trust, client) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
            assert old.status()["state"] == "ready"
            assert old.status()["pid"] == old.pid


@pytest.mark.parametrize("said", [b"", b"take\n", b"nonsense\n", b"take\nnonsense", b"ready\n"])
def test_one_that_hangs_up_or_lies_leaves_it_serving(pki: Pki, tmp_path: Path, said: bytes) -> None:
    server = pki.issue("server", "localhost")
    with running(tmp_path / "old", configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")) as old:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(old.socket_path.with_name("admin.take")))
            sock.sendall(said)
            if said == b"take\n":
                words, descriptors, _, _ = socket.recv_fds(sock, 65536, 100)
                assert [name for name, _ in json.loads(words)] == ["in"]
                for descriptor in descriptors:
                    os.close(descriptor)
        eventually(lambda: "nobody took over; serving on: " in old.log_text)
        assert old.status()["state"] == "ready"


def test_with_nobody_there_it_starts_as_usual(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    sidecar = Sidecar(tmp_path / "only", config, arguments=["--take-over"])
    try:
        sidecar.start()
        eventually(lambda: "there is nobody to take over from" in sidecar.log_text)
        assert sidecar.stop() == 0
    finally:
        sidecar.kill()


def test_two_may_have_their_sockets_in_one_directory(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    with running(tmp_path / "one", config) as one:
        other = Sidecar(tmp_path / "other", "")
        other.socket_path = one.socket_path.with_name("other.sock")
        other.config_path.write_text(f'[admin]\nsocket = "{other.socket_path}"\n{config}')
        try:
            other.start()
            assert {path.name for path in one.socket_path.parent.glob("*.sock")} == {"admin.sock", "other.sock"}
            assert other.stop() == 0
        finally:
            other.kill()
        assert one.status()["state"] == "ready"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("take", "ready"),
    [
        (b"take\n", b"ready\n"),  # as version 0.1.0 says it
        (b'take {"version": 9, "wants": ["drain"]}\n', b"ready in 0.2 s\n"),  # as a later one might
    ],
)
def test_a_successor_of_another_version(pki: Pki, tmp_path: Path, workers: str, take: bytes, ready: bytes) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    old = Sidecar(tmp_path / "old", config, env={"TLSIDECAR_WORKERS": workers})
    try:
        old.start()
        port = old.port()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(old.socket_path.with_name("admin.take")))
            sock.sendall(take)
            words, descriptors, _, _ = socket.recv_fds(sock, 65536, 100)
            # What version 0.1.0 reads: pairs, as many as descriptors.
            assert json.loads(words) == [["in", "127.0.0.1:0"]]
            assert len(descriptors) == 1
            with socket.socket(fileno=descriptors[0]) as taken:
                assert taken.getsockname()[1] == port
                sock.sendall(ready)
                assert sock.recv(100) == b"yours\n"
                assert old.wait() == 0
                with socket.create_connection(("127.0.0.1", port), 5):
                    taken.accept()[0].close()
    finally:
        old.kill()


@pytest.mark.parametrize(
    ("told", "takes"),
    [
        (b'[["in", "127.0.0.1:0"]]\n', True),
        (b'{"version": 9, "sockets": [["in", "127.0.0.1:0", {"backlog": 5}]], "pid": 1}\n', True),
        (b'{"version": 9}\n', False),
        (b'[["in"]]\n', False),
        (b"[]\n", False),
        (b'[["in", "127.0.', False),
    ],
)
def test_a_predecessor_of_another_version(pki: Pki, tmp_path: Path, told: bytes, takes: bool) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service, socket.create_server(("127.0.0.1", 0)) as shared:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        new = Sidecar(tmp_path / "new", config, arguments=["--take-over"])
        new.socket_path.parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.bind(str(new.socket_path.with_name("admin.take")))
            waiting.listen()
            waiting.settimeout(READY_WITHIN_S)
            new.start(wait=False)
            try:
                with waiting.accept()[0] as sock:
                    sock.settimeout(READY_WITHIN_S)
                    assert sock.recv(100) == b"take\n"
                    socket.send_fds(sock, [told], [shared.fileno()])
                    if takes:
                        assert sock.recv(100) == b"ready\n"
                        waiting.close()
                        new.socket_path.with_name("admin.take").unlink()
                        sock.sendall(b"yours\n" if told.startswith(b"[") else b"yours now\n")
                if not takes:
                    assert new.wait() == 1
                    assert "does not hand over" in new.log_text
                    return
                new.answers()
                assert new.port() == shared.getsockname()[1]
                with connected(new.port(), pki.trust, client) as peer:
                    peer.send(b"!")
                    assert peer.recv_exactly(1) == b"!"
                assert new.stop() == 0
            finally:
                new.kill()
