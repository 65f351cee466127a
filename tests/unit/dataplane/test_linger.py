"""Sockets are closed gently: while the peer sends they are read, and for no longer than they may be."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest

from tlsidecar.dataplane import linger
from tlsidecar.dataplane.linger import Lingerer
from tlsidecar.dataplane.reactor import Reactor

pytestmark = pytest.mark.leaps


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made: list[tuple[socket.socket, socket.socket]] = []
    for _ in range(3):
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        made.append((near, far))
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


Pairs = list[tuple[socket.socket, socket.socket]]


async def _emptied(lingerer: Lingerer) -> float:
    """How long it takes, in seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while len(lingerer):
        assert loop.time() - began < 60
        await asyncio.sleep(0.01)
    return loop.time() - began


async def test_the_peer_is_told_the_end_and_closes_in_its_own_time(pairs: Pairs) -> None:
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    (near, far), *_ = pairs
    lingerer.close(near)
    assert far.recv(1) == b""
    far.send(b"x" * 1000)
    await asyncio.sleep(4)
    assert len(lingerer) == 1
    far.close()
    assert await _emptied(lingerer) < 0.1
    assert near.fileno() == -1


async def test_who_is_silent_is_closed_sooner_than_who_sends(pairs: Pairs) -> None:
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    (silent, _), (read, sends), _ = pairs
    lingerer.close(silent)
    lingerer.close(read)

    async def send_on() -> None:
        while True:
            sends.send(b"x")
            await asyncio.sleep(1)

    sending = asyncio.create_task(send_on())
    await asyncio.sleep(5.5)
    assert silent.fileno() == -1
    assert read.fileno() != -1
    # It sends all the time, and is closed all the same.
    assert await _emptied(lingerer) == pytest.approx(24.5, abs=0.1)
    await asyncio.sleep(1)
    with pytest.raises(OSError):  # noqa: PT011 - a broken pipe or a reset
        await sending


async def test_a_drain_waits_less_long_for_those_that_are_there(pairs: Pairs) -> None:
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    lingerer.close(pairs[0][0])
    lingerer.drain()
    lingerer.close(pairs[1][0])
    assert await _emptied(lingerer) == pytest.approx(1.0, abs=0.1)


async def test_the_oldest_makes_room(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "most_lingering", lambda: 2)
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    for near, _ in pairs:
        lingerer.close(near)
    assert [near.fileno() == -1 for near, _ in pairs] == [True, False, False]
    assert len(lingerer) == 2
    lingerer.close_all()
    assert len(lingerer) == 0


@pytest.fixture
def tcp() -> Iterator[Pairs]:
    """Ends that are ours, and others that take little unless they read."""
    made: Pairs = []
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        for _ in range(3):
            near = socket.create_connection(listening.getsockname())
            near.setblocking(False)
            made.append((near, listening.accept()[0]))
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def _fill(near: socket.socket) -> int:
    sent = 0
    while True:
        try:
            sent += near.send(b"x" * 65536)
        except BlockingIOError:
            return sent


async def _read(far: socket.socket) -> tuple[int, int]:
    """How much came, and the error that it ended with; 0 for none."""
    loop = asyncio.get_running_loop()
    far.setblocking(False)
    count = 0
    while True:
        try:
            data = await asyncio.wait_for(loop.sock_recv(far, 65536), 10)
        except ConnectionError as error:
            return count, error.errno or 0
        count += len(data)
        if not data:
            return count, 0


@pytest.mark.parametrize("hears_out", [False, True])
async def test_a_cut_waits_for_what_was_sent_before_it(tcp: Pairs, hears_out: bool) -> None:
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    (near, far), *_ = tcp
    sent = _fill(near)
    lingerer.cut(near, hears_out=hears_out)
    assert await _read(far) == (sent, errno.ECONNRESET)
    await _emptied(lingerer)


async def test_who_still_sends_is_heard_out_before_the_cut(tcp: Pairs) -> None:
    """A write that met a reset would keep it from reading what has arrived."""
    loop = asyncio.get_running_loop()
    lingerer = Lingerer(Reactor(loop))
    (near, far), *_ = tcp
    near.send(b"an answer")
    far.setblocking(False)
    lingerer.cut(near, hears_out=True)
    for _ in range(20):
        await asyncio.wait_for(loop.sock_sendall(far, b"x" * 65536), 10)
    assert await _read(far) == (9, errno.ECONNRESET)
    await _emptied(lingerer)


async def test_where_nothing_is_under_way_a_cut_is_at_once(tcp: Pairs, pairs: Pairs) -> None:
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    (near, _), (was_reset, far), (ended, other) = tcp
    lingerer.cut(near, hears_out=False)
    linger.reset(far)
    other.close()
    for sock in (was_reset, ended):
        _fill_until_it_fails(sock)
        lingerer.cut(sock, hears_out=True)
    lingerer.cut(pairs[0][0], hears_out=True)
    assert [near.fileno(), was_reset.fileno(), ended.fileno(), len(lingerer)] == [-1, -1, -1, 0]


def _fill_until_it_fails(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            sock.send(b"x")


async def test_who_takes_nothing_is_cut_after_its_time(tcp: Pairs) -> None:
    lingerer = Lingerer(Reactor(asyncio.get_running_loop()))
    for hears_out, (near, _) in zip((False, True, True), tcp, strict=True):
        _fill(near)
        lingerer.cut(near, hears_out=hears_out)
    assert 4.9 < await _emptied(lingerer) < 5.5
