"""What it was like: the last two hours in steps, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import Doc, T
from tlsidecar.api.words import MarkKind, Severity

SPAN_S = 7200
"""Seconds that the sidecar keeps."""


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
    marks: Annotated[tuple[Mark[T], ...], Doc("reloads and problems, the oldest first")]
