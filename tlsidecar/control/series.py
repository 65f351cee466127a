"""What happened on one listener, second by second, in rings of a fixed size.

What is kept are differences of the data plane's counters, packed into a few hundred bytes a step: the counts of
:data:`COLUMNS`, and those of failures by reason. Steps in which nothing happened take no room. Every step has its
number: the second of its beginning divided by its length.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from tlsidecar.dataplane.snapshot import EXCHANGE_BUCKETS_S, HANDSHAKE_BUCKETS_S, Histogram, ListenerCounters
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
    def of(cls, counters: ListenerCounters) -> Sums:
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
    """The newest ``steps`` steps of ``step_s`` seconds each."""

    def __init__(self, step_s: int, steps: int) -> None:
        self.step_s = step_s
        self.steps = steps
        self._rows: list[bytes | None] = [None] * steps
        self._number: int | None = None  # of the step that is being filled
        self._open = Sums()

    def __repr__(self) -> str:
        return f"<Ring {self.steps} steps of {self.step_s}s up to {self._number}>"

    def add(self, second: int, happened: Sums) -> None:
        """What happened in this second, which is no earlier than the last one added."""
        number = second // self.step_s
        if number != self._number:
            self._turn_to(number)
        self._open.follow(happened)

    def _turn_to(self, number: int) -> None:
        if self._number is not None:
            self._rows[self._number % self.steps] = self._open.pack()
            for passed in range(self._number + 1, min(number, self._number + self.steps) + 1):
                self._rows[passed % self.steps] = None
        self._number = number
        self._open = Sums()

    def joined(self, first: int, beyond: int) -> Sums:
        """What happened in the steps from number ``first`` to before ``beyond``, as far as they are kept."""
        sums = Sums()
        if self._number is None:
            return sums
        for number in range(max(first, self._number - self.steps + 1), min(beyond, self._number + 1)):
            if number == self._number:
                sums.follow(self._open)
                continue
            packed = self._rows[number % self.steps]
            if packed is None:
                sums.values[_ACTIVE] = 0
            else:
                sums.follow(Sums.unpack(packed))
        return sums
