"""Bounds on how often and how many at once: a token bucket per identity, and a count of requests in flight.

Where several workers serve, the buckets are those of :mod:`tlsidecar.dataplane.rate_table`.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from math import ceil
from typing import Protocol

MAX_BUCKETS = 16_384


class Bucket(Protocol):
    """What is left of one client's rate. Time is the caller's monotonic clock, in seconds."""

    def take(self, now: float, /) -> bool:
        """Take one token; whether there was one."""
        ...

    def retry_after_s(self, now: float, /) -> int:
        """Whole seconds, at least one, until :meth:`take` will let the client through."""
        ...


def usual_burst(rate: float) -> int:
    """How many may come at once where nothing is said of it: what comes in a second."""
    return max(1, ceil(rate))


class TokenBuckets:
    """Lets each key through ``rate`` times a second on average, and up to ``burst`` times at once.

    Time is the caller's monotonic clock, in seconds. At most ``capacity`` keys are remembered; the one not seen for
    longest is forgotten first, which by then has usually filled up again.
    """

    def __init__(self, rate: float, burst: int | None = None, capacity: int = MAX_BUCKETS) -> None:
        if rate <= 0 or capacity < 1 or (burst is not None and burst < 1):
            raise ValueError("rate, burst and capacity are above zero")
        self._rate = rate
        self._burst = float(burst if burst is not None else usual_burst(rate))
        self._capacity = capacity
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # key: (tokens, since); the last is the latest seen

    def __len__(self) -> int:
        return len(self._buckets)

    def __repr__(self) -> str:
        return f"<TokenBuckets rate={self._rate}/s burst={self._burst:.0f} keys={len(self._buckets)}>"

    def take(self, key: Hashable, now: float) -> bool:
        """Take one token of ``key``'s; whether there was one."""
        tokens, since = self._buckets.pop(key, (self._burst, now))
        if now > since:
            tokens = min(self._burst, tokens + (now - since) * self._rate)
            since = now
        allowed = tokens >= 1.0
        if len(self._buckets) >= self._capacity:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, since)
        return allowed

    def retry_after_s(self, key: Hashable, now: float) -> int:
        """Whole seconds, at least one, until :meth:`take` will let ``key`` through."""
        tokens, since = self._buckets.get(key, (self._burst, now))
        missing = 1.0 - tokens - max(0.0, now - since) * self._rate
        return max(1, ceil(missing / self._rate))

    def bucket(self, key: Hashable) -> Bucket:
        """That of ``key``."""
        return _BucketOf(self, key)


class _BucketOf:
    __slots__ = ("retry_after_s", "take")

    def __init__(self, buckets: TokenBuckets, key: Hashable) -> None:
        self.take = partial(buckets.take, key)
        self.retry_after_s = partial(buckets.retry_after_s, key)


class InFlight:
    """How many requests a listener has open, against its bound; ``None`` is no bound."""

    __slots__ = ("count", "limit")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.count = 0

    def __repr__(self) -> str:
        return f"<InFlight {self.count} of {self.limit}>"

    def enter(self) -> bool:
        """Count one more; ``False``, and nothing is counted, when the bound is reached."""
        if self.limit is not None and self.count >= self.limit:
            return False
        self.count += 1
        return True

    def leave(self) -> None:
        assert self.count > 0, "left more often than entered"
        self.count -= 1
