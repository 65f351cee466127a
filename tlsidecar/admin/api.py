"""How a request to the admin API finds its route and gets its answer, whatever comes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl

from tlsidecar.admin import views
from tlsidecar.admin.access import Access
from tlsidecar.admin.guard import ChangeGuard, MutationOutcome
from tlsidecar.admin.messages import ERROR_CODES, AdminRequest, ApiError, Reply, Stream, encode
from tlsidecar.api.times import timestamp
from tlsidecar.background import Background
from tlsidecar.control.interface import Control
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.events import LOST, Subscription

MAX_EVENT_STREAMS = 8
KEEP_ALIVE_S = 15.0
# Events are sent at most this often to each reader, so that thousands a second do not become as many writes.
EVENT_GATHER_S = 0.05

_log = logging.getLogger("tlsidecar.admin")

EventMatcher = Callable[[tuple[str, Mapping[str, object]]], bool]
Handler = Callable[["Api", AdminRequest], Awaitable[Reply | Stream]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, as the document shows it."""

    name: str
    meaning: str
    kind: str = "string"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. ``reply`` is the record that answers, or the media type of what is no JSON; ``body``
    names the request's body in :data:`tlsidecar.admin.openapi.BODIES`."""

    method: str
    path: str
    access: Access
    handler: Handler
    summary: str
    reply: type | str
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    other_statuses: tuple[int, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether it does more than read: then it leaves an audit line."""
        return self.method != "GET"


class Api:
    """Finds a request's route and lets it answer. One serves all entrances that have these routes."""

    def __init__(self, routes: Sequence[Route], control: Control, guard: ChangeGuard) -> None:
        self.control = control
        self.routes = tuple(routes)
        self.guard = guard
        self._streams = 0
        self._background = Background()

    async def answer(self, request: AdminRequest) -> Reply | Stream:
        """The reply to one request; never raises but for cancellation. A defect of ours is logged and answered 500."""
        try:
            route, values = _find(self.routes, request)
            request = replace(request, path_values=values)
            if route.access > request.access:
                if route.changes:
                    self.guard.turned_away(request, "not on this socket")
                raise ApiError(403, f"{request.method} {route.path} is not served here")
            _check_query(route, request.query)
            if route.changes:
                return await self._change(route, request)
            return await route.handler(self, request)
        except ApiError as error:
            return self.error_reply(error)
        except Exception:
            _log.exception("an admin request failed", extra={"fields": {"path": request.path[:200]}})
            return self.error_reply(ApiError(500, "a defect in the sidecar: please report the log line"))

    def error_reply(self, error: ApiError, **beside: object) -> Reply:
        """The record ``Error`` (tlsidecar.api.replies), with what else there is to tell beside it."""
        described = {"code": error_code(error.status), "message": error.message, "position": error.position}
        document = self.stamped({"error": described, **beside})
        return Reply(error.status, encode(document), headers=error.headers)

    def stamped(self, document: Mapping[str, object]) -> dict[str, object]:
        """The document with our clock's time in front, as every reply has it."""
        return {"now": timestamp(self.control.clock.now()), **document}

    def json_reply(self, document: Mapping[str, object], status: int = 200) -> Reply:
        """A reply of this document, as :func:`tlsidecar.api.encode.encoded` makes them of records."""
        return Reply(status, encode(self.stamped(document)))

    async def _change(self, route: Route, request: AdminRequest) -> Reply | Stream:
        self.guard.admit(request)
        before = self._generations()
        outcome = MutationOutcome("failed")
        try:
            reply = await route.handler(self, request)
            outcome = MutationOutcome.of(reply)
            return reply
        except ApiError as error:
            outcome = MutationOutcome(error_code(error.status), error.message)
            raise
        finally:
            after = self._generations()
            # Of several identities it was this one that changed, if any did.
            name = next((name for name in after if after[name] != before.get(name, 0)), next(iter(after)))
            self.guard.record(request, outcome, before.get(name, 0), after[name])

    def _generations(self) -> dict[str, int]:
        states = self.control.identities
        return {each.name: 0 if each.generation is None else each.generation.number for each in states}

    def event_stream(self, subscription: Subscription, matches: EventMatcher, *, follow: bool) -> Stream:
        """What is published and matches, as server-sent events; without ``follow`` up to what is published by now.
        Raises ApiError (503) when too many streams are open."""
        if self._streams >= MAX_EVENT_STREAMS:
            raise ApiError(503, f"{MAX_EVENT_STREAMS} event streams are open already")
        last = None if follow else self.control.events.sequence
        return Stream(self._events(subscription, matches, last))

    async def _events(
        self, subscription: Subscription, matches: EventMatcher, last: int | None
    ) -> AsyncGenerator[bytes, None]:
        self._streams += 1
        try:
            yield b": events after %d\n\n" % subscription.position
            loop = asyncio.get_running_loop()
            due = loop.time() + KEEP_ALIVE_S  # also while events come that are all left out
            while last is None or subscription.position < last:
                try:
                    async with asyncio.timeout_at(due):
                        events = await subscription.batch()
                except TimeoutError:
                    yield b":\n\n"
                    due = loop.time() + KEEP_ALIVE_S
                    continue
                told = [(event, views.event_document(event)) for event in events]
                pieces = [
                    b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, event.kind.encode(), encode(document))
                    for event, document in told
                    if event.kind == LOST or matches((event.kind, document))
                ]
                if pieces:
                    yield b"".join(pieces)
                    due = loop.time() + KEEP_ALIVE_S
                await asyncio.sleep(EVENT_GATHER_S)
        finally:
            self._streams -= 1

    def begin_shutdown(self) -> None:
        """The process ends in its own time: the task belongs to no request, since it may close this very server."""
        self._background.begin(self._shutdown(), "admin-shutdown")

    async def _shutdown(self) -> None:
        try:
            await self.control.shutdown()
        except Exception:
            _log.exception("the shutdown asked for over the admin socket failed")


def error_code(status: int) -> str:
    """The ``code`` of an error's JSON body."""
    return ERROR_CODES.get(status, "error")


def _find(routes: Sequence[Route], request: AdminRequest) -> tuple[Route, Mapping[str, str]]:
    method = "GET" if request.method == "HEAD" else request.method
    allowed: list[str] = []
    for route in routes:
        values = _match(route.path, request.path)
        if values is None:
            continue
        if route.method == method:
            return route, values
        allowed.append(route.method)
    if not allowed:
        raise ApiError(404, "there is no such path: see /v1/openapi.json")
    raise ApiError(405, f"this path takes {', '.join(allowed)}", headers=(("Allow", ", ".join(allowed)),))


def _match(pattern: str, path: str) -> Mapping[str, str] | None:
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    values: dict[str, str] = {}
    for want, value in zip(wanted, given, strict=True):
        if want.startswith("{"):
            values[want[1:-1]] = value
        elif want != value:
            return None
    return values


def parse_query(text: str) -> dict[str, str]:
    """Raises ApiError for what is not a query of distinct names (RFC 3986; UTF-8)."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16)
    except ValueError:  # UnicodeDecodeError is one
        raise ApiError(400, "the query is malformed") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise ApiError(400, "a query parameter is there twice")
    return {name: value for name, value in query.items() if value}


def _check_query(route: Route, query: Mapping[str, str]) -> None:
    known = {parameter.name for parameter in route.parameters}
    unknown = sorted(set(query) - known)
    if unknown:
        raise ApiError(400, f"unknown query parameter {unknown[0]!r}")
