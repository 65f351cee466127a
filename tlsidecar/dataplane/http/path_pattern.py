"""Path patterns: which paths a route is for, and which patterns match all that another one does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tlsidecar.dataplane.http import paths, readings
from tlsidecar.dataplane.http.readings import ANY, REST, Reading, begins_with
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path with ``*`` for what one segment holds, alone or within a segment, and ``**`` for any number of segments.

    At most one ``*`` a segment and one ``**`` a pattern, so that matching is linear. As one reading has it.
    """

    text: str
    head: tuple[str, ...]
    tail: tuple[str, ...] | None  # None: no "**"

    @classmethod
    def parse(cls, text: str, reading: Reading = readings.PLAIN) -> PathPattern:
        """Raises :class:`ValueError`, whose text is the reason."""
        try:
            raw = text.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("a path pattern is ASCII: percent-encode the rest") from None
        if not raw.startswith(b"/"):
            raise ValueError("a path pattern starts with '/'")
        if b"?" in raw or b"#" in raw:
            raise ValueError("a path pattern has neither query nor fragment")
        try:
            normal = paths.normalise(raw)
        except MessageRefused as error:
            raise ValueError(f"no request can have this path: {error.detail}") from None
        if normal != raw:
            raise ValueError(f"paths are matched in their normal form: write {normal.decode('ascii')!r}")
        for segment in text[1:].split("/"):
            if segment != "**" and segment.count("*") > 1:
                raise ValueError("at most one '*' in a segment, and '**' stands for whole segments")
        segments = reading.segments(text.replace("*", ANY))
        if segments.count(REST) > 1:
            raise ValueError("at most one '**' in a pattern")
        if REST not in segments:
            return cls(text, segments, None)
        at = segments.index(REST)
        return cls(text, segments[:at], segments[at + 1 :])

    def matches(self, segments: Sequence[str], *, loosely: bool = False) -> bool:
        """``loosely``: or may be taken for a match by a service that looks at the start of a segment only."""
        head, tail = self.head, self.tail
        matches = begins_with if loosely else _segment_matches
        if tail is None:
            return len(segments) == len(head) and all(map(matches, head, segments))
        if len(segments) < len(head) + len(tail):
            return False
        return all(map(matches, head, segments)) and (not tail or all(map(matches, tail, segments[-len(tail) :])))

    def covers(self, other: PathPattern) -> bool:
        """Whether each path that ``other`` matches is matched here; False where it cannot be told so simply."""
        head, tail = self.head, self.tail
        if tail is None or other.tail is None:
            shown = (*other.head, *(other.tail or ()))
            if tail is None and (other.tail is not None or len(head) != len(shown)):
                return False
            ends = shown[len(shown) - len(tail) :] if tail else ()
            is_long_enough = len(shown) >= len(head) + len(tail or ())
        else:
            shown, ends = other.head, other.tail[len(other.tail) - len(tail) :] if tail else ()
            is_long_enough = len(shown) >= len(head) and len(other.tail) >= len(tail)
        return is_long_enough and all(map(_segment_covers, head, shown)) and all(map(_segment_covers, tail or (), ends))


class PatternTree:
    """Patterns by their numbers, as they begin segment by segment: of hundreds only those are compared with one that
    begin as it does."""

    __slots__ = ("_below", "_ending", "_with_star")

    def __init__(self) -> None:
        self._below: dict[str, PatternTree] = {}
        self._with_star: list[str] = []  # of those below
        self._ending: list[tuple[int, PathPattern]] = []  # whose part before "**" ends here

    def __repr__(self) -> str:
        return f"<PatternTree {len(self._ending)} ending, {len(self._below)} below>"

    def add(self, pattern: PathPattern, number: int) -> None:
        here = self
        for segment in pattern.head:
            if segment not in here._below:
                here._below[segment] = PatternTree()
                if ANY in segment:
                    here._with_star.append(segment)
            here = here._below[segment]
        here._ending.append((number, pattern))

    def covering(self, pattern: PathPattern) -> list[int]:
        """The numbers of those that match each path that ``pattern`` does, from the least."""
        found: list[int] = []
        level = [self]
        for segment in (*pattern.head, None):
            found += [number for here in level for number, each in here._ending if each.covers(pattern)]
            if segment is not None:
                level = [below for here in level for below in here._beginning(segment)]
        return sorted(found)

    def _beginning(self, segment: str) -> Iterator[PatternTree]:
        if segment in self._below:
            yield self._below[segment]
        for each in self._with_star:
            if each != segment and _segment_covers(each, segment):
                yield self._below[each]


def _segment_covers(pattern: str, other: str) -> bool:
    """Whether what ``other`` stands for is all matched by ``pattern``."""
    before, star, after = other.partition(ANY)
    if not star:
        return _segment_matches(pattern, other)
    mine_before, mine_star, mine_after = pattern.partition(ANY)
    return bool(mine_star) and before.startswith(mine_before) and after.endswith(mine_after)


def _segment_matches(pattern: str, segment: str) -> bool:
    before, star, after = pattern.partition(ANY)
    if not star:
        return pattern == segment
    # An empty segment is a trailing slash, not a name.
    return len(segment) >= max(1, len(before) + len(after)) and segment.startswith(before) and segment.endswith(after)
