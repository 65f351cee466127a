"""What it was like: the last two hours in steps, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import Doc, T
from tlsidecar.api.words import MarkKind, Severity
from tlsidecar.lazy_dataclass import dataclass

EACH = "*"
"""Asks for each upstream or identity that is kept, and for the others."""

OTHERS = "others"
"""Asks for all identities that are not kept each by itself, and for who has shown none."""

CHARTED_SPANS = ((60, 1), (900, 10), (7200, 20))
"""What the console charts: seconds in all, and of a step. What is written to be looked at later has each of them."""

SPAN_S = 7200
"""Seconds that the sidecar keeps."""


def history_target(span_s: int, step_s: int, *, of_each: bool) -> str:
    """The call that tells of a span of time; ``of_each`` upstream and identity that is kept, too."""
    return f"/v1/history?since={span_s}s&step={step_s}s" + (f"&upstream={EACH}&identity={EACH}" if of_each else "")


@dataclass(frozen=True)
class Series(Generic[T]):
    """What happened in each step; every list has one entry for each step."""

    requests: Annotated[Mapping[T, tuple[int, ...]], Doc("HTTP requests answered, by class: 2xx, 5xx")]
    failures: Annotated[
        Mapping[T, tuple[int, ...]], Doc("connections and requests that could not be served, by reason")
    ]
    refusals: Annotated[tuple[int, ...], Doc("connections and requests turned away by a decision")]
    connections: Annotated[tuple[int, ...], Doc("connections accepted")]
    connections_active: Annotated[tuple[int, ...], Doc("open connections at the end of the step")]
    handshakes: Annotated[tuple[int, ...], Doc("handshakes ended, those that failed included")]
    handshakes_failed: Annotated[tuple[int, ...], Doc("handshakes that failed")]
    bytes_in: Annotated[tuple[int, ...], Doc("payload from the mTLS side", unit="bytes")]
    bytes_out: Annotated[tuple[int, ...], Doc("payload to the mTLS side", unit="bytes")]
    handshake_p50_s: Annotated[
        tuple[float | None, ...], Doc("half of the handshakes took no longer; null where there was none", "s")
    ]
    handshake_p95_s: Annotated[tuple[float | None, ...], Doc("95 % of the handshakes took no longer", "s")]
    handshake_p99_s: Annotated[tuple[float | None, ...], Doc("99 % of the handshakes took no longer", "s")]
    request_p50_s: Annotated[
        tuple[float | None, ...], Doc("half of the requests took no longer; null where there was none", "s")
    ]
    request_p95_s: Annotated[tuple[float | None, ...], Doc("95 % of the requests took no longer", "s")]
    request_p99_s: Annotated[tuple[float | None, ...], Doc("99 % of the requests took no longer", "s")]


@dataclass(frozen=True)
class ListenerSeries(Series[T], Generic[T]):
    """The series of one listener."""

    name: Annotated[T, Doc("the listener's name")]


@dataclass(frozen=True)
class Charted(Generic[T]):
    """An upstream or an identity whose series is kept."""

    key: Annotated[T, Doc("to ask for it by; of an identity, what stands for all names in its certificate")]
    name: Annotated[T, Doc("the upstream's address, or the identity's name for showing")]
    since: Annotated[datetime | None, Doc("kept since then; what it did before is among the others", always=True)]


@dataclass(frozen=True)
class ChartedSeries(Series[T], Generic[T]):
    """The series of one upstream or identity, or of all other identities together, whose key is empty.

    Of an upstream, connections and handshakes are those to it, and bytes of requests are counted when the request is
    over where there are several upstreams. Of an identity, connections are those whose handshake succeeded."""

    key: Annotated[T, Doc("as it is listed; empty for the others")]
    name: Annotated[T, Doc("as it is listed")]


@dataclass(frozen=True)
class Mark(Generic[T]):
    """A moment to see beside the series."""

    at: Annotated[datetime | None, Doc("when", always=True)]
    kind: Annotated[T, Doc("what happened", words=MarkKind)]
    severity: Annotated[Severity, Doc("how much it matters; a reload that was refused is a warning")]
    name: Annotated[T, Doc("a reload's outcome, or the problem's code")]
    subject: Annotated[T, Doc("what the problem is about; what asked for the reload")]
    message: Annotated[T, Doc("in words", long=True)]
    generation: Annotated[int, Doc("in use after a reload; 0 for a problem")]


@dataclass(frozen=True)
class History(Generic[T]):
    """The time from ``since`` to ``until`` in steps of ``step_s``: the first begins at ``first_at``, which is before
    ``since`` where the process, or what is kept, begins within it; the last one may not be over."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    since: Annotated[datetime | None, Doc("counted from here on", always=True)]
    until: Annotated[datetime | None, Doc("counted up to here: the last second that is over", always=True)]
    first_at: Annotated[datetime | None, Doc("the beginning of the first step", always=True)]
    step_s: Annotated[int, Doc("the length of a step: what was asked for, or the next one there is", "s")]
    steps: Annotated[int, Doc("how many there are")]
    total: Annotated[Series[T], Doc("over all listeners")]
    listeners: Annotated[tuple[ListenerSeries[T], ...], Doc("in the order of the configuration")]
    kept_upstreams: Annotated[tuple[Charted[T], ...], Doc("upstreams whose series are kept, the busiest first")]
    kept_identities: Annotated[tuple[Charted[T], ...], Doc("identities whose series are kept, the busiest first")]
    upstreams: Annotated[tuple[ChartedSeries[T], ...], Doc("those that were asked for")]
    identities: Annotated[tuple[ChartedSeries[T], ...], Doc("those that were asked for")]
    marks: Annotated[tuple[Mark[T], ...], Doc("reloads and problems, the oldest first")]
