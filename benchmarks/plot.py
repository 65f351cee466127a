"""The plot: one panel of bars a figure, ours set off by colour, quartiles as whiskers. Plain SVG, no library."""

from __future__ import annotations

from html import escape

from benchmarks.results import Figure, Run, Spread, is_ours, spread
from benchmarks.settings import HTTP, SHIPPED, TCP

PANELS = (
    ("exchange_64", SHIPPED),
    ("exchange_64", HTTP),
    ("exchange_64", TCP),
    ("connection_full", TCP),
    ("download", TCP),
    ("upload", TCP),
    ("latency_p99", TCP),
    ("latency_p99", HTTP),
)
COLUMNS = 2
PANEL_WIDTH, HEAD_HEIGHT, BAR_HEIGHT, GAP = 460, 44, 20, 28
NAME_WIDTH, VALUE_WIDTH = 150, 62
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600; font-size: 13px } .unit { fill: #57606a } .number { font-variant-numeric: tabular-nums }
.ours { fill: #0969da } .peer { fill: #afb8c1 } .whisker { stroke: #24292f; stroke-width: 1.2 }
.ground { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .unit { fill: #9198a1 } .ours { fill: #4493f8 } .peer { fill: #59636e }
  .whisker { stroke: #e6edf3 } .ground { fill: #0d1117 }
}
"""


def draw(run: Run) -> str:
    """The SVG of a run; panels without samples are left out."""
    panels = [figure for key, setting in PANELS if (figure := run.figure(key, setting)) and _bars(figure)]
    drawn: list[str] = []
    top = GAP
    for row in range(0, len(panels), COLUMNS):
        pair = panels[row : row + COLUMNS]
        for column, figure in enumerate(pair):
            drawn.append(_panel(figure, GAP + column * (PANEL_WIDTH + GAP), top))
        top += max(HEAD_HEIGHT + len(_bars(figure)) * BAR_HEIGHT for figure in pair) + GAP
    width = GAP + COLUMNS * (PANEL_WIDTH + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}" '
        f'role="img" aria-label="tlsidecar beside other proxies"><style>{STYLE}</style>'
        f'<rect class="ground" width="{width}" height="{top}"/>{"".join(drawn)}</svg>\n'
    )


def _bars(figure: Figure) -> list[tuple[str, Spread]]:
    bars = [(name, found) for name, samples in figure.samples.items() if (found := spread(samples))]
    return sorted(bars, key=lambda bar: bar[1].median, reverse=figure.kind.higher_is_better)


def _panel(figure: Figure, left: float, top: float) -> str:
    bars = _bars(figure)
    kind = figure.kind
    better = "higher is better" if kind.higher_is_better else "lower is better"
    widest = max(max(found.median, found.high) for _, found in bars) or 1.0
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH
    parts = [
        f'<text class="head" x="{left}" y="{top + 12}">{escape(figure.setting.upper())}: {escape(kind.title)}</text>',
        f'<text class="unit" x="{left}" y="{top + 29}">{escape(kind.unit)}, {better}</text>',
    ]
    for number, (name, found) in enumerate(bars):
        whose = "ours" if is_ours(name) else "peer"
        y = top + HEAD_HEIGHT + number * BAR_HEIGHT
        middle = y + BAR_HEIGHT / 2
        start = left + NAME_WIDTH

        def x(value: float, start: float = start) -> float:
            return round(start + room * max(0.0, value) / widest, 1)

        parts += [
            f'<text x="{start - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{whose}" x="{start}" y="{y + 3}" width="{round(x(found.median) - start, 1)}" '
            f'height="{BAR_HEIGHT - 6}" rx="2"/>',
            f'<path class="whisker" d="M{x(found.low)} {middle}H{x(found.high)}"/>',
            f'<text class="number" x="{x(max(found.median, found.high)) + 6}" y="{middle + 4}">'
            f"{found.median:,.{kind.digits}f}</text>",
        ]
    return "".join(parts)
