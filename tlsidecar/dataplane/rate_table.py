"""How much of its rate each client has used, as the workers of one sidecar know it together: a table in shared memory.

The rate is held by the generic cell rate algorithm (ITU-T I.371): all that is known of a client is when its bucket will
be full again, the theoretical arrival time. A request moves that time on by what it costs, and is let in unless that is
further ahead than a whole burst. A bucket that is full needs no memory: its slot is free for another.

Nobody locks, and no two workers write the same count. The time is a sum: what each worker has ever let in, in a word of
its own, and a base that is set anew by whoever finds the bucket full. So what was let in stays counted, however long
the kernel holds a worker up between its reading and its writing. A worker that looks while others decide does not see
theirs yet: of k workers k - 1 may let in one more each at one moment, for which whoever comes next waits longer. What a
worker leaves behind that is killed in the middle passes by itself.

A client is known by a keyed digest: whose slot is near whose, or the same, nobody outside can work out.
"""

from __future__ import annotations

import mmap
from collections.abc import Hashable
from hashlib import blake2b
from math import ceil
from typing import Final

# A client's slot is one of the eight of its set. With 16,384 buckets that are not full at a time (what one worker alone
# remembers of each listener), one in 4,000 new ones finds its set full; memory is had for what is used, page by page.
_SETS: Final = 8192
_SLOTS: Final = 8
_WORD_BYTES: Final = 8
_MASK: Final = (1 << 64) - 1  # what is counted for ever goes round, and the sum is right all the same

_NS_PER_S: Final = 1_000_000_000
_LONGEST_NS: Final = 1 << 60  # 36 years: a word holds several beside the time of now

# More than the times of two workers' turns of their loops differ by: the watchdog ends what is slower.
_APART_NS: Final = 60 * _NS_PER_S

SECRET_BYTES: Final = 16


class RateTable:
    """The memory, as one worker uses it; it lives as long as the table. ``descriptor`` stays the caller's.

    A set is eight names, and then for each of them its row: a word of each worker and the base, all in nanoseconds.
    """

    def __init__(self, descriptor: int, offset: int, secret: bytes, workers: int, worker: int) -> None:
        """``offset`` is where it begins in the file, a multiple of ``mmap.ALLOCATIONGRANULARITY``; there are zeros at
        first. ``secret`` has SECRET_BYTES, and is that of all who use this memory."""
        self.worker = worker
        self.row_words = workers + 1
        self.set_words = _SLOTS * (1 + self.row_words)
        self._memory = mmap.mmap(descriptor, self.bytes_for(workers), offset=offset)
        self.words = memoryview(self._memory).cast("Q")
        self._secret = secret

    def __repr__(self) -> str:
        return f"<RateTable worker={self.worker} slots={_SETS * _SLOTS}>"

    @staticmethod
    def bytes_for(workers: int) -> int:
        """2 MiB for two workers, and half of one for each more."""
        return _SETS * _SLOTS * (workers + 2) * _WORD_BYTES

    def name_of(self, what: Hashable) -> int:
        """The word that stands for it, never 0; ``what`` is made of strings, numbers and tuples of them."""
        digest = blake2b(ascii(what).encode("ascii"), key=self._secret, digest_size=_WORD_BYTES).digest()
        return int.from_bytes(digest, "little") or 1

    def close(self) -> None:
        self.words.release()
        self._memory.close()


class SharedBuckets:
    """As :class:`.http.rate.TokenBuckets`, for all workers together: lets each key of a listener through ``rate`` times
    a second on average, and up to ``burst`` times at once.

    With another rate or burst the same keys have other buckets, all of them full. Rates are rounded to whole
    nanoseconds between two requests, and ``burst / rate`` is at most 36 years.
    """

    def __init__(self, table: RateTable, listener: str, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("rate and burst are above zero")
        self._table = table
        self._terms = (listener, rate, burst)
        self._interval_ns = max(1, min(_LONGEST_NS, round(_NS_PER_S / rate)))
        self._burst_ns = min(_LONGEST_NS, burst * self._interval_ns)

    def __repr__(self) -> str:
        listener, rate, burst = self._terms
        return f"<SharedBuckets {listener} rate={rate}/s burst={burst}>"

    def bucket(self, key: Hashable) -> SharedBucket:
        """``key`` as for :meth:`RateTable.name_of`."""
        return SharedBucket(self._table, self._table.name_of((self._terms, key)), self._interval_ns, self._burst_ns)


class SharedBucket:
    """That of one key, for whoever asks often. Time is the monotonic clock that all processes share, in seconds."""

    __slots__ = (
        "_base",
        "_burst_ns",
        "_first",
        "_furthest_ns",
        "_interval_ns",
        "_mine",
        "_name",
        "_row_words",
        "_words",
    )

    def __init__(self, table: RateTable, name: int, interval_ns: int, burst_ns: int) -> None:
        """``name`` is :meth:`RateTable.name_of` it."""
        self._words = table.words
        self._name = name
        self._first = name % _SETS * table.set_words
        self._row_words = table.row_words
        self._mine = table.worker
        self._base = table.row_words - 1
        self._interval_ns = interval_ns
        self._burst_ns = burst_ns
        self._furthest_ns = burst_ns + self._base * interval_ns + _APART_NS  # every worker let in one more, at once

    def __repr__(self) -> str:
        return f"<SharedBucket {self._name:016x}>"

    def take(self, now: float) -> bool:
        """Take one token; whether there was one."""
        now_ns = int(now * _NS_PER_S)
        words = self._words
        at = self._place() or self._new_place(now_ns)
        row = words[at : at + self._row_words].tolist()
        full_at = sum(row) & _MASK
        if full_at <= now_ns:
            self._fill(at, row, now_ns)
        elif full_at + self._interval_ns > now_ns + self._burst_ns:
            if full_at <= now_ns + self._furthest_ns:
                return False
            self._fill(at, row, now_ns)  # no use of its own takes it there: somebody else's was written to it
        words[at + self._mine] = (row[self._mine] + self._interval_ns) & _MASK
        return True

    def retry_after_s(self, now: float) -> int:
        """Whole seconds, at least one, until :meth:`take` will let it through, if nobody else is let through before."""
        at = self._place()
        full_at = sum(self._words[at : at + self._row_words].tolist()) & _MASK if at else 0
        missing_ns = full_at + self._interval_ns - self._burst_ns - int(now * _NS_PER_S)
        return max(1, ceil(missing_ns / _NS_PER_S))

    def _place(self) -> int:
        """Where its row is, if it has one, else 0. It is looked for from the first slot on each time: if two workers
        gave it one each at the same moment, all go on with the first, and the other passes."""
        first = self._first
        names = self._words[first : first + _SLOTS].tolist()
        return first + _SLOTS + names.index(self._name) * self._row_words if self._name in names else 0

    def _new_place(self, now_ns: int) -> int:
        """Give it the slot that is full, or never used, for longest; if none is, that which would be so first."""
        first, width = self._first, self._row_words
        begin = first + _SLOTS
        words = self._words
        whole = words[begin : begin + _SLOTS * width].tolist()
        rows = [whole[at : at + width] for at in range(0, len(whole), width)]
        times = [sum(row) & _MASK for row in rows]
        slot = times.index(min(times))
        at = self._place()
        if not at:  # nor has another worker given it one just now
            at = begin + slot * width
            if times[slot] > now_ns:
                self._fill(at, rows[slot], now_ns)  # before it has the name: what another has used is never ours
            words[first + slot] = self._name
        return at

    def _fill(self, at: int, row: list[int], now_ns: int) -> None:
        """It is full now. ``row`` was read before; since the base is the last word of it, whoever has read what another
        worker has counted has also read the base that this was counted from, and takes no count back."""
        self._words[at + self._base] = (now_ns - sum(row) + row[self._base]) & _MASK
