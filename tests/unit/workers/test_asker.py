"""What is asked of a worker's process is answered in time, or by what stands for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from tlsidecar.workers import asker
from tlsidecar.workers.asker import Asker
from tlsidecar.workers.channel import Channel

SAID = {"seven": b"7", "nothing": b"", "text": b'"x"', "broken": b"{", "late": None}


@contextlib.asynccontextmanager
async def asking() -> AsyncIterator[tuple[Asker, Channel, list[tuple[str, bytes]]]]:
    """An asker, the channel that answers it, and what that was told."""
    told: list[tuple[str, bytes]] = []
    over = asyncio.Event()

    def take(number: int, verb: str, body: bytes) -> None:
        if not number:
            told.append((verb, body))
        elif verb == "fails":
            theirs.fail(number, "the disk is full")
        elif SAID[verb] is not None:
            theirs.answer(number, SAID[verb])

    a, b = socket.socketpair()
    one = Asker(3)
    one.channel = await Channel.over(a, lambda *_: None, over.set)
    theirs = await Channel.over(b, take, lambda: None)
    yield one, theirs, told
    theirs.close()
    async with asyncio.timeout(10):
        await over.wait()


async def test_an_answer_is_read_as_what_it_is_to_be() -> None:
    async with asking() as (one, _, _):
        assert await one.ask("seven", b"", int, 0) == 7


@pytest.mark.parametrize("verb", ["text", "broken", "nothing", "fails"])
async def test_an_answer_that_is_none_is_logged_and_stands_for_nothing(
    verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking() as (one, _, _):
        with caplog.at_level(logging.ERROR, "tlsidecar.workers"):
            assert await one.ask(verb, b"", int, -1) == -1
    assert "worker 3: " in caplog.text
    assert ("the disk is full" in caplog.text) == (verb == "fails")


async def test_a_worker_that_is_stopped_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker, "ANSWER_WITHIN_S", 0.01)
    async with asking() as (one, _, _):
        assert await one.ask("late", b"", int, -1) == -1


async def test_where_there_is_no_process_nothing_is_asked_and_nothing_told(caplog: pytest.LogCaptureFixture) -> None:
    nobody = Asker(3)
    assert await nobody.ask("seven", b"", int, -1) == -1
    nobody.tell("reopen")
    async with asking() as (gone, theirs, told):
        gone.tell("level", b"debug")
        assert await gone.ask("seven", b"", int, 0) == 7
        assert told == [("level", b"debug")]
        theirs.close()
        assert await gone.ask("seven", b"", int, -1) == -1
        gone.tell("reopen")
    assert not caplog.records, "it is the worker's life that tells of its end"
