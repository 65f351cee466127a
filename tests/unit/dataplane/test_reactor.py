"""The reactor beside asyncio: both ways of being driven behave alike."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tlsidecar.dataplane.reactor import READ, WRITE, FusedEventLoop, Reactor

LOOPS = {"fused": FusedEventLoop, "nested": asyncio.new_event_loop}


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
        async with asyncio.timeout(20):
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
        await asyncio.wait_for(readable.wait(), 20)
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


@pytest.mark.parametrize("is_owner", [True, False])  # the handler itself, or a method of its owner's
def test_a_handler_that_fails_loses_its_own_connection_only(
    is_owner: bool,
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

        __call__ = handle

        def fail(self) -> None:
            failed.append("told")

    owner = Owner()
    other_near, other_far = socket.socketpair()
    with other_near, other_far, caplog.at_level(logging.CRITICAL, "tlsidecar.dataplane"):
        other_near.setblocking(False)
        got: list[bytes] = []
        reactor.watch(near.fileno(), READ, owner if is_owner else owner.handle)
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


def test_asyncio_is_left_alone_while_it_has_nothing_to_do(pair: tuple[socket.socket, socket.socket]) -> None:
    """What each turn of a stock loop costs is as much as a small read (docs/performance.md)."""
    loop = FusedEventLoop()
    near, far = pair
    reactor = Reactor(loop)
    selector: Any = loop._selector  # type: ignore[attr-defined]
    asked: list[float | None] = []
    select = selector.select

    def counted(timeout: float | None = None) -> Any:
        asked.append(timeout)
        return select(timeout)

    selector.select = counted
    turns: list[int] = []
    done = loop.create_future()

    def handle(_events: int) -> None:
        turns.append(reactor.turn)
        if len(turns) == 100:
            near.recv(1)
            done.set_result(None)

    far.send(b"x")
    reactor.watch(near.fileno(), READ, handle)
    loop.run_until_complete(done)
    assert len(set(turns)) == 100
    assert len(asked) <= 3
    reactor.close()
    loop.close()


@pytest.mark.parametrize("give", ["call_soon", "call_later", "a timer from before", "a thread", "stop"])
def test_asyncio_gets_its_turn_beside_a_handler_that_never_rests(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket], give: str
) -> None:
    near, _ = pair
    reactor = Reactor(loop)
    turns: list[int] = []

    def handle(_events: int) -> None:
        turns.append(reactor.turn)
        assert len(turns) < 1_000_000
        if len(turns) != 10:
            return
        if give == "call_soon":
            loop.call_soon(loop.stop)
        elif give == "call_later":
            loop.call_later(0.01, loop.stop)
        elif give == "a thread":
            threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,)).start()
        elif give == "stop":
            loop.stop()

    reactor.watch(near.fileno(), WRITE, handle)
    if give == "a timer from before":
        loop.call_later(0.01, loop.stop)
    loop.run_forever()
    if give in ("call_soon", "stop"):
        assert len(turns) <= 12
    reactor.close()


def test_a_timer_that_a_handler_sets_is_not_slept_through(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    reactor = Reactor(loop)
    late = loop.call_later(5, loop.stop)  # what the loop would sleep until

    def handle(_events: int) -> None:
        near.recv(1)
        loop.call_later(0.01, loop.stop)

    reactor.watch(near.fileno(), READ, handle)
    far.send(b"x")
    began = loop.time()
    loop.run_forever()
    assert loop.time() < late.when()
    assert loop.time() - began >= 0.01
    reactor.close()
