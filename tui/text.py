"""Text in terminal cells: how wide it is, and how it is cut, shortened, padded and wrapped to fit."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from tlsidecar.api.text import DETAIL_LIMIT as DETAIL_LIMIT
from tlsidecar.api.text import ELLIPSIS as ELLIPSIS
from tlsidecar.api.text import EMPTY as EMPTY
from tlsidecar.api.text import SafeText as SafeText
from tlsidecar.api.text import safe_text as safe_text


@lru_cache(maxsize=4096)
def cell_width(text: SafeText) -> int:
    """Terminal cells that ``text`` takes."""
    return len(text) if text.isascii() else sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def crop(text: SafeText, width: int) -> SafeText:
    """The first ``width`` cells of ``text``, without a mark where it was cut; as little of it is looked at."""
    if text.isascii():
        return SafeText(text[: max(0, width)])
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
    """An identity in at most ``width`` cells. A SPIFFE ID that does not fit loses its scheme, and then whole segments
    of its path from the middle: both the trust domain and the end tell. Where not even that fits, the middle. A
    distinguished name, whose first part tells most, loses its end."""
    if cell_width(identity) <= width:
        return identity
    if "=" in identity and not identity.startswith("spiffe:"):
        return shorten(identity, width)
    domain, *path = identity.removeprefix("spiffe://").split("/")
    for number in range(len(path) + 1):
        kept = "/".join((domain, *([ELLIPSIS] if number else []), *path[number:]))
        if number < len(path) and cell_width(SafeText(kept)) <= width:
            return SafeText(kept)
    return shorten_middle(SafeText("/".join((domain, *path))), width)


def common_beginning(texts: Sequence[SafeText]) -> SafeText:
    """The segments, slashes included, that several different texts all begin with; empty for none."""
    if len(set(texts)) < 2:
        return EMPTY
    first, last = min(texts), max(texts)  # what these two begin with, all between them do
    same = next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )
    return SafeText(first[: first.rfind("/", 0, same) + 1])


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
    while width > 0 and len(head := crop(rest, width)) < len(rest):
        if limit is not None and len(lines) == limit - 1:
            break
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
