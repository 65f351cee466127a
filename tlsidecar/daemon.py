"""The daemon's life: everything is checked and bound before anything is served, and given back at the end.

Exit codes (product contract): 0 served and drained; 1 failed at run time, a forced drain too; 2 bad config or material.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import CertsError
from certs.sources import Source
from tlsidecar.activation import Handed
from tlsidecar.admin.binding import make_directories
from tlsidecar.admin.server import AdminServer, AdminSocketError, AdminSocketTaken
from tlsidecar.config import Recipe
from tlsidecar.config.places import ADMIN_SOCKET_VARIABLE
from tlsidecar.control.announcing import reloading, tell_how_we_are
from tlsidecar.control.controller import Controller, StartError
from tlsidecar.control.interface import Trigger
from tlsidecar.control.sources import Responders, load_sources, source_of
from tlsidecar.dataplane.bind import BindError, HeldSocket, Rebinding, bind_all, bound_address, close_all, held
from tlsidecar.dataplane.protocols import load_health_checks
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.worker import Worker
from tlsidecar.entrances import Entrances
from tlsidecar.event_loop import EventLoopMissing, loop_factory
from tlsidecar.handover import GRACE_S, HandoverError, Successor, handover_path
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.audit import AuditLog
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.log import open_sink
from tlsidecar.observe.logs import Logs
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.observe.sink import LogFileError
from tlsidecar.observe.tracing import SpanExport, TracingUnavailableError, open_span_export, require_tracing
from tlsidecar.process import give_back_memory, keep_memory_private, raise_descriptor_limit
from tlsidecar.recorder import Collector, Recorder
from tlsidecar.sandbox.confined import Confined, confined
from tlsidecar.sandbox.level import SandboxError
from tlsidecar.service_manager import READY, STOPPING, ServiceManager
from tlsidecar.settings import IdentitySettings, Settings
from tlsidecar.workers.handle import Supervisor, SupervisorError
from tlsidecar.workers.local import LocalWorker

if TYPE_CHECKING:
    from tlsidecar.workers.fork_server import ForkServer

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

# How long a forced end waits for its own tasks to notice.
LAST_WORDS_S = 1.0
# How often it is looked for material that is waited for, and what the service manager is asked for meanwhile.
MATERIAL_POLL_S = 0.5
EXTEND_TIMEOUT_S = 10.0

_log = logging.getLogger("tlsidecar.daemon")


@dataclass(frozen=True, slots=True)
class Start:
    """How we were started: who is told how we are, which listening sockets we were given, and whether those of the one
    that runs are to be taken."""

    manager: ServiceManager
    handed: Handed
    take_over: bool = False


def run(settings: Settings, start: Start, recipe: Recipe) -> int:
    """Serve until told to stop; returns the exit code. ``recipe`` is what the settings were read from."""
    # Until there is a handler a HUP would end the process; what it asks for, the start does anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_descriptor_limit()
    keep_memory_private()
    with contextlib.suppress(AdminSocketError, OSError):  # which is told when they are bound
        make_directories(settings.admin)
    try:
        sandbox = confined(settings, recipe)
    except SandboxError as error:
        print(f"tlsidecar: sandbox: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return EXIT_BAD_INPUT
    try:
        return _logged(settings, recipe, start, sandbox)
    finally:
        sandbox.close()


def _logged(settings: Settings, recipe: Recipe, start: Start, sandbox: Confined) -> int:
    manager = start.manager
    try:
        sink = open_sink(settings.log)
    except LogFileError as error:
        print(f"tlsidecar: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return EXIT_BAD_INPUT
    logs = Logs(settings.log, sink)
    sandbox.log()
    if manager.complaint:
        _log.warning("the service manager is not told how we are: %s", manager.complaint)
    spans: SpanExport | None = None
    try:
        if settings.workers == 1:
            spans = open_span_export(settings.tracing)
        else:
            require_tracing(settings.tracing)  # each worker opens its own
        with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
            return runner.run(_serve(settings, recipe, SYSTEM_CLOCK, logs, spans, start, sandbox))
    except (BindError, AdminSocketTaken, SupervisorError, HandoverError) as error:
        # Right as far as it goes, and impossible here and now: somebody else may end, or be in the way no more.
        _log.error("cannot start: %s%s", error, _whose_socket(error, settings))
        return EXIT_FAILED
    except (StartError, EventLoopMissing, AdminSocketError, CertsError, TracingUnavailableError) as error:
        _log.error("cannot start: %s", error)
        return EXIT_BAD_INPUT
    finally:
        manager.close()
        if spans is not None:
            spans.close()
        logs.close()
        sink.close()


def _whose_socket(error: Exception, settings: Settings) -> str:
    """An exported variable goes before the file: whoever starts a second sidecar from that shell has to know."""
    named = os.environ.get(ADMIN_SOCKET_VARIABLE)
    if isinstance(error, AdminSocketTaken) and named and Path(named).absolute() == settings.admin.socket.absolute():
        return f" (${ADMIN_SOCKET_VARIABLE} names it, which goes before admin.socket in the file: unset it)"
    return ""


async def _serve(
    settings: Settings,
    recipe: Recipe,
    clock: Clock,
    logs: Logs,
    spans: SpanExport | None,
    start: Start,
    sandbox: Confined,
) -> int:
    manager, handed = start.manager, start.handed
    hub, refusals, failures = EventHub(clock), RefusalLog(), FailureLog()
    bound: dict[str, list[socket.socket]] = {}
    responders = Responders(settings.listeners, clock, lambda: controller.supervisor)

    def make_source(identity: IdentitySettings) -> Source:
        return source_of(identity, clock, responders.of(identity), sandbox.run, lambda: controller.pace.rest())

    def reread() -> Settings:
        found = recipe()
        # Here, on the thread that reads, what would be loaded later on the loop that serves.
        load_sources(found.identities)
        if found.workers == 1:
            for listener in found.listeners:
                load_health_checks(listener)
        return found

    controller = Controller(
        settings,
        make_source,
        clock,
        refusals,
        failures,
        hub,
        set_log_level=logs.process.set_level,
        configure_log=logs.configure,
        dropped_log_lines=lambda: logs.sink.dropped_lines,
        reread=reread,
        sandbox=sandbox.level,
    )
    collector = Collector(refusals, failures, hub, controller.upstream_health)
    async with contextlib.AsyncExitStack() as stack:
        fork_server = _fork_server(settings, stack, sandbox.descriptor)
        contexts = await _first_material(controller, settings.wait_for_material_s, manager)
        admin = AdminServer(controller, settings.admin, AuditLog(clock, logs.sink))
        stack.callback(close_all, bound)
        successor = _successor(settings, stack) if start.take_over else None
        taken = handed.sockets(settings.listeners)
        if successor is not None:
            taken |= successor.sockets(settings.listeners)
        bound |= bind_all(settings.listeners, taken)
        kept = [name for name in bound if manager.keeps_sockets and name not in taken]
        for name in kept:
            bound[name] = held(bound[name])
        for complaint in handed.complaints:
            _log.warning("%s", complaint)
        entrances = Entrances(controller, admin, settings, bound)
        stack.push_async_callback(entrances.close)
        if successor is None:
            await entrances.open()
        supervisor: Supervisor
        if fork_server is None:
            loop = asyncio.get_running_loop()
            recorder = Recorder(logs.access, collector, spans)
            worker = Worker(settings, loop, bound, contexts, recorder, clock, connector=sandbox.connector)
            supervisor = LocalWorker(worker)
        else:
            from tlsidecar.workers.supervisor import ProcessSupervisor

            supervisor = ProcessSupervisor(settings, bound, contexts, collector, clock, logs.sink, fork_server)
        controller.supervisor = supervisor
        controller.rebind = Rebinding(bound)
        running = _Running(controller, supervisor, bound, kept, logs, manager, entrances)
        return await running.until_stopped(successor)


def _successor(settings: Settings, stack: contextlib.AsyncExitStack) -> Successor | None:
    """What takes over from the running one; None when nobody runs. Raises HandoverError."""
    successor = Successor.call(handover_path(settings.admin.socket))
    if successor is None:
        _log.warning("there is nobody to take over from: starting as usual")
    else:
        stack.callback(successor.close)
    return successor


async def _first_material(controller: Controller, patience_s: float, manager: ServiceManager) -> Sequence[Contexts]:
    """What we serve to begin with. A certificate that is not there yet is waited for, as long as we may.

    Raises :class:`StartError`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    obstacle = ""
    while True:
        try:
            return await controller.first_material()
        except StartError as error:
            if loop.time() >= deadline:
                raise
            if str(error) != obstacle:
                obstacle = str(error)
                _log.warning("waiting for material: %s", obstacle)
        manager.tell(f"STATUS=waiting for material: {obstacle}", f"EXTEND_TIMEOUT_USEC={int(EXTEND_TIMEOUT_S * 1e6)}")
        await asyncio.sleep(min(MATERIAL_POLL_S, max(0.0, deadline - loop.time())))


def _fork_server(settings: Settings, stack: contextlib.AsyncExitStack, broker: int) -> ForkServer | None:
    """Where workers are forked, if there are to be several; started first, for it takes the longest."""
    if settings.workers == 1:
        return None
    from tlsidecar.workers.fork_server import ForkServer

    fork_server = ForkServer(settings, broker)
    fork_server.start()
    stack.callback(fork_server.close)
    return fork_server


class _Running:
    """A sidecar all of whose parts are made: from the first connection that it accepts to its last words."""

    def __init__(
        self,
        controller: Controller,
        supervisor: Supervisor,
        bound: Mapping[str, Sequence[socket.socket]],
        kept: Sequence[str],
        logs: Logs,
        manager: ServiceManager,
        entrances: Entrances,
    ) -> None:
        """``kept`` are the listeners of ``bound`` whose sockets the service manager is to keep."""
        self._controller = controller
        self._supervisor = supervisor
        self._bound = bound
        self._kept = kept
        self._logs = logs
        self._manager = manager
        self._entrances = entrances
        self._force = asyncio.Event()  # told to stop a second time

    async def until_stopped(self, successor: Successor | None) -> int:
        """Serve, in the place of whom ``successor`` takes over from, until told to stop; returns the exit code."""
        previous = self._take_signals()
        try:
            await self._begin(successor)
            async with asyncio.TaskGroup() as tasks:
                self._controller.serving(tasks)
                self._announce()
                telling = tell_how_we_are(self._manager, self._controller, os.environ)
                beside = (
                    tasks.create_task(self._entrances.wait_for_successor(), name="hand-over"),
                    tasks.create_task(telling, name="service manager"),
                )
                await self._controller.stopping.wait()
                await self._drain(tasks)
                for task in beside:
                    task.cancel()
                raise _Finished
        except* _Finished:
            pass
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            await self._supervisor.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await asyncio.get_running_loop().shutdown_default_executor()
        return EXIT_FAILED if self._controller.life.forced else EXIT_OK

    def _take_signals(self) -> dict[signal.Signals, Any]:
        """From now on; returns what handled them before."""
        # Not the loop's own add_signal_handler: it carries signals through a pipe, which a storm of HUPs fills, and a
        # TERM that does not fit is lost.
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        return {
            number: signal.signal(number, lambda *_, act=act: loop.call_soon_threadsafe(act))
            for number, act in handlers.items()
        }

    def _stop(self) -> None:
        if self._controller.stopping.is_set():
            self._force.set()
        self._controller.stopping.set()

    def _reload(self) -> None:
        self._logs.reopen()  # as logrotate expects, while draining, too
        for worker in self._supervisor.workers:
            worker.reopen_log()
        if not self._controller.stopping.is_set():
            reloading(self._manager, self._controller.request_reload(Trigger.SIGNAL))

    async def _begin(self, successor: Successor | None) -> None:
        await self._supervisor.start()
        if successor is not None:
            await successor.take()
            await self._entrances.open()
            _log.info("taken over")
        # What start-up made lives as long as the process: the collector need not look at it, not even once, which would
        # keep the first connections waiting for 60 ms.
        gc.freeze()
        gc.enable()
        give_back_memory()

    def _announce(self) -> None:
        for listener in self._controller.settings.listeners:
            address = bound_address(self._bound[listener.name])
            told = {"listener": listener.name, "mode": listener.mode.value, "address": address}
            _log.info("listening", extra={"fields": told})
        for name in self._kept:
            self._manager.keep(name, [sock.fileno() for sock in self._bound[name] if isinstance(sock, HeldSocket)])
        self._manager.tell(READY)

    async def _drain(self, tasks: asyncio.TaskGroup) -> None:
        """Return when everybody has left, or at once when told to stop again."""
        for name in self._bound:
            self._manager.tell("FDSTOREREMOVE=1", f"FDNAME={name}")
        self._manager.tell(STOPPING)
        handed_over = self._entrances.handed_over
        drain = tasks.create_task(
            self._controller.drain(
                delay_s=0.0 if handed_over else self._controller.settings.shutdown_delay_s,
                grace_s=GRACE_S if handed_over else 0.0,
            ),
            name="drain before the end",
        )
        forced = tasks.create_task(self._force.wait(), name="second signal")
        await asyncio.wait([drain, forced], return_when=asyncio.FIRST_COMPLETED)
        if not drain.done():
            _log.warning("stopping at once: told so again")
            self._controller.life.forced = True


class _Finished(Exception):
    """Ends the task group; not an error."""
