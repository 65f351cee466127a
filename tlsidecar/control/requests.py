"""The queue of everything that asks for new material: signal, file change, admin call, timer, the source itself.

Requests that wait are answered together by the next run, and runs never overlap: whoever takes a batch finishes it
before taking another.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import field

from certs.sources import Candidate, Failed
from tlsidecar.control.interface import Attempt, Trigger
from tlsidecar.lazy_dataclass import dataclass

Answer = asyncio.Future[tuple[Attempt, ...]]
"""What became of a request: the attempt of each identity that it led to one of."""

# Signals and file changes that follow each other sooner share one run; admin calls do not wait.
RUN_SPACING_S = 1.0


@dataclass(slots=True)
class Batch:
    """What one run is for. ``event`` is the newest thing the source said by itself, where nobody asked for more."""

    answer: Answer
    triggers: list[Trigger] = field(default_factory=list)
    renews: bool = False  # order new material, do not just read
    event: Candidate | Failed | None = None

    @property
    def trigger(self) -> Trigger:
        """The one that came first: what the run is put down to."""
        return self.triggers[0]

    def settle(self, attempts: tuple[Attempt, ...]) -> None:
        """Answer whoever waits."""
        if not self.answer.done():
            self.answer.set_result(attempts)

    def fail(self, error: Exception) -> None:
        """A defect of ours is the answer."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # whoever asked may be gone: then nobody else would fetch it


class RequestQueue:
    """Lives on one event loop."""

    def __init__(self, spacing_s: float = RUN_SPACING_S) -> None:
        self._spacing_s = spacing_s
        self._waiting: Batch | None = None
        self._wanted = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last_at = float("-inf")  # on the loop's clock, of the last batch that was spaced

    def __repr__(self) -> str:
        waiting = self._waiting
        return f"<RequestQueue {[trigger.value for trigger in waiting.triggers] if waiting else 'empty'}>"

    def join(
        self,
        trigger: Trigger,
        *,
        renew: bool = False,
        event: Candidate | Failed | None = None,
    ) -> Answer:
        """Be part of the next run; the future ends with what it came to."""
        batch = self._waiting
        if batch is None:
            batch = self._waiting = Batch(asyncio.get_running_loop().create_future(), event=event)
        elif event is None or batch.event is not None:
            batch.event = event
        batch.triggers.append(trigger)
        batch.renews = batch.renews or renew
        self._wanted.set()
        if trigger is Trigger.ADMIN:
            self._urgent.set()
        return batch.answer

    async def next(self) -> Batch:
        """The next batch, once there is one and its time has come."""
        while True:
            await self._wanted.wait()
            if not self._urgent.is_set():
                await self._space_out()
            batch = self.take()
            if batch is not None:
                return batch

    def take(self) -> Batch | None:
        """What waits now, for a run that is made anyway; None where nothing does."""
        batch, self._waiting = self._waiting, None
        self._wanted.clear()
        self._urgent.clear()
        return batch

    def take_reading(self) -> Batch | None:
        """As :meth:`take`, but for what is to be renewed: that goes on waiting."""
        return None if self._waiting is not None and self._waiting.renews else self.take()

    async def _space_out(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._last_at + self._spacing_s - loop.time()
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), wait_s)
        if not self._urgent.is_set():
            self._last_at = loop.time()
