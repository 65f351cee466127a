"""How far a load of our own has come: eight bytes of a file that both sides have in memory."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_COUNT = struct.Struct("<Q")


class Tally:
    """One number, written by one process and read by another."""

    def __init__(self, path: Path) -> None:
        """Made where it is not there yet."""
        with path.open("a+b") as file:
            file.truncate(_COUNT.size)
            self._shared = mmap.mmap(file.fileno(), _COUNT.size)

    @property
    def count(self) -> int:
        count: int = _COUNT.unpack_from(self._shared)[0]
        return count

    @count.setter
    def count(self, value: int) -> None:
        _COUNT.pack_into(self._shared, 0, value)
