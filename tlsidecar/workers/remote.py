"""One worker in a process of its own, as the controller holds it: whichever process has its number just now.

    DOWN ─▶ STARTING ─▶ RUNNING ─▶ DOWN …        until the supervisor closes, or drains

What it has counted outlives its process: see :mod:`.carried_counts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from certs.acme.challenges import Challenge
from tlsidecar.dataplane.bind import HeldSocket
from tlsidecar.dataplane.board import owner_of_id
from tlsidecar.dataplane.denials import Denial
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
from tlsidecar.dataplane.worker import HEARTBEAT_S
from tlsidecar.observe import events
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Settings
from tlsidecar.workers import announcements, messages
from tlsidecar.workers.asker import ANSWER_WITHIN_S, Asker
from tlsidecar.workers.carried_counts import CarriedCounts
from tlsidecar.workers.channel import Channel, ChannelClosed, RemoteFailure
from tlsidecar.workers.fork_server import ForkServerError
from tlsidecar.workers.process import settings_of_one
from tlsidecar.workers.restarts import WELL_AFTER_S, Restarts
from tlsidecar.workers.setup import WorkerSetup
from tlsidecar.workers.silence import Silence
from tlsidecar.workers.wire import WireError, pack, unpack

# From the fork to the first accept; far more than it takes, since contexts are made of what was proved already.
START_WITHIN_S = 20.0

# How often each worker is asked for its counts, so that a sudden end loses no more than those of this time.
SNAPSHOT_EVERY_S = 1.0

# A worker that has not shown for this long that its loop turns is not live; the watchdog waits longer.
NOT_LIVE_AFTER_S = 3.0

_log = logging.getLogger("tlsidecar.workers")


def _numbered(contexts: Contexts) -> messages.Numbered:
    return messages.Numbered(contexts.identity, contexts.generation, contexts.material)


class RemoteWorker:
    """A :class:`~.handle.WorkerHandle` across a socketpair; :meth:`live` is its life."""

    def __init__(
        self, number: int, setup: WorkerSetup, generations: Sequence[messages.Numbered], log_level: str
    ) -> None:
        self.number = number
        self.pid = 0
        self.running = asyncio.Event()
        self._setup = setup
        self._settings = settings_of_one(setup.settings, number, setup.workers)
        self._generations = {each.identity: each for each in generations}
        self._log_level = log_level
        self._denials: tuple[Denial, ...] = ()
        self._asker = Asker(number)
        self._gone = asyncio.Event()
        self.is_over = True
        self._closing = False
        self._draining = False
        self._renewing = False  # the process that has drained is to make room for one that accepts
        self._restarts = Restarts()
        self._failing_since: datetime | None = None
        self._ending = ""
        self._silence = Silence(0.0)
        self._counts = CarriedCounts(number, setup.board, setup.sockets, self._settings.listeners)

    def __repr__(self) -> str:
        return f"<RemoteWorker {self.number} pid={self.pid} {self._restarts!r}>"

    # Its life.

    async def live(self) -> None:
        """Keep a process running under this number, until closed or drained."""
        self.is_over = False
        try:
            await self._live()
        finally:
            self.is_over = True

    async def _live(self) -> None:
        while not self._closing and not self._draining:
            began = time.monotonic()
            try:
                await self._one_process()
            except (ForkServerError, OSError) as error:
                self._ending = str(error)
                _log.error("a worker could not be started: %s", error, extra={"fields": {"worker": self.number}})
            if self._closing or self._draining:
                return
            if self._renewing:
                self._renewing = False
                continue
            now = time.monotonic()
            delay_s = self._restarts.ended(now, now - began)
            if self._restarts.is_looping and self._failing_since is None:
                self._failing_since = self._setup.clock.now()
                _log.error(
                    "a worker does not stay up: it is tried again every %.0f s",
                    delay_s,
                    extra={"fields": {"worker": self.number, "ending": self._ending}},
                )
            await asyncio.sleep(delay_s)

    async def _one_process(self) -> None:
        ours, theirs = socket.socketpair()
        self._gone = asyncio.Event()
        self._silence = Silence(time.monotonic())
        setup = self._setup
        try:
            listening = [sock for listener in setup.settings.listeners for sock in setup.sockets[listener.name]]
            descriptors = [theirs.fileno(), setup.board_descriptor, setup.log_descriptor]
            self.pid = await setup.fork_server.fork(self.number, [*descriptors, *(sock.fileno() for sock in listening)])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        channel = await Channel.over(ours, self._heard, self._gone.set)
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._introduce(channel)
            if self._draining or self._closing:
                self._asker.tell(messages.STOP)  # whoever said so came too early to reach this process
                return
            self.running.set()
            await self._watch()
        except TimeoutError:
            self._kill("it did not start in time")
        except (ChannelClosed, RemoteFailure) as error:
            self._kill(str(error))
        finally:
            await self._bury(channel)

    async def _introduce(self, channel: Channel) -> None:
        setup = self._setup
        start = messages.Start(
            setup.settings,
            self.number,
            setup.workers,
            tuple(len(setup.sockets[listener.name]) for listener in setup.settings.listeners),
            any(isinstance(sock, HeldSocket) for sockets in setup.sockets.values() for sock in sockets),
            self._log_level,
            self._denials,
        )
        self._setup.board.beat(self.number, time.monotonic())
        started = channel.ask(messages.START, pack(messages.Start, start))
        applied = channel.ask(messages.APPLY, messages.packed_material(self._generations.values()))
        self._asker.channel = channel  # what comes now comes after these two
        await asyncio.gather(started, applied)
        restarts = self._restarts.total
        fields: dict[str, object] = {"worker": self.number, "pid": self.pid, "restarts": restarts}
        _log.info("worker started", extra={"fields": fields})
        setup.collector.hub.publish(events.WORKER, {"outcome": "started", **fields})

    async def _watch(self) -> None:
        """Until its process is gone, or its loop has stopped for too long."""
        began = time.monotonic()
        patience_s = self._setup.settings.watchdog_timeout_s
        tick_s = min(SNAPSHOT_EVERY_S, patience_s / 4)
        while not self._gone.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tick_s):
                    await self._gone.wait()
                    return
            if self._failing_since is not None and time.monotonic() - began >= WELL_AFTER_S:
                self._failing_since = None
                self._restarts.well()
            silent_s = self._silence.look(time.monotonic(), self._setup.board.last_beat_s(self.number), tick_s)
            if silent_s > patience_s + HEARTBEAT_S:
                self._kill(f"its loop has stood still for {silent_s:.1f} s")
                return
            await self._refresh()

    def _kill(self, why: str) -> None:
        if not self._gone.is_set():
            _log.error("a worker is killed: %s", why, extra={"fields": {"worker": self.number, "pid": self.pid}})
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def _bury(self, channel: Channel) -> None:
        """Its process is gone, or is to be: keep what it had counted, and nothing else."""
        self.running.clear()
        channel.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._gone.wait()
        self._asker.channel = None
        lost = self._counts.process_ended(self._settings.listeners)
        self._setup.board.leave(self.number)
        self._setup.collector.upstream_health.forget(self.number)
        pid, self.pid = self.pid, 0
        self._ending = await self._setup.fork_server.ending(pid) or self._ending or "ended"
        if self._closing or self._renewing:
            return
        fields = {"worker": self.number, "pid": pid, "ending": self._ending, "connections_lost": lost}
        _log.error("worker lost: %s", self._ending, extra={"fields": fields})
        self._setup.collector.hub.publish(events.WORKER, {"outcome": "lost", **fields})

    def renew(self) -> None:
        """After a drain: a new process is to take this number, and to accept. ``running`` says when it does."""
        self._draining = False
        self.running.clear()
        if self._asker.channel is not None:
            self._renewing = True
            self._asker.tell(messages.STOP)

    async def close(self, within_s: float) -> None:
        """End its process: by a message, or by force when that takes too long."""
        self._closing = True
        if self._asker.channel is None:
            return
        self._asker.tell(messages.STOP)
        try:
            async with asyncio.timeout(within_s):
                await self._gone.wait()
        except TimeoutError:
            self._kill("it did not end in time")

    # What it tells unasked.

    def _heard(self, _number: int, verb: str, body: bytes) -> None:
        try:
            announcements.take(self._setup.collector, self.number, verb, body)
        except (ValueError, TypeError) as error:
            self._kill(f"it sent what is not a message: {error}")

    # WorkerHandle.

    @property
    def is_live(self) -> bool:
        if self._asker.channel is None:
            return self._failing_since is None
        return self._silence.seconds < NOT_LIVE_AFTER_S

    @property
    def connections_on_our_loop(self) -> int:
        return 0

    @property
    def failing(self) -> tuple[str, datetime] | None:
        if self._failing_since is None:
            return None
        return f"does not stay up: it {self._ending}; it is tried again now and then", self._failing_since

    async def apply(self, contexts: Contexts) -> None:
        numbered = _numbered(contexts)
        self._generations[contexts.identity] = numbered
        channel = self._asker.channel
        if channel is None:
            return  # it will begin with this
        try:
            await channel.ask(messages.APPLY, messages.packed_material([numbered]))
        except ChannelClosed:
            pass  # so will its replacement
        except RemoteFailure as error:
            self._kill(f"it could not put new material to use: {error}")

    async def present(self, challenges: Sequence[Challenge]) -> None:
        await self._asker.ask(messages.PRESENT, pack(tuple[Challenge, ...], tuple(challenges)), bool, False)

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        self._settings = settings_of_one(settings, self.number, self._setup.workers)
        self._setup.settings = settings  # for whichever process fills this setup next
        self._generations = {each.identity: _numbered(each) for each in contexts}
        channel = self._asker.channel
        if channel is None:
            return ()
        body = messages.packed_configuration(pack(Settings, settings), self._generations.values())
        try:
            changes: tuple[PolicyChange, ...] = unpack(
                tuple[PolicyChange, ...], await channel.ask(messages.CONFIGURE, body)
            )
        except ChannelClosed:
            return ()
        except (RemoteFailure, WireError) as error:
            self._kill(f"it could not put a new configuration to use: {error}")
            return ()
        return changes

    async def snapshot(self) -> WorkerSnapshot:
        await self._refresh()
        counts = self._counts.report()
        return replace(counts, pid=self.pid if self.running.is_set() else 0, restarts=self._restarts.total)

    async def connections(self, query: ConnectionQuery) -> ConnectionPage:
        none = ConnectionPage(0, 0, ())
        return await self._asker.ask(messages.CONNECTIONS, pack(ConnectionQuery, query), ConnectionPage, none)

    async def connection_keys(self, query: ConnectionQuery) -> ConnectionKeys:
        none = ConnectionKeys(0, 0, ())
        return await self._asker.ask(messages.CONNECTION_KEYS, pack(ConnectionQuery, query), ConnectionKeys, none)

    async def connection_groups(self, query: GroupQuery) -> GroupPage:
        none = GroupPage(0, 0, 0, 0.0, ())
        return await self._asker.ask(messages.CONNECTION_GROUPS, pack(GroupQuery, query), GroupPage, none)

    async def connection(self, connection_id: int) -> ConnectionDetail | None:
        if owner_of_id(connection_id, self._setup.workers) != self.number:
            return None
        none: ConnectionDetail | None = None
        return await self._asker.ask(messages.CONNECTION, pack(int, connection_id), ConnectionDetail | None, none)

    async def close_connection(self, connection_id: int) -> bool:
        if owner_of_id(connection_id, self._setup.workers) != self.number:
            return False
        return await self._asker.ask(messages.CLOSE_CONNECTION, pack(int, connection_id), bool, False)

    async def drain(self, *, inbound_only: bool = False) -> int:
        self._draining = True  # whoever is lost now is not replaced: there is little left to accept
        return await self._asker.ask(messages.DRAIN, pack(bool, inbound_only), int, 0)

    async def stop_accepting(self) -> None:
        self._draining = True
        await self._asker.ask(messages.STOP_ACCEPTING, b"", bool, False)

    async def drained(self, *, inbound_only: bool = False) -> None:
        channel = self._asker.channel
        if channel is not None:
            with contextlib.suppress(ChannelClosed, RemoteFailure):
                await channel.ask(messages.DRAINED, pack(bool, inbound_only))

    async def deny(self, denials: Sequence[Denial]) -> None:
        self._denials = tuple(denials)
        await self._asker.ask(messages.DENY, pack(tuple[Denial, ...], self._denials), bool, False)

    async def count(self, selection: ConnectionSelection) -> int:
        return await self._asker.ask(messages.COUNT, pack(ConnectionSelection, selection), int, 0)

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool) -> int:
        body = pack(tuple[ConnectionSelection, Reason, bool], (selection, reason, gently))
        return await self._asker.ask(messages.END, body, int, 0)

    async def close_all(self, reason: Reason) -> int:
        return await self._asker.ask(messages.CLOSE_ALL, pack(Reason, reason), int, 0)

    def set_log_level(self, level: str) -> None:
        self._log_level = level
        self._asker.tell(messages.LOG_LEVEL, level.encode())

    def reopen_log(self) -> None:
        self._asker.tell(messages.REOPEN_LOG)

    async def _refresh(self) -> None:
        channel = self._asker.channel
        if not self.running.is_set():
            return
        fresh = await self._asker.ask(messages.SNAPSHOT, b"", WorkerSnapshot, self._counts.latest)
        if channel is self._asker.channel and self._counts.fits(fresh):
            self._counts.latest = fresh
