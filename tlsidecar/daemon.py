"""The daemon's life: everything is checked and bound before anything is served, and given back at the end.

Exit codes (product contract): 0 served and drained; 1 failed at run time, a forced drain too; 2 bad config or material.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable

from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import CertsError
from tlsidecar.admin.server import AdminServer, AdminSocketError
from tlsidecar.control import Trigger
from tlsidecar.controller import Controller, StartError
from tlsidecar.dataplane.bind import BindError, bind_all, close_all
from tlsidecar.dataplane.reactor import fused_event_loop
from tlsidecar.dataplane.worker import Worker
from tlsidecar.observe.access_log import AccessLog
from tlsidecar.observe.audit import AuditLog
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.log import ProcessLog, open_sink
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.observe.sink import LineSink, LogFileError
from tlsidecar.observe.tracing import SpanExport, TracingUnavailableError, open_span_export
from tlsidecar.process import keep_memory_private, raise_descriptor_limit
from tlsidecar.recorder import Recorder
from tlsidecar.settings import Settings
from tlsidecar.sources import source_of
from tlsidecar.workers.local import LocalWorker

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

# How long a forced end waits for its own tasks to notice.
LAST_WORDS_S = 1.0

_log = logging.getLogger("tlsidecar.daemon")


def run(settings: Settings) -> int:
    """Serve until told to stop; returns the exit code."""
    # Until there is a handler a HUP would end the process; what it asks for, the start does anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_descriptor_limit()
    keep_memory_private()
    try:
        sink = open_sink(settings.log)
    except LogFileError as error:
        print(f"tlsidecar: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return EXIT_BAD_INPUT
    log = ProcessLog(settings.log, sink)
    access_log = AccessLog(settings.log, sink)
    spans: SpanExport | None = None
    try:
        spans = open_span_export(settings.tracing)
        with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
            return runner.run(_serve(settings, SYSTEM_CLOCK, log, access_log, sink, spans))
    except (StartError, BindError, AdminSocketError, CertsError, TracingUnavailableError) as error:
        _log.error("cannot start: %s", error)
        return EXIT_BAD_INPUT
    finally:
        if spans is not None:
            spans.close()
        log.close()
        sink.close()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """``auto`` is the stock loop with the data plane fused into its selector, which measures as fast as uvloop here."""
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            raise StartError("event_loop = \"uvloop\" needs: pip install 'tlsidecar[fast]'") from None
        return uvloop.new_event_loop
    return fused_event_loop


def refuse_what_is_not_built(settings: Settings) -> None:
    """Settings that are reserved but do nothing yet must not look as if they did. Raises :class:`StartError`."""
    if settings.workers > 1:
        raise StartError(f"workers = {settings.workers}: this release serves with one worker; write workers = 1")


async def _serve(
    settings: Settings,
    clock: Clock,
    log: ProcessLog,
    access_log: AccessLog,
    sink: LineSink,
    spans: SpanExport | None,
) -> int:
    refuse_what_is_not_built(settings)
    hub, refusals = EventHub(clock), RefusalLog()
    controller = Controller(
        settings,
        source_of(settings.identity, clock),
        clock,
        refusals,
        hub,
        set_log_level=log.set_level,
        dropped_log_lines=lambda: access_log.dropped_lines,
    )
    contexts = await controller.first_material()
    admin = AdminServer(controller, settings.admin, AuditLog(clock, sink))
    bound = bind_all(settings.listeners)
    try:
        await admin.start()
        try:
            loop = asyncio.get_running_loop()
            recorder = Recorder(access_log, refusals, hub, controller.upstream_health, spans)
            worker = Worker(settings, loop, bound, contexts, recorder, clock)
            controller.workers = (LocalWorker(worker),)
            return await _until_stopped(controller, worker, sink)
        finally:
            await admin.close()
    finally:
        close_all(bound)


async def _until_stopped(controller: Controller, worker: Worker, sink: LineSink) -> int:
    loop = asyncio.get_running_loop()
    force = asyncio.Event()

    def stop() -> None:
        if controller.stopping.is_set():
            force.set()
        controller.stopping.set()

    def reload() -> None:
        try:
            sink.reopen()  # as logrotate expects, while draining, too
        except LogFileError as error:
            _log.error("the log goes on in the file that is open: %s", error)
        if not controller.stopping.is_set():
            controller.request_reload(Trigger.SIGNAL)

    # Not the loop's own add_signal_handler: it carries signals through a pipe, which a storm of HUPs fills, and a TERM
    # that does not fit is lost.
    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    previous = {
        number: signal.signal(number, lambda *_, act=act: loop.call_soon_threadsafe(act))
        for number, act in handlers.items()
    }
    worker.start()
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process: the collector need not look at it again
    try:
        async with asyncio.TaskGroup() as tasks:
            controller.serving(tasks)
            for listener in worker.listeners:
                record = listener.record()
                _log.info(
                    "listening",
                    extra={"fields": {"listener": record.name, "mode": record.mode, "address": record.bound}},
                )
            await controller.stopping.wait()
            drain = tasks.create_task(controller.drain(), name="drain before the end")
            forced = tasks.create_task(force.wait(), name="second signal")
            await asyncio.wait([drain, forced], return_when=asyncio.FIRST_COMPLETED)
            if not drain.done():
                _log.warning("stopping at once: told so again")
                controller.forced = True
            raise _Finished
    except* _Finished:
        pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        worker.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await loop.shutdown_default_executor()
    return EXIT_FAILED if controller.forced else EXIT_OK


class _Finished(Exception):
    """Ends the task group; not an error."""
