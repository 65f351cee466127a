"""The pace of work that shares its loop with traffic.

At 70 % load a loop that is held for half a millisecond needs 1.2 more to catch up with what came meanwhile. Steps that
follow at once are to traffic one long hold; set apart, each is over and caught up with before the next begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from certs.steps import Steps

T = TypeVar("T")

# New material of one identity is some twenty steps.
STEPS_APART_S = 0.005
# However many have steps to make, each makes one within this time: what somebody waits for is not put off for long.
ALL_WITHIN_S = 0.020


class Pace:
    """Sets the steps of all who share it apart in time. Lives on one event loop."""

    def __init__(self, is_beside_traffic: Callable[[], bool]) -> None:
        """``is_beside_traffic``: whether the loop has connections to serve at this moment."""
        self._is_beside_traffic = is_beside_traffic
        self._turn = asyncio.Lock()
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Pace waiting={self._waiting}>"

    async def through(self, steps: Steps[T]) -> T:
        """What comes of them, each made when it may be. Raises what they raise."""
        while True:
            await self.step()
            try:
                next(steps)
            except StopIteration as end:
                found: T = end.value
                return found

    async def step(self) -> None:
        """Before a step, of half a millisecond: returns when it may be made."""
        if not self._is_beside_traffic():
            await asyncio.sleep(0)
            return
        self._waiting += 1
        try:
            async with self._turn:
                await asyncio.sleep(min(STEPS_APART_S, ALL_WITHIN_S / self._waiting))
        finally:
            self._waiting -= 1

    def rest(self) -> None:
        """The same between two steps on a thread, which hold the interpreter and so the loop. Those of others, and on
        the loop, are not waited for. May be called from any thread."""
        if self._is_beside_traffic():
            time.sleep(STEPS_APART_S)
