"""Questions and their answers over a socketpair, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tlsidecar.workers.channel import (
    MAX_PAYLOAD_BYTES,
    Channel,
    ChannelClosed,
    MessageKind,
    RemoteFailure,
    frame,
    message,
    read_question,
)


@dataclass
class End:
    """One end, and what it has heard."""

    heard: list[tuple[int, str, bytes]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, number: int, verb: str, body: bytes) -> None:
        self.heard.append((number, verb, body))
        self.came.set()

    async def next(self) -> tuple[int, str, bytes]:
        while not self.heard:
            self.came.clear()
            await self.came.wait()
        return self.heard.pop(0)


@contextlib.asynccontextmanager
async def open_channel(end: End) -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours, end.take, end.over.set)
    with theirs:
        theirs.settimeout(20)
        yield channel, theirs
        channel.close()
        await asyncio.wait_for(end.over.wait(), 20)


async def test_an_answer_finds_its_question_whatever_the_order() -> None:
    one, other = End(), End()
    a, b = socket.socketpair()
    asking, answering = await Channel.over(a, one.take, one.over.set), await Channel.over(b, other.take, other.over.set)
    first, second = asking.ask("first", b"1"), asking.ask("second", b"x" * 200_000)
    asking.tell("by the way")
    questions = [await other.next() for _ in range(3)]
    assert [(verb, len(body)) for _, verb, body in questions] == [("first", 1), ("second", 200_000), ("by the way", 0)]
    assert questions[2][0] == 0
    answering.answer(questions[1][0], b"two")
    answering.fail(questions[0][0], "cannot")
    assert await second == b"two"
    with pytest.raises(RemoteFailure, match="cannot"):
        await first
    for channel, end in ((asking, one), (answering, other)):
        channel.close()
        await asyncio.wait_for(end.over.wait(), 20)


async def test_who_asks_a_channel_that_ends_is_not_left_waiting() -> None:
    end = End()
    async with open_channel(end) as (channel, theirs):
        answer = channel.ask("anything")
        theirs.close()
        with pytest.raises(ChannelClosed):
            await answer
        with pytest.raises(ChannelClosed):
            channel.tell("anything")
        channel.answer(1)  # to nobody: nothing happens


async def test_an_answer_to_whoever_is_gone_is_no_error() -> None:
    end = End()
    async with open_channel(end) as (channel, theirs):
        theirs.close()
        channel.answer(1)  # this write fails, and closes the transport; we are told of it in the next turn only
        assert not end.over.is_set()
        channel.answer(2)
        channel.fail(3, "no")
        with pytest.raises(ChannelClosed):
            channel.ask("status")


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param((MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big") + bytes([MessageKind.TOLD]) + bytes(4), id="too long"),
        pytest.param(bytes(4) + bytes([9]) + bytes(4), id="no such kind"),
    ],
)
async def test_a_frame_that_breaks_the_rules_ends_it(broken: bytes) -> None:
    end = End()
    async with open_channel(end) as (_, theirs):
        theirs.sendall(
            frame(MessageKind.TOLD, 0, message("before", b""))
            + broken
            + frame(MessageKind.TOLD, 0, message("after", b""))
        )
        await asyncio.wait_for(end.over.wait(), 20)
    assert [verb for _, verb, _ in end.heard] == ["before"]


async def test_an_answer_to_nobodys_question_is_passed_by() -> None:
    end = End()
    async with open_channel(end) as (_, theirs):
        theirs.sendall(
            frame(MessageKind.ANSWER, 77, b"late") + frame(MessageKind.QUESTION, 5, message("still here", b""))
        )
        assert await asyncio.wait_for(end.next(), 20) == (5, "still here", b"")


def test_the_first_question_is_read_before_there_is_a_loop() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(MessageKind.QUESTION, 3, message("start", b"settings")))
        assert read_question(ours) == (3, "start", b"settings")
        theirs.sendall(frame(MessageKind.TOLD, 0, message("start", b"")))
        with pytest.raises(ChannelClosed):
            read_question(ours)
        theirs.close()
        with pytest.raises(ChannelClosed):
            read_question(ours)


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        frame(MessageKind.ANSWER, 1, bytes(MAX_PAYLOAD_BYTES + 1))
