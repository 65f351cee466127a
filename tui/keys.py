"""The keys, in one table: the key bar and the help are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tui.lines import BLANK, Glyphs, Line, Role, Span, column, gap, heading, line, literal
from tui.sheet import Column, Page
from tui.text import SafeText, wrap

KeyHint = tuple[str, str, str]  # key as shown, what it does, the key to press

ENTER: KeyHint = ("enter", "open", "enter")
FILTER: KeyHint = ("/", "filter", "slash")
SORT: KeyHint = ("s", "sort", "s")
FOLLOW: KeyHint = ("f", "follow", "f")
SPAN: KeyHint = ("t", "time span", "t")
BY: KeyHint = ("b", "whose", "b")
NEXT: KeyHint = ("l", "next", "l")
KINDS: KeyHint = ("e", "kinds", "e")
GROUP: KeyHint = ("b", "group", "b")
ACTIONS: KeyHint = ("a", "actions", "a")
PAUSE: KeyHint = ("p", "pause", "p")
RESUME: KeyHint = ("p", "resume", "p")
COPY_LINE: KeyHint = ("c", "copy the line", "c")
COPY: KeyHint = ("y", "copy", "y")
BACK: KeyHint = ("esc", "back", "escape")
MARK: KeyHint = ("space", "mark", "space")
ROLLOVER: KeyHint = ("o", "rollover", "o")
SIDECARS: KeyHint = ("n", "sidecars", "n")
STEP: KeyHint = (". ,", "step", "full_stop")
JUMP: KeyHint = ("> <", "minute", "greater_than_sign")
TO_MARK: KeyHint = ("] [", "mark", "right_square_bracket")
SPEED: KeyHint = ("+ -", "speed", "plus")
HELP: KeyHint = ("?", "help", "question_mark")
QUIT: KeyHint = ("^q", "quit", "ctrl+q")


def hints(
    own: Sequence[KeyHint], *, read_only: bool, paused: bool, several: bool, replay: bool = False
) -> list[KeyHint]:
    """The keys of a screen: its own, and those that work everywhere."""
    common = [HELP, RESUME if paused else PAUSE, COPY, QUIT]
    if several:
        common.insert(0, SIDECARS)
    if not read_only:
        common.insert(0, ACTIONS)
    if replay:
        common[:0] = [STEP, JUMP, TO_MARK, SPEED]
    return [*own, *common]


_HELP: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (
    (
        "Move",
        (
            ("1 2 3 …", "the tabs, in their order; tab and shift+tab go round"),
            ("up down j k", "one line; page up, page down (space), home (g), end (G)"),
            ("left right", "sideways, where a table is wider than the screen"),
            ("enter", "open what the cursor is on"),
            ("esc", "back; clears the filter first"),
        ),
    ),
    (
        "Look",
        (
            (
                "/",
                "filter: words, and field:value, as id:*/sa/web !listener:raw idle:>60s; docs/filters.md has the rest",
            ),
            ("s S", "sort by the next column; reverse the order; or click on a column's name"),
            (
                "b",
                "by groups: refusals by party and reason; connections by identity, namespace, listener, generation, "
                "TLS, peer; enter opens a group, esc leaves it",
            ),
            ("e", "events: which kinds are shown"),
            ("w", "wide: all columns, scrolled sideways"),
            ("p", "pause: hold the view while the sidecar goes on; again to catch up"),
            ("f", "follow the newest event"),
            ("t T", "charts: another span of time"),
            ("b l L", "charts: of listeners, upstreams or identities; the next of them, the one before"),
            ("r", "ask the sidecar now, without waiting for the next second"),
            ("c", "in a refusal: copy the line of configuration that would let in its peer"),
            ("y Y", "copy as JSON to the clipboard (OSC 52); save as JSON in this directory"),
            (": ctrl+p", "command palette"),
            ("ctrl+q q", "quit; in a detail or a window q leaves that first"),
        ),
    ),
    (
        "Several sidecars",
        (
            ("n esc", "back to the list of all of them"),
            ("enter 1 2 …", "open the one under the cursor, on that tab"),
            ("o", "a change of the CA: whom each trusts, who issued its certificate, who is not ready"),
            ("space M", "mark it; mark all that are shown, or none: actions are for all that are marked"),
        ),
    ),
)

_ACTIONS_HELP = (
    "a",
    "actions: reload, rotate, drain, deny, log level; close one, all that match the filter, or all of an identity; "
    "each asks first, and says how many connections it touches",
)

_REPLAY_HELP: Sequence[tuple[str, str]] = (
    ("p", "let time stand still, or go on"),
    (". ,", "a second on, or back"),
    ("> <", "a minute on, or back"),
    ("] [", "to the next reload or problem, or the one before"),
    ("@", "to a moment that you type: 18:30:05, +90s after the beginning, -5m before the end"),
    ("+ -", "faster, slower: 0.25 to 60 times"),
)


_KEY_WIDTH = 12
_LEAST_WORDS = 20


def key_table(*, read_only: bool, replay: bool) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """All keys by section, each with what it does."""
    key, words = _ACTIONS_HELP
    change = ("Change", ((key, "switched off by --read-only" if read_only else words),))
    return (*([("Replay", _REPLAY_HELP)] if replay else []), *_HELP, change)


def help_page(
    glyphs: Glyphs, width: int, sortable: Mapping[str, Sequence[Column[Any]]], *, read_only: bool, replay: bool = False
) -> Page:
    """All keys. ``sortable`` has the columns of each tab that can be sorted."""
    lines: list[Line] = []
    for title, entries in key_table(read_only=read_only, replay=replay):
        lines.append(heading(title))
        for key, words in entries:
            lines += _help_lines(key, wrap(SafeText(words), _room(width)))
        lines.append(BLANK)
    lines.append(heading("Sort by a column with shift and a letter"))
    for title, columns in sortable.items():
        letters = [f"{each.letter} {each.label.lower()}" for each in columns if each.letter]
        lines += _help_lines(title, _together(letters, _room(width)))
    lines += [BLANK, heading("Certificates, by the part of their lifetime that is left")]
    for sign, word, role, words in (
        (glyphs.ok, "ok", Role.GOOD, "more than a third"),
        (glyphs.renewing, "renewing", Role.NOTICE, "the planned moment has come; a new one is expected"),
        (glyphs.due, "due", Role.WARNING, "less than a third, or not renewed as planned"),
        (glyphs.warning, "expiring", Role.CRITICAL, "less than a tenth"),
        (glyphs.critical, "expired", Role.CRITICAL, "none: peers refuse it"),
    ):
        lines.append(
            line(gap(2), column(SafeText(f"{sign} {word}"), _KEY_WIDTH, role), gap(2), literal(words, Role.TEXT)),
        )
    return Page(lines)


def _room(width: int) -> int:
    """Cells beside the keys, with the gaps around them."""
    return max(_LEAST_WORDS, width - 2 - _KEY_WIDTH - 2 - 1)


def _together(entries: Sequence[str], room: int) -> list[SafeText]:
    """Side by side, none of them broken."""
    lines: list[str] = []
    for entry in entries:
        if lines and len(lines[-1]) + 2 + len(entry) <= room:
            lines[-1] += f"  {entry}"
        else:
            lines.append(entry)
    return [SafeText(each) for each in lines]


def _help_lines(key: str, texts: Sequence[SafeText]) -> list[Line]:
    return [
        line(gap(2), column(SafeText(key if index == 0 else ""), _KEY_WIDTH, Role.KEY), gap(2), Span(text))
        for index, text in enumerate(texts)
    ]
