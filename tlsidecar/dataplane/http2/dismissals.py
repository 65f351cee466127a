"""The streams whose answer is whole while their client still sends: it is asked to stop, but only after a moment.

RST_STREAM with NO_ERROR (RFC 9113 section 8.1) says so. In one breath with the answer, curl before 8.0 takes it for a
failure and loses the answer. What the client sends meanwhile is given back to the connection's window, not to the
stream's, which bounds it.
"""

from __future__ import annotations

from typing import Final

ASKED_AFTER_S: Final = 0.9  # by the listener's sweep, each second or so
MOST_AT_ONCE: Final = 32  # with one more the first is asked: to its client each is still one of those it may have open


class Dismissals:
    """Those that wait for it. Each method tells which of them is to be asked now."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[float, int]] = {}  # id: since when, and what is to come of a stated length

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Dismissals {list(self._waiting)}>"

    def add(self, number: int, left: int, now: float) -> int | None:
        """The stream ``number`` was answered at ``now``; ``left`` as in :class:`.streams.Stream`."""
        self._waiting[number] = now, left
        if len(self._waiting) <= MOST_AT_ONCE:
            return None
        first = next(iter(self._waiting))
        del self._waiting[first]
        return first

    def sent(self, number: int, content: int, *, ends: bool) -> bool:
        """The client sent so many bytes more, or the end: whether it is to be asked. One that ends it otherwise than
        it stated is: so curl stops by itself, and then waits for a word."""
        found = self._waiting.get(number)
        if found is None:
            return False
        since, left = found
        if ends:
            del self._waiting[number]
            return left != content
        self._waiting[number] = since, left - content
        return False

    def stopped(self, number: int) -> bool:
        """The client has reset the stream: whether it was one of them."""
        return self._waiting.pop(number, None) is not None

    def due(self, now: float) -> list[int]:
        """Those that have waited for long enough."""
        due = [number for number, (since, _) in self._waiting.items() if now - since >= ASKED_AFTER_S]
        for number in due:
            del self._waiting[number]
        return due

    def clear(self) -> None:
        self._waiting.clear()
