"""What is told to a service manager, over a socket as systemd has it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlsidecar.service_manager import READY, ServiceManager


@contextlib.contextmanager
def notify_socket(name: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.setblocking(False)
        yield sock


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_each_word_is_a_line_of_one_datagram(kind: str, tmp_path: Path) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@tlsidecar-test-{os.getpid()}-{tmp_path.name}"
    environ = {"NOTIFY_SOCKET": name}
    with notify_socket(name) as heard:
        manager = ServiceManager.from_environment(environ)
        assert manager.listens
        assert environ == {}  # whatever we start is not to speak for us
        manager.tell(READY, "STATUS=two\nlines")
        assert heard.recv(1000) == b"READY=1\nSTATUS=two lines"
        manager.close()
    assert not manager.listens


def test_without_one_nothing_is_told() -> None:
    manager = ServiceManager.from_environment({})
    manager.tell(READY)
    manager.keep("web", [0])
    assert (manager.listens, manager.keeps_sockets, manager.complaint) == (False, False, "")


def test_one_that_is_not_there_is_complained_of(tmp_path: Path) -> None:
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not manager.listens
    assert manager.complaint == f"NOTIFY_SOCKET {str(tmp_path / 'nobody')!a}: No such file or directory"


def test_one_that_goes_away_is_lost_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = str(tmp_path / "notify")
    with notify_socket(name):
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": name})
    manager.tell(READY)
    manager.tell(READY)
    assert not manager.listens
    assert [record.getMessage() for record in caplog.records] == [
        "the service manager is not told any more how we are: Connection refused"
    ]


def test_one_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with notify_socket(name) as heard:
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": name})
        for _ in range(2000):
            manager.tell("STATUS=again")
        assert manager.listens
        assert heard.recv(100) == b"STATUS=again"
        manager.close()


def test_listening_sockets_are_given_into_its_keeping(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with notify_socket(name) as heard, socket.create_server(("127.0.0.1", 0)) as listening:
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": name})
        manager.keep("web", [listening.fileno()])
        words, descriptors, _, _ = socket.recv_fds(heard, 1000, 4)
        assert words == b"FDSTORE=1\nFDNAME=web\nFDPOLL=0"
        with socket.socket(fileno=descriptors[0]) as kept:
            assert kept.getsockname() == listening.getsockname()
        manager.close()
