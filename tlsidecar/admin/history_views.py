"""What a request for the history asks for, and the record that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from certs.durations import InvalidDuration, parse_seconds
from tlsidecar.admin.messages import ApiError
from tlsidecar.api import history as api
from tlsidecar.api.encode import SECONDS_DIGITS
from tlsidecar.api.history import EACH, OTHERS, SPAN_S, ChartedSeries, History, ListenerSeries, Mark, Series
from tlsidecar.api.times import moment
from tlsidecar.api.words import MarkKind, Outcome, Severity
from tlsidecar.control.history import Charted, ProblemMark, TooFine, Window
from tlsidecar.control.interface import Attempt, Control
from tlsidecar.control.series import REQUEST_CLASSES, Sums
from tlsidecar.control.tracks import COARSE_STEP_S, FINE_SPAN_S, FINE_STEP_S

# Where no step is asked for: a minute, and shorter ones for less than an hour.
_DEFAULT_STEPS = ((FINE_SPAN_S, FINE_STEP_S), (1800, COARSE_STEP_S), (SPAN_S, 60))
_ATTEMPTS = 200
# Steps judged in one go, before the loop turns for the traffic beside us: a millisecond or two.
_STEPS_AT_ONCE = 50
_FRACTIONS = (0.5, 0.95, 0.99)
_QUANTILES = (
    *("handshake_p50_s", "handshake_p95_s", "handshake_p99_s"),
    *("request_p50_s", "request_p95_s", "request_p99_s"),
)


async def history(control: Control, query: Mapping[str, str]) -> History[str]:
    """What ``since``, ``step``, ``upstream`` and ``identity`` of the query ask for. Raises ApiError (400)."""
    now = control.clock.now()
    since, step_s = asked(query, now)
    try:
        window = control.history.window(since, step_s)
    except TooFine as error:
        raise ApiError(400, str(error)) from None
    total = [Sums() for _ in range(window.steps)]
    listeners: list[ListenerSeries[str]] = []
    for name in window.listeners:
        steps = window.of(name)
        for sums, other in zip(total, steps, strict=True):
            sums.beside(other)
        listeners.append(ListenerSeries(**vars(await _series(steps)), name=name))
    identities = await _chosen(window, window.identities, query.get("identity", ""))
    if query.get("identity") in (EACH, OTHERS):
        identities = (*identities, await _others(window, total))
    return History(
        now=now,
        since=window.since,
        until=window.until,
        first_at=window.first_at,
        step_s=window.step_s,
        steps=window.steps,
        total=await _series(total),
        listeners=tuple(listeners),
        kept_upstreams=tuple(map(_listed, window.upstreams)),
        kept_identities=tuple(map(_listed, window.identities)),
        upstreams=await _chosen(window, window.upstreams, query.get("upstream", "")),
        identities=identities,
        marks=_marks(control, window),
    )


def _listed(charted: Charted) -> api.Charted[str]:
    return api.Charted(key=charted.key, name=charted.name, since=charted.since)


async def _chosen(window: Window, kept: Sequence[Charted], wanted: str) -> tuple[ChartedSeries[str], ...]:
    """Those of this key or name, or each of them."""
    return tuple(
        [
            ChartedSeries(**vars(await _series(window.steps_of(each.ring))), key=each.key, name=each.name)
            for each in kept
            if wanted and wanted in (EACH, each.key, each.name)
        ]
    )


async def _others(window: Window, total: Sequence[Sums]) -> ChartedSeries[str]:
    """What all did, without those that are kept each by itself."""
    left = [sums.of_peers() for sums in total]
    for each in window.identities:
        left = [sums.without(part) for sums, part in zip(left, window.steps_of(each.ring), strict=True)]
        await asyncio.sleep(0)
    return ChartedSeries(**vars(await _series(left)), key="", name=OTHERS)


def asked(query: Mapping[str, str], now: datetime) -> tuple[datetime, int]:
    """Since when, and in steps of how many seconds. Raises ApiError naming the parameter."""
    step_s = _step(query["step"]) if "step" in query else None
    if "since" in query:
        since = _since(query["since"], now)
    else:
        since = now - timedelta(seconds=SPAN_S if step_s is None or step_s >= COARSE_STEP_S else FINE_SPAN_S)
    if step_s is None:
        age_s = (now - since).total_seconds()
        step_s = next((step for span_s, step in _DEFAULT_STEPS if age_s <= span_s), _DEFAULT_STEPS[-1][1])
    return since, step_s


def _since(text: str, now: datetime) -> datetime:
    # In a query "+" stands for a space, and not everybody escapes the one of "+00:00".
    at = moment(text.replace(" ", "+"))
    if at is None:
        try:
            seconds = parse_seconds(text)
        except InvalidDuration:
            raise ApiError(400, "since is a time (RFC 3339) or a duration, as 15m") from None
        if not seconds:
            raise ApiError(400, "since is longer ago than 0s")
        return now - timedelta(seconds=min(seconds, SPAN_S))
    if at >= now:
        raise ApiError(400, "since is not in the past")
    return max(at, now - timedelta(seconds=SPAN_S))


def _step(text: str) -> int:
    try:
        seconds = parse_seconds(text)
    except InvalidDuration:
        raise ApiError(400, "step is a duration, as 10s") from None
    if not FINE_STEP_S <= seconds <= SPAN_S:
        raise ApiError(400, f"step is a duration from {FINE_STEP_S}s to {SPAN_S // 3600}h")
    return -int(-seconds // 1)


async def _series(steps: Sequence[Sums]) -> Series[str]:
    quantiles: list[tuple[float | None, ...]] = []
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        quantiles += [_quantiles(sums) for sums in steps[start : start + _STEPS_AT_ONCE]]
        await asyncio.sleep(0)
    requests = [sums.requests for sums in steps]
    reasons = sorted({reason for sums in steps for reason in sums.failures})

    def each(value: Callable[[Sums], int]) -> tuple[int, ...]:
        return tuple(map(value, steps))

    return Series(
        requests={
            name: tuple(counts[name] for counts in requests)
            for name in REQUEST_CLASSES
            if any(counts[name] for counts in requests)
        },
        failures={reason: tuple(sums.failures.get(reason, 0) for sums in steps) for reason in reasons},
        refusals=each(lambda sums: sums.refusals),
        connections=each(lambda sums: sums.connections),
        connections_active=each(lambda sums: sums.connections_active),
        handshakes=each(lambda sums: sums.handshakes),
        handshakes_failed=each(lambda sums: sums.handshakes_failed),
        bytes_in=each(lambda sums: sums.bytes_in),
        bytes_out=each(lambda sums: sums.bytes_out),
        **{name: tuple(found[number] for found in quantiles) for number, name in enumerate(_QUANTILES)},
    )


def _quantiles(sums: Sums) -> tuple[float | None, ...]:
    """In the order of :data:`_QUANTILES`."""
    histograms = (sums.handshake_seconds, sums.exchange_seconds)
    found = (histogram.quantile(fraction) for histogram in histograms for fraction in _FRACTIONS)
    return tuple(None if seconds is None else round(seconds, SECONDS_DIGITS) for seconds in found)


def _marks(control: Control, window: Window) -> tuple[Mark[str], ...]:
    attempts = [each for each in control.attempts(_ATTEMPTS) if each.at is not None and each.at >= window.since]
    marks = [*map(_reload, attempts), *map(_problem, control.history.marks(window.since))]
    return tuple(sorted(marks, key=lambda mark: (mark.at is not None, mark.at)))


def _reload(attempt: Attempt) -> Mark[str]:
    refused = attempt.outcome == Outcome.REFUSED
    return Mark(
        at=attempt.at,
        kind=MarkKind.RELOAD.value,
        severity=Severity.WARNING if refused else Severity.NOTICE,
        name=str(attempt.outcome),
        subject=str(attempt.trigger),
        message=": ".join(part for part in (attempt.reason, attempt.detail) if part) or _configured(attempt),
        generation=attempt.generation,
    )


def _configured(attempt: Attempt) -> str:
    return f"configuration {attempt.configuration}" if attempt.configuration else ""


def _problem(turn: ProblemMark) -> Mark[str]:
    return Mark(
        at=turn.at,
        kind=(MarkKind.PROBLEM_OVER if turn.over else MarkKind.PROBLEM).value,
        severity=turn.severity,
        name=turn.code,
        subject=turn.subject,
        message=turn.message,
        generation=0,
    )
