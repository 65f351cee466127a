"""Hostile text on its way into a log: one line, ASCII, nothing that a terminal or a log reader acts upon."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii

_PLAIN = re.compile(r"[!#-\[\]-~]+")  # printable ASCII without space, quote and backslash
_INVISIBLE = re.compile("[\x7f\ud800-\udfff]")


def json_string(text: str) -> str:
    """``text`` as a JSON string (RFC 8259) of printable ASCII, whatever it holds."""
    quoted = encode_basestring_ascii(text)
    return encode_basestring_ascii(visible(text)) if needs_visible(quoted) else quoted


def escaped(text: str) -> str:
    """``text`` as printable ASCII on one line, for the middle of a sentence."""
    return json_string(text)[1:-1].replace('\\"', '"')


def needs_visible(quoted: str) -> bool:
    """Whether text that ``encode_basestring_ascii`` quoted may hold what JSON carries and a log should not."""
    # The search for one character is several times faster than for three, and hardly any line has a backslash.
    return "\\" in quoted and ("\\ud" in quoted or "\\u007f" in quoted)


def visible(text: str) -> str:
    """``text`` with DEL and the bytes that were not UTF-8 spelled out as ``\\x..``.

    Such bytes arrive as PEP 383's lone surrogates, which are no Unicode text and stop strict JSON readers.
    """
    return _INVISIBLE.sub(_spelled_out, text)


def word(text: str) -> str:
    """``text`` for a line of words: as it is when plain, a JSON string otherwise, ``-`` when empty."""
    if _PLAIN.fullmatch(text):
        return text
    return json_string(text) if text else "-"


def _spelled_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 0x7F:
        return "\\x7f"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class Timestamps:
    """POSIX seconds to RFC 3339 UTC with milliseconds; remembers the last second, since log lines come in order."""

    def __init__(self) -> None:
        self._second = -1.0
        self._text = ""

    def __call__(self, at: float) -> str:
        since = at - self._second
        if not 0.0 <= since < 1.0:
            self._second = second = at // 1
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            since = at - second
        return f"{self._text}{int(since * 1000):03d}Z"
