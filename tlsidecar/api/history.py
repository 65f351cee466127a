"""What it was like: the last two hours in steps, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import T, Told
from tlsidecar.api.words import MarkKind, Severity

SPAN_S = 7200
"""Seconds that the sidecar keeps."""


@dataclass(frozen=True)
class Series(Generic[T]):
    """What happened in each step; every list has one entry for each step."""

    requests: Annotated[Mapping[T, tuple[int, ...]], Told("HTTP requests answered, by class: 2xx, 5xx")]
    failures: Annotated[
        Mapping[T, tuple[int, ...]], Told("connections and requests that could not be served, by reason")
    ]
    refusals: Annotated[tuple[int, ...], Told("connections and requests turned away by a decision")]
    connections: Annotated[tuple[int, ...], Told("connections accepted")]
    connections_active: Annotated[tuple[int, ...], Told("open connections at the end of the step")]
    handshakes: Annotated[tuple[int, ...], Told("handshakes ended, those that failed included")]
    handshakes_failed: Annotated[tuple[int, ...], Told("handshakes that failed")]
    bytes_in: Annotated[tuple[int, ...], Told("payload from the mTLS side", unit="bytes")]
    bytes_out: Annotated[tuple[int, ...], Told("payload to the mTLS side", unit="bytes")]
    handshake_p50_s: Annotated[
        tuple[float | None, ...], Told("half of the handshakes took no longer; null where there was none", "s")
    ]
    handshake_p95_s: Annotated[tuple[float | None, ...], Told("95 % of the handshakes took no longer", "s")]
    handshake_p99_s: Annotated[tuple[float | None, ...], Told("99 % of the handshakes took no longer", "s")]
    request_p50_s: Annotated[
        tuple[float | None, ...], Told("half of the requests took no longer; null where there was none", "s")
    ]
    request_p95_s: Annotated[tuple[float | None, ...], Told("95 % of the requests took no longer", "s")]
    request_p99_s: Annotated[tuple[float | None, ...], Told("99 % of the requests took no longer", "s")]


@dataclass(frozen=True)
class ListenerSeries(Series[T], Generic[T]):
    """The series of one listener."""

    name: Annotated[T, Told("the listener's name")]


@dataclass(frozen=True)
class Mark(Generic[T]):
    """A moment to see beside the series."""

    at: Annotated[datetime | None, Told("when", always=True)]
    kind: Annotated[T, Told("what happened", words=MarkKind)]
    severity: Annotated[Severity, Told("how much it matters; a reload that was refused is a warning")]
    name: Annotated[T, Told("a reload's outcome, or the problem's code")]
    subject: Annotated[T, Told("what the problem is about; what asked for the reload")]
    message: Annotated[T, Told("in words", long=True)]
    generation: Annotated[int, Told("in use after a reload; 0 for a problem")]


@dataclass(frozen=True)
class History(Generic[T]):
    """The time from ``since`` to ``until`` in steps of ``step_s``: the first begins at ``first_at``, which is before
    ``since`` where the process, or what is kept, begins within it; the last one may not be over."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    since: Annotated[datetime | None, Told("counted from here on", always=True)]
    until: Annotated[datetime | None, Told("counted up to here: the last second that is over", always=True)]
    first_at: Annotated[datetime | None, Told("the beginning of the first step", always=True)]
    step_s: Annotated[int, Told("the length of a step: what was asked for, or the next one there is", "s")]
    steps: Annotated[int, Told("how many there are")]
    total: Annotated[Series[T], Told("over all listeners")]
    listeners: Annotated[tuple[ListenerSeries[T], ...], Told("in the order of the configuration")]
    marks: Annotated[tuple[Mark[T], ...], Told("reloads and problems, the oldest first")]
