"""Route rules: by path and method, who may pass. The first that matches decides; where none does, the listener's own
rules do.

A path that the service could read differently from us must not slip through. So a request passes only if it would pass
under both readings services are known to have of it: the exact one, and the lenient one, in which case does not count
(Express, IIS), ``;parameters`` are not part of a segment (servlet containers) and a trailing slash is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from certs.identity import Identity
from certs.rules import Rule, first_match, parse_rules
from tlsidecar.dataplane.http import paths
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Route

_REST = b"**"
_ANY = b"*"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path with ``*`` for what one segment holds, alone or within a segment, and ``**`` for any number of segments.

    At most one ``*`` a segment and one ``**`` a pattern, so that matching is linear.
    """

    text: str
    _head: tuple[bytes, ...]
    _tail: tuple[bytes, ...] | None  # None: no "**"

    @classmethod
    def parse(cls, text: str) -> PathPattern:
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
        return cls._split(text, paths.segments(raw))

    @classmethod
    def _split(cls, text: str, segments: Sequence[bytes]) -> PathPattern:
        for segment in segments:
            if segment != _REST and segment.count(_ANY) > 1:
                raise ValueError("at most one '*' in a segment, and '**' stands for whole segments")
        if segments.count(_REST) > 1:
            raise ValueError("at most one '**' in a pattern")
        if _REST not in segments:
            return cls(text, tuple(segments), None)
        at = segments.index(_REST)
        return cls(text, tuple(segments[:at]), tuple(segments[at + 1 :]))

    def lenient(self) -> PathPattern:
        """The pattern for paths read leniently."""
        return self._split(
            self.text, lenient_segments([*self._head, *([] if self._tail is None else [_REST, *self._tail])])
        )

    def matches(self, segments: Sequence[bytes]) -> bool:
        head, tail = self._head, self._tail
        if tail is None:
            return len(segments) == len(head) and all(map(_segment_matches, head, segments))
        if len(segments) < len(head) + len(tail):
            return False
        return all(map(_segment_matches, head, segments)) and (
            not tail or all(map(_segment_matches, tail, segments[-len(tail) :]))
        )


@dataclass(frozen=True, slots=True)
class _Compiled:
    text: str
    methods: frozenset[bytes]
    exact: PathPattern
    lenient: PathPattern
    rules: tuple[Rule, ...]


class RouteTable:
    """One listener's routes. Raises :class:`ValueError` or ``certs.errors.RuleError`` for what is not one."""

    def __init__(self, routes: Iterable[Route], listener_allow: Iterable[str]) -> None:
        self._routes = tuple(_compile(route) for route in routes)
        self._listener_rules = parse_rules(listener_allow)

    def __repr__(self) -> str:
        return f"<RouteTable {len(self._routes)} routes>"

    def guard(self, identity: Identity | None) -> RouteGuard:
        """The table as one client meets it. ``None`` is a client that showed no certificate: no rule allows it."""
        return RouteGuard(
            [
                (route, identity is not None and first_match(route.rules, identity) is not None)
                for route in self._routes
            ],
            listener_allows=identity is not None and first_match(self._listener_rules, identity) is not None,
        )


class RouteGuard:
    """Decides for one client's requests."""

    def __init__(self, routes: list[tuple[_Compiled, bool]], *, listener_allows: bool) -> None:
        self._routes = routes
        self._listener_allows = listener_allows

    def judge(self, method: bytes, target: bytes) -> bytes:
        """The target in the form that was judged and is to go on.

        Raises :class:`MessageRefused`: 400 (BAD_PATH), or 403 (ROUTE_DENIED) with the route in ``rule``.
        """
        normal = paths.normalise_target(target)
        segments = paths.segments(normal.partition(b"?")[0])
        self._require(method, segments, lenient=False)
        loosely = lenient_segments(segments)
        self._require(method, loosely, lenient=True)
        return normal

    def _require(self, method: bytes, segments: Sequence[bytes], *, lenient: bool) -> None:
        for route, allowed in self._routes:
            if route.methods and method not in route.methods:
                continue
            pattern = route.lenient if lenient else route.exact
            if pattern.matches(segments):
                if not allowed:
                    raise MessageRefused(403, Reason.ROUTE_DENIED, stage=Stage.AUTHORIZE, rule=route.text)
                return
        if not self._listener_allows:
            raise MessageRefused(403, Reason.NOT_ALLOWED, "no route matches", stage=Stage.AUTHORIZE)


def lenient_segments(segments: Sequence[bytes]) -> list[bytes]:
    """Segments as a service reads them for which case, path parameters and a trailing slash do not count."""
    kept: list[bytes] = []
    for segment in segments:
        bare = segment.partition(b";")[0].lower()
        if bare == b"..":
            del kept[-1:]
        elif bare not in (b"", b"."):
            kept.append(bare)
    return kept or [b""]


def _compile(route: Route) -> _Compiled:
    pattern = PathPattern.parse(route.path)
    methods = {method.encode("ascii") for method in route.methods}
    if b"GET" in methods:
        methods.add(b"HEAD")  # services answer HEAD from what serves GET
    text = " ".join([",".join(route.methods) or "any method", route.path])
    return _Compiled(text, frozenset(methods), pattern, pattern.lenient(), parse_rules(route.allow))


def _segment_matches(pattern: bytes, segment: bytes) -> bool:
    before, star, after = pattern.partition(_ANY)
    if not star:
        return pattern == segment
    # An empty segment is a trailing slash, not a name.
    return len(segment) >= max(1, len(before) + len(after)) and segment.startswith(before) and segment.endswith(after)
