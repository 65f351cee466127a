"""What the sidecar keeps of the last two hours, as curves over a span of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tlsidecar.api.history import CHARTED_SPANS, OTHERS
from tui.records import Mark, Past, Series
from tui.text import SafeText

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Span:
    """How far back one looks, in steps of ``step_s``, and how often that is asked for."""

    name: SafeText
    span_s: int
    step_s: int
    every_s: float


SPANS = tuple(
    Span(SafeText(name), *charted, every_s)
    for name, charted, every_s in zip(("1 min", "15 min", "2 h"), CHARTED_SPANS, (1.0, 5.0, 20.0), strict=True)
)


def span_named(name: str, uptime_s: float) -> Span:
    """The span of this name; for none, the shortest in which all there is fits."""
    fitting = (span for span in SPANS if (span.name == name if name else uptime_s <= span.span_s))
    return next(fitting, SPANS[-1])


def makes_sense(past: Past) -> bool:
    """Whether its times can be counted with: no sidecar is so old, and none tells of steps of a week."""
    times = (past.first_at, past.since, past.until)
    return all(at is not None and 1970 < at.year < 9000 for at in times) and 0 < past.step_s <= SPANS[-1].span_s


def step_seconds(past: Past) -> list[float]:
    """How many seconds of each step are counted: the first and the last one need not be whole. The past makes sense."""
    assert past.first_at is not None
    assert past.since is not None
    assert past.until is not None
    length = timedelta(seconds=past.step_s)
    counted = []
    for number in range(min(past.steps, len(past.total.refusals))):
        begins = past.first_at + number * length
        counted.append((min(begins + length, past.until) - max(begins, past.since)).total_seconds())
    return counted


def a_second(counts: Sequence[int], seconds: Sequence[float]) -> Values:
    """Counts as rates; None for a step of which nothing is counted."""
    return [count / length if length > 0 else None for count, length in zip(counts, seconds, strict=False)]


def summed(series: Mapping[SafeText, Sequence[int]]) -> Sequence[int]:
    """Several lists as one."""
    return [sum(each) for each in zip(*series.values(), strict=False)]


class By(StrEnum):
    """What charts are of."""

    LISTENER = "listener"
    UPSTREAM = "upstream"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Whose:
    """One of them by its key, which of a listener is its name; without a key, all together."""

    by: By = By.LISTENER
    key: str = ""

    @property
    def is_asked_for(self) -> bool:
        """Whether the sidecar tells of it only when it is asked."""
        return bool(self.key) and self.by is not By.LISTENER


ALL = Whose()


def choices(past: Past, by: By) -> Sequence[tuple[str, SafeText]]:
    """Those whose charts there are, by key, each with its name; the busiest first."""
    match by:
        case By.LISTENER:
            return [(each.name, each.name) for each in past.listeners]
        case By.UPSTREAM:
            return [(each.key, each.name) for each in past.kept_upstreams if each.key]
        case By.IDENTITY:
            kept = [(each.key, each.name) for each in past.kept_identities if each.key]
            return [*kept, (OTHERS, SafeText("all others"))] if kept else []


def series_of(past: Past, whose: Whose) -> Series | None:
    """None where it is not known."""
    if not whose.key:
        return past.total
    match whose.by:
        case By.LISTENER:
            return next((each for each in past.listeners if each.name == whose.key), None)
        case By.UPSTREAM:
            return next((each for each in past.upstreams if each.key == whose.key), None)
        case By.IDENTITY:
            key = "" if whose.key == OTHERS else whose.key
            return next((each for each in past.identities if each.key == key), None)


@dataclass(frozen=True, slots=True)
class Axis:
    """``columns`` moments from ``start`` on, ``each_s`` seconds apart."""

    start: datetime
    columns: int
    each_s: float

    @classmethod
    def until(cls, end: datetime, span_s: float, columns: int) -> Axis:
        return cls(end - timedelta(seconds=span_s), columns, span_s / max(1, columns))

    def moment(self, column: float) -> datetime:
        return self.start + timedelta(seconds=column * self.each_s)

    def column(self, at: datetime) -> int | None:
        """None where it lies outside."""
        column = int((at - self.start).total_seconds() // self.each_s)
        return column if 0 <= column < self.columns else None

    def spread(self, values: Values, past: Past) -> Values:
        """The highest value of the steps that each column touches."""
        assert past.first_at is not None
        ahead_s, step_s = (self.start - past.first_at).total_seconds(), past.step_s
        spread: list[float | None] = []
        for column in range(self.columns):
            first = int((ahead_s + column * self.each_s) // step_s)
            last = max(first, int((ahead_s + (column + 1) * self.each_s - 0.001) // step_s))
            known = [value for value in values[max(0, first) : max(0, last + 1)] if value is not None]
            spread.append(max(known, default=None))
        return spread


def marks_between(past: Past, axis: Axis) -> list[tuple[int, Mark]]:
    """The marks in sight, each with its column."""
    placed = ((axis.column(mark.at), mark) for mark in past.marks if mark.at is not None)
    return [(column, mark) for column, mark in placed if column is not None]
