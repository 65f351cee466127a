"""The broker does what the configuration names by now, and survives whatever it is asked."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.program import Program
from tlsidecar.config import Recipe
from tlsidecar.sandbox import broker
from tlsidecar.sandbox.broker import Broker, _told
from tlsidecar.sandbox.broker_main import Grants, serve


class Disk:
    """A configuration file, and a broker that was started with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "etc" / "tlsidecar.toml"
        self.file.parent.mkdir()
        self.write(directory / "pki")
        recipe = Recipe(self.file, {}, {})
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket = ours
        self.broker = Broker(ours)
        self.thread = threading.Thread(target=serve, args=(theirs, Grants(_told(recipe(), recipe))))
        self.thread.start()
        self._theirs = theirs

    def write(self, material: Path, upstream: str = "127.0.0.1:8080") -> None:
        """The configuration, with a certificate that says where it lies."""
        self.make(material)
        self.file.write_text(
            f'[identity]\ncert = "{material}/tls.crt"\nkey = "{material}/tls.key"\ntrust = "{material}/ca.crt"\n'
            f'[[listener]]\nname = "web"\nlisten = "127.0.0.1:0"\nupstream = "{upstream}"\nallow = ["any"]\n'
        )

    @staticmethod
    def make(material: Path) -> None:
        material.mkdir(exist_ok=True)
        (material / "tls.crt").write_text(material.name)

    def content(self, name: Path | str, dir_fd: int | None = None) -> str:
        with open(self.broker.open(name, os.O_RDONLY, dir_fd)) as file:
            return file.read()

    def close(self) -> None:
        self.broker.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self._theirs.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.close()


def test_it_opens_what_the_configuration_names(disk: Disk, tmp_path: Path) -> None:
    assert disk.content(tmp_path / "pki" / "tls.crt") == "pki"
    directory = os.open(tmp_path / "pki", os.O_RDONLY)
    assert disk.content("tls.crt", directory) == "pki"
    os.close(directory)
    with pytest.raises(FileNotFoundError):
        disk.content(tmp_path / "pki" / "none")


@pytest.mark.parametrize("name", ["/etc/passwd", "{0}/other/tls.crt", "{0}/pki/../other/tls.crt", "{0}/pki/link"])
def test_and_nothing_else(disk: Disk, tmp_path: Path, name: str) -> None:
    disk.make(tmp_path / "other")
    (tmp_path / "pki" / "link").symlink_to(tmp_path / "other" / "tls.crt")
    with pytest.raises(PermissionError):
        disk.content(name.format(tmp_path))


def test_it_never_writes(disk: Disk, tmp_path: Path) -> None:
    file = tmp_path / "pki" / "tls.crt"
    with open(disk.broker.open(file, os.O_RDWR | os.O_TRUNC | os.O_CREAT, None), "rb") as opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(opened.fileno(), b"!")
        assert opened.read() == b"pki"


def test_it_follows_the_configuration(disk: Disk, tmp_path: Path) -> None:
    disk.make(tmp_path / "other")
    with pytest.raises(PermissionError):
        disk.content(tmp_path / "other" / "tls.crt")
    disk.write(tmp_path / "other")
    assert disk.content(tmp_path / "other" / "tls.crt") == "other"
    assert disk.content(tmp_path / "pki" / "tls.crt") == "pki"  # which may still be the one in force
    disk.file.write_text("no configuration")
    assert disk.content(tmp_path / "other" / "tls.crt") == "other"


def test_it_connects_to_ports_of_the_configuration(disk: Disk, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.socket() as sock:
            sock.setblocking(False)
            assert disk.broker.connect(sock, address) == errno.EACCES
            disk.write(tmp_path / "pki", f"127.0.0.1:{address[1]}")
            assert disk.broker.connect(sock, address) in (0, errno.EINPROGRESS)
            accepted, _ = server.accept()
            accepted.close()


def test_it_runs_no_other_program_than_the_configurations(disk: Disk) -> None:
    program = Program(("/bin/echo", "issued"), "/bin/echo", (), 10.0)
    with pytest.raises(OSError, match="not what the configuration names"):
        disk.broker.run(program)


@pytest.mark.parametrize(
    "question",
    [
        b"{",
        b"\xff",
        b'{"ask":"connect","address":["::1",99999999999]}',
        b"[]",
        b'{"ask":"else"}',
        b'{"ask":"open"}',
        b'{"ask":"connect","address":[]}',
        b"[" * 60000,
    ],
)
def test_whatever_it_is_asked(disk: Disk, tmp_path: Path, question: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(disk.socket, [question], [theirs.fileno()])
        theirs.close()
        ours.settimeout(10)
        assert ours.recv(10) in (b"", b"%d" % errno.EACCES)
    disk.socket.send(question)
    assert disk.content(tmp_path / "pki" / "tls.crt") == "pki"


def test_one_that_is_gone_is_said(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    gone = Broker(ours)
    with pytest.raises(OSError, match="broker is gone"):
        gone.open(tmp_path, os.O_RDONLY, None)
    with socket.socket() as sock:
        assert gone.connect(sock, ("127.0.0.1", 1)) == errno.EACCES
    gone.close()


def test_one_that_is_stopped_holds_up_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "ANSWER_S", 0.05)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stopped = Broker(ours)
    with theirs, socket.socket() as sock:
        for _ in range(3):
            assert stopped.connect(sock, ("127.0.0.1", 1)) == errno.EACCES
        question, descriptors, _, _ = socket.recv_fds(theirs, 4096, 2)
        assert b"connect" in question
        with pytest.raises(BlockingIOError):
            theirs.recv(4096, socket.MSG_DONTWAIT)  # the others were not even asked
        with socket.socket(fileno=descriptors[0]) as answers:
            answers.send(b"%d" % errno.EACCES)
        os.close(descriptors[1])
        # It goes on: the next one is asked again.
        assert stopped.connect(sock, ("127.0.0.1", 1)) == errno.EACCES
        assert b"connect" in theirs.recv(4096)
    stopped.close()
