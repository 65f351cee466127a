"""On which line of a TOML document each key stands, which :mod:`tomllib` does not tell.

The document is known to be valid: :mod:`tomllib` has parsed it. So the scan need not judge; it only has to skip
strings, numbers and comments correctly and to follow headers, dotted keys, arrays and inline tables (TOML 1.0).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from tlsidecar.config.problems import Key

_SPACE = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL_STRING = re.compile(r"'[^'\n]*'")
_STRINGS = (
    # A multi-line string may end in up to two quotes of its own before the closing three.
    ('"""', re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)),
    ('"', _BASIC_STRING),
    ("'", _LITERAL_STRING),
)
_SCALAR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9][^\s,\]}#]*|[^\s,\]}#]+")


def key_lines(document: str) -> dict[Key, int]:
    """The line, counted from 1, of every table, key and array element of a valid TOML document.

    Raises RecursionError where the document nests about as deep as :mod:`tomllib` itself could follow.
    """
    scan = _Scan(document.replace("\r\n", "\n"))
    scan.document()
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[Key, int] = {}
        self.array_lengths: dict[Key, int] = {}  # arrays of tables, by [[header]]
        self.line_ends = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: Key = ()
        self.skip(_FILLER)
        while self.position < len(self.text):
            if self.text.startswith("[[", self.position):
                table = self.array_header()
            elif self.text.startswith("[", self.position):
                table = self.table_header()
            else:
                self.pair(table)
            self.skip(_FILLER)

    def array_header(self) -> Key:
        line = self.line()
        self.position += 2
        array = self.resolve(self.dotted_key(), line)
        self.position += 2
        index = self.array_lengths.get(array, 0)
        self.array_lengths[array] = index + 1
        return self.record((*array, index), line)

    def table_header(self) -> Key:
        line = self.line()
        self.position += 1
        table = self.resolve(self.dotted_key(), line)
        self.position += 1
        return table

    def resolve(self, names: list[str], line: int) -> Key:
        """The full key of a header: names that pass through an array of tables mean its newest table."""
        key: Key = ()
        for name in names:
            if key in self.array_lengths:
                key = (*key, self.array_lengths[key] - 1)
            key = self.record((*key, name), line)
        return key

    def pair(self, table: Key) -> None:
        line = self.line()
        key = table
        for name in self.dotted_key():
            key = self.record((*key, name), line)
        self.position += 1  # the equals sign
        self.value(key)

    def value(self, key: Key) -> None:
        self.skip(_SPACE)
        for quotes, string in _STRINGS:
            if self.text.startswith(quotes, self.position):
                return self.skip(string)
        opening = self.text[self.position]
        if opening == "[":
            return self.array(key)
        if opening == "{":
            return self.inline_table(key)
        return self.skip(_SCALAR)

    def array(self, key: Key) -> None:
        self.position += 1
        index = 0
        self.skip(_FILLER)
        while self.text[self.position] != "]":
            self.value(self.record((*key, index), self.line()))
            index += 1
            self.skip_comma()
        self.position += 1

    def inline_table(self, key: Key) -> None:
        self.position += 1
        self.skip(_FILLER)
        while self.text[self.position] != "}":
            self.pair(key)
            self.skip_comma()
        self.position += 1

    def dotted_key(self) -> list[str]:
        """The names of a key, leaving the position at what follows: an equals sign or a closing bracket."""
        names = []
        while True:
            self.skip(_SPACE)
            names.append(self.key_name())
            self.skip(_SPACE)
            if self.text[self.position] != ".":
                return names
            self.position += 1

    def key_name(self) -> str:
        start = self.position
        if self.text[start] == '"':
            self.skip(_BASIC_STRING)
            return str(tomllib.loads(f"name = {self.text[start : self.position]}")["name"])
        if self.text[start] == "'":
            self.skip(_LITERAL_STRING)
            return self.text[start + 1 : self.position - 1]
        self.skip(_BARE_KEY)
        return self.text[start : self.position]

    def skip_comma(self) -> None:
        self.skip(_FILLER)
        if self.text[self.position] == ",":
            self.position += 1
            self.skip(_FILLER)

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.position)
        assert match is not None, f"tomllib accepted what {pattern.pattern!r} does not match"
        self.position = match.end()

    def record(self, key: Key, line: int) -> Key:
        self.lines.setdefault(key, line)
        return key

    def line(self) -> int:
        return bisect_right(self.line_ends, self.position - 1) + 1
