"""Bytes there and back on a stream, and its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tlsidecar.api.client import READ_BYTES
from tui.reach.channel import Channel


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(*await asyncio.open_unix_connection(sock=ours))
    with theirs:
        yield channel, theirs
    channel.close()


async def test_what_is_sent_arrives_and_what_comes_is_received(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    await channel.send(b"GET / HTTP/1.1\r\n\r\n")
    assert theirs.recv(100) == b"GET / HTTP/1.1\r\n\r\n"
    theirs.send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert await channel.receive() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert await channel.why() == ""


async def test_so_much_is_received_at_once_and_no_more(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.setblocking(False)
    sent = theirs.send(b"x" * (READ_BYTES + 1000))
    received = await channel.receive()
    assert 0 < len(received) <= min(sent, READ_BYTES)


async def test_the_end_is_nothing_more_to_receive(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.send(b"last")
    theirs.close()
    assert [await channel.receive(), await channel.receive(), await channel.receive()] == [b"last", b"", b""]


async def test_to_nobody_nothing_is_sent(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        await _send_until_it_is_told(channel)


async def _send_until_it_is_told(channel: Channel) -> None:
    """The first one may be on its way before the end is known."""
    for _ in range(10):
        await channel.send(b"x" * 1000)
        await asyncio.sleep(0)
