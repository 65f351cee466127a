"""The last minute, quarter of an hour or two hours as charts: requests, failures, bytes, connections, handshakes, and
how long both took; with the moments of reloads and problems through all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tui.amounts import clock_time, count, duration, latency, octets, per_minute
from tui.lines import Line, Role, Span, column, cropped, gap, literal
from tui.model import Snapshot
from tui.past import (
    ALL,
    Axis,
    By,
    Values,
    Whose,
    a_second,
    choices,
    makes_sense,
    marks_between,
    series_of,
    span_named,
    step_seconds,
    summed,
)
from tui.past import Span as TimeSpan
from tui.plot import DOTS_ACROSS, Curve, Stroke, plot, round_top
from tui.records import Mark, Past, Series, Severity
from tui.sheet import Look, Page, message_page
from tui.text import EMPTY, SafeText, cell_width, shorten, shorten_middle

_SCALE_WIDTH = 6
_BETWEEN = 2
_LEAST_PLOT_HEIGHT = 2
_MOST_PLOT_HEIGHT = 16
_LABEL_EVERY = 16
_MARKS_SHOWN = 100
_NAME_WIDTH = 40
_ALL = {
    By.LISTENER: "all listeners",
    By.UPSTREAM: "all upstreams (l: one after another)",
    By.IDENTITY: "all identities (l: one after another)",
}

# So many charts side by side in so many cells.
_ABREAST = ((230, 4), (165, 3), (76, 2), (0, 1))


@dataclass(frozen=True, slots=True)
class _Series:
    """One curve of a chart: its values by the step."""

    name: str
    values: Values
    stroke: Stroke
    role: Role
    stacked: Values | None = None  # drawn instead: what lies beneath is added


@dataclass(frozen=True, slots=True)
class _Chart:
    """What is measured, in full and in short, and its curves; ``told`` writes one of their values."""

    titles: tuple[str, str]
    curves: Sequence[_Series]
    told: Callable[[float | None], SafeText]
    base: int = 10
    note: SafeText = EMPTY


def traffic_page(snapshot: Snapshot, look: Look, span_name: str, whose: Whose = ALL) -> Page:
    """``span_name`` is a span's of :data:`tui.past.SPANS`, or empty for all there is."""
    past = traffic_past(snapshot, span_name)
    trouble = snapshot.troubles.get("history")
    if trouble is not None and past is None:
        return message_page([Span(SafeText(f"no history: {trouble}"), Role.WARNING)], look)
    if past is None:
        return message_page([literal("not read yet", Role.MUTED)], look)
    if not makes_sense(past):
        return message_page([literal("what was told of the past makes no sense", Role.WARNING)], look)
    series = series_of(past, whose)
    name = next((name for key, name in choices(past, whose.by) if key == whose.key), EMPTY)
    if series is None:
        words = f"no {whose.by.value} is charted" if not name else f"the charts of {name} are not read yet"
        return message_page([Span(SafeText(f"{words}: l goes on, b to others"), Role.MUTED)], look)
    return _Drawing(past, _span(snapshot, span_name), look).page(_charts(past, series), whose.by, name)


def traffic_past(snapshot: Snapshot, span_name: str) -> Past | None:
    """What is known of the span of this name."""
    return snapshot.pasts.get(_span(snapshot, span_name).name)


def traffic_note(snapshot: Snapshot, span_name: str) -> SafeText:
    """The span shown."""
    return SafeText(f"last {_span(snapshot, span_name).name}")


def _span(snapshot: Snapshot, name: str) -> TimeSpan:
    return span_named(name, 0.0 if snapshot.status is None else snapshot.status.uptime_s)


def _charts(past: Past, series: Series) -> list[_Chart]:
    seconds = step_seconds(past)

    def rate(counts: Sequence[int]) -> Values:
        return a_second(counts, seconds) if counts else [0.0 if length > 0 else None for length in seconds]

    client, server = rate(_of(series.requests, "4xx")), rate(_of(series.requests, "5xx"))
    failed, refused = rate(summed(series.failures)), rate(series.refusals)
    received, sent = rate(series.bytes_in), rate(series.bytes_out)
    open_now = series.connections_active[-1] if series.connections_active else 0
    charts = [
        _Chart(
            ("requests/s", "requests/s"),
            (
                _Series("", rate(summed(series.requests)), Stroke.LINE, Role.KEY),
                _Series("4xx", client, Stroke.HATCHED, Role.WARNING, stacked=_stack(client, server)),
                _Series("5xx", server, Stroke.FULL, Role.CRITICAL),
            ),
            per_minute,
        ),
        _Chart(
            ("failures/s", "failures/s"),
            (
                _Series("refused", refused, Stroke.HATCHED, Role.WARNING, stacked=_stack(refused, failed)),
                _Series("failed", failed, Stroke.FULL, Role.CRITICAL),
            ),
            per_minute,
        ),
        _Chart(
            ("bytes/s", "bytes/s"),
            (
                _Series("in", received, Stroke.HATCHED, Role.NOTICE),
                _Series("out", sent, Stroke.LINE, Role.KEY),
            ),
            octets,
            base=1024,
        ),
        _Chart(
            ("new connections/s", "connections/s"),
            (_Series("", rate(series.connections), Stroke.LINE, Role.KEY),),
            per_minute,
            note=SafeText(f"{count(open_now)} open"),
        ),
        _Chart(
            ("handshakes/s", "handshakes/s"),
            (
                _Series("", rate(series.handshakes), Stroke.LINE, Role.KEY),
                _Series("failed", rate(series.handshakes_failed), Stroke.FULL, Role.CRITICAL),
            ),
            per_minute,
        ),
        _latency_chart(
            ("handshake time", "hs"), (series.handshake_p50_s, series.handshake_p95_s, series.handshake_p99_s)
        ),
        _latency_chart(("request time", "request"), (series.request_p50_s, series.request_p95_s, series.request_p99_s)),
    ]
    if not past_has_requests(past):
        return [chart for chart in charts if not chart.titles[0].startswith("request")]
    return charts


def past_has_requests(past: Past) -> bool:
    """Whether any listener carried a request."""
    return any(any(counts) for counts in past.total.requests.values())


def _of(counts: Mapping[SafeText, Sequence[int]], name: str) -> Sequence[int]:
    return next((each for told, each in counts.items() if told == name), ())


def _latency_chart(titles: tuple[str, str], quantiles: Sequence[Values]) -> _Chart:
    strokes = ((Stroke.HATCHED, Role.NOTICE), (Stroke.LINE, Role.KEY), (Stroke.LINE, Role.WARNING))
    curves = [
        _Series(name, values, stroke, role)
        for name, values, (stroke, role) in zip(("p50", "p95", "p99"), quantiles, strokes, strict=True)
    ]
    return _Chart(titles, curves, latency)


def _stack(upper: Values, lower: Values) -> Values:
    return [None if one is None or other is None else one + other for one, other in zip(upper, lower, strict=False)]


class _Drawing:
    """Charts side by side over one span of time, an axis under each column, the marks where there is room."""

    def __init__(self, past: Past, span: TimeSpan, look: Look) -> None:
        assert past.until is not None
        self._past, self._span, self._look = past, span, look
        self._braille = look.glyphs.braille
        self._abreast = next(count for width, count in _ABREAST if look.width >= width)
        self._width = (look.width - (self._abreast - 1) * _BETWEEN) // self._abreast
        self._cells = max(1, self._width - _SCALE_WIDTH - 1)
        self._axis = Axis.until(past.until, span.span_s, self._cells * DOTS_ACROSS)
        self._marks = marks_between(past, self._axis)
        self._signs = self._mark_cells()

    def page(self, charts: Sequence[_Chart], by: By, name: SafeText) -> Page:
        """The charts fill the height there is; marks for which there is no room beside them are under them."""
        abreast, width = self._abreast, self._width
        rows = -(-len(charts) // abreast)
        height = max(_LEAST_PLOT_HEIGHT, min(_MOST_PLOT_HEIGHT, (self._look.height - 3) // rows - 1))
        holes = rows * abreast - len(charts)
        under, beside = self._axis_rows(), height if holes else 0
        lines = [self._head(by, name)]
        for first in range(0, len(charts), abreast):
            blocks = [self._chart(chart, height) for chart in charts[first : first + abreast]]
            widths = [width] * len(blocks)
            if first + abreast >= len(charts):
                blocks = [block + under for block in blocks]
                if holes:
                    widths.append(self._look.width - len(blocks) * (width + _BETWEEN))
                    blocks.append(self._hole(holes, under, beside, widths[-1]))
            lines += [_side_by_side(parts, widths) for parts in zip(*blocks, strict=True)]
        if not holes:
            lines.append(Line(cropped(self._marks_heading(), self._look.width)))
        for _, mark in self._marks[::-1][beside:_MARKS_SHOWN]:
            lines.append(Line(cropped(self._mark_row(mark, self._look.width), self._look.width)))
        return Page(lines)

    def _hole(self, columns: int, under: Sequence[Sequence[Span]], most: int, width: int) -> list[list[Span]]:
        """What stands where there is no chart: the axes of the charts above, and the newest marks, ``most`` of them."""
        axes = [list(_side_by_side([row] * columns, [self._width] * columns).spans) for row in under]
        marks = [self._mark_row(mark, width) for _, mark in self._marks[::-1][:most]]
        return [*axes, self._marks_heading(), *marks, *([[]] * (most - len(marks)))]

    def _head(self, by: By, name: SafeText) -> Line:
        past, span = self._past, self._span
        whose = f"{by.value} {shorten_middle(name, _NAME_WIDTH)}" if name else _ALL[by]
        words = f"up to {clock_time(past.until)}, in steps of {duration(past.step_s)}"
        if past.since is not None and past.since > self._axis.start + timedelta(seconds=2 * past.step_s):
            words += f", since {clock_time(past.since)}"
        parts = [literal(f"Last {span.name}", Role.HEADING), gap(2), Span(SafeText(whose), Role.STRONG)]
        return Line(cropped([*parts, gap(2), literal(words, Role.MUTED)], self._look.width))

    def _chart(self, chart: _Chart, height: int) -> list[list[Span]]:
        """The title, and ``height`` rows with the scale at their left."""
        spread = [
            self._axis.spread(each.values if each.stacked is None else each.stacked, self._past)
            for each in chart.curves
        ]
        highest = max((value for values in spread for value in values if value is not None), default=0.0)
        top = round_top(highest, chart.base)
        curves = [Curve(values, each.stroke, each.role) for values, each in zip(spread, chart.curves, strict=True)]
        through = {cell: role for cell, (_, role) in self._signs.items()}
        scale = {0: chart.told(top), height - 1: SafeText("0")}
        drawn = [self._title(chart)]
        for number, row in enumerate(plot(curves, self._cells, height, top, through, braille=self._braille)):
            label = column(scale.get(number, EMPTY), _SCALE_WIDTH, Role.MUTED, right=True)
            drawn.append([label, literal(self._look.glyphs.separator, Role.MUTED), *row])
        return drawn

    def _title(self, chart: _Chart) -> list[Span]:
        """What is measured in which unit, and each curve as it is now and was at most: as much as fits, and no figure
        without its end."""
        for title, with_signs, with_most, curves in (
            (chart.titles[0], True, True, chart.curves),
            (chart.titles[0], True, False, chart.curves),
            (chart.titles[1], True, False, chart.curves),
            (chart.titles[1], False, False, chart.curves),
            (chart.titles[1], False, False, chart.curves[-1:]),
        ):
            spans = [literal(title, Role.HEADING)]
            for each in curves:
                known = [value for value in each.values if value is not None]
                sign = each.stroke.sample(braille=self._braille) if with_signs else EMPTY
                name = SafeText(f"{each.name} " if each.name else "")
                spans += [
                    gap(),
                    Span(sign, each.role),
                    Span(name, Role.MUTED),
                    Span(chart.told(known[-1] if known else None)),
                ]
                if with_most:
                    spans.append(literal(f" max {chart.told(max(known, default=None))}", Role.MUTED))
            spans += [gap(2), Span(chart.note)] if chart.note else []
            if sum(cell_width(span.text) for span in spans) <= self._width:
                break
        return spans

    def _mark_cells(self) -> dict[int, tuple[str, Role]]:
        """The cells that have a mark, with its letter and role."""
        found: dict[int, tuple[str, Role, int]] = {}
        for dot, mark in self._marks:
            sign = _mark_sign(mark)
            cell = dot // DOTS_ACROSS
            if cell not in found or sign[2] >= found[cell][2]:
                found[cell] = sign
        return {cell: (letter, role) for cell, (letter, role, _) in found.items()}

    def _axis_rows(self) -> list[list[Span]]:
        """The axis with the marks on it, and its times beneath."""
        flat, corner = ("─", "└") if self._braille else ("-", "+")
        base: list[Span] = [gap(_SCALE_WIDTH), literal(corner, Role.MUTED)]
        for cell in range(self._cells):
            letter, role = self._signs.get(cell, (flat, Role.MUTED))
            base.append(literal(letter, role))
        last = clock_time(self._axis.moment(self._axis.columns))
        room = self._cells + 1 - len(last)
        number = max(1, room // _LABEL_EVERY)
        labels, used = [gap(_SCALE_WIDTH)], 0
        for at in range(0, room, max(1, room // number)):
            label = self._moment_label(at)
            if at + len(label) < room:
                labels += [gap(at - used), literal(label, Role.MUTED)]
                used = at + len(label)
        return [base, [*labels, gap(max(0, room - used)), Span(last, Role.MUTED)]]

    def _moment_label(self, cell: int) -> str:
        """Seconds only where they matter."""
        at = self._axis.moment(cell * DOTS_ACROSS)
        return f"{at:%H:%M:%S}" if self._span.span_s <= 120 else f"{at:%H:%M}"

    def _marks_heading(self) -> list[Span]:
        if not self._marks:
            return [literal("no reload and no problem in this time", Role.MUTED)]
        return [literal("Marks", Role.HEADING), gap(2), literal("R reload, ! problem, v its end", Role.MUTED)]

    def _mark_row(self, mark: Mark, width: int) -> list[Span]:
        letter, role, _ = _mark_sign(mark)
        words = shorten(_mark_words(mark), max(8, width - 13))
        return [literal(letter, role), gap(), Span(clock_time(mark.at), Role.MUTED), gap(), Span(words)]


def _mark_sign(mark: Mark) -> tuple[str, Role, int]:
    """Its letter, its role, and which of several in one cell is seen: the highest."""
    if mark.kind == "reload":
        return "R", Role.WARNING if mark.severity is not Severity.NOTICE else Role.NOTICE, 2
    if mark.kind == "problem_over":
        return "v", Role.GOOD, 1
    return "!", Role.CRITICAL if mark.severity is Severity.CRITICAL else Role.WARNING, 3


def _mark_words(mark: Mark) -> SafeText:
    if mark.kind == "reload":
        words = f"reload {mark.name} ({mark.subject}), generation {mark.generation}"
    else:
        over = " is over" if mark.kind == "problem_over" else ""
        words = f"{mark.severity.value}{over}"
        about = f" [{mark.subject}]" if mark.subject and mark.subject not in mark.message else ""
        return SafeText(f"{words}: {mark.message or mark.name}{about}")
    return SafeText(f"{words}: {mark.message}" if mark.message else words)


def _side_by_side(parts: Sequence[Sequence[Span]], widths: Sequence[int]) -> Line:
    spans: list[Span] = []
    for part, width in zip(parts, widths, strict=True):
        kept = cropped(part, width)
        used = sum(cell_width(span.text) for span in kept)
        spans += [*kept, gap(width - used + _BETWEEN)]
    return Line(tuple(spans[:-1]))
