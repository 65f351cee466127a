"""Rates from successive totals. The admin API gives totals only: what happened lately is the difference of two."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tui.records import Listener, Status

WINDOW_S = 60.0
"""Rates are over the last minute."""

TRAFFIC_WINDOW_S = 10.0
"""Bytes a second are over the last ten seconds: long enough to be calm, short enough to show a stop."""

SPARKLINE_SAMPLES = 60

_SHORTEST_WINDOW_S = 0.9


@dataclass(frozen=True, slots=True)
class Counters:
    """One listener's totals, or the sum over all of them."""

    connections: int = 0
    handshakes_failed: int = 0
    refusals: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    ok: int = 0  # HTTP requests answered 2xx or 3xx
    client_errors: int = 0  # 4xx
    server_errors: int = 0  # 5xx, ours and the service's
    served: int = 0  # requests, and connections that carry none
    failed: int = 0  # those of them that failed

    @staticmethod
    def of(listener: Listener) -> Counters:
        requests = {str(name): number for name, number in listener.requests.items()}
        is_http = listener.protocol != "tcp"
        return Counters(
            connections=listener.connections_total,
            handshakes_failed=listener.handshakes_failed,
            refusals=listener.refusals_total,
            bytes_in=listener.bytes_in,
            bytes_out=listener.bytes_out,
            requests=sum(requests.values()),
            ok=requests.get("2xx", 0) + requests.get("3xx", 0),
            client_errors=requests.get("4xx", 0),
            server_errors=requests.get("5xx", 0),
            served=sum(requests.values()) if is_http else listener.connections_total - listener.refusals_total,
            failed=requests.get("5xx", 0) if is_http else sum(listener.upstream_errors.values()),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """All totals at one monotonic moment, seconds."""

    at: float
    total: Counters
    listeners: dict[str, Counters]


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened lately. None: not known yet, which is not the same as nothing."""

    connections_per_minute: float | None = None
    failures_per_minute: float | None = None
    refusals_per_minute: float | None = None
    bytes_in_per_s: float | None = None
    bytes_out_per_s: float | None = None
    requests_per_s: float | None = None
    ok_per_s: float | None = None
    client_errors_per_s: float | None = None
    server_errors_per_s: float | None = None
    served_per_s: float | None = None
    failed_per_s: float | None = None
    handshake_p99_s: float | None = None  # of the last minute; the sidecar tells it

    @property
    def failing(self) -> float:
        """Of what was to be served lately, the part that failed; 0 while nothing was."""
        failed = self.failed_per_s or 0.0
        return failed / max(failed, self.served_per_s or 0.0) if failed else 0.0

    @property
    def is_known(self) -> bool:
        return self.bytes_in_per_s is not None

    def filled(self, told: Rates | None, *, whole_minute: bool = True) -> Rates:
        """With what the sidecar tells of itself where it is not known from here; of what is counted a minute, that is
        until there is a ``whole_minute`` of it: two refusals of before the console was opened are no 0.0 a minute."""
        if told is None:
            return self
        if not self.is_known:
            return told
        filled = replace(self, handshake_p99_s=told.handshake_p99_s)
        if whole_minute:
            return filled
        return replace(
            filled,
            connections_per_minute=told.connections_per_minute,
            failures_per_minute=told.failures_per_minute,
            refusals_per_minute=told.refusals_per_minute,
        )

    @property
    def is_flowing(self) -> bool:
        return (self.bytes_in_per_s or 0) + (self.bytes_out_per_s or 0) > 0


@dataclass(slots=True)
class History:
    """The last minute's samples, and the traffic of each interval for the sparkline."""

    samples: deque[Sample] = field(default_factory=deque)
    traffic: deque[float] = field(default_factory=lambda: deque(maxlen=SPARKLINE_SAMPLES))
    last_traffic_at: float | None = None

    def add(self, at: float, status: Status) -> None:
        """Take the totals of ``status``, seen at the monotonic moment ``at``, seconds."""
        listeners = {str(listener.name): Counters.of(listener) for listener in status.listeners}
        total = Counters(
            connections=status.totals.connections_total,
            handshakes_failed=status.totals.handshakes_failed,
            refusals=status.totals.refusals_total,
            bytes_in=status.totals.bytes_in,
            bytes_out=status.totals.bytes_out,
            requests=status.totals.requests_total,
            **{name: sum(getattr(each, name) for each in listeners.values()) for name in _SUMMED},
        )
        if self.samples and at <= self.samples[-1].at:
            self.samples.pop()  # time stands still, in a replay
        elif self.samples:
            self._note_traffic(self.samples[-1], at, total)
        self.samples.append(Sample(at, total, listeners))
        while len(self.samples) > 2 and self.samples[1].at <= at - WINDOW_S:
            self.samples.popleft()

    def _note_traffic(self, before: Sample, at: float, total: Counters) -> None:
        moved = max(0, total.bytes_in + total.bytes_out - before.total.bytes_in - before.total.bytes_out)
        self.traffic.append(moved / max(at - before.at, 0.001))
        if moved:
            self.last_traffic_at = at

    def clear(self) -> None:
        """The totals start again from zero: the sidecar was restarted."""
        self.samples.clear()
        self.traffic.clear()
        self.last_traffic_at = None

    @property
    def spans_a_minute(self) -> bool:
        return bool(self.samples) and self.samples[-1].at - self.samples[0].at >= WINDOW_S

    def rates(self, listener: str | None = None) -> Rates:
        """Over one listener, or over all of them."""

        def counters(sample: Sample) -> Counters:
            return sample.total if listener is None else sample.listeners.get(listener, Counters())

        def rate(window_s: float, total: Callable[[Counters], int]) -> float | None:
            return self._rate(window_s, lambda sample: total(counters(sample)))

        minute = (rate(WINDOW_S, total) for total in _PER_MINUTE)
        connections, failures, refusals = (None if value is None else value * 60 for value in minute)
        return Rates(
            connections_per_minute=connections,
            failures_per_minute=failures,
            refusals_per_minute=refusals,
            bytes_in_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.bytes_in),
            bytes_out_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.bytes_out),
            requests_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.requests),
            ok_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.ok),
            client_errors_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.client_errors),
            server_errors_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.server_errors),
            served_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.served),
            failed_per_s=rate(TRAFFIC_WINDOW_S, lambda total: total.failed),
        )

    def _rate(self, window_s: float, total: Callable[[Sample], int]) -> float | None:
        """A second, over at most ``window_s`` seconds; None until there is something to compare with."""
        if len(self.samples) < 2:
            return None
        last = self.samples[-1]
        first = next(sample for sample in self.samples if sample.at >= last.at - window_s)
        if first is last:  # the samples are further apart than the window
            first = self.samples[-2]
        if last.at - first.at < _SHORTEST_WINDOW_S:
            return None
        return max(0, total(last) - total(first)) / (last.at - first.at)


_SUMMED = ("ok", "client_errors", "server_errors", "served", "failed")

_PER_MINUTE: tuple[Callable[[Counters], int], ...] = (
    lambda total: total.connections,
    lambda total: total.handshakes_failed,
    lambda total: total.refusals,
)
