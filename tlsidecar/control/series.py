"""What happened on one listener, at one upstream or for one identity, second by second, in rings of a fixed size.

What is kept are differences of the data plane's counters, packed into a few hundred bytes a step, and then
compressed. Steps in which nothing happened take no room. Every step has its number: the second of its beginning
divided by its length.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Mapping, Sequence

from tlsidecar.dataplane.snapshot import (
    BYTES_LIKE_A_REQUEST,
    EXCHANGE_BUCKETS_S,
    HANDSHAKE_BUCKETS_S,
    Histogram,
    TrafficCounters,
)
from tlsidecar.outcomes import Reason

REQUEST_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "none")
"""By the first digit of the status; the last is for those that were answered with nothing."""

REASONS = tuple(reason.value for reason in Reason)

_CLASSES = slice(0, len(REQUEST_CLASSES))
_REFUSALS, _CONNECTIONS, _HANDSHAKES_FAILED, _ACTIVE = range(_CLASSES.stop, _CLASSES.stop + 4)
_HANDSHAKE = slice(_ACTIVE + 1, _ACTIVE + 2 + len(HANDSHAKE_BUCKETS_S))
_EXCHANGE = slice(_HANDSHAKE.stop, _HANDSHAKE.stop + 1 + len(EXCHANGE_BUCKETS_S))
_BYTES_IN, _BYTES_OUT = _EXCHANGE.stop, _EXCHANGE.stop + 1
_WIDTH = _BYTES_OUT + 1

_ROW = struct.Struct(f"<{_BYTES_IN}I2Q")
_FAILURE = struct.Struct("<HI")
_ROW_HEAD = struct.Struct("<QH")  # the step's number, and the bytes of its row
_BLOCK_STEPS = 60
_MOST = 2**32 - 1
_MOST_BYTES = 2**64 - 1

_REASON_NUMBERS = {reason: number for number, reason in enumerate(REASONS)}


class Sums:
    """What happened in some time. ``connections_active`` is as it was at the end of it."""

    __slots__ = ("failures", "values")

    def __init__(self, values: Sequence[int] | None = None, failures: Mapping[str, int] | None = None) -> None:
        self.values = [0] * _WIDTH if values is None else list(values)
        self.failures: dict[str, int] = dict(failures or {})

    def __repr__(self) -> str:
        return f"<Sums requests={sum(self.values[_CLASSES])} connections={self.connections}>"

    @classmethod
    def of(cls, counters: TrafficCounters) -> Sums:
        """All that was counted up to now."""
        named = [counters.requests.get(name, 0) for name in REQUEST_CLASSES[:-1]]
        values = [
            *named,
            sum(counters.requests.values()) - sum(named),
            sum(counters.refusals.values()),
            counters.connections.get("accepted", 0),
            sum(count for (outcome, _), count in counters.handshakes.items() if outcome != "ok"),
            counters.connections_active,
            *counters.handshake_seconds.counts,
            *counters.exchange_seconds.counts,
            counters.bytes_in,
            counters.bytes_out,
        ]
        return cls(values, counters.failures)

    def since(self, before: Sums) -> Sums:
        """What was counted since ``before``; nothing where a counter went back."""
        values = [max(0, now - then) for now, then in zip(self.values, before.values, strict=True)]
        values[_ACTIVE] = self.values[_ACTIVE]
        failures = {
            reason: count - before.failures.get(reason, 0)
            for reason, count in self.failures.items()
            if count > before.failures.get(reason, 0)
        }
        return Sums(values, failures)

    def shares(self, parts: int) -> list[Sums]:
        """The same over ``parts`` steps, as even as whole numbers can be."""
        if parts == 1:
            return [self]
        shared = []
        for part in range(parts):
            values = [_share(value, part, parts) for value in self.values]
            values[_ACTIVE] = self.values[_ACTIVE]
            shared.append(Sums(values, {name: _share(count, part, parts) for name, count in self.failures.items()}))
        return shared

    def follow(self, later: Sums) -> None:
        """Take in what happened after."""
        self.beside(later)
        self.values[_ACTIVE] = later.values[_ACTIVE]

    def beside(self, other: Sums) -> None:
        """Take in what happened in the same time elsewhere."""
        self.values = [mine + theirs for mine, theirs in zip(self.values, other.values, strict=True)]
        for reason, count in other.failures.items():
            self.failures[reason] = self.failures.get(reason, 0) + count

    def without(self, other: Sums) -> Sums:
        """The rest, where ``other`` is a part of it."""
        values = [max(0, all_ - part) for all_, part in zip(self.values, other.values, strict=True)]
        failures = {reason: number - other.failures.get(reason, 0) for reason, number in self.failures.items()}
        return Sums(values, {reason: number for reason, number in failures.items() if number > 0})

    def of_peers(self) -> Sums:
        """The same, with the handshakes that succeeded for its connections: as identities are counted."""
        values = list(self.values)
        values[_CONNECTIONS] = self.handshakes - self.handshakes_failed
        return Sums(values, self.failures)

    @property
    def done(self) -> float:
        """How much that was, to be compared with others'."""
        moved = self.bytes_in + self.bytes_out
        return sum(self.values[_CLASSES]) + self.connections + moved / BYTES_LIKE_A_REQUEST

    def pack(self) -> bytes | None:
        """None for nothing at all."""
        if not any(self.values) and not any(self.failures.values()):
            return None
        counts = (min(value, _MOST) for value in self.values[:_BYTES_IN])
        octets = (min(value, _MOST_BYTES) for value in self.values[_BYTES_IN:])
        failures = (
            _FAILURE.pack(_REASON_NUMBERS[reason], min(count, _MOST))
            for reason, count in self.failures.items()
            if count and reason in _REASON_NUMBERS
        )
        return _ROW.pack(*counts, *octets) + b"".join(failures)

    @classmethod
    def unpack(cls, packed: bytes) -> Sums:
        failures = {REASONS[number]: count for number, count in _FAILURE.iter_unpack(packed[_ROW.size :])}
        return cls(_ROW.unpack_from(packed), failures)

    # What it tells.

    @property
    def requests(self) -> dict[str, int]:
        """By class of the answer."""
        return dict(zip(REQUEST_CLASSES, self.values[_CLASSES], strict=True))

    @property
    def refusals(self) -> int:
        return self.values[_REFUSALS]

    @property
    def connections(self) -> int:
        """Accepted."""
        return self.values[_CONNECTIONS]

    @property
    def connections_active(self) -> int:
        return self.values[_ACTIVE]

    @property
    def handshakes(self) -> int:
        """Ended, those that failed included."""
        return sum(self.values[_HANDSHAKE])

    @property
    def handshakes_failed(self) -> int:
        return self.values[_HANDSHAKES_FAILED]

    @property
    def bytes_in(self) -> int:
        return self.values[_BYTES_IN]

    @property
    def bytes_out(self) -> int:
        return self.values[_BYTES_OUT]

    @property
    def handshake_seconds(self) -> Histogram:
        return Histogram(HANDSHAKE_BUCKETS_S, self.values[_HANDSHAKE])

    @property
    def exchange_seconds(self) -> Histogram:
        return Histogram(EXCHANGE_BUCKETS_S, self.values[_EXCHANGE])


def _share(amount: int, part: int, parts: int) -> int:
    return amount * (part + 1) // parts - amount * part // parts


class Ring:
    """The newest ``steps`` steps of ``step_s`` seconds each. Rows are kept compressed, :data:`_BLOCK_STEPS` of them
    together: what is much the same in each step takes little."""

    def __init__(self, step_s: int, steps: int, shift: int = 0) -> None:
        """``shift`` sets the moments apart at which several rings compress a block."""
        self.step_s = step_s
        self.steps = steps
        self._shift = shift % _BLOCK_STEPS
        self._blocks: dict[int, bytes] = {}
        self._rows: _Rows = {}  # of the block that is being filled
        self._number: int | None = None  # of the step that is being filled
        self._open = Sums()

    def __repr__(self) -> str:
        return f"<Ring {self.steps} steps of {self.step_s}s up to {self._number}>"

    @property
    def bytes_kept(self) -> int:
        """Roughly, without the step that is being filled."""
        return sum(map(sys.getsizeof, (*self._blocks.values(), *self._rows.values())))

    def add(self, second: int, happened: Sums) -> None:
        """What happened in this second, which is no earlier than the last one added."""
        number = second // self.step_s
        if number != self._number:
            self._turn_to(number)
        self._open.follow(happened)

    def _block(self, number: int) -> int:
        return (number + self._shift) // _BLOCK_STEPS

    def _turn_to(self, number: int) -> None:
        if self._number is not None:
            packed = self._open.pack()
            if packed is not None:
                self._rows[self._number] = packed
            block = self._block(self._number)
            if block != self._block(number):
                if self._rows:
                    self._blocks[block] = _compressed(self._rows)
                    self._rows = {}
                oldest = self._block(number - self.steps + 1)
                self._blocks = {each: rows for each, rows in self._blocks.items() if each >= oldest}
        self._number = number
        self._open = Sums()

    def joined(self, first: int, beyond: int) -> Sums:
        """What happened in the steps from number ``first`` to before ``beyond``, as far as they are kept."""
        return self.spans(first, beyond - first, 1)[0]

    def spans(self, first: int, each: int, count: int) -> list[Sums]:
        """What happened in ``count`` spans of ``each`` steps, the first of which begins with step number ``first``."""
        spans: list[Sums] = []
        read, rows = -1, self._rows
        for begin in range(first, first + each * count, each):
            sums = Sums()
            spans.append(sums)
            if self._number is None:
                continue
            for number in range(max(begin, self._number - self.steps + 1), min(begin + each, self._number + 1)):
                if number == self._number:
                    sums.follow(self._open)
                    continue
                block = self._block(number)
                if block != read:
                    read = block
                    here = block == self._block(self._number)
                    rows = self._rows if here else _decompressed(self._blocks.get(block, b""))
                packed = rows.get(number)
                if packed is None:
                    sums.values[_ACTIVE] = 0
                else:
                    sums.follow(Sums.unpack(packed))
        return spans


_Rows = dict[int, bytes]  # what happened in each step, by its number


def _compressed(rows: _Rows) -> bytes:
    return zlib.compress(b"".join(_ROW_HEAD.pack(number, len(row)) + row for number, row in rows.items()), level=1)


def _decompressed(block: bytes) -> _Rows:
    if not block:
        return {}
    data = zlib.decompress(block)
    rows: _Rows = {}
    at = 0
    while at < len(data):
        number, length = _ROW_HEAD.unpack_from(data, at)
        at += _ROW_HEAD.size
        rows[number] = data[at : at + length]
        at += length
    return rows
