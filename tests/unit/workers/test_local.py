"""One worker on our own loop answers as one in another process does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from tlsidecar.outcomes import Reason
from tlsidecar.workers.local import LocalWorker


class Worker:
    """Writes down what it is asked; a drain is over when the test says so."""

    def __init__(self) -> None:
        self.connection_count = 3
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.over: dict[bool, Callable[[], None]] = {}

    def drain(self, drained: Callable[[], None], *, inbound_only: bool) -> None:
        self.over[inbound_only] = drained

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **more: Any) -> str:
            self.asked.append((name, arguments, more))
            return name

        return ask


def local() -> tuple[LocalWorker, Worker]:
    worker = Worker()
    return LocalWorker(cast("Any", worker)), worker


async def test_a_drain_is_told_how_many_there_were_and_waited_for_by_its_kind() -> None:
    handle, worker = local()
    assert await handle.drain(inbound_only=True) == 3
    inbound = asyncio.ensure_future(handle.drained(inbound_only=True))
    every = asyncio.ensure_future(handle.drained())
    await asyncio.sleep(0)
    assert not inbound.done()
    worker.over[True]()
    await asyncio.wait_for(inbound, 20)
    assert not every.done()
    await handle.drain()
    worker.over[False]()
    await asyncio.wait_for(every, 20)


async def test_after_an_undrain_the_next_drain_is_waited_for_anew() -> None:
    handle, worker = local()
    await handle.drain()
    worker.over[False]()
    await handle.drained()
    await handle.undrain({"web": []})
    again = asyncio.ensure_future(handle.drained())
    await asyncio.sleep(0)
    assert not again.done()
    await handle.drain()
    worker.over[False]()
    await asyncio.wait_for(again, 20)


async def test_everything_else_is_asked_of_the_worker_as_it_is() -> None:
    handle, worker = local()
    selection = cast("Any", object())
    answers = [
        await handle.snapshot(),
        await handle.connection(7),
        await handle.close_connection(7),
        await handle.count(selection),
        await handle.end(selection, Reason.CLOSED_BY_ADMIN, gently=True),
        await handle.close_all(Reason.DRAIN_FORCED),
    ]
    names = ["snapshot", "connection", "close_connection", "count", "end", "close_all"]
    assert [*map(str, answers)] == names
    assert worker.asked[4] == ("end", (selection, Reason.CLOSED_BY_ADMIN), {"gently": True})
    handle.stop_listening(inbound_only=True)
    await handle.stop_accepting()
    assert worker.asked[-2:] == [("stop_accepting", (), {"inbound_only": True}), ("stop_accepting", (), {})]
    assert (handle.is_live, handle.failing, handle.connections_on_our_loop) == (True, None, 3)
    assert handle.workers == (handle,)
