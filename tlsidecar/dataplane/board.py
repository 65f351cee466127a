"""What the workers of one sidecar know of each other: a few numbers in shared memory, each written by one worker.

All workers accept on the same listening sockets, so that no connection ever waits for one worker that is busy, stopped
or dead. Left to the kernel, the worker that is quickest takes nearly everything. So before it accepts, a worker looks
at the board, and leaves the connection to whoever has fewer (Envoy calls this exact connection balance).

The memory is an anonymous file (memfd_create(2)) that is handed to each worker. It holds counts, and behind them what
each client has used of its rate (:mod:`.rate_table`): a worker that writes nonsense can take too many connections or
requests, or too few, no more than that.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence

from tlsidecar.dataplane.rate_table import SECRET_BYTES, RateTable

_WORD_BYTES = 8
_HEARTBEAT, _LAST_ID, _FIRST_LISTENER = range(3)  # places in a worker's row
_WORDS_PER_LISTENER = 2  # connections open now, connections ever accepted

# What stands for the connections of a worker that is not there: more than any other has.
_ABSENT = 1 << 62


class Board:
    """A row for each worker. ``descriptor`` stays the caller's; the mapping lives as long as the board."""

    def __init__(self, descriptor: int, workers: int, listeners: int) -> None:
        self.workers = workers
        self.listeners = listeners
        self._row = _FIRST_LISTENER + _WORDS_PER_LISTENER * listeners
        self._descriptor = descriptor
        self._rows_bytes = _bytes_of_rows(workers, listeners)
        self._memory = mmap.mmap(descriptor, self._rows_bytes + SECRET_BYTES)
        self.words = memoryview(self._memory)[: self._rows_bytes].cast("Q")

    def __repr__(self) -> str:
        return f"<Board workers={self.workers} listeners={self.listeners}>"

    @staticmethod
    def descriptor_for(workers: int, listeners: int) -> int:
        """A new anonymous file of the right size, all zeros but for a secret that whoever has the file has, too. Memory
        is had for what is written to."""
        descriptor = os.memfd_create("tlsidecar-board", os.MFD_CLOEXEC)
        rows = _bytes_of_rows(workers, listeners)
        os.ftruncate(descriptor, _start_of_rates(rows) + RateTable.bytes_for(workers))
        os.pwrite(descriptor, os.urandom(SECRET_BYTES), rows)
        return descriptor

    def rates(self, worker: int) -> RateTable:
        """What all workers know of the clients' rates, for one of them to use."""
        secret = self._memory[self._rows_bytes :]
        return RateTable(self._descriptor, _start_of_rates(self._rows_bytes), secret, self.workers, worker)

    def place(self, worker: int, listener: int) -> int:
        """Where a listener's two words of one worker are."""
        return worker * self._row + _FIRST_LISTENER + _WORDS_PER_LISTENER * listener

    def beat(self, worker: int, now_s: float) -> None:
        """Its loop turned at ``now_s``, by the monotonic clock that all processes share."""
        self.words[worker * self._row + _HEARTBEAT] = int(now_s * 1e6)

    def last_beat_s(self, worker: int) -> float:
        return self.words[worker * self._row + _HEARTBEAT] / 1e6

    def active(self, worker: int, listener: int) -> int:
        """Connections open in one worker, whether or not it can still be asked; 0 for an absent one."""
        count = self.words[self.place(worker, listener)]
        return 0 if count >= _ABSENT else count

    def leave(self, worker: int) -> None:
        """This worker is gone: nobody shall wait for it to accept."""
        for listener in range(self.listeners):
            self.words[self.place(worker, listener)] = _ABSENT

    def is_complete(self) -> bool:
        """Whether every worker has entered."""
        return all(self.words[self.place(worker, 0)] != _ABSENT for worker in range(self.workers))

    def enter(self, worker: int) -> None:
        """This worker begins, with no connection. What it ever accepted, and its last id, go on where they were."""
        for listener in range(self.listeners):
            self.words[self.place(worker, listener)] = 0

    def ids(self, worker: int) -> Iterator[int]:
        """Connection ids that no other worker gives out, nor this one after it was replaced; see owner_of_id."""
        words, place = self.words, worker * self._row + _LAST_ID
        while True:
            words[place] += 1
            yield (words[place] - 1) * self.workers + worker + 1

    def close(self) -> None:
        self.words.release()
        self._memory.close()


def _bytes_of_rows(workers: int, listeners: int) -> int:
    return workers * (_FIRST_LISTENER + _WORDS_PER_LISTENER * listeners) * _WORD_BYTES


def _start_of_rates(rows_bytes: int) -> int:
    """Where the table of the rates begins in the file: at the first page that has nothing else."""
    page = mmap.ALLOCATIONGRANULARITY
    return -(-(rows_bytes + SECRET_BYTES) // page) * page


def owner_of_id(connection_id: int, workers: int) -> int:
    """The number of the worker that gave out this connection id."""
    return (connection_id - 1) % workers


class Turn:
    """Whether it is one worker's turn to accept on one listener."""

    __slots__ = ("_mine", "_others", "_share", "_words")

    def __init__(self, board: Board, worker: int, listener: int, shares: Sequence[int]) -> None:
        """``shares`` are the connections that each worker may have open on this listener."""
        self._words = board.words
        self._mine = board.place(worker, listener)
        self._share = shares[worker]
        self._others = [
            (board.place(other, listener), shares[other]) for other in range(board.workers) if other != worker
        ]

    def is_mine(self) -> bool:
        """Fewest open goes first, then fewest ever accepted. A full worker leaves it to one that has room; when all are
        full, any may accept, to refuse."""
        words, mine = self._words, self._mine
        active = words[mine]
        full = active >= self._share
        for place, share in self._others:
            theirs = words[place]
            if theirs >= share:
                continue
            if full or theirs < active or (theirs == active and words[place + 1] < words[mine + 1]):
                return False
        return True

    def may_help(self) -> bool:
        """Whether to accept out of turn, for somebody who is too busy: not when that would refuse what others could
        take."""
        words = self._words
        if words[self._mine] < self._share:
            return True
        return all(words[place] >= share for place, share in self._others)

    def others_took(self) -> int:
        """How many connections the others have ever accepted: what tells whether they are at it."""
        words = self._words
        return sum(words[place + 1] for place, _ in self._others)

    def accepted(self) -> None:
        self._words[self._mine + 1] += 1

    def active(self, connections: int) -> None:
        self._words[self._mine] = connections
