"""Text from elsewhere, made safe to show.

Certificate subjects, SNI, request targets and error texts come from peers. A terminal obeys some of what they may
hold (escape sequences), hides some (zero-width characters) and reorders some (bidi controls). :func:`safe_text` is the
only way from a ``str`` of the admin API to a :class:`SafeText`, and everything that is drawn is a ``SafeText``: the
type checker holds the boundary.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NewType

SafeText = NewType("SafeText", str)
"""Text with nothing in it that a terminal obeys, hides or reorders. Literals may be wrapped; data may not."""

EMPTY = SafeText("")

CELL_LIMIT = 512
"""Characters of one value that a list shows at most."""

DETAIL_LIMIT = 8192
"""Characters of one value that a detail view shows at most."""

ELLIPSIS = "…"

_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Mn", "Me", "Mc"})

# Letters and symbols whose width depends on their neighbours or on the terminal: columns would move, and two
# different names could look the same.
_ESCAPED_RANGES = (
    (0x115F, 0x11FF),  # Hangul vowels, finals and fillers, which join what stands before them
    (0x2630, 0x2637),  # trigrams
    (0x268A, 0x268F),  # monograms and digrams
    (0x3164, 0x3164),  # Hangul filler: looks like a space
    (0x4DC0, 0x4DFF),  # hexagrams
    (0xD7B0, 0xD7FF),  # Hangul vowels and finals
    (0xFFA0, 0xFFA0),  # half-width Hangul filler
    (0x16FE0, 0x16FFF),  # iteration marks that attach to what stands before them
    (0x1D300, 0x1D37F),  # tetragrams and counting rods
    (0x1F1E6, 0x1F1FF),  # regional indicators, which pair up
    (0x1F3FB, 0x1F3FF),  # skin tones, which change what stands before them
)


def safe_text(text: object, limit: int = CELL_LIMIT) -> SafeText:
    """``text`` on one line, with every character that is not plainly visible written as ``\\x1b`` or ``\\u202e``.

    Covered: C0, DEL and C1 controls, bidi controls, zero-width and combining characters, spaces other than U+0020,
    line separators, surrogates, private-use and unassigned characters. What would be longer than ``limit`` characters
    is cut, between two escapes and never inside one, and ends in an ellipsis. Anything that is not a string is shown
    as Python would print it.
    """
    source = text if isinstance(text, str) else str(text)
    if len(source) <= limit and source.isascii() and source.isprintable():
        return SafeText(source)
    shown: list[str] = []
    length = 0
    for character in source:
        visible = _visible(character)
        length += len(visible)
        if length > limit:
            shown.append(ELLIPSIS)
            break
        shown.append(visible)
    return SafeText("".join(shown))


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    code = ord(character)
    if 0x20 <= code <= 0x7E:
        return character
    category = unicodedata.category(character)
    hidden = (
        category in _ESCAPED_CATEGORIES
        or category == "Zs"
        or any(first <= code <= last for first, last in _ESCAPED_RANGES)
    )
    if not hidden:
        return character
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


@lru_cache(maxsize=4096)
def cell_width(text: SafeText) -> int:
    """Terminal cells that ``text`` takes."""
    return len(text) if text.isascii() else sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def crop(text: SafeText, width: int) -> SafeText:
    """The first ``width`` cells of ``text``, without a mark where it was cut."""
    if cell_width(text) <= width:
        return text
    used = 0
    for index, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return SafeText(text[:index])
    return text


def shorten(text: SafeText, width: int) -> SafeText:
    """``text`` in at most ``width`` cells, ending in an ellipsis where something was left out."""
    if cell_width(text) <= width:
        return text
    if width <= 1:
        return SafeText(ELLIPSIS[:width])
    return SafeText(crop(text, width - 1) + ELLIPSIS)


def shorten_middle(text: SafeText, width: int) -> SafeText:
    """``text`` in at most ``width`` cells, the middle left out: of a name, both the domain and the end tell."""
    if cell_width(text) <= width:
        return text
    if width < 5:
        return shorten(text, width)
    head = crop(text, (width - 1) // 3)
    tail_width = width - 1 - cell_width(head)
    tail = SafeText(crop(SafeText(text[::-1]), tail_width)[::-1])
    return SafeText(head + ELLIPSIS + tail)


def shorten_identity(identity: SafeText, width: int) -> SafeText:
    """An identity in at most ``width`` cells. A SPIFFE ID that does not fit loses its scheme first and its middle
    then; a distinguished name, whose first part tells most, loses its end."""
    if cell_width(identity) <= width:
        return identity
    if "=" in identity and not identity.startswith("spiffe:"):
        return shorten(identity, width)
    return shorten_middle(SafeText(identity.removeprefix("spiffe:")), width)


def pad(text: SafeText, width: int, *, right: bool = False) -> SafeText:
    """``text`` in exactly ``width`` cells; ``right`` puts it at the right edge."""
    text = crop(text, width)
    gap = " " * (width - cell_width(text))
    return SafeText(gap + text if right else text + gap)


def wrap(text: SafeText, width: int, limit: int | None = None) -> list[SafeText]:
    """``text`` over several lines of at most ``width`` cells, broken at spaces where there are any.

    At most ``limit`` lines; the last one ends in an ellipsis when something was left out.
    """
    lines: list[SafeText] = []
    rest = text
    while cell_width(rest) > width and width > 0:
        if limit is not None and len(lines) == limit - 1:
            break
        head = crop(rest, width)
        space = len(head) if rest[len(head)] == " " else head.rfind(" ")
        cut = space if space > width // 3 else max(1, len(head))
        lines.append(SafeText(rest[:cut].rstrip(" ")))
        rest = SafeText(rest[cut:].lstrip(" "))
    if rest or not lines:
        lines.append(shorten(rest, width))
    return lines


_ASCII_TWINS = {ELLIPSIS: "~", "∞": "*"}


def ascii_only(text: SafeText) -> SafeText:
    """``text`` for a terminal that has only ASCII, as wide as before: ``~`` for an ellipsis, ``?`` for the rest."""
    if text.isascii():
        return text
    return SafeText("".join(_ascii_character(character) for character in text))


def _ascii_character(character: str) -> str:
    if character.isascii():
        return character
    return _ASCII_TWINS.get(character, "?" * _character_width(character))
