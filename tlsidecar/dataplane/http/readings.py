"""The ways in which services are known to read one and the same path.

A service may keep case or not (Express, IIS, nginx ``~*``), keep ``;parameters`` or strip them (servlet containers),
decode reserved escapes before it looks at the path or not, pass over octets that are no UTF-8 or not (Bottle does),
count empty segments or not. Each :class:`Reading` is one
combination of these; route rules have to hold under all of them. What a reading strips may leave dot segments, which
are then resolved, as Tomcat does.

Beside them there are services that take a segment for a longer one: ``/admin.json`` for ``/admin`` (Rails, Spring's
suffixes), ``/admin.`` and ``/admin%20`` (Windows), ``/%20admin`` (Spring before 4.3, CVE-2016-5007), nginx's prefix
locations. :func:`begins_with` judges that.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from enum import Enum, auto
from itertools import product
from urllib.parse import unquote_to_bytes

from tlsidecar.lazy_dataclass import dataclass

# In a pattern stands for "*": no path has it, for an encoded NUL is refused.
ANY = "\0"
REST = ANY * 2

_PARAMETERS = re.compile(r";[^/]*")
_QUERY = re.compile(r"[?#]")

# What ends a word: a service that matches prefixes takes "/admin.x" for "/admin", but nobody means "/administrator".
# Letters, digits, "_", "-" and all that is not ASCII, by what it is not: the other way round it takes 5 ms to compile.
_WORD = re.compile(r"[^\x00-,./:-@\[-^`{-\x7f]")


class Decoding(Enum):
    """When a reader decodes what escapes the normal form of a path still has."""

    NEVER = auto()
    FIRST = auto()
    LAST = auto()  # after it has stripped parameters, as Tomcat does


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a path. The plain one takes it as it is."""

    decoding: Decoding = Decoding.NEVER
    cuts_queries: bool = False  # what was decoded is parsed once more, and may have a question mark
    folds_case: bool = False
    strips_parameters: bool = False
    merges_slashes: bool = False  # a trailing slash does not count then, either
    drops_malformed: bool = False  # of what was decoded, octets that are no UTF-8

    def segments(self, path: str) -> tuple[str, ...]:
        """``path`` in its normal form, or a pattern with ``ANY`` for ``*``, as this reading splits it."""
        text = path
        if self.decoding is Decoding.FIRST:
            text = self._decoded(text)
        if self.strips_parameters:
            text = _PARAMETERS.sub("", text)
        if self.decoding is Decoding.LAST:
            text = self._decoded(text)
        if self.folds_case:
            text = folded(text)
        parts = text[1:].split("/")
        if self.merges_slashes:
            parts = list(filter(None, parts))  # before dots are resolved: it decides what ".." takes away
        if text is not path:
            parts = _resolved(parts)
        return tuple(filter(None, parts)) if self.merges_slashes else tuple(parts)

    def _decoded(self, text: str) -> str:
        if "%" not in text:
            return text
        text = unquote_to_bytes(text).decode("utf-8", "ignore" if self.drops_malformed else "surrogateescape")
        return _QUERY.split(text, maxsplit=1)[0] if self.cuts_queries else text


PLAIN = Reading()
# Where there is nothing to decode.
UNDECODED = tuple(Reading(Decoding.NEVER, False, *choices) for choices in product((False, True), repeat=3))
# Where what is decoded is UTF-8.
WELL_FORMED = (
    *UNDECODED,
    *(
        Reading(decoding, *choices)
        for decoding in (Decoding.FIRST, Decoding.LAST)
        for choices in product((False, True), repeat=4)
    ),
)
ALL = (*WELL_FORMED, *(replace(each, drops_malformed=True) for each in WELL_FORMED if each not in UNDECODED))

# Of what has no escapes each reads the same as the one of UNDECODED that it is here.
UNDECODED_OF = {each: replace(each, decoding=Decoding.NEVER, cuts_queries=False, drops_malformed=False) for each in ALL}


def differing(path: str) -> tuple[Reading, ...]:
    """Those that may differ on a path in its normal form."""
    if "%" not in path:
        return UNDECODED
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return ALL
    return WELL_FORMED


def begins_with(pattern: str, segment: str) -> bool:
    """Whether ``segment`` is what ``pattern`` stands for, but for spaces before it, or goes on after it with something
    that is no letter, digit, hyphen or underscore."""
    segment = segment.lstrip(" ")
    before, star, after = pattern.partition(ANY)
    if not segment.startswith(before) or (segment and not pattern):
        return False
    if not star:
        return _is_boundary(segment, len(before))
    at = segment.find(after, len(before)) if after else len(segment)
    while at >= 0 and not _is_boundary(segment, at + len(after)):
        at = segment.find(after, at + 1)
    return at >= 0 and segment != ""


def folded(text: str) -> str:
    """One spelling for all that some service holds for the same when case does not count.

    Escapes that were not decoded keep their meaning. Upper case first: the dotless i and the long s have ASCII letters
    for it. NFKC: full-width letters and the Kelvin sign.
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text).upper().casefold()
    return unicodedata.normalize("NFKC", text).replace("i\u0307", "i")


def _is_boundary(segment: str, at: int) -> bool:
    return at == len(segment) or _WORD.match(segment, at) is None


def _resolved(parts: list[str]) -> list[str]:
    """Dot segments away. What climbs above the root stays there, as in RFC 3986 section 5.2.4."""
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts and parts[-1] in (".", ".."):
        kept.append("")
    return kept
