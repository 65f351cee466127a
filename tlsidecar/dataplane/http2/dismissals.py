"""The streams whose answer is whole while their client still sends: it is asked to stop, but only after a moment.

RST_STREAM with NO_ERROR (RFC 9113 section 8.1) says so. In one breath with the answer, curl before 8.0 takes it for a
failure and loses the answer. What the client sends meanwhile is given back to the connection's window, not to the
stream's, which bounds it. To the client the stream is open: what breaks the rules on it is told so at once.
"""

from __future__ import annotations

from typing import Final

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import ErrorCode

ASKED_AFTER_S: Final = 0.9  # by the listener's sweep, each second or so
MOST_AT_ONCE: Final = 32  # with one more the first is asked: to its client each is still one of those it may have open


class _Dismissed:
    """``left`` and ``room`` are its stream's ``request_left`` and ``client_room`` (:class:`.streams.Stream`)."""

    __slots__ = ("left", "room", "since")

    def __init__(self, since: float, left: int, room: int) -> None:
        self.since = since
        self.left = left
        self.room = room


class Dismissals:
    """Those that wait for it, by their ids. Each method tells which of them is to be asked now, or with which code."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, _Dismissed] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Dismissals {list(self._waiting)}>"

    def add(self, number: int, left: int, room: int, now: float) -> int | None:
        """The stream ``number`` was answered at ``now``."""
        self._waiting[number] = _Dismissed(now, left, room)
        if len(self._waiting) <= MOST_AT_ONCE:
            return None
        first = next(iter(self._waiting))
        del self._waiting[first]
        return first

    def sent(self, number: int, content: int, *, ends: bool) -> ErrorCode | None:
        """The client sent so many bytes more, or the end. One that ends it with less than it stated is asked: so curl
        stops by itself, and then waits for a word. More than that is malformed (RFC 9113 section 8.1.1)."""
        found = self._waiting.get(number)
        if found is None:
            return None
        left = found.left
        if left >= 0:
            found.left = left - content
            if found.left < 0:
                return self._asked(number, ErrorCode.PROTOCOL_ERROR)
        if ends:
            del self._waiting[number]
            return ErrorCode.NO_ERROR if left != content else None
        return None

    def sent_head(self, number: int, *, ends: bool) -> ErrorCode | None:
        """The client sent trailers; what does not end the stream is none (RFC 9113 section 8.1)."""
        if number in self._waiting and not ends:
            return self._asked(number, ErrorCode.PROTOCOL_ERROR)
        return self.sent(number, 0, ends=ends)

    def granted(self, number: int, increment: int, initial: int) -> ErrorCode | None:
        """The client takes so much more on it; ``initial`` is its initial window (RFC 9113 section 6.9.1)."""
        found = self._waiting.get(number)
        if found is None:
            return None
        found.room += increment
        if initial + found.room > frames.MAX_WINDOW:
            return self._asked(number, ErrorCode.FLOW_CONTROL_ERROR)
        return None

    def _asked(self, number: int, code: ErrorCode) -> ErrorCode:
        del self._waiting[number]
        return code

    def stopped(self, number: int) -> bool:
        """The client has reset the stream: whether it was one of them."""
        return self._waiting.pop(number, None) is not None

    def due(self, now: float) -> list[int]:
        """Those that have waited for long enough."""
        due = [number for number, found in self._waiting.items() if now - found.since >= ASKED_AFTER_S]
        for number in due:
            del self._waiting[number]
        return due

    def clear(self) -> None:
        self._waiting.clear()
