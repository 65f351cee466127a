"""Attempts that may hang: each on a thread of its own, with a deadline.

The disk may be a network's, a lock somebody else's, a CA slow. Nobody can stop a thread that waits in the kernel, so it
is left alone; as long as it waits, every further attempt fails at once, so that there is one such thread and not one
for each attempt. The threads are daemons: they do not keep the process from ending, as an executor's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from certs.clock import Clock
from certs.errors import MaterialError, MaterialReason

T = TypeVar("T")

DEADLINE_S = 30.0


class Attempts:
    """The attempts of one source."""

    def __init__(self, clock: Clock, deadline_s: float = DEADLINE_S) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._over = threading.Event()  # of the attempt that was begun last
        self._over.set()
        self._began = 0.0
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Attempts {'none hangs' if self._over.is_set() else 'one hangs'}>"

    async def make(self, what: str, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns or raises. Raises :class:`MaterialError` (``source_timeout``) when it does not end
        in time, or when an earlier one is past its deadline and has not ended yet; ``what`` is what it does, in words.
        One that is under way is waited for."""
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
            over.set()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(settle, value, failure)

        self._began = self._clock.monotonic()
        threading.Thread(target=run, name=f"source: {what}", daemon=True).start()
        done, _ = await asyncio.wait([result], timeout=self._deadline_s)
        if not done:
            result.cancel()
            detail = f"{what} took longer than {self._deadline_s:g} s"
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, detail)
        return result.result()
