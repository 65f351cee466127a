"""Finds where a body ends, and which of its bytes go on. One in chunks is :mod:`.chunked`'s.

A reader is given bytes where they lie, says how many of them are the message's, and appends what goes on to ``out``:
views on the buffer, as they are the message's own bytes. It is asked first whether a whole read goes on as it is
(:meth:`BodyReader.passes`): then nobody has to look at its pieces.
"""

from __future__ import annotations

from typing import Protocol

from tlsidecar.dataplane.http1.head_reader import Buffer

LAST_CHUNK = b"0\r\n\r\n"

Piece = bytes | memoryview


class BodyReader(Protocol):
    """Reads one body. ``done`` once its last byte was read."""

    done: bool

    def passes(self, buffer: Buffer, end: int) -> bool:
        """Take all of ``buffer[:end]``, if it goes on as it is and the body goes on after it; else ``False``, and
        nothing has happened: call :meth:`read`."""
        ...

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        """Take what belongs to the body from ``buffer[start:end]``; returns where that ends.

        Raises :class:`MessageRefused`; ``out`` then has nothing that may go on.
        """
        ...


class NoBody:
    """The message ended with its head."""

    done = True

    def passes(self, buffer: Buffer, end: int) -> bool:
        return False

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        return start


class LengthReader:
    """A body of a known length in bytes."""

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.done = length == 0

    def __repr__(self) -> str:
        return f"<LengthReader remaining={self._remaining}>"

    def passes(self, buffer: Buffer, end: int) -> bool:
        if end >= self._remaining:
            return False
        self._remaining -= end
        return True

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        count = min(end - start, self._remaining)
        if count:
            out.append(memoryview(buffer)[start : start + count])
            self._remaining -= count
            self.done = self._remaining == 0
        return start + count


class CloseReader:
    """A body that ends when the connection does, and goes on like that; :meth:`finish` says that it did, cleanly."""

    def __init__(self) -> None:
        self.done = False

    def passes(self, buffer: Buffer, end: int) -> bool:
        return True

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        if end > start:
            out.append(memoryview(buffer)[start:end])
        return end

    def finish(self) -> bytes:
        """What is left to send."""
        self.done = True
        return b""


class ChunkingReader(CloseReader):
    """The same for a connection that stays: it goes on in chunks, one for each read."""

    def passes(self, buffer: Buffer, end: int) -> bool:
        return False

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        if end > start:
            out.append(b"%x\r\n" % (end - start))
            super().read(buffer, start, end, out)
            out.append(b"\r\n")
        return end

    def finish(self) -> bytes:
        super().finish()
        return LAST_CHUNK
