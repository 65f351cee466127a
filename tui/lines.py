"""What a view draws: lines of spans, each span a safe text with a role. No toolkit knows of this module's types but
the widgets that draw them, so that the same lines serve the screen and ``--once``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from tui.text import EMPTY, SafeText, cell_width, crop, pad


class Role(StrEnum):
    """What a piece of text means; a theme gives it a colour. A word or a glyph always says it, too."""

    TEXT = "text"
    STRONG = "strong"
    MUTED = "muted"
    HEADING = "heading"
    KEY = "key"
    CURRENT = "current"
    GOOD = "good"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one role: the theme decides on its colour."""

    text: SafeText
    role: Role = Role.TEXT


class Kind(StrEnum):
    """What a line opens when entered."""

    PROBLEM = "problem"
    CONNECTION = "connection"
    CERTIFICATE = "certificate"
    REFUSAL = "refusal"
    PARTY = "party"  # refusals of one party for one reason
    FAILURE = "failure"
    GROUP = "group"  # connections with something in common
    EVENT = "event"
    LISTENER = "listener"
    CHOICE = "choice"
    SIDECAR = "sidecar"


@dataclass(frozen=True, slots=True)
class Target:
    """The thing a line stands for: its kind and what it is known by."""

    kind: Kind
    key: str | int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a view. With a ``target`` it can be selected and opened."""

    spans: tuple[Span, ...] = ()
    target: Target | None = None

    @property
    def plain(self) -> SafeText:
        return SafeText("".join(span.text for span in self.spans))

    @property
    def width(self) -> int:
        return sum(cell_width(span.text) for span in self.spans)


BLANK = Line()


def line(*parts: Span | SafeText, target: Target | None = None) -> Line:
    """A line of spans; a bare text is in the ordinary role."""
    return Line(tuple(part if isinstance(part, Span) else Span(part) for part in parts), target)


def literal(text: str, role: Role = Role.TEXT) -> Span:
    """A span of this program's own words or numbers; never of data."""
    return Span(SafeText(text), role)


@cache
def gap(width: int = 1) -> Span:
    """``width`` blank cells."""
    return Span(SafeText(" " * width))


def heading(title: str, note: SafeText = EMPTY, role: Role = Role.MUTED) -> Line:
    """A section's title with what there is to say about the whole of it."""
    if not note:
        return line(literal(title, Role.HEADING))
    return line(literal(title, Role.HEADING), gap(2), Span(note, role))


def cropped(spans: Iterable[Span], width: int) -> tuple[Span, ...]:
    """The spans that fit ``width`` cells; the one at the edge is cut."""
    kept: list[Span] = []
    left = width
    for span in spans:
        if left <= 0:
            break
        text = crop(span.text, left)
        left -= cell_width(text)
        kept.append(span if text == span.text else replace(span, text=text))
    return tuple(kept)


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> tuple[Span, ...]:
    """``left`` at the left edge and ``right`` at the right one; where both do not fit, the left one is cut."""
    right = cropped(right, width)
    right_width = sum(cell_width(span.text) for span in right)
    kept = cropped(left, max(0, width - right_width - 1))
    used = sum(cell_width(span.text) for span in kept)
    return (*kept, gap(max(0, width - used - right_width)), *right)


def column(text: SafeText, width: int, role: Role = Role.TEXT, *, right: bool = False) -> Span:
    """A span of exactly ``width`` cells."""
    return Span(pad(text, width, right=right), role)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs beside the words."""

    ok: str
    due: str
    warning: str
    critical: str
    unknown: str
    notice: str
    renewing: str
    ascending: str
    descending: str
    cursor: str
    separator: str
    bars: str
    braille: bool = True


UNICODE_GLYPHS = Glyphs(
    ok="●",
    due="◐",
    warning="▲",
    critical="✖",
    unknown="?",
    notice="·",
    renewing="↻",
    ascending="↑",
    descending="↓",
    cursor="▌",
    separator="│",
    bars=" ▁▂▃▄▅▆▇█",
)

ASCII_GLYPHS = Glyphs(
    ok="+",
    due="o",
    warning="!",
    critical="X",
    unknown="?",
    notice="-",
    renewing="~",
    ascending="^",
    descending="v",
    cursor=">",
    separator="|",
    bars=" _.-=+*%#",
    braille=False,
)
