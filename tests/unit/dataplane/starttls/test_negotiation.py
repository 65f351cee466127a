"""A script played on real sockets: steps, answers, ends, and the time that is over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.starttls.negotiation import Ended, Negotiation
from tlsidecar.dataplane.starttls.script import WAIT, Next, Step


class Script:
    """Takes a line at a time: ``more`` goes on, ``tls`` is agreed on, anything else is refused."""

    def __init__(self, opening: bytes = b"") -> None:
        self.opening = opening

    def look(self, shown: bytes) -> Step:
        line, end, _ = shown.partition(b"\n")
        if not end:
            return WAIT
        take = len(line) + 1
        if line == b"more":
            return Step(Next.MORE, take, b"go on\n")
        return Step(Next.TLS, take) if line == b"tls" else Step(Next.REFUSED, take, b"no\n", "it says otherwise")


class Played:
    """One negotiation, and the other end of its socket."""

    def __init__(self, reactor: Reactor, ours: socket.socket, theirs: socket.socket, script: Script, limit_s: float):
        self.theirs = theirs
        self.ours = ours
        self.ended: list[Ended] = []
        self.deadlines = DeadlineQueue(asyncio.get_running_loop(), limit_s)
        self.negotiation = Negotiation(reactor, self.deadlines, ours, script, self.ended.append)

    async def end(self) -> Ended:
        async with asyncio.timeout(20):
            while not self.ended:
                await asyncio.sleep(0.002)
        (ended,) = self.ended
        return ended


@contextlib.contextmanager
def playing(opening: bytes = b"", limit_s: float = 30.0) -> Iterator[Played]:
    reactor = Reactor(asyncio.get_running_loop())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(20)
        played = Played(reactor, ours, theirs, Script(opening), limit_s)
        try:
            yield played
        finally:
            played.negotiation.cancel()
            reactor.close()


async def test_steps_and_answers_until_tls() -> None:
    with playing(b"hello\n") as played:
        played.negotiation.start()
        assert played.theirs.recv(100) == b"hello\n"
        for piece in (b"mo", b"re\nmore\n", b"tl"):
            played.theirs.sendall(piece)
            await asyncio.sleep(0)
        played.theirs.sendall(b"s\n")
        assert await played.end() == Ended(Next.TLS, message=b"tls\n")
        assert played.theirs.recv(100) == b"go on\ngo on\n"


async def test_nothing_of_tls_is_taken() -> None:
    with playing() as played:
        played.theirs.sendall(b"tls\n\x16\x03\x01")
        played.negotiation.start()
        assert (await played.end()).next is Next.TLS
        assert played.ours.recv(100) == b"\x16\x03\x01"


async def test_a_refusal_is_said_before_it_ends() -> None:
    with playing() as played:
        played.theirs.sendall(b"what?\n")
        played.negotiation.start()
        assert await played.end() == Ended(Next.REFUSED, "it says otherwise", b"what?\n")
        assert played.theirs.recv(100) == b"no\n"


@pytest.mark.parametrize(("said", "empty"), [(b"", True), (b"tl", False), (b"more\n", False)])
async def test_one_who_leaves(said: bytes, empty: bool) -> None:
    with playing() as played:
        played.negotiation.start()
        played.theirs.sendall(said)
        played.theirs.shutdown(socket.SHUT_WR)
        ended = await played.end()
        assert (ended.next, ended.empty, ended.late) == (Next.REFUSED, empty, False)
        assert ended.detail == "it ended before TLS was agreed on"


@pytest.mark.leaps
async def test_the_time_is_over() -> None:
    with playing(limit_s=2) as played:
        played.negotiation.start()
        ended = await played.end()
        assert (ended.next, ended.late) == (Next.REFUSED, True)
        assert ended.detail == "2 s were over before TLS was agreed on"


@pytest.mark.leaps
async def test_one_that_is_given_up_tells_nobody() -> None:
    with playing(limit_s=2) as played:
        played.negotiation.start()
        played.negotiation.cancel()
        played.theirs.sendall(b"tls\n")
        await asyncio.sleep(10)
        assert played.ended == []
        assert repr(played.negotiation) == "<Negotiation Script over>"
