"""Sockets are closed gently: while the peer sends they are read, and for no longer than they may be."""

from __future__ import annotations

import asyncio
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
