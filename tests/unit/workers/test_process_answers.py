"""A worker's process as the controller sees it: a real worker at the other end of a real channel, in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from unit.control.world import SETTINGS
from unit.workers.processes import material

from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.denials import Denial
from tlsidecar.dataplane.snapshot import ConnectionPage, ConnectionQuery, ConnectionSelection, PolicyChange
from tlsidecar.dataplane.snapshot import WorkerSnapshot as Snapshot
from tlsidecar.observe.logs import Logs
from tlsidecar.observe.sink import LineSink
from tlsidecar.outcomes import Reason
from tlsidecar.pace import Pace
from tlsidecar.settings import Limits, Log, Settings
from tlsidecar.workers import messages
from tlsidecar.workers.channel import Channel, RemoteFailure
from tlsidecar.workers.messages import Numbered, Start
from tlsidecar.workers.process import _Process
from tlsidecar.workers.wire import pack, unpack

WITHIN_S = 30.0
SOON = replace(SETTINGS, listeners=(replace(SETTINGS.listeners[0], limits=Limits(drain_timeout_s=0.05)),))


@dataclass
class Served:
    controller: Channel
    ended: asyncio.Future[int]
    address: tuple[str, int]
    logs: Logs

    async def ask(self, verb: str, body: bytes = b"") -> bytes:
        return await asyncio.wait_for(self.controller.ask(verb, body), WITHIN_S)


@contextlib.asynccontextmanager
async def serving(settings: Settings = SOON) -> AsyncIterator[Served]:
    ours, theirs = socket.socketpair()
    descriptor = Board.descriptor_for(1, 1)
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    address = sock.getsockname()
    sink = LineSink(2)
    logs = Logs(Log(access="off", level="error"), sink)
    start = Start(settings, 0, 1, (1,), False, "info")
    process = _Process(start, [theirs.fileno(), descriptor, 2, sock.detach()], logs, None, None)
    over = asyncio.Event()
    controller = await Channel.over(ours, lambda *_: None, over.set)
    questions = (1, 2)
    # As tlsidecar.workers.remote asks them: read before there is a loop.
    begun = [controller.ask(messages.START), controller.ask(messages.APPLY)]
    await asyncio.sleep(0)
    theirs.setblocking(True)
    theirs.recv(4096)
    ended = asyncio.ensure_future(process.run(theirs, [Numbered("default", 1, material())], questions))
    try:
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(*begun)
        yield Served(controller, ended, address, logs)
    finally:
        with contextlib.suppress(ConnectionError):
            controller.tell(messages.STOP)
        async with asyncio.timeout(WITHIN_S):
            assert await ended == 0
        controller.close()
        logs.close()
        sink.close()
        os.close(descriptor)
        for name in ("tlsidecar", "certs", "tlsidecar.audit"):
            logging.getLogger(name).setLevel(logging.NOTSET)


async def test_it_answers_when_it_accepts_and_tells_what_it_serves() -> None:
    async with serving() as served:
        with socket.create_connection(served.address, timeout=WITHIN_S):
            pass
        snapshot: Snapshot = unpack(Snapshot, await served.ask(messages.SNAPSHOT))
        assert [each.name for each in snapshot.listeners] == ["web"]
        assert snapshot.pid == os.getpid()


async def test_each_question_has_the_answer_that_its_sender_reads() -> None:
    async with serving() as served:
        page = unpack(ConnectionPage, await served.ask(messages.CONNECTIONS, pack(ConnectionQuery, ConnectionQuery())))
        assert (page.total, page.rows) == (0, ())
        nobody = ConnectionSelection(identity="spiffe://a/b")
        asked: list[tuple[str, bytes, Any, object]] = [
            (messages.CLOSE_CONNECTION, pack(int, 7), bool, False),
            (messages.COUNT, pack(ConnectionSelection, nobody), int, 0),
            (
                messages.END,
                pack(tuple[ConnectionSelection, Reason, bool], (nobody, Reason.CLOSED_BY_ADMIN, True)),
                int,
                0,
            ),
            (messages.CLOSE_ALL, pack(Reason, Reason.CLOSED_BY_ADMIN), int, 0),
            (messages.DENY, pack(tuple[Denial, ...], (Denial(1, "spiffe://a/b", 1e9, "leaked"),)), bool, True),
            (messages.PRESENT, b"[]", bool, True),
        ]
        for verb, body, kind, answer in asked:
            assert unpack(kind, await served.ask(verb, body)) == answer, verb
        assert await served.ask(messages.APPLY, messages.packed_material([Numbered("default", 2, material())])) == b""
        served.controller.tell(messages.LOG_LEVEL, b"debug")
        served.controller.tell(messages.REOPEN_LOG)


async def test_new_material_is_made_in_steps_between_which_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    may_go_on = asyncio.Event()

    async def step(_: Pace) -> None:
        nonlocal steps
        steps += 1
        await may_go_on.wait()

    async with serving() as served:
        monkeypatch.setattr(Pace, "step", step)
        first, second = (messages.packed_material([Numbered("default", each, material())]) for each in (2, 3))
        answered: list[int] = []
        asked = []
        for number, body in enumerate((first, second)):
            asked.append(asyncio.ensure_future(served.ask(messages.APPLY, body)))
            asked[-1].add_done_callback(lambda _, number=number: answered.append(number))
        assert unpack(Snapshot, await served.ask(messages.SNAPSHOT)).pid == os.getpid()
        assert (steps, answered) == (1, []), "the second waits for the first"
        may_go_on.set()
        await asyncio.gather(*asked)
        await asyncio.sleep(0)
    assert answered == [0, 1]
    assert steps == 2 * 4, "it is read; a context is made, given its pair, and whom it trusts"


async def test_a_changed_configuration_is_put_to_use() -> None:
    changed = replace(SOON, listeners=(replace(SOON.listeners[0], allow=("ou:sre",)),))
    async with serving() as served:
        body = messages.packed_configuration(pack(Settings, changed), [Numbered("default", 2, material())])
        answer = unpack(tuple[PolicyChange, ...], await served.ask(messages.CONFIGURE, body))
        assert answer == (), "nobody is connected whom the rules would keep out"
        snapshot: Snapshot = unpack(Snapshot, await served.ask(messages.SNAPSHOT))
        assert [each.name for each in snapshot.listeners] == ["web"]


@pytest.mark.parametrize("body", [b"{", b'"x"', b"[]"])
async def test_what_cannot_be_answered_is_said_and_the_next_is_answered(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as served:
        with pytest.raises(RemoteFailure, match="close_connection: WireError"):
            await served.ask(messages.CLOSE_CONNECTION, body)
        with pytest.raises(RemoteFailure, match="gossip: KeyError"):
            await served.ask("gossip")
        assert unpack(int, await served.ask(messages.CLOSE_ALL, pack(Reason, Reason.CLOSED_BY_ADMIN))) == 0
    assert "could not be answered" in caplog.text


async def test_a_drain_begins_once_and_is_over_when_the_last_is_gone() -> None:
    async with serving() as served:
        assert unpack(int, await served.ask(messages.DRAIN, pack(bool, False))) == 0
        assert unpack(int, await served.ask(messages.DRAIN, pack(bool, False))) == 0
        assert await served.ask(messages.DRAINED, pack(bool, False)) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(served.address, timeout=WITHIN_S)


async def test_without_a_controller_it_stops_accepting_lets_its_connections_finish_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as served:
        with socket.create_connection(served.address, timeout=WITHIN_S):
            served.controller.close()
            async with asyncio.timeout(WITHIN_S):
                assert await served.ended == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(served.address, timeout=WITHIN_S)
    assert "the controller is gone: this worker drains and ends" in caplog.text
