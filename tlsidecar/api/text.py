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
    is cut, between two escapes and never inside one, and ends in an ellipsis, all within the limit. Anything that is
    not a string is shown as Python would print it.
    """
    source = text if isinstance(text, str) else str(text)
    if len(source) <= limit and source.isascii() and source.isprintable():
        return SafeText(source)
    shown: list[str] = []
    length = 0
    for character in source:
        visible = _visible(character)
        length += len(visible)
        shown.append(visible)
        if length > limit:
            while length > limit - 1 and shown:
                length -= len(shown.pop())
            shown.append(ELLIPSIS)
            break
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
