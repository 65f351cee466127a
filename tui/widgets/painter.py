"""Spans to strips. Every text that reaches the terminal from a view passes here, and none is parsed as markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from tui.lines import Role, Span
from tui.text import ascii_only, safe_text

COMPONENT_CLASSES = frozenset(f"role--{role.value}" for role in Role)

ROLE_CSS = """
    .role--text { color: $foreground; }
    .role--strong { color: $foreground; text-style: bold; }
    .role--muted { color: $text-muted; }
    .role--heading { color: $text-primary; text-style: bold; }
    .role--key { color: $text-accent; }
    .role--current { color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold; }
    &:nocolor .role--current { text-style: bold reverse; }
    .role--good { color: $text-success; }
    .role--notice { color: $text-secondary; }
    .role--warning { color: $text-warning; }
    .role--critical { color: $text-error; text-style: bold; }
"""


def role_styles(widget: Widget, fill: Style) -> dict[Role, Style]:
    """A style for each role on the ground of ``fill``. Only :attr:`~tui.lines.Role.CURRENT` brings its own ground."""
    styles: dict[Role, Style] = {}
    if fill.reverse:  # the cursor without colours: one bar, not a patchwork
        return dict.fromkeys(Role, fill)
    for role in Role:
        style = widget.get_component_rich_style(f"role--{role.value}")
        styles[role] = fill + (style if role is Role.CURRENT else foreground(style))
    return styles


def foreground(style: Style) -> Style:
    """Without the ground."""
    return Style(color=style.color, bold=style.bold, dim=style.dim, reverse=style.reverse)


def ground(style: Style) -> Style:
    """Without the colour of the text."""
    return Style(bgcolor=style.bgcolor, bold=style.bold, dim=style.dim, reverse=style.reverse)


def painted(spans: Iterable[Span], styles: Mapping[Role, Style], width: int, fill: Style, *, ascii_art: bool) -> Strip:
    """A strip of exactly ``width`` cells."""
    segments: list[Segment] = []
    for span in spans:
        # The spans are safe already; this is the last door before the terminal, and it is cheap.
        text = span.text if span.text.isprintable() else safe_text(span.text)
        segments.append(Segment(ascii_only(text) if ascii_art else text, styles[span.role]))
    return Strip(segments).adjust_cell_length(width, fill)
