"""Deadlines that all last equally long, kept in the order they fall due: O(1) to set, to lift and to expire.

A connection in a phase (handshake, connect, close …) joins that phase's queue and leaves it with the phase. One loop
timer serves the whole queue, so ten thousand waiting connections cost one timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Expired = Callable[[], None]


class DeadlineQueue:
    """Calls what was added ``after_s`` seconds later, unless it is lifted first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, after_s: float) -> None:
        self._loop = loop
        self.after_s = after_s
        self._due: dict[object, tuple[float, Expired]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __repr__(self) -> str:
        return f"<DeadlineQueue after={self.after_s}s waiting={len(self._due)}>"

    def add(self, owner: object, expired: Expired) -> None:
        """Start ``owner``'s deadline, or start it again."""
        self._due.pop(owner, None)
        at = self._loop.time() + self.after_s
        self._due[owner] = (at, expired)
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._expire)

    def lift(self, owner: object) -> None:
        """Forget ``owner``'s deadline; nothing happens when there is none."""
        self._due.pop(owner, None)

    def clear(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        overdue: list[Expired] = []
        while self._due:
            owner = next(iter(self._due))  # a dict keeps the order of insertion: the first is due first
            at, expired = self._due[owner]
            if at > now:
                self._timer = self._loop.call_at(at, self._expire)
                break
            del self._due[owner]
            overdue.append(expired)
        for expired in overdue:
            expired()
