"""A fork server's double: a worker's process is ``sleep``, and its end of the channel is answered from here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from unit.certs import forge
from unit.control.world import SETTINGS

from certs.clock import SYSTEM_CLOCK
from certs.material import Material
from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.snapshot import WorkerSnapshot
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.recorder import Collector
from tlsidecar.settings import Settings
from tlsidecar.workers import messages
from tlsidecar.workers.carried_counts import CarriedCounts
from tlsidecar.workers.channel import Channel
from tlsidecar.workers.fork_server import ForkServerError
from tlsidecar.workers.setup import WorkerSetup
from tlsidecar.workers.wire import pack

Answer = Callable[[bytes], bytes]
WITHIN_S = 30.0
ROOT = forge.authority()
WORKERS = 2


def material() -> Material:
    return forge.material(forge.leaf(ROOT), trust=[ROOT])


def a_snapshot(setup: WorkerSetup, number: int) -> WorkerSnapshot:
    """Of a process that has counted nothing."""
    return CarriedCounts(number, setup.board, setup.sockets, setup.settings.listeners).latest


class Process:
    """One process, and what it was asked, in order."""

    def __init__(self, number: int, answers: Mapping[str, Answer]) -> None:
        self.number = number
        self.program = subprocess.Popen(["/bin/sleep", "600"])
        self.pid = self.program.pid
        self.heard: list[tuple[str, bytes]] = []
        self.channel: Channel | None = None
        self._answers = answers
        self._ended: asyncio.Task[None] | None = None

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.heard if verb != messages.SNAPSHOT]

    async def begin(self, descriptor: int) -> None:
        self.channel = await Channel.over(socket.socket(fileno=os.dup(descriptor)), self._take, lambda: None)
        self._ended = asyncio.ensure_future(self._end_with_the_program())

    async def _end_with_the_program(self) -> None:
        while self.program.poll() is None:
            await asyncio.sleep(0.001)
        assert self.channel is not None
        self.channel.close()

    def _take(self, number: int, verb: str, body: bytes) -> None:
        self.heard.append((verb, body))
        if verb == messages.STOP:
            self.end()
        elif number and verb in self._answers:
            assert self.channel is not None
            try:
                self.channel.answer(number, self._answers[verb](body))
            except ValueError as error:
                self.channel.fail(number, str(error))

    def end(self) -> None:
        self.program.kill()

    async def close(self) -> None:
        self.end()
        if self._ended is not None:
            await self._ended


class ForkServer:
    """``obstacle`` is raised instead of forking, when there is one; ``meanwhile`` happens while it forks."""

    def __init__(self) -> None:
        self.forked: list[Process] = []
        self.answers: dict[str, Answer] = {messages.START: lambda _: b"", messages.APPLY: lambda _: b""}
        self.obstacle: ForkServerError | None = None
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.asked = 0

    async def fork(self, number: int, descriptors: Sequence[int]) -> int:
        self.asked += 1
        if self.obstacle is not None:
            raise self.obstacle
        if self.meanwhile is not None:
            await self.meanwhile()
        process = Process(number, self.answers)
        self.forked.append(process)
        await process.begin(descriptors[0])
        return process.pid

    async def ending(self, pid: int) -> str:
        (process,) = (each for each in self.forked if each.pid == pid)
        return f"ended with {process.program.wait(WITHIN_S)}"


class Health:
    """Which workers' views of upstreams were to be forgotten."""

    def __init__(self) -> None:
        self.forgotten: list[int] = []

    def changed(self, change: object) -> None: ...

    def forget(self, worker: int) -> None:
        self.forgotten.append(worker)


class World:
    """What the workers of a supervisor share, and their processes."""

    def __init__(self, setup: WorkerSetup, fork_server: ForkServer, health: Health) -> None:
        self.setup = setup
        self.fork_server = fork_server
        self.health = health
        fork_server.answers[messages.SNAPSHOT] = lambda _: pack(WorkerSnapshot, a_snapshot(setup, 0))

    @property
    def last(self) -> Process:
        return self.fork_server.forked[-1]

    def events(self) -> list[Mapping[str, Any]]:
        """What was published of workers, oldest first."""
        return [each.fields for each in self.setup.collector.hub.since(0, 100)]

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not true():
                await asyncio.sleep(0.001)


@contextlib.contextmanager
def world(settings: Settings = SETTINGS) -> Iterator[World]:
    fork_server, health = ForkServer(), Health()
    descriptor = Board.descriptor_for(WORKERS, len(settings.listeners))
    board = Board(descriptor, WORKERS, len(settings.listeners))
    listening = socket.create_server(("127.0.0.1", 0))
    collector = Collector(RefusalLog(), FailureLog(), EventHub(SYSTEM_CLOCK), health)
    setup = WorkerSetup(
        settings,
        WORKERS,
        {settings.listeners[0].name: [listening]},
        board,
        descriptor,
        2,
        cast("Any", fork_server),
        collector,
        SYSTEM_CLOCK,
    )
    try:
        yield World(setup, fork_server, health)
    finally:
        for process in fork_server.forked:
            process.end()
            process.program.wait(WITHIN_S)
        board.close()
        os.close(descriptor)
        listening.close()
