"""Attempts that may hang: each on a thread beside the loop, with a deadline.

The disk may be a network's, a lock somebody else's, a CA slow. Nobody can stop a thread that waits in the kernel, so it
is left alone; as long as it waits, every further attempt fails at once. It is one thread, begun with the first attempt
and kept: :meth:`threading.Thread.start` waits until the new thread runs, and where that dies for want of memory before
it does, whoever began it waits for ever; on the loop that is everybody. It is a daemon: it does not keep the process
from ending, as an executor's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from certs.clock import Clock
from certs.errors import MaterialError, MaterialReason

T = TypeVar("T")

DEADLINE_S = 30.0
SHORT_OF_MEMORY_S = 0.1  # between two tries to go on

Job = Callable[[], None]


class Attempts:
    """The attempts of one source."""

    def __init__(self, clock: Clock, deadline_s: float = DEADLINE_S) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._over = threading.Event()  # of the attempt that was begun last
        self._over.set()
        self._began = 0.0
        self._turn = asyncio.Lock()
        self._jobs: SimpleQueue[Job | None] | None = None  # for the thread

    def __repr__(self) -> str:
        return f"<Attempts {'none hangs' if self._over.is_set() else 'one hangs'}>"

    async def make(self, what: str, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns or raises. Raises :class:`MaterialError` (``source_timeout``) when it does not end
        in time, when an earlier one is past its deadline and has not ended yet, or when there is no thread or no memory
        for it; ``what`` is what it does, in words. One that is under way is waited for."""
        async with self._turn:
            return await self._make(what, attempt)

    async def _make(self, what: str, attempt: Callable[[], T]) -> T:
        if not self._over.is_set():
            for_s = self._clock.monotonic() - self._began
            detail = f"an earlier attempt has been waiting for {for_s:.0f} s and cannot be stopped"
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, detail)
        over = self._over = threading.Event()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            if result.done():
                return  # too late
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(value)  # type: ignore[arg-type] # it is a T where there is no error

        def run() -> None:
            value: T | None = None
            failure: BaseException | None = None
            try:
                value = attempt()
            except BaseException as error:
                failure = error
            finally:
                over.set()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(settle, value, failure)

        self._began = self._clock.monotonic()
        try:
            self._hand_over(run)
        except RuntimeError as error:  # too many processes, or no memory: the next attempt may have its thread
            over.set()
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, f"{what}: {error}") from None
        done, _ = await asyncio.wait([result], timeout=self._deadline_s)
        if not done:
            result.cancel()
            detail = f"{what} took longer than {self._deadline_s:g} s"
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, detail)
        try:
            return result.result()
        except MemoryError:
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, f"{what}: out of memory") from None

    def _hand_over(self, job: Job) -> None:
        """Have it done on the thread. Raises RuntimeError when there is none and none can be begun."""
        if self._jobs is None:
            jobs: SimpleQueue[Job | None] = SimpleQueue()
            threading.Thread(target=_work, args=(jobs,), name="source", daemon=True).start()
            self._jobs = jobs
            weakref.finalize(self, jobs.put, None)
        self._jobs.put(job)


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while True:
        try:
            job = jobs.get()
            if job is None:
                return
            job()
            del job  # and with it what came of it
        except MemoryError:
            time.sleep(SHORT_OF_MEMORY_S)
