"""Several workers behind one set of sockets: begun together, refused together, gone together."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from unit.control.world import SETTINGS
from unit.workers.processes import World, material, world

from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.sink import LineSink
from tlsidecar.settings import Address, ListenerSettings, Mode
from tlsidecar.workers import messages, supervisor
from tlsidecar.workers.fork_server import ForkServerError
from tlsidecar.workers.handle import SupervisorError
from tlsidecar.workers.supervisor import ProcessSupervisor

OUT = ListenerSettings("out", Mode.ORIGINATE, Address("127.0.0.1", 0), (Address("127.0.0.1", 1),), expect=("dns:x",))
TWO = replace(SETTINGS, workers=2, listeners=(SETTINGS.listeners[0], OUT))


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def is_refused(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) != 0


@contextlib.asynccontextmanager
async def supervising(around: World) -> AsyncIterator[tuple[ProcessSupervisor, dict[str, list[socket.socket]]]]:
    sockets = {"web": [listening()], "out": [listening()]}
    sink = LineSink(2)
    contexts = [Contexts(1, material(), TWO.tls)]
    several = ProcessSupervisor(
        TWO, sockets, contexts, around.setup.collector, SYSTEM_CLOCK, sink, cast("Any", around.fork_server)
    )
    try:
        yield several, sockets
    finally:
        await several.close()
        sink.close()
        for each in (sock for held in sockets.values() for sock in held):
            each.close()
        for process in around.fork_server.forked:
            await process.close()


async def test_it_has_started_when_all_accept_and_ends_them_all() -> None:
    with world() as around:
        async with supervising(around) as (several, _):
            await several.start()
            assert sorted(process.number for process in around.fork_server.forked) == [0, 1]
            assert all(worker.is_live for worker in several.workers)
        assert all(process.verbs[-1] == messages.STOP for process in around.fork_server.forked)


async def test_workers_that_do_not_start_are_said_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "START_WITHIN_S", 0.05)
    with world() as around:
        around.fork_server.obstacle = ForkServerError("no memory")
        async with supervising(around) as (several, _):
            with pytest.raises(SupervisorError, match=r"not ready within 0.05 s: worker 0, 1; either the machine"):
                await several.start()


async def test_what_comes_in_by_mutual_tls_is_refused_first_and_then_all() -> None:
    with world() as around:
        async with supervising(around) as (several, sockets):
            await several.start()
            web, out = (sockets[name][0].getsockname() for name in ("web", "out"))
            several.stop_listening(inbound_only=True)
            assert (is_refused(web), is_refused(out)) == (True, False)
            several.stop_listening()
            assert (is_refused(web), is_refused(out)) == (True, True)


async def test_after_a_drain_each_number_has_a_new_process_with_the_new_sockets() -> None:
    with world() as around:
        around.fork_server.answers[messages.DRAIN] = lambda _: b"0"
        async with supervising(around) as (several, sockets):
            await several.start()
            before = list(around.fork_server.forked)
            await asyncio.gather(*(worker.drain() for worker in several.workers))
            before[0].end()  # one is gone by then, the other is still there
            await around.until(lambda: several.workers[before[0].number].is_over)
            several.stop_listening()
            again = {"web": [listening()], "out": [listening()]}
            await several.undrain(again)
            after = around.fork_server.forked[2:]
            assert sorted(process.number for process in after) == [0, 1]
            assert sockets["web"] == again["web"]
            assert before[1].program.wait(10) == -9
