"""The life of one worker number: processes come and go, and what it has counted and been told stays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from unit.control.world import SETTINGS
from unit.workers.processes import World, a_snapshot, material, world

from tlsidecar.dataplane.denials import Denial
from tlsidecar.dataplane.snapshot import ConnectionQuery, ListenerCounters, WorkerSnapshot
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Settings
from tlsidecar.workers import messages, remote
from tlsidecar.workers.fork_server import ForkServerError
from tlsidecar.workers.messages import Numbered
from tlsidecar.workers.remote import RemoteWorker
from tlsidecar.workers.restarts import LOOP_ENDS
from tlsidecar.workers.wire import pack, unpack

DENIAL = Denial(1, "spiffe://a.example/b", 1e9, "leaked")
COUNTED = ListenerCounters(connections_active=2, connections={"accepted": 5}, bytes_in=100)


@contextlib.asynccontextmanager
async def living(around: World, *, number: int = 0) -> AsyncIterator[RemoteWorker]:
    """A worker that is kept running until the block ends."""
    around.setup.board.leave(number)
    generations = [Numbered("default", 1, material())]
    worker = RemoteWorker(number, around.setup, generations, "info")
    life = asyncio.ensure_future(worker.live())
    try:
        await around.until(worker.running.is_set)
        yield worker
    finally:
        await worker.close(5)
        await life
        for process in around.fork_server.forked:
            await process.close()


def counting(around: World) -> None:
    """From now on its process says that it has counted something."""
    blank = a_snapshot(around.setup, 0)
    said = replace(blank, listeners=(replace(blank.listeners[0], counters=COUNTED),))
    around.fork_server.answers[messages.SNAPSHOT] = lambda _: pack(WorkerSnapshot, said)


async def test_a_process_is_told_who_it_is_and_given_material_before_anything_else() -> None:
    with world() as around:
        async with living(around, number=1) as worker:
            (start, applied) = around.last.heard[:2]
            assert [start[0], applied[0]] == [messages.START, messages.APPLY]
            told: messages.Start = unpack(messages.Start, start[1])
            assert (told.number, told.workers, told.sockets, told.held) == (1, 2, (1,), False)
            assert told.settings == SETTINGS
            (numbered,) = messages.unpacked_material(applied[1])
            assert (numbered.identity, numbered.generation) == ("default", 1)
            assert worker.is_live
            snapshot = await worker.snapshot()
            assert (snapshot.worker, snapshot.pid, snapshot.restarts) == (1, around.last.pid, 0)
        assert around.events() == [{"outcome": "started", "worker": 1, "pid": around.last.pid, "restarts": 0}]


async def test_what_a_lost_process_had_counted_is_kept_and_the_next_is_told_what_the_last_was() -> None:
    with world() as around:
        async with living(around) as worker:
            counting(around)
            around.fork_server.answers[messages.DENY] = lambda _: b"true"
            await worker.deny([DENIAL])
            worker.set_log_level("debug")
            new = Contexts(2, material(), SETTINGS.tls)
            await worker.apply(new)
            assert (await worker.snapshot()).listeners[0].counters == COUNTED
            around.setup.board.words[around.setup.board.place(0, 0)] = 2
            lost = around.last
            lost.end()
            await around.until(lambda: len(around.fork_server.forked) == 2 and worker.running.is_set())
            around.fork_server.answers[messages.SNAPSHOT] = lambda _: pack(WorkerSnapshot, a_snapshot(around.setup, 0))
            snapshot = await worker.snapshot()
            counters = snapshot.listeners[0].counters
            assert (counters.connections_active, counters.bytes_in) == (0, 100)
            assert counters.connections == {"accepted": 5, "worker_lost": 2}
            assert (snapshot.pid, snapshot.restarts) == (around.last.pid, 1)
            told: messages.Start = unpack(messages.Start, around.last.heard[0][1])
            assert (told.log_level, told.denials) == ("debug", (DENIAL,))
            (numbered,) = messages.unpacked_material(around.last.heard[1][1])
            assert numbered.generation == 2
        assert around.health.forgotten == [0, 0]
        assert around.events()[1] == {
            "outcome": "lost",
            "worker": 0,
            "pid": lost.pid,
            "ending": "ended with -9",
            "connections_lost": 2,
        }


@pytest.mark.parametrize(
    ("verb", "body"),
    [("announced", b"3"), ("announced", b'[["gossip", 1]]'), ("announced", b"["), ("lost", b'"all"'), ("gossip", b"")],
)
async def test_one_that_says_what_none_of_ours_says_is_killed(
    verb: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with world() as around:
        async with living(around):
            first = around.last
            assert first.channel is not None
            first.channel.tell(verb, body)
            await around.until(lambda: around.last is not first)
        assert first.program.wait(10) == -9
    assert "a worker is killed: it sent what is not a message" in caplog.text


async def test_one_that_cannot_take_new_material_is_killed_and_its_successor_begins_with_it() -> None:
    with world() as around:
        async with living(around) as worker:
            first = around.last

            def refuse(_: bytes) -> bytes:
                raise ValueError("no memory")

            around.fork_server.answers[messages.APPLY] = refuse
            applying = worker.apply(Contexts(2, material(), SETTINGS.tls))
            await applying
            around.fork_server.answers[messages.APPLY] = lambda _: b""
            await around.until(lambda: around.last is not first and worker.running.is_set())
            (numbered,) = messages.unpacked_material(around.last.heard[1][1])
            assert numbered.generation == 2
        assert first.program.wait(10) == -9


async def test_a_changed_configuration_is_what_later_processes_begin_with() -> None:
    changed = replace(SETTINGS, listeners=(replace(SETTINGS.listeners[0], allow=("ou:sre",)),))
    with world() as around:
        around.fork_server.answers[messages.CONFIGURE] = lambda _: b"[]"
        async with living(around) as worker:
            assert not await worker.configure(changed, [Contexts(3, material(), SETTINGS.tls)])
            settings, (numbered,) = messages.unpacked_configuration(around.last.heard[-1][1])
            assert (unpack(Settings, settings), numbered.generation) == (changed, 3)
            first = around.last
            first.end()
            await around.until(lambda: around.last is not first and worker.running.is_set())
            told: messages.Start = unpack(messages.Start, around.last.heard[0][1])
            assert told.settings == changed


async def test_only_the_worker_whose_connection_it_is_is_asked_for_it() -> None:
    with world() as around:
        around.fork_server.answers[messages.CLOSE_CONNECTION] = lambda _: b"true"
        async with living(around) as worker:  # number 0 of two gives out 1, 3, 5 …
            assert await worker.close_connection(3)
            assert not await worker.close_connection(4)
            assert await worker.connection(4) is None
            assert around.last.verbs.count(messages.CLOSE_CONNECTION) == 1
            assert messages.CONNECTION not in around.last.verbs


async def test_without_a_process_it_answers_as_one_without_connections() -> None:
    with world() as around:
        worker = RemoteWorker(0, around.setup, [Numbered("default", 1, material())], "info")
        assert (await worker.connections(ConnectionQuery())).total == 0
        assert await worker.close_all(Reason.CLOSED_BY_ADMIN) == 0
        assert await worker.drain() == 0
        await worker.drained()
        await worker.close(0.1)
        assert not await worker.configure(SETTINGS, [])
        snapshot = await worker.snapshot()
        assert (snapshot.pid, [each.name for each in snapshot.listeners]) == (0, ["web"])
        assert worker.is_live, "it begins in a moment"


async def test_one_that_drains_is_not_replaced_until_it_is_renewed() -> None:
    with world() as around:
        around.fork_server.answers[messages.DRAIN] = lambda _: b"4"
        around.fork_server.answers[messages.DRAINED] = lambda _: b""
        worker = RemoteWorker(0, around.setup, [Numbered("default", 1, material())], "info")
        life = asyncio.ensure_future(worker.live())
        await around.until(worker.running.is_set)
        assert await worker.drain() == 4
        await worker.drained()
        around.last.end()
        await life
        assert (worker.is_over, len(around.fork_server.forked)) == (True, 1)
        worker.renew()
        life = asyncio.ensure_future(worker.live())
        await around.until(worker.running.is_set)
        drained = around.last
        await worker.drain()
        worker.renew()  # one that is still there makes room by itself
        await around.until(lambda: around.last is not drained and worker.running.is_set())
        assert (await worker.snapshot()).restarts == 0, "nothing was lost"
        assert [each["outcome"] for each in around.events()] == ["started", "lost", "started", "started"]
        await worker.close(5)
        await life
        for process in around.fork_server.forked:
            await process.close()


@pytest.mark.parametrize("told", ["drain", "close"])
async def test_one_that_is_not_wanted_any_more_when_it_has_come_up_is_told_to_end(
    told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world() as around:
        worker = RemoteWorker(0, around.setup, [Numbered("default", 1, material())], "info")
        around.fork_server.meanwhile = worker.drain if told == "drain" else lambda: worker.close(5)
        await worker.live()
        await around.until(lambda: around.last.program.poll() is not None)
        assert around.last.verbs[-1] == messages.STOP
        assert not worker.running.is_set()
        await around.last.close()
    assert "is killed" not in caplog.text


async def test_one_that_does_not_stay_up_is_a_problem_with_a_date(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    held = asyncio.Event()
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await (held.wait() if seconds >= 1 else real(0))

    monkeypatch.setattr(remote.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
    with world() as around:
        around.fork_server.obstacle = ForkServerError("no memory")
        worker = RemoteWorker(0, around.setup, [Numbered("default", 1, material())], "info")
        with caplog.at_level(logging.ERROR):
            life = asyncio.ensure_future(worker.live())
            async with asyncio.timeout(10):
                while len(pauses) < LOOP_ENDS or pauses[-1] < 1:
                    await real(0.001)
        assert around.fork_server.asked == LOOP_ENDS
        failing = worker.failing
        assert failing is not None
        assert failing[0] == "does not stay up: it no memory; it is tried again now and then"
        assert not worker.is_live
        assert "a worker could not be started: no memory" in caplog.text
        worker._closing = True
        held.set()
        await life
