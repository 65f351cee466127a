"""Several workers, each in a process of its own, behind one set of listening sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence

from certs.clock import Clock
from tlsidecar.background import Background
from tlsidecar.dataplane.bind import close_all, stop_listening
from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.sink import LineSink
from tlsidecar.recorder import Collector
from tlsidecar.settings import Mode, Settings
from tlsidecar.workers.fork_server import ForkServer
from tlsidecar.workers.handle import SupervisorError
from tlsidecar.workers.messages import Numbered
from tlsidecar.workers.remote import START_WITHIN_S, RemoteWorker
from tlsidecar.workers.setup import WorkerSetup

# How long workers get to end of their own accord, before they are killed.
END_WITHIN_S = 1.0


class ProcessSupervisor:
    """A :class:`~.handle.Supervisor` of ``settings.workers`` processes. This process keeps the listening sockets open,
    so that a worker can be lost and replaced without a client noticing more than its own connection."""

    def __init__(
        self,
        settings: Settings,
        sockets: dict[str, list[socket.socket]],
        contexts: Sequence[Contexts],
        collector: Collector,
        clock: Clock,
        sink: LineSink,
        fork_server: ForkServer,
    ) -> None:
        count = settings.workers
        self._sink = sink
        self._settings = settings
        self._sockets = sockets
        self._board_descriptor = Board.descriptor_for(count, len(settings.listeners))
        self._board = Board(self._board_descriptor, count, len(settings.listeners))
        setup = WorkerSetup(
            settings,
            count,
            sockets,
            self._board,
            self._board_descriptor,
            sink.descriptor,
            fork_server,
            collector,
            clock,
        )
        generations = [Numbered(each.identity, each.generation, each.material) for each in contexts]
        self._workers = tuple(RemoteWorker(number, setup, generations, settings.log.level) for number in range(count))
        self._lives = Background()

    def __repr__(self) -> str:
        return f"<ProcessSupervisor {list(self._workers)}>"

    @property
    def workers(self) -> Sequence[RemoteWorker]:
        return self._workers

    async def start(self) -> None:
        """Returns when all accept; later each is replaced when it ends. Raises :class:`SupervisorError`."""
        self._sink.share(self._board_descriptor)
        for worker in self._workers:
            self._board.leave(worker.number)
            self._lives.begin(worker.live(), f"worker {worker.number}")
        await self._all_running()

    async def undrain(self, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        """Sockets cannot be given to a process that runs: each worker gets a new one."""
        self._sockets.update({name: list(each) for name, each in sockets.items()})
        for worker in self._workers:
            worker.renew()
            if worker.is_over:
                self._lives.begin(worker.live(), f"worker {worker.number}")
        await self._all_running()

    async def _all_running(self) -> None:
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await asyncio.gather(*(worker.running.wait() for worker in self._workers))
        except TimeoutError:
            late = ", ".join(str(worker.number) for worker in self._workers if not worker.running.is_set())
            if not late:
                return  # the last one was ready as the time was up
            raise SupervisorError(
                f"not ready within {START_WITHIN_S:g} s: worker {late}; either the machine gives them too little "
                "processor time, or the log says above why they ended"
            ) from None

    def stop_listening(self, *, inbound_only: bool = False) -> None:
        ended = {
            listener.name: self._sockets[listener.name]
            for listener in self._settings.listeners
            if not inbound_only or listener.mode is Mode.TERMINATE
        }
        for sockets in ended.values():
            stop_listening(sockets)
        close_all(ended)

    async def close(self) -> None:
        await asyncio.gather(*(worker.close(END_WITHIN_S) for worker in self._workers))
        await self._lives.close(END_WITHIN_S)
        self._sink.share(None)
        self._board.close()
        os.close(self._board_descriptor)
