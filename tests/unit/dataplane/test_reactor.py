"""The reactor beside asyncio: both ways of being driven behave alike."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tlsidecar.dataplane.reactor import READ, WRITE, Reactor, fused_event_loop

LOOPS = {"fused": fused_event_loop, "nested": asyncio.new_event_loop}


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def turn_until(loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
    async def wait() -> None:
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0)

    loop.run_until_complete(wait())


def test_a_handler_is_called_while_its_event_holds(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    reactor = Reactor(loop)
    got: list[bytes] = []
    reactor.watch(near.fileno(), READ, lambda _: got.append(near.recv(3)))
    far.send(b"abcdef")
    turn_until(loop, lambda: got == [b"abc", b"def"])
    reactor.close()


def test_asyncio_goes_on_beside_it(loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    """Timers, threads' wake-ups and asyncio's own descriptors are served as ever."""
    near, far = pair
    reactor = Reactor(loop)
    reactor.watch(near.fileno(), READ, lambda _: near.recv(10))

    async def others() -> list[object]:
        reader, writer = os.pipe()
        readable = asyncio.Event()
        loop.add_reader(reader, readable.set)
        os.write(writer, b"!")
        far.send(b"x")
        await asyncio.wait_for(readable.wait(), 5)
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
        return [await loop.run_in_executor(None, lambda: 7), await asyncio.sleep(0.01, "slept")]

    assert loop.run_until_complete(others()) == [7, "slept"]
    reactor.close()
    loop.run_until_complete(loop.shutdown_default_executor())


def test_what_is_forgotten_is_not_called_and_its_number_may_come_back(loop: asyncio.AbstractEventLoop) -> None:
    reactor = Reactor(loop)
    calls: list[str] = []
    for name in ("first", "second"):
        near, far = socket.socketpair()
        reactor.watch(near.fileno(), WRITE, lambda _, name=name: calls.append(name))
        turn_until(loop, lambda name=name: name in calls)
        reactor.forget(near.fileno())
        near.close()
        far.close()
    calls.clear()
    loop.run_until_complete(asyncio.sleep(0))
    assert calls == []
    assert len(reactor) == 0
    reactor.close()


def test_a_handler_that_fails_loses_its_own_connection_only(
    loop: asyncio.AbstractEventLoop,
    pair: tuple[socket.socket, socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    near, far = pair
    reactor = Reactor(loop)
    failed: list[str] = []

    class Owner:
        def handle(self, _events: int) -> None:
            raise RuntimeError("a defect")

        def fail(self) -> None:
            failed.append("told")

    other_near, other_far = socket.socketpair()
    with other_near, other_far, caplog.at_level(logging.CRITICAL, "tlsidecar.dataplane"):
        other_near.setblocking(False)
        got: list[bytes] = []
        reactor.watch(near.fileno(), READ, Owner().handle)
        reactor.watch(other_near.fileno(), READ, lambda _: got.append(other_near.recv(10)))
        far.send(b"x")
        other_far.send(b"fine")
        turn_until(loop, lambda: got and failed)
        assert (got, failed) == ([b"fine"], ["told"])
        reactor.close()


def test_no_interest_is_no_watching(loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    """A hang-up is always reported to whoever is registered: so a paused descriptor must not be."""
    near, far = pair
    reactor = Reactor(loop)
    calls: list[int] = []
    reactor.watch(near.fileno(), READ, calls.append)
    reactor.rewatch(near.fileno(), 0, calls.append)
    far.close()
    loop.run_until_complete(asyncio.sleep(0.01))
    assert calls == []
    reactor.rewatch(near.fileno(), READ, calls.append)
    turn_until(loop, lambda: calls)
    reactor.close()
