"""Route rules: by path and method, who may pass. The first that matches decides; where none does, the listener's own
rules do.

A path that the service could read differently from us must not slip through. So a request passes only if it would pass
under every reading that services are known to have of it (:mod:`.readings`), and a rule that turns a client away holds
for what a service could take for its path, too: a suffix, or what a prefix match lets in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from certs.identity import Identity
from certs.rules import Rule, first_match, parse_rules
from tlsidecar.dataplane.http import paths, readings
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.path_pattern import PathPattern, PatternTree
from tlsidecar.dataplane.http.readings import Reading
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Route

# All readings of such a path are one, if the patterns are so, too.
_ONE_READING = re.compile(r"(?:/[a-z0-9_-]+)+|/")
_ONE_READING_PATTERN = re.compile(r"(?:/(?:[a-z0-9_-]+|\*{1,2}))+|/")

# RFC 4918 section 10.3: an absolute URI, or a path.
_DESTINATION = re.compile(rb"((?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*)?)((?:/(?!/)[\x21\x22\x24-\x7e]*)?)")


@dataclass(frozen=True, slots=True)
class _Compiled:
    text: str
    methods: frozenset[bytes]
    patterns: Mapping[Reading, PathPattern]
    rules: tuple[Rule, ...]
    allow_encoded_slashes: bool


class RouteTable:
    """One listener's routes. Raises :class:`ValueError` or ``certs.errors.RuleError`` for what is not one."""

    def __init__(self, routes: Iterable[Route], listener_allow: Iterable[str]) -> None:
        routes = tuple(routes)
        self._routes = tuple(_compile(route) for route in routes)
        self._listener_rules = parse_rules(listener_allow)
        self.allow_encoded_slashes = any(route.allow_encoded_slashes for route in routes)
        self.has_escapes = any("%" in route.path for route in routes)
        # Readings that have the patterns alike have the same number.
        numbers: dict[tuple[PathPattern, ...], int] = {}
        self.alike = {
            reading: numbers.setdefault(tuple(route.patterns[reading] for route in self._routes), len(numbers))
            for reading in readings.ALL
        }
        self.has_plain_patterns = all(_ONE_READING_PATTERN.fullmatch(route.path) for route in routes)

    def __repr__(self) -> str:
        return f"<RouteTable {len(self._routes)} routes>"

    def guard(self, identity: Identity | None) -> RouteGuard:
        """The table as one client meets it. ``None`` is a client that showed no certificate: no rule allows it."""
        return RouteGuard(
            self,
            [
                (route, identity is not None and first_match(route.rules, identity) is not None)
                for route in self._routes
            ],
            listener_allows=identity is not None and first_match(self._listener_rules, identity) is not None,
        )


class RouteGuard:
    """Decides for one client's requests."""

    def __init__(self, table: RouteTable, routes: list[tuple[_Compiled, bool]], *, listener_allows: bool) -> None:
        self._table = table
        self._routes = routes
        self._listener_allows = listener_allows

    def judge(self, method: bytes, target: bytes) -> bytes:
        """The target in the form that was judged and is to go on.

        Raises :class:`MessageRefused`: 400 (BAD_PATH), or 403 (ROUTE_DENIED) with the route in ``rule``.
        """
        table = self._table
        normal = paths.normalise_target(target, encoded_slashes=table.allow_encoded_slashes)
        path = normal.partition(b"?")[0].decode("ascii")
        if table.has_plain_patterns and _ONE_READING.fullmatch(path):
            self._require(method, readings.PLAIN, readings.PLAIN.segments(path), path)
            return normal
        judged = set()
        differing = readings.differing(path)
        if differing is readings.UNDECODED and table.has_escapes:
            differing = readings.WELL_FORMED
        for reading in differing:
            segments = reading.segments(path)
            same = (table.alike[reading], segments)
            if same not in judged:
                judged.add(same)
                self._require(method, reading, segments, path)
                self._require_no_denial(method, reading, segments)
        return normal

    def judge_request(self, request: Request) -> None:
        """Judge all that names a path in ``request``, and have it go on as it was judged. Raises as :meth:`judge`.

        A WebDAV ``Destination`` (RFC 4918 section 10.3) is written to, so it has to be open to PUT as well.
        """
        request.target = self.judge(request.method, request.target)
        if request.destination is None:
            return
        match = _DESTINATION.fullmatch(request.destination)
        if match is None or not request.destination:
            raise MessageRefused(400, Reason.BAD_PATH, "the Destination is neither an absolute URI nor a path")
        authority, path = match.groups()
        self.judge(b"PUT", path or b"/")
        request.destination = authority + self.judge(request.method, path or b"/")

    def deciding(self, method: bytes, target: bytes) -> int | None:
        """The place of the route that decides on a request whose target is in its normal form, read as it stands;
        None where none does, and the listener's own rules do."""
        path = target.partition(b"?")[0].decode("ascii")
        return self._first(method, readings.PLAIN, readings.PLAIN.segments(path))

    def _first(self, method: bytes, reading: Reading, segments: Sequence[str]) -> int | None:
        for place, (route, _) in enumerate(self._routes):
            if (not route.methods or method in route.methods) and route.patterns[reading].matches(segments):
                return place
        return None

    def _require(self, method: bytes, reading: Reading, segments: Sequence[str], path: str) -> None:
        place = self._first(method, reading, segments)
        if place is None:
            if not self._listener_allows:
                raise MessageRefused(403, Reason.NOT_ALLOWED, "no route matches", stage=Stage.AUTHORIZE)
            if "%2F" in path:
                raise MessageRefused(400, Reason.BAD_PATH, "an encoded slash")
            return
        route, allowed = self._routes[place]
        if not allowed:
            raise _denied(route)
        if not route.allow_encoded_slashes and "%2F" in path:
            raise MessageRefused(400, Reason.BAD_PATH, "an encoded slash", rule=route.text)

    def _require_no_denial(self, method: bytes, reading: Reading, segments: Sequence[str]) -> None:
        """No rule that turns this client away is for what a service could take this path for. A rule that lets it in
        and names the path as it is comes before those after it."""
        for route, allowed in self._routes:
            if route.methods and method not in route.methods:
                continue
            pattern = route.patterns[reading]
            if allowed and pattern.matches(segments):
                return
            if not allowed and pattern.matches(segments, loosely=True):
                raise _denied(route)


def _denied(route: _Compiled) -> MessageRefused:
    return MessageRefused(403, Reason.ROUTE_DENIED, stage=Stage.AUTHORIZE, rule=route.text)


@lru_cache(maxsize=1024)
def _patterns(path: str) -> Mapping[Reading, PathPattern]:
    """Of a path in every reading: made once, for whoever asks why builds the tables anew."""
    if "%" in path:
        return {reading: PathPattern.parse(path, reading) for reading in readings.ALL}
    undecoded = {reading: PathPattern.parse(path, reading) for reading in readings.UNDECODED}
    return {reading: undecoded[same] for reading, same in readings.UNDECODED_OF.items()}


def route_text(route: Route) -> str:
    """What a route is called in refusals and explanations."""
    return " ".join([",".join(route.methods) or "any method", route.path])


def _compile(route: Route) -> _Compiled:
    patterns = _patterns(route.path)
    rules = parse_rules(route.allow)
    return _Compiled(route_text(route), _methods(route), patterns, rules, route.allow_encoded_slashes)


def _methods(route: Route) -> frozenset[bytes]:
    methods = frozenset(method.encode("ascii") for method in route.methods)
    # Services answer HEAD from what serves GET.
    return methods | {b"HEAD"} if b"GET" in methods else methods


def hidden_routes(routes: Sequence[Route]) -> Iterator[tuple[Route, Route]]:
    """Each route that can never decide, and the one before it that does so in its place, or the last of several that
    do together, method by method."""
    before = PatternTree()
    methods = [_methods(route) for route in routes]
    for place, route in enumerate(routes):
        pattern = PathPattern.parse(route.path)
        left = methods[place]
        for earlier in before.covering(pattern):
            left -= methods[earlier]
            if not methods[earlier] or (methods[place] and not left):
                yield route, routes[earlier]
                break
        before.add(pattern, place)
