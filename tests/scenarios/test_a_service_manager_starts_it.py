"""systemd's interfaces, spoken with by hand: readiness, reloads, status, watchdog, listening sockets, material that is
late. `systemd-socket-activate` is the real one."""

from __future__ import annotations

import array
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pair, Pki
from support.ports import free_port
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

# As sd_listen_fds(3) wants it: the descriptors from 3 on, and the number of the process that gets them.
AS_ACTIVATED = (
    "import os, sys\n"
    "descriptors = [int(each) for each in sys.argv[1].split(',')]\n"
    "for place, each in enumerate(descriptors): os.dup2(each, 100 + place)\n"
    "for place in range(len(descriptors)): os.dup2(100 + place, 3 + place); os.close(100 + place)\n"
    "count, pid = str(len(descriptors)), str(os.getpid())\n"
    "os.environ |= {'LISTEN_PID': pid, 'LISTEN_FDS': count, 'LISTEN_FDNAMES': sys.argv[2]}\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


class Manager:
    """What a service manager hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self.kept: dict[str, int] = {}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.setblocking(False)

    def hears(self, word: str) -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._sock.recvmsg(65536, 4096)
                words = data.decode().split("\n")
                self.heard.append(data.decode())
                for _, kind, packed in ancillary:
                    assert kind == socket.SCM_RIGHTS
                    (descriptor,) = array.array("i", packed)
                    self.kept[next(each for each in words if each.startswith("FDNAME="))[7:]] = descriptor
        return any(word in line for line in "\n".join(self.heard).split("\n"))

    def close(self) -> None:
        self._sock.close()
        for descriptor in self.kept.values():
            os.close(descriptor)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def server(pki: Pki) -> Pair:
    return pki.issue("server", "localhost")


def config(pki: Pki, server: Pair, service: str, listen: str = "127.0.0.1:0") -> str:
    return configs.identity(server, pki.trust, poll_interval="100ms") + configs.terminate(service, listen=listen)


def passes(pki: Pki, port: int) -> bool:
    with connected(port, pki.trust, pki.issue("client", "client.test")) as peer:
        peer.send(b"!")
        return peer.recv_exactly(1) == b"!"


def test_it_says_ready_reloading_status_and_stopping(pki: Pki, tmp_path: Path, manager: Manager, server: Pair) -> None:
    env = {"NOTIFY_SOCKET": str(manager.path)}
    with serving(echo) as service, running(tmp_path / "s", config(pki, server, service.address), env=env) as sidecar:
        eventually(lambda: manager.hears("READY=1"))
        eventually(lambda: manager.hears("STATUS=ready"))
        assert not manager.hears("WATCHDOG=1")
        manager.heard.clear()
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: manager.hears("RELOADING=1"))
        assert manager.hears("MONOTONIC_USEC=")
        eventually(lambda: manager.hears("READY=1"))
        assert next(line for line in manager.heard if "READY" in line or "LOADING" in line).startswith("RELOADING=1\n")
        server.cert.write_text("nonsense")
        eventually(lambda: manager.hears("STATUS=degraded: critical: "), 15)
        assert sidecar.stop() == 0
        assert manager.hears("STOPPING=1")


def test_the_watchdog_hears_from_the_loop_that_serves(pki: Pki, tmp_path: Path, manager: Manager, server: Pair) -> None:
    env = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"}
    with running(tmp_path / "s", config(pki, server, "127.0.0.1:1"), env=env) as sidecar:
        eventually(lambda: manager.hears("WATCHDOG=1"))
        sidecar.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{sidecar.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        manager.hears("")  # what was on its way
        manager.heard.clear()
        time.sleep(1.0)
        assert not manager.hears("WATCHDOG=1"), "a loop that stands still is not spoken for"
        sidecar.signal(signal.SIGCONT)
        eventually(lambda: manager.hears("WATCHDOG=1"))


@pytest.mark.parametrize("name", ["/nowhere/notify", "@nobody-listens-here", "x" * 200, "\n"])
def test_a_manager_that_is_gone_is_no_trouble(pki: Pki, tmp_path: Path, server: Pair, name: str) -> None:
    with running(tmp_path / "s", config(pki, server, "127.0.0.1:1"), env={"NOTIFY_SOCKET": name}) as sidecar:
        assert sidecar.status()["state"] == "ready"
        eventually(lambda: "the service manager is not told how we are: NOTIFY_SOCKET" in sidecar.log_text)


@contextlib.contextmanager
def activated(directory: Path, config: str, sockets: list[tuple[str, int]], **env: str) -> Iterator[Sidecar]:
    descriptors, names = ",".join(str(each) for _, each in sockets), ":".join(name for name, _ in sockets)
    for _, descriptor in sockets:
        os.set_inheritable(descriptor, True)
    sidecar = Sidecar(directory, config, env=env, under=[sys.executable, "-c", AS_ACTIVATED, descriptors, names])
    try:
        yield sidecar
    finally:
        sidecar.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_socket_that_was_opened_for_it_is_served_and_left_open(
    pki: Pki, tmp_path: Path, server: Pair, workers: str
) -> None:
    """By the listener's name, whatever its own address is; connections wait in it while there is no sidecar."""
    client = pki.issue("client", "client.test")
    with serving(echo) as service, socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        text = config(pki, server, service.address, listen="127.0.0.1:1")
        for _ in range(2):
            with activated(tmp_path / "s", text, [("in", opened.fileno())], TLSIDECAR_WORKERS=workers) as sidecar:
                # Before it is there: this waits in the socket.
                early = socket.create_connection(("127.0.0.1", port), 10)
                sidecar.pass_descriptors = (opened.fileno(),)
                sidecar.start()
                with connected(port, pki.trust, client) as peer:
                    peer.send(b"!")
                    assert peer.recv_exactly(1) == b"!"
                assert sidecar.port() == port
                early.close()
                assert sidecar.stop() == 0
        socket.create_connection(("127.0.0.1", port), 5).close()


def test_by_its_address_where_it_has_no_name_of_ours(pki: Pki, tmp_path: Path, server: Pair) -> None:
    with serving(echo) as service, socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        text = config(pki, server, service.address, listen=f"127.0.0.1:{port}")
        with activated(tmp_path / "s", text, [("tlsidecar.socket", opened.fileno())]) as sidecar:
            sidecar.pass_descriptors = (opened.fileno(),)
            sidecar.start()
            assert passes(pki, port)
            assert sidecar.stop() == 0


def test_what_cannot_be_listened_on_is_named_and_nothing_is_lost(pki: Pki, tmp_path: Path, server: Pair) -> None:
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(serving(echo))
        not_listening = stack.enter_context(socket.socket())
        datagram = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        pair = socket.socketpair()
        stack.enter_context(pair[0])
        stack.enter_context(pair[1])
        foreign = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        file = stack.enter_context((tmp_path / "file").open("w"))
        vsock_like = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
        given = [
            ("in", not_listening.fileno()),
            ("in", datagram.fileno()),
            ("", pair[0].fileno()),
            ("nobody", foreign.fileno()),
            ("in", file.fileno()),
            ("in", vsock_like.fileno()),
        ]
        sidecar = stack.enter_context(activated(tmp_path / "s", config(pki, server, service.address), given))
        sidecar.pass_descriptors = tuple(descriptor for _, descriptor in given)
        sidecar.start()
        assert passes(pki, sidecar.port())
        eventually(lambda: sidecar.log_text.count("handed over to listen on") == len(given))  # lines are gathered
        for descriptor, said in (
            (3, "('in'), handed over to listen on, does not listen: it is not used"),
            (4, "('in'), handed over to listen on, is no stream socket: it is not used"),
            (5, ", handed over to listen on, does not listen: it is not used"),
            (6, "('nobody'), handed over to listen on, is of no listener: closed"),
            (7, "('in'), handed over to listen on, is no socket: it is not used"),
            (8, "('in'), handed over to listen on, is of another family than IPv4, IPv6 and Unix: it is not used"),
        ):
            assert f"descriptor {descriptor}" in sidecar.log_text
            assert said in sidecar.log_text
        assert sidecar.stop() == 0


@pytest.mark.parametrize(
    "variables",
    [
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "nonsense", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "99999999999", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "-1"},
    ],
)
def test_variables_that_are_not_for_it_change_nothing(
    pki: Pki, tmp_path: Path, server: Pair, variables: dict[str, str]
) -> None:
    with (
        serving(echo) as service,
        running(tmp_path / "s", config(pki, server, service.address), env=variables) as sidecar,
    ):
        assert passes(pki, sidecar.port())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_crash_keeps_the_port(pki: Pki, tmp_path: Path, manager: Manager, server: Pair, workers: str) -> None:
    """What it gave into keeping is handed to the next one; who connected meanwhile is served."""
    with serving(echo) as service:
        text = config(pki, server, service.address)
        first = Sidecar(tmp_path / "s", text, env={"NOTIFY_SOCKET": str(manager.path), "TLSIDECAR_WORKERS": workers})
        first.start()
        port = first.port()
        eventually(lambda: manager.hears("FDSTORE=1"))
        assert set(manager.kept) == {"in"}
        first.kill()
        waiting = socket.create_connection(("127.0.0.1", port), 10)
        with activated(tmp_path / "s", text, [("in", manager.kept["in"])], TLSIDECAR_WORKERS=workers) as second:
            second.pass_descriptors = (manager.kept["in"],)
            second.start()
            assert second.port() == port
            assert passes(pki, port)
            waiting.close()
            assert second.stop() == 0


def test_an_orderly_end_takes_the_port_back(pki: Pki, tmp_path: Path, manager: Manager, server: Pair) -> None:
    with running(
        tmp_path / "s", config(pki, server, "127.0.0.1:1"), env={"NOTIFY_SOCKET": str(manager.path)}
    ) as sidecar:
        eventually(lambda: manager.hears("FDSTORE=1"))
        assert sidecar.stop() == 0
        assert manager.hears("FDSTOREREMOVE=1")


def test_material_that_is_late_is_waited_for(pki: Pki, tmp_path: Path, manager: Manager, server: Pair) -> None:
    key = server.key.read_bytes()
    server.key.unlink()
    env = {"NOTIFY_SOCKET": str(manager.path), "TLSIDECAR_WAIT_FOR_MATERIAL": "30s"}
    with serving(echo) as service:
        sidecar = Sidecar(tmp_path / "s", config(pki, server, service.address), env=env)
        try:
            sidecar.start(wait=False)
            eventually(lambda: manager.hears("STATUS=waiting for material: "))
            assert manager.hears("EXTEND_TIMEOUT_USEC=")
            assert not manager.hears("READY=1")
            server.key.touch(0o600)
            server.key.write_bytes(key)
            sidecar.answers()
            eventually(lambda: manager.hears("READY=1"))
            assert passes(pki, sidecar.port())
            assert sidecar.log_text.count("waiting for material") <= 3  # the half-written file has a reason of its own
            assert sidecar.stop() == 0
        finally:
            sidecar.kill()


def test_but_not_for_ever(pki: Pki, tmp_path: Path, server: Pair) -> None:
    server.key.unlink()
    env = {"TLSIDECAR_WAIT_FOR_MATERIAL": "600ms"}
    sidecar = Sidecar(tmp_path / "s", config(pki, server, "127.0.0.1:1"), env=env)
    began = time.monotonic()
    sidecar.start(wait=False)
    assert sidecar.wait() == 2
    assert time.monotonic() - began >= 0.6
    assert "cannot start: " in sidecar.log_text


@pytest.mark.needs("systemd-socket-activate")
def test_under_systemds_own_activation(pki: Pki, tmp_path: Path, server: Pair) -> None:
    port = free_port()
    with serving(echo) as service:
        text = config(pki, server, service.address, listen="127.0.0.1:1")
        activate = [shutil.which("systemd-socket-activate") or "", f"--listen=127.0.0.1:{port}", "--fdname=in"]
        sidecar = Sidecar(tmp_path / "s", text, under=activate)
        try:
            sidecar.start(wait=False)
            # The first connection is what starts it, and is served.
            eventually(lambda: _connects(port))
            assert passes(pki, port)
            sidecar.answers()
            assert sidecar.stop() == 0
        finally:
            sidecar.kill()


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False
