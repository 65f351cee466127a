"""Listening sockets change hands between two sidecars, of whatever versions, and stay where they are when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlsidecar.dataplane.bind import HeldSocket
from tlsidecar.handover import HandoverError, Predecessor, Successor, handover_path
from tlsidecar.settings import Address, ListenerSettings, Mode

WITHIN_S = 30.0


def listener(name: str, listen: str = "127.0.0.1:0") -> ListenerSettings:
    host, _, port = listen.rpartition(":")
    return ListenerSettings(name, Mode.TERMINATE, Address(host, int(port)), (Address("127.0.0.1", 8080),))


@pytest.mark.parametrize(
    ("admin_socket", "path"),
    [
        ("/run/tlsidecar/admin.sock", "/run/tlsidecar/admin.take"),
        ("/run/sockets/web.sock", "/run/sockets/web.take"),
        ("/run/admin", "/run/admin.handover"),
        ("/run/x.sock.d", "/run/x.sock.d.handover"),
    ],
)
def test_each_admin_socket_has_a_place_of_its_own_beside_it(admin_socket: str, path: str) -> None:
    assert handover_path(Path(admin_socket)) == Path(path)
    if admin_socket.endswith(".sock"):
        assert len(path) <= len(admin_socket), "what fits as an admin socket has to fit here, too"


class Running:
    """A predecessor with two listeners, as it runs."""

    def __init__(self, path: Path) -> None:
        self.listeners = [listener("web"), listener("old")]
        self.bound = {one.name: [socket.create_server(("127.0.0.1", 0))] for one in self.listeners}
        self.let_go = 0
        self.predecessor = Predecessor(path, self.listeners, self.bound, self._let_go)

    async def _let_go(self) -> None:
        self.let_go += 1

    def close(self) -> None:
        self.predecessor.close()
        for sockets in self.bound.values():
            for sock in sockets:
                sock.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path / "run" / "admin.take"


async def test_the_successor_gets_what_it_has_too_and_the_other_lets_go_once(path: Path) -> None:
    running = Running(path)
    waiting = asyncio.ensure_future(running.predecessor.wait())
    async with asyncio.timeout(WITHIN_S):
        successor = await asyncio.to_thread(Successor.call, path)
        assert successor is not None
        wanted = [listener("web"), listener("old", "127.0.0.1:1"), listener("new")]
        taken = await asyncio.to_thread(successor.sockets, wanted)
        assert list(taken) == ["web"], "one that listens elsewhere now, and one that is new, are bound anew"
        (sock,) = taken["web"]
        assert sock.getsockname() == running.bound["web"][0].getsockname()
        assert isinstance(sock, HeldSocket), "until it is ours alone it may only be closed"
        assert not running.let_go
        await successor.take()
        await waiting
    assert running.let_go == 1
    assert type(sock) is socket.socket
    assert all(isinstance(each, HeldSocket) for sockets in running.bound.values() for each in sockets)
    running.close()
    with socket.create_connection(sock.getsockname(), timeout=WITHIN_S):
        pass  # it listens on, whoever has let go
    sock.close()


@pytest.mark.parametrize("word", [b"give\n", b"takeover\n", b"x" * 5000, b""], ids=["other", "alike", "long", "gone"])
async def test_whoever_does_not_take_over_changes_nothing(
    word: bytes, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(path)
    waiting = asyncio.ensure_future(running.predecessor.wait())
    with caplog.at_level(logging.WARNING, "tlsidecar"), socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        stranger.sendall(word)
        stranger.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(WITHIN_S):
            while not caplog.records:
                await asyncio.sleep(0.001)
    assert "nobody took over; serving on" in caplog.text
    assert (running.let_go, waiting.done()) == (0, False)
    assert not any(isinstance(each, HeldSocket) for sockets in running.bound.values() for each in sockets)
    waiting.cancel()
    running.close()


async def test_one_that_took_and_died_before_it_was_ready_changes_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tlsidecar")
    running = Running(path)
    waiting = asyncio.ensure_future(running.predecessor.wait())
    async with asyncio.timeout(WITHIN_S):
        successor = await asyncio.to_thread(Successor.call, path)
        assert successor is not None
        taken = await asyncio.to_thread(successor.sockets, running.listeners)
        for sockets in taken.values():
            for sock in sockets:
                sock.close()
        successor.close()
        while "it hung up" not in caplog.text:
            await asyncio.sleep(0.001)
    assert (running.let_go, waiting.done()) == (0, False)
    with socket.create_connection(running.bound["web"][0].getsockname(), timeout=WITHIN_S):
        pass  # closing a socket that is held by both does not stop it
    waiting.cancel()
    running.close()


def test_nobody_runs(path: Path) -> None:
    assert Successor.call(path) is None
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert Successor.call(path) is None, "a socket whose process is gone"


def test_what_is_in_the_way_is_named(path: Path) -> None:
    path.write_text("")
    with pytest.raises(HandoverError, match=r"admin\.take/below: Not a directory"):
        Successor.call(path / "below")


@contextlib.contextmanager
def saying(path: Path, words: list[bytes], *, sockets: int) -> Iterator[None]:
    """A predecessor of another version, or none at all: it sends these words, with the descriptors beside the first."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen()
        given = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(sockets)]

        def run() -> None:
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(16) == b"take\n"
                for number, each in enumerate(words):
                    socket.send_fds(connection, [each], [] if number else [sock.fileno() for sock in given])

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            thread.join(WITHIN_S)


ONE = [["web", "127.0.0.1:0"]]


@pytest.mark.parametrize(
    "words",
    [
        [json.dumps(ONE).encode() + b"\n"],
        [b'[["web",', b' "127.0.0.1:0"]]\n'],
        [json.dumps([[*ONE[0], {"since": 3}]]).encode() + b"\n"],
        [json.dumps({"sockets": ONE, "version": 3}).encode() + b"\n"],
    ],
    ids=["as it is", "in pieces", "more of each", "an object"],
)
def test_what_a_later_version_adds_is_passed_over(words: list[bytes], path: Path) -> None:
    with saying(path, words, sockets=1):
        successor = Successor.call(path)
        assert successor is not None
        taken = successor.sockets([listener("web")])
        successor.close()
    assert [len(sockets) for sockets in taken.values()] == [1]
    taken["web"][0].close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([b""], "it hung up"),
        ([b'[["web", "127.0.0.1:0"]]'], "it hung up"),
        ([b"no\n"], "Expecting value"),
        ([b"{}\n"], "does not say which"),
        ([b"[3]\n"], "does not say which"),
        ([b'[["web"]]\n'], "does not say which"),
        ([b'[["web", 3]]\n'], "does not say which"),
        ([b'[["web", "127.0.0.1:0"], ["old", "127.0.0.1:0"]]\n'], "do not fit their names"),
        ([b"\xff\n"], "decode"),
    ],
)
def test_what_is_no_list_of_sockets_is_refused_and_closed(words: list[bytes], why: str, path: Path) -> None:
    before = _descriptors()
    with saying(path, words, sockets=1):
        successor = Successor.call(path)
        assert successor is not None
        with pytest.raises(HandoverError, match=f"does not hand over: .*{why}"):
            successor.sockets([listener("web")])
    assert _descriptors() == before, "what came with the words is closed, and so is the connection"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
