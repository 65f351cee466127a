"""The controller: what the process is doing, for whoever watches and steers it.

It owns the parts that decide, and runs their loops: :mod:`.identities` (which material is in use), :mod:`.life` (the
state, the drain), :mod:`.outages`, :mod:`.configuration` and :mod:`.problems` (what is wrong). All of it lives on one
event loop, and none of it is in the way of the traffic. :mod:`.history` keeps what it was like.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from certs.clock import Clock
from certs.renewal import RandomUnit
from certs.sources import Source
from tlsidecar.control.configuration import Configuration, Reread
from tlsidecar.control.denials import DenialBook
from tlsidecar.control.guard import Guard
from tlsidecar.control.history import History
from tlsidecar.control.identities import Identities
from tlsidecar.control.interface import (
    Attempt,
    CannotUndrain,
    Denied,
    DrainOutcome,
    IdentityState,
    Outcome,
    Problem,
    State,
    Trigger,
)
from tlsidecar.control.life import Life
from tlsidecar.control.outages import Outages
from tlsidecar.control.problems import Facts, Problems
from tlsidecar.control.requests import Answer
from tlsidecar.control.upstream_health import UpstreamHealth
from tlsidecar.dataplane.bind import BindError
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionPage,
    ConnectionQuery,
    ConnectionSelection,
    GroupPage,
    GroupQuery,
    PolicyChange,
    WorkerSnapshot,
)
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import Reason
from tlsidecar.pace import Pace
from tlsidecar.sandbox.level import Level
from tlsidecar.sandbox.needs import beyond, needs_of
from tlsidecar.settings import IdentitySettings, ListenerSettings, Log, Settings
from tlsidecar.workers.handle import Supervisor, SupervisorError, WorkerHandle
from tlsidecar.workers.merge import connection_groups_of, connections_of

# Listens on the listeners' addresses once more; raises tlsidecar.dataplane.bind.BindError.
Rebind = Callable[[Sequence[ListenerSettings]], Mapping[str, Sequence[socket.socket]]]


class StartError(Exception):
    """The process cannot begin to serve; the text is one clear line."""


class Controller:
    """Implements :class:`tlsidecar.control.interface.Control`."""

    def __init__(
        self,
        settings: Settings,
        make_source: Callable[[IdentitySettings], Source],
        clock: Clock,
        refusals: RefusalLog,
        failures: FailureLog,
        hub: EventHub,
        *,
        set_log_level: Callable[[str], None],
        configure_log: Callable[[Log], None],
        dropped_log_lines: Callable[[], int],
        reread: Reread | None = None,
        sandbox: Level | None = None,
        random_unit: RandomUnit = random.random,
    ) -> None:
        """``make_source`` gives the source of material that an identity describes, and raises certs.errors.CertsError;
        ``reread`` gives the settings as a start would have them by now; ``sandbox`` is what the process is held to."""
        self.settings = settings
        self.clock = clock
        self.refusals = refusals
        self.failures = failures
        self.denials = DenialBook(clock, hub)
        self.events = hub
        self.history = History(clock)
        self.upstream_health = UpstreamHealth(settings.listeners, hub)
        self.supervisor: Supervisor | None = None
        self.rebind: Rebind | None = None
        self.stopping = asyncio.Event()
        self.life = Life(clock, hub)
        self.sandbox = sandbox or Level(settings.sandbox, reason="it was not entered")
        self.pace = Pace(lambda: any(worker.connections_on_our_loop for worker in self.workers))
        self._configuration = Configuration(
            settings, reread, clock, beyond=partial(beyond, needs_of(settings)) if self.sandbox.holds else None
        )
        self._identities = Identities(
            settings,
            make_source,
            clock,
            hub,
            self,
            self._configuration,
            self.pace,
            attempted=self.problems,
            random_unit=random_unit,
        )
        self._outages = Outages()
        self._guard = Guard(clock)
        self._judge = Problems(self._guard.failed)
        self._problems: list[Problem] = []
        self._snapshots: list[WorkerSnapshot] = []
        self._set_log_level = set_log_level
        self._configure_log = configure_log
        self._dropped_log_lines = dropped_log_lines
        self._log_level = settings.log.level
        self._drain: asyncio.Task[DrainOutcome] | None = None
        self._tasks: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Controller {self.life.state.value} {self._identities!r}>"

    # What is known.

    @property
    def state(self) -> State:
        return self.life.state

    @property
    def started_at(self) -> datetime:
        return self.life.started_at

    @property
    def identities(self) -> Sequence[IdentityState]:
        return [rotation.state() for rotation in self._identities.rotations]

    def contexts_of(self, identity: str) -> Contexts | None:
        rotation = self._identities.called(identity)
        return rotation.contexts if rotation.generation is not None else None

    def attempts(self, limit: int) -> Sequence[Attempt]:
        return self._identities.attempts(limit)

    @property
    def log_level(self) -> str:
        return self._log_level

    @property
    def workers(self) -> Sequence[WorkerHandle]:
        return self.supervisor.workers if self.supervisor is not None else ()

    def is_live(self) -> bool:
        """Whether anything is served at all: one of several workers is replaced without ending the others, which a
        failing liveness probe would do."""
        return any(worker.is_live for worker in self.workers) or not self.workers

    def is_ready(self) -> bool:
        """One of several identities that has expired is a problem of its listeners: taking the others out of use, too,
        would make an outage of it."""
        now = self.clock.now()
        generations = [rotation.generation for rotation in self._identities.rotations]
        is_valid = any(each and each.material.leaf.not_valid_after_utc > now for each in generations)
        return self.life.is_serving and is_valid and self.upstream_health.is_ready

    async def snapshots(self) -> Sequence[WorkerSnapshot]:
        found = list(await asyncio.gather(*(worker.snapshot() for worker in self.workers)))
        if found:
            dropped = found[0].log_lines_dropped + self._dropped_log_lines()
            found[0] = replace(found[0], log_lines_dropped=dropped)
        self._snapshots = found
        self._outages.observe(self.clock.now(), self.clock.monotonic(), found)
        return found

    async def caught_up(self) -> None:
        """Returns when everything that workers have announced so far has arrived."""
        if len(self.workers) > 1:
            await asyncio.gather(*(worker.snapshot() for worker in self.workers))

    async def connections(self, query: ConnectionQuery) -> ConnectionPage:
        return await connections_of(self.workers, query)

    async def connection_groups(self, query: GroupQuery) -> GroupPage:
        return await connection_groups_of(self.workers, query)

    async def connection(self, connection_id: int) -> ConnectionDetail | None:
        for worker in self.workers:
            detail = await worker.connection(connection_id)
            if detail is not None:
                return detail
        return None

    # What is wrong.

    def problems(self) -> Sequence[Problem]:
        self._problems = self._judge.judge(
            Facts(
                now=self.clock.now(),
                identities=self.identities,
                snapshots=self._snapshots,
                outages=self._outages.now(),
                not_ready=self.upstream_health.down(),
                refusals=self.refusals.groups(),
                workers_failing={
                    number: worker.failing for number, worker in enumerate(self.workers) if worker.failing is not None
                },
                configuration=self._configuration.state,
                clock_jump=self._identities.clock_jump,
                dropped_log_lines=max(
                    self._dropped_log_lines(), sum(snapshot.log_lines_dropped for snapshot in self._snapshots)
                ),
                draining_since=self.life.draining_since,
                denied=self.denials.kept_out,
                defects=self._guard.defects(),
            )
        )
        self.life.follow(self._problems)
        return self._problems

    # What is asked of it.

    async def close_connection(self, connection_id: int) -> bool:
        for worker in self.workers:
            if await worker.close_connection(connection_id):
                return True
        return False

    async def count(self, selection: ConnectionSelection) -> int:
        return sum(await asyncio.gather(*(worker.count(selection) for worker in self.workers)))

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool = False) -> int:
        return sum(await asyncio.gather(*(worker.end(selection, reason, gently=gently) for worker in self.workers)))

    async def deny(self, identity: str, for_s: float, by: str) -> tuple[Denied, int]:
        denied = self.denials.add(identity, for_s, by)
        await self._keep_out()
        closed = await self.end(ConnectionSelection(identity=identity, inbound_only=True), Reason.IDENTITY_DENIED)
        self.problems()
        return denied, closed

    async def undeny(self, denial_id: int) -> Denied | None:
        ended = self.denials.end(denial_id)
        if ended is not None:
            await self._keep_out()
            self.problems()
        return ended

    async def _keep_out(self) -> None:
        await asyncio.gather(*(worker.deny(self.denials.in_force) for worker in self.workers))

    def set_log_level(self, level: str) -> None:
        self._set_log_level(level)
        self._log_level = level
        for worker in self.workers:
            worker.set_log_level(level)

    async def reload(self, trigger: Trigger) -> Sequence[Attempt]:
        return await asyncio.shield(self.request_reload(trigger))

    def request_reload(self, trigger: Trigger) -> Answer:
        """Read material and configuration again, with the next run; the future ends with what it came to."""
        return self._identities.reloads.join(trigger)

    async def rotate(self, identity: str | None = None) -> Sequence[Attempt]:
        answers = self._identities.request_rotation(identity)
        return [attempt for found in await asyncio.shield(asyncio.gather(*answers)) for attempt in found]

    async def drain(
        self, timeout_s: float | None = None, *, delay_s: float = 0.0, grace_s: float = 0.0
    ) -> DrainOutcome:
        if self._drain is None:
            assert self._tasks is not None
            if timeout_s is None:
                timeout_s = max(listener.limits.drain_timeout_s for listener in self.settings.listeners)
            self._drain = self._tasks.create_task(
                self.life.drain(self.supervisor, timeout_s, delay_s, grace_s), name="drain"
            )
        return await asyncio.shield(self._drain)

    async def undrain(self) -> None:
        if self._drain is None:
            raise CannotUndrain("nothing has been drained")
        if self.stopping.is_set():
            raise CannotUndrain("the process is ending")
        if not self._drain.done():
            raise CannotUndrain("the drain is still under way: undrain when it is over")
        assert self.supervisor is not None
        assert self.rebind is not None
        try:
            await self.supervisor.undrain(self.rebind(self.settings.listeners))
        except BindError as error:
            raise CannotUndrain(str(error)) from None
        except SupervisorError as error:
            self.supervisor.stop_listening()  # what was bound already, and nobody accepts on: refused, not kept waiting
            raise CannotUndrain(str(error)) from None
        self._drain = None
        self.life.undrained()
        self.problems()

    async def shutdown(self) -> None:
        self.stopping.set()

    # Its own life.

    async def first_material(self) -> Sequence[Contexts]:
        """Fetch, judge and prove the material to begin with, of each identity. Raises :class:`StartError`."""
        attempts = await self._identities.first_material()
        refused = [attempt for attempt in attempts if attempt.outcome != Outcome.APPLIED]
        if refused:
            named = self.settings.names_identities
            raise StartError(
                "; ".join(
                    f"{f'identity {each.identity}: ' if named else ''}{each.detail} ({each.reason})" for each in refused
                )
            )
        return self._identities.contexts

    def serving(self, tasks: asyncio.TaskGroup) -> None:
        """Everything is bound: ready. ``tasks`` gets the controller's own loops."""
        self._tasks = tasks
        self.life.enter(State.READY)

        def begin(name: str, loop: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
            return tasks.create_task(self._guard.keep(name, loop), name=name)

        self._identities.serve(begin)
        begin("watching the configuration", self._configuration.watch)
        begin("watching time and traffic", self._watch)

    async def _watch(self) -> None:
        while True:
            self._identities.tick()
            if self.denials.expire():
                await self._keep_out()
            await self.pace.step()
            snapshots = await self.snapshots()
            await self.pace.step()
            self.history.observe(snapshots)
            await self.pace.step()
            self.history.note(self.problems())
            await asyncio.sleep(self.history.due_in_s())

    # What the rotation puts to use.

    async def apply(self, contexts: Contexts) -> None:
        await asyncio.gather(*(worker.apply(contexts) for worker in self.workers))

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        self._configure_log(settings.log)
        changes = await asyncio.gather(*(worker.configure(settings, contexts) for worker in self.workers))
        level_changed = settings.log.level != self.settings.log.level
        self.settings = settings
        self.upstream_health.configure(settings.listeners)
        if level_changed:
            self.set_log_level(settings.log.level)
        return [change for of_one in changes for change in of_one]
