"""The owner of tasks that outlive the call that begins them, where no ``async with`` can stand round them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine

_log = logging.getLogger("tlsidecar")


class Background:
    """Keeps its tasks, logs how one of them failed, and ends those that are left when it is closed.

    A ``TaskGroup`` is the better owner wherever its block can be: it cannot be left open from one method to the next.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Background {sorted(task.get_name() for task in self._tasks)}>"

    def begin(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run ``work`` until it is over, or until :meth:`close`."""
        task = asyncio.get_running_loop().create_task(work, name=name)  # owned: the one place that may
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self, within_s: float = 0.0) -> None:
        """Give what still runs ``within_s`` to end, then cancel it; returns when all are over, but for the one that
        calls this."""
        others = self._tasks - {asyncio.current_task()}
        if within_s and others:
            await asyncio.wait(others, timeout=within_s)
        for task in others:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # logged already
                await task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a defect ended %s: please report this", task.get_name(), exc_info=task.exception())
