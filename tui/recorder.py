"""``--record``: what all sidecars tell, into one file, whatever is looked at meanwhile."""

from __future__ import annotations

import asyncio
import json
import math
import os
import stat
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from tlsidecar.api.errors import AdminError, Refused
from tlsidecar.api.history import history_target
from tlsidecar.api.recording import Full, Writer
from tui.clock import Clock
from tui.monitor import Monitor, event_number
from tui.past import SPANS
from tui.reach.endpoints import NoEndpoint
from tui.roster import Roster
from tui.text import SafeText, safe_text

_CALLS: tuple[tuple[str, float], ...] = (
    ("/v1/status", 1.0),
    ("/v1/connections?sort=opened_at&order=desc&limit=200", 5.0),
    ("/v1/refusals?limit=200", 5.0),
    ("/v1/failures?limit=100", 5.0),
    ("/v1/certificates", 10.0),
    *((history_target(span.span_s, span.step_s, of_each=span is not SPANS[0]), 5.0 * span.every_s) for span in SPANS),
)
"""What is asked for, and how often, in seconds."""

_FULLY_WATCHED = 8
"""Of more sidecars than this each is asked less often, and not followed."""

_TICK_S = 1.0
_AGAIN_S = 5.0


def open_new(path: Path) -> BinaryIO:
    """A new file that only its owner may read; an empty one (mktemp's) will do. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size:
        os.close(descriptor)
        raise FileExistsError(0, "it exists already, and is not written over")
    return open(descriptor, "wb")


class Recorder:
    """Writes to ``file`` until it is closed, or full, or cannot be written any more."""

    def __init__(self, file: BinaryIO, roster: Roster, clock: Clock, told: Callable[[SafeText], None]) -> None:
        """``told`` is called with the reason when it ends before it is closed."""
        self._file = file
        self._roster = roster
        self._clock = clock
        self._told = told
        self._began = clock.monotonic()
        self._writer: Writer | None = Writer(file, clock.now())
        self._tasks: dict[Monitor, list[asyncio.Task[None]]] = {}

    @property
    def is_recording(self) -> bool:
        return self._writer is not None

    async def run(self) -> None:
        """Until the end of it; sidecars that come are recorded from then on, those that go no longer."""
        async with asyncio.TaskGroup() as group:
            while self.is_recording:
                monitors = self._sidecars
                for gone in [each for each in self._tasks if each not in monitors]:
                    self._leave(gone)
                for monitor in monitors:
                    if monitor not in self._tasks:
                        self._tasks[monitor] = [group.create_task(self._ask_all(monitor))]
                        if len(monitors) <= _FULLY_WATCHED:
                            self._tasks[monitor].append(group.create_task(self._follow(monitor)))
                await asyncio.sleep(_TICK_S)

    @property
    def _sidecars(self) -> list[Monitor]:
        """Without what stands for a target that means nobody now: in the recording it would be a sidecar for good."""
        return [each for each in self._roster.monitors if not isinstance(each.client.endpoint, NoEndpoint)]

    def _leave(self, monitor: Monitor) -> None:
        for task in self._tasks.pop(monitor):
            task.cancel()

    async def _ask_all(self, monitor: Monitor) -> None:
        """Everything of one sidecar, each when it is due."""
        due = dict.fromkeys((target for target, _ in _CALLS), 0.0)
        while self.is_recording:
            slower = 1.0 + len(self._tasks) // (_FULLY_WATCHED + 1)
            try:
                for target, every_s in _CALLS:
                    now = self._clock.monotonic()
                    if now >= due[target]:
                        due[target] = now + every_s * slower - _TICK_S / 2
                        await self._ask(monitor, target, due)
            except AdminError as error:
                self._write(monitor, Writer.lost, error.message)
                await asyncio.sleep(_AGAIN_S)
            await asyncio.sleep(_TICK_S)

    async def _ask(self, monitor: Monitor, target: str, due: dict[str, float]) -> None:
        try:
            reply = await monitor.client.read(target)
        except Refused:
            due[target] = math.inf  # an older sidecar does not know it
        else:
            self._write(monitor, Writer.reply, target, reply)

    async def _follow(self, monitor: Monitor) -> None:
        """The events of one sidecar, from the oldest that it keeps."""
        last = 0
        while self.is_recording:
            try:
                async with aclosing(monitor.client.events(last)) as messages:
                    async for message in messages:
                        last = event_number(message.id) or last
                        data = json.loads(message.data)
                        if isinstance(data, dict):
                            self._write(monitor, Writer.event, message.event, message.id, data)
            except (AdminError, ValueError, RecursionError):
                await asyncio.sleep(_AGAIN_S)

    def _write(self, monitor: Monitor, entry: Callable[..., None], *what: object) -> None:
        """One entry of the writer's, at this moment."""
        writer = self._writer
        if writer is None:
            return
        try:
            entry(writer, self._clock.monotonic() - self._began, writer.sidecar(monitor.name), *what)
        except Full:
            self._end(SafeText("the recording is as large as one may be, and ends here"))
        except OSError as error:
            self._end(SafeText(f"the recording ends here: {safe_text(error.strerror or str(error), 80)}"))

    def _end(self, why: SafeText) -> None:
        self.close()
        self._told(why)

    def close(self) -> None:
        """End the file; what could not be written is lost."""
        writer, self._writer = self._writer, None
        for monitor in list(self._tasks):
            self._leave(monitor)
        if writer is None:
            return
        try:
            with self._file:
                writer.close()
        except OSError as error:
            self._told(SafeText(f"the recording is cut short: {safe_text(error.strerror or str(error), 80)}"))
