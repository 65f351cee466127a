"""A worker's process: a :class:`~tlsidecar.dataplane.worker.Worker` behind one end of a channel.

It is forked by the fork server with its descriptors, and told everything else over the channel. When the channel ends
without a STOP the controller is dead: the worker stops accepting at once, so that a new sidecar can bind, lets its
connections finish, for the drain timeout at most, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from certs.acme.challenges import Challenge
from certs.clock import SYSTEM_CLOCK
from certs.steps import Steps, at_once
from tlsidecar.background import Background
from tlsidecar.dataplane.bind import HeldSocket, stop_listening
from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.denials import Denial
from tlsidecar.dataplane.outbound.network import Connector
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionKeys,
    ConnectionPage,
    ConnectionQuery,
    ConnectionSelection,
    GroupPage,
    GroupQuery,
    PolicyChange,
    WorkerSnapshot,
)
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.worker import Worker, connection_shares, share_of
from tlsidecar.event_loop import loop_factory
from tlsidecar.observe.logs import Logs
from tlsidecar.observe.sink import LineSink
from tlsidecar.observe.tracing import SpanExport, open_span_export
from tlsidecar.outcomes import Reason
from tlsidecar.pace import Pace
from tlsidecar.recorder import Recorder
from tlsidecar.settings import Settings
from tlsidecar.workers import messages
from tlsidecar.workers.announcements import Announcements
from tlsidecar.workers.channel import Channel, ChannelClosed, read_question
from tlsidecar.workers.wire import WireError, pack, unpack

# Workers that begin together wait so long for each other before the first accepts, and look so often: whoever was up
# first would take everybody who waits.
TOGETHER_WITHIN_S = 0.5
LOOK_FOR_OTHERS_S = 0.002

_log = logging.getLogger("tlsidecar.workers")


def serve(descriptors: Sequence[int], connector: Connector | None) -> int:
    """Be a worker until told to stop, or until the controller is gone; the process's exit code.

    ``descriptors``: channel, board, log, then the listening sockets. ``connector`` is asked where connecting is not
    permitted to this process.
    """
    control = socket.socket(fileno=descriptors[0])
    control.setblocking(True)
    try:
        start, generations, questions = _beginning(control)
    except (ChannelClosed, WireError) as error:
        control.close()
        return 0 if isinstance(error, ChannelClosed) else 1  # the controller gave up before it began, or is none
    settings = start.settings
    sink = LineSink(descriptors[2], path=settings.log.file, shared=descriptors[1])
    logs = Logs(settings.log, sink)
    logs.process.set_level(start.log_level)
    spans = open_span_export(settings.tracing)
    try:
        with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
            process = _Process(start, descriptors, logs, spans, connector)
            return runner.run(process.run(control, generations, questions))
    finally:
        if spans is not None:
            spans.close()
        logs.close()
        sink.close()


def _beginning(control: socket.socket) -> tuple[messages.Start, Sequence[messages.Numbered], tuple[int, int]]:
    """What a worker is told before it serves, and the numbers of the two questions, to be answered when it does.

    Raises :class:`ChannelClosed` and :class:`WireError`.
    """
    started, verb, body = read_question(control)
    if verb != messages.START:
        raise WireError(f"{verb!r} before {messages.START!r}")
    start = unpack(messages.Start, body)
    applied, verb, body = read_question(control)
    if verb != messages.APPLY:
        raise WireError(f"{verb!r} before {messages.APPLY!r}")
    return start, messages.unpacked_material(body), (started, applied)


def settings_of_one(settings: Settings, number: int, workers: int) -> Settings:
    """The settings of one of several workers: its part of what is limited for all together, at least 1 but for the
    connections (tlsidecar.dataplane.worker.connection_shares)."""

    def part(limit: int | None) -> int | None:
        return limit if limit is None else max(1, share_of(limit, workers, number))

    listeners = []
    for listener in settings.listeners:
        limits = listener.limits
        most = limits.max_connections
        limits = replace(
            limits,
            max_connections=None if most is None else share_of(most, workers, number),
            max_handshakes=part(limits.max_handshakes),
            max_concurrent_requests=part(limits.max_concurrent_requests),
        )
        listeners.append(replace(listener, limits=limits))
    return replace(settings, listeners=tuple(listeners))


def _contexts(settings: Settings, numbered: messages.Numbered) -> Steps[Contexts]:
    """The contexts of a generation, made at once: what OpenSSL will not take is said now."""
    name, generation, material = numbered
    soft_crl = settings.identity_called(name).crl_policy == "soft"
    contexts = Contexts(generation, material, settings.tls, soft_crl=soft_crl, identity=name)
    for listener in settings.listeners_of(name):
        yield from contexts.make_in_steps(listener)
    return contexts


class _Process:
    """The worker of this process, and what the controller may ask of it."""

    def __init__(
        self,
        start: messages.Start,
        descriptors: Sequence[int],
        logs: Logs,
        spans: SpanExport | None,
        connector: Connector | None,
    ) -> None:
        self._start = start
        self._connector = connector
        self._spans = spans
        self._logs = logs
        self._board = Board(descriptors[1], start.workers, len(start.settings.listeners))
        self._sockets: dict[str, list[socket.socket]] = {}
        listening = iter(descriptors[3:])
        for listener, count in zip(start.settings.listeners, start.sockets, strict=True):
            kind = HeldSocket if start.held else socket.socket
            self._sockets[listener.name] = [kind(fileno=next(listening)) for _ in range(count)]
        self._stopped = asyncio.Event()
        self._drained = {inbound_only: asyncio.Event() for inbound_only in (False, True)}
        self._drains: set[bool] = set()
        self._background = Background()
        self._answers: dict[str, Callable[[bytes], bytes]] = {
            messages.PRESENT: self._present,
            messages.SNAPSHOT: lambda _: pack(WorkerSnapshot, self._snapshot()),
            messages.CONNECTIONS: self._connections,
            messages.CONNECTION_KEYS: self._connection_keys,
            messages.CONNECTION_GROUPS: self._connection_groups,
            messages.CONNECTION: self._connection,
            messages.CLOSE_CONNECTION: lambda body: pack(bool, self._worker.close_connection(unpack(int, body))),
            messages.STOP_ACCEPTING: self._stop_accepting,
            messages.DRAIN: self._drain,
            messages.DENY: self._deny,
            messages.COUNT: lambda body: pack(int, self._worker.count(unpack(ConnectionSelection, body))),
            messages.END: self._end,
            messages.CLOSE_ALL: lambda body: pack(int, self._worker.close_all(unpack(Reason, body))),
        }
        # New material, whose contexts are made in steps: one message after the other, in the order in which they came.
        self._answers_in_steps: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            messages.APPLY: self._apply,
            messages.CONFIGURE: self._configure,
        }
        self._steps_turn = asyncio.Lock()
        self._pace = Pace(lambda: self._worker.connection_count > 0)

    async def run(
        self, control: socket.socket, generations: Sequence[messages.Numbered], questions: tuple[int, int]
    ) -> int:
        start = self._start
        settings = settings_of_one(start.settings, start.number, start.workers)
        contexts = [at_once(_contexts(start.settings, each)) for each in generations]
        channel = self._channel = await Channel.over(control, self._received, self._lost)
        announcer = self._announcer = Announcements(channel)
        self._worker = worker = Worker(
            settings,
            asyncio.get_running_loop(),
            self._sockets,
            contexts,
            Recorder(self._logs.access, announcer, self._spans),
            SYSTEM_CLOCK,
            number=start.number,
            board=self._board,
            shares=connection_shares(start.settings, start.workers),
            connector=self._connector,
        )
        worker.deny(start.denials)
        self._board.enter(start.number)
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process
        await self._until_all_are_there()
        if not self._drains:  # the controller may be gone by now
            worker.start()
        for question in questions:
            channel.answer(question)
        try:
            await self._stopped.wait()
        finally:
            worker.close()
            await self._background.close()
            announcer.flush()
            channel.close()
            await asyncio.sleep(0)  # the transport closes in its next turn
        return 0

    async def _until_all_are_there(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_WITHIN_S):
                while not self._board.is_complete():  # noqa: ASYNC110 - another process can set no event of ours
                    await asyncio.sleep(LOOK_FOR_OTHERS_S)

    # The channel.

    def _received(self, number: int, verb: str, body: bytes) -> None:
        if verb == messages.STOP:
            self._stopped.set()
        elif verb == messages.LOG_LEVEL:
            self._logs.process.set_level(body.decode())
        elif verb == messages.REOPEN_LOG:
            self._logs.reopen()
        elif verb == messages.DRAINED:
            self._background.begin(self._answer_when_drained(number, unpack(bool, body)), "wait until drained")
        elif verb in self._answers_in_steps:
            self._background.begin(self._answer_in_steps(number, verb, body), f"answer {verb}")
        else:
            self._announcer.flush()  # so that whoever asks knows first what has happened
            try:
                answer = self._answers[verb](body)
            except Exception as error:
                self._fail(number, verb, error)
            else:
                self._channel.answer(number, answer)

    async def _answer_in_steps(self, number: int, verb: str, body: bytes) -> None:
        async with self._steps_turn:
            try:
                answer = await self._answers_in_steps[verb](body)
            except Exception as error:
                self._fail(number, verb, error)
                return
        self._announcer.flush()
        self._channel.answer(number, answer)

    def _fail(self, number: int, verb: str, error: Exception) -> None:
        _log.error(
            "a message from the controller could not be answered", extra={"fields": {"verb": verb}}, exc_info=error
        )
        self._channel.fail(number, f"{verb}: {type(error).__name__}: {error}")

    def _lost(self) -> None:
        if self._stopped.is_set():
            return
        limits = [listener.limits for listener in self._start.settings.listeners]
        timeout_s = max(each.drain_timeout_s for each in limits)
        _log.error(
            "the controller is gone: this worker drains and ends", extra={"fields": {"worker": self._start.number}}
        )
        for sockets in self._sockets.values():
            stop_listening(sockets)
        self._drain(pack(bool, False))
        self._background.begin(self._end_of_an_orphan(timeout_s), "end of an orphan")

    async def _end_of_an_orphan(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained[False].wait()
        except TimeoutError:
            self._worker.close_all(Reason.DRAIN_FORCED)
        finally:
            self._stopped.set()

    # Answers.

    async def _apply(self, body: bytes) -> bytes:
        await self._pace.step()
        for each in messages.unpacked_material(body):
            self._worker.apply(await self._pace.through(_contexts(self._start.settings, each)))
        return b""

    def _present(self, body: bytes) -> bytes:
        self._worker.present(unpack(tuple[Challenge, ...], body))
        return pack(bool, True)

    async def _configure(self, body: bytes) -> bytes:
        await self._pace.step()
        packed, generations = messages.unpacked_configuration(body)
        start = replace(self._start, settings=unpack(Settings, packed))
        settings = settings_of_one(start.settings, start.number, start.workers)
        shares = connection_shares(start.settings, start.workers)
        contexts = [await self._pace.through(_contexts(start.settings, each)) for each in generations]
        self._start = start
        self._logs.configure(settings.log)
        return pack(tuple[PolicyChange, ...], self._worker.configure(settings, contexts, shares))

    def _snapshot(self) -> WorkerSnapshot:
        return replace(self._worker.snapshot(), log_lines_dropped=self._logs.sink.dropped_lines)

    def _connections(self, body: bytes) -> bytes:
        return pack(ConnectionPage, self._worker.connections(unpack(ConnectionQuery, body)))

    def _connection_keys(self, body: bytes) -> bytes:
        return pack(ConnectionKeys, self._worker.connection_keys(unpack(ConnectionQuery, body)))

    def _connection_groups(self, body: bytes) -> bytes:
        return pack(GroupPage, self._worker.connection_groups(unpack(GroupQuery, body)))

    def _connection(self, body: bytes) -> bytes:
        return pack(ConnectionDetail | None, self._worker.connection(unpack(int, body)))

    def _deny(self, body: bytes) -> bytes:
        self._worker.deny(unpack(tuple[Denial, ...], body))
        return pack(bool, True)

    def _end(self, body: bytes) -> bytes:
        selection, reason, gently = unpack(tuple[ConnectionSelection, Reason, bool], body)
        return pack(int, self._worker.end(selection, reason, gently=gently))

    def _stop_accepting(self, _: bytes) -> bytes:
        self._worker.stop_accepting()
        return pack(bool, True)

    def _drain(self, body: bytes) -> bytes:
        connections = self._worker.connection_count
        inbound_only = unpack(bool, body)
        if inbound_only not in self._drains:
            self._drains.add(inbound_only)
            self._worker.drain(self._drained[inbound_only].set, inbound_only=inbound_only)
        return pack(int, connections)

    async def _answer_when_drained(self, number: int, inbound_only: bool) -> None:
        await self._drained[inbound_only].wait()
        self._channel.answer(number)
