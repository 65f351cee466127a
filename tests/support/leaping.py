"""An event loop whose time leaps to the next deadline as soon as nothing is left to do: waiting a minute takes no time,
and no busy machine can make anything late."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class LeapingLoop(asyncio.SelectorEventLoop):
    """For what happens in one process, over sockets that deliver at once (pairs, Unix sockets). Time stands still while
    anything can be done; it is the real one while a thread of an executor works."""

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        future = super().run_in_executor(executor, func, *args)
        self._leaping.threads += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: asyncio.Future[Result]) -> None:
        self._leaping.threads -= 1


class _LeapingSelector(selectors.EpollSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = time.monotonic()
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.threads:
            began = time.monotonic()
            found = super().select(timeout)
            self.now_s += time.monotonic() - began
        elif not (found := super().select(0)) and timeout > 0:
            self.now_s += timeout
        return found
