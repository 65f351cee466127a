"""What a client sent before its turn: the start of a head, or requests ahead of the answer to the one before."""

from __future__ import annotations

from tlsidecar.dataplane.http1.head_reader import Buffer

# So many moments of arrival are told apart, the latest; what came before counts as having come with the first byte.
MOST_ARRIVALS = 64


class Held:
    """Bytes in their order, and when they came (monotonic seconds)."""

    __slots__ = ("_arrivals", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._arrivals: list[tuple[int, float]] = []  # so many bytes were there by then

    def __repr__(self) -> str:
        return f"<Held {len(self.data)}>"

    def __len__(self) -> int:
        return len(self.data)

    def add(self, buffer: Buffer, start: int, end: int, now: float) -> None:
        self.data += memoryview(buffer)[start:end]
        arrivals = self._arrivals
        if len(arrivals) == MOST_ARRIVALS:
            first_at = arrivals.pop(0)[1]
            arrivals[0] = (arrivals[0][0], first_at)
        arrivals.append((len(self.data), now))

    def arrived(self, end: int) -> float:
        """When the byte before ``end`` was there."""
        return next(at for count, at in self._arrivals if count >= end)

    def drop(self, count: int) -> None:
        """The first ``count`` bytes have had their turn."""
        if count:
            del self.data[:count]
            self._arrivals = [(end - count, at) for end, at in self._arrivals if end > count]

    def clear(self) -> None:
        # Anew, and not emptied: a view on it may still be alive.
        self.data = bytearray()
        self._arrivals = []
