"""What the sidecar itself keeps of the last minute. A console that was just opened has no two totals to compare yet,
and the quantiles beside the totals are since the start: a slow beginning would stand in them for days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tui.history import TRAFFIC_WINDOW_S, WINDOW_S, Rates
from tui.past import makes_sense, step_seconds, summed
from tui.records import Past, Series, Status

LATELY_S = int(WINDOW_S)
LATELY_STEP_S = 10


def rates_lately(past: Past, status: Status) -> Mapping[str, Rates]:
    """By the listener's name, and under the empty one of all together."""
    if not makes_sense(past):
        return {}
    kept = {str(each.name): each for each in past.listeners}
    known = {
        str(listener.name): _rates(past, kept[listener.name], is_tcp=listener.protocol == "tcp")
        for listener in status.listeners
        if listener.name in kept
    }
    everybody = replace(
        _rates(past, past.total),
        served_per_s=_added([each.served_per_s for each in known.values()]),
        failed_per_s=_added([each.failed_per_s for each in known.values()]),
    )
    return {**known, "": everybody}


def _rates(past: Past, series: Series, *, is_tcp: bool = False) -> Rates:
    """What is served are requests; of TCP, connections."""
    seconds = step_seconds(past)
    minute, recent = _newest(seconds, WINDOW_S), _newest(seconds, TRAFFIC_WINDOW_S)

    def a_second(counts: Sequence[int], steps: slice = recent) -> float | None:
        counted_s = sum(seconds[steps])
        return sum(counts[steps]) / counted_s if counted_s > 0 else None

    def a_minute(counts: Sequence[int]) -> float | None:
        rate = a_second(counts, minute)
        return None if rate is None else 60 * rate

    def answered(*classes: str) -> float | None:
        return a_second(summed({name: counts for name, counts in series.requests.items() if name in classes}))

    requests = a_second(summed(series.requests))
    admitted = [opened - refused for opened, refused in zip(series.connections, series.refusals, strict=False)]
    return Rates(
        connections_per_minute=a_minute(series.connections),
        failures_per_minute=a_minute(series.handshakes_failed),
        refusals_per_minute=a_minute(series.refusals),
        bytes_in_per_s=a_second(series.bytes_in),
        bytes_out_per_s=a_second(series.bytes_out),
        requests_per_s=requests,
        ok_per_s=answered("2xx", "3xx"),
        client_errors_per_s=answered("4xx"),
        server_errors_per_s=answered("5xx"),
        served_per_s=a_second(admitted) if is_tcp else requests,
        failed_per_s=a_second(summed(series.failures)) if is_tcp else answered("5xx"),
        handshake_p99_s=max((each for each in series.handshake_p99_s[minute] if each is not None), default=None),
    )


def _newest(seconds: Sequence[float], window_s: float) -> slice:
    """The fewest steps at the end that make up ``window_s``; all of them where there are no more."""
    first, counted_s = len(seconds), 0.0
    while first > 0 and counted_s < window_s:
        first -= 1
        counted_s += seconds[first]
    return slice(first, len(seconds))


def _added(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
