"""The admin API's calls that only read."""

from __future__ import annotations

import asyncio

from tlsidecar.admin import views
from tlsidecar.admin.api import Api
from tlsidecar.admin.history_views import history as history_of
from tlsidecar.admin.messages import PLAIN_TEXT, AdminRequest, ApiError, Reply, Stream, encode, whole_number
from tlsidecar.admin.parameters import choice, connection_id_of, filter_of, integer
from tlsidecar.api.connections import ConnectionReply
from tlsidecar.api.encode import encoded
from tlsidecar.api.filter_fields import (
    CONNECTION_FIELDS,
    EVENT_FIELDS,
    FAILURE_FIELDS,
    REFUSAL_FIELDS,
    event_matcher,
)
from tlsidecar.api.words import CONNECTION_GROUPS, CONNECTION_SORT_KEYS, GROUP_SORT_KEYS, PAGE_ROWS, Severity, State
from tlsidecar.dataplane.snapshot import ConnectionQuery, GroupQuery
from tlsidecar.observe.text import escaped

DEFAULT_ROWS = 100
# Rows made in one go, before the loop turns for the traffic beside us.
ROWS_AT_ONCE = 50


async def status(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/status``."""
    return api.json_reply(encoded(views.status(api.control, await api.control.snapshots())))


async def connections(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/connections``: a page of those that match, or of groups of them. A large page is encoded in pieces, and
    traffic goes on between them."""
    if request.query.get("group"):
        return await _connection_groups(api, request)
    query = ConnectionQuery(
        filter=str(filter_of(request.query, CONNECTION_FIELDS)),
        sort=choice(request.query, "sort", CONNECTION_SORT_KEYS, "id"),
        descending=choice(request.query, "order", ("asc", "desc"), "asc") == "desc",
        limit=integer(request.query, "limit", DEFAULT_ROWS, 1, PAGE_ROWS),
        offset=integer(request.query, "offset", 0, 0, 2**31),
        identity=request.query.get("identity", ""),
    )
    page = await api.control.connections(query)
    rows: list[bytes] = []
    for start in range(0, len(page.rows), ROWS_AT_ONCE):
        piece = encode([encoded(row) for row in page.rows[start : start + ROWS_AT_ONCE]])
        rows.append(piece[1:-1])
        await asyncio.sleep(0)
    counts = {"total": page.total, "matched": page.matched, "offset": query.offset, "limit": query.limit}
    head = encode(api.stamped({**counts, "groups": [], "groups_matched": 0}))
    return Reply(200, head[:-1] + b',"connections":[' + b",".join(rows) + b"]}")


async def _connection_groups(api: Api, request: AdminRequest) -> Reply:
    sort = choice(request.query, "sort", GROUP_SORT_KEYS, GROUP_SORT_KEYS[0])
    query = GroupQuery(
        by=choice(request.query, "group", CONNECTION_GROUPS, ""),
        filter=str(filter_of(request.query, CONNECTION_FIELDS)),
        sort=sort,
        descending=choice(request.query, "order", ("asc", "desc"), "asc" if sort == "key" else "desc") == "desc",
        limit=integer(request.query, "limit", DEFAULT_ROWS, 1, PAGE_ROWS),
        offset=integer(request.query, "offset", 0, 0, 2**31),
    )
    page = await api.control.connection_groups(query)
    return api.json_reply(encoded(views.connection_groups(api.control, query, page)))


async def connection(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/connections/{id}``. 404 once it is closed."""
    connection_id = connection_id_of(request)
    detail = await api.control.connection(connection_id)
    if detail is None:
        raise ApiError(404, f"no connection {connection_id}")
    return api.json_reply(encoded(ConnectionReply(api.control.clock.now(), views.connection_in_full(detail))))


async def certificates(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/certificates``: of each identity leaf, chain, trust and revocation lists, and how it came to them."""
    return api.json_reply(encoded(views.certificates(api.control, await api.control.snapshots())))


async def refusals(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/refusals``: the newest first, and all of them in groups. What workers have seen until now is in it."""
    limit = integer(request.query, "limit", DEFAULT_ROWS, 1, PAGE_ROWS)
    wanted = filter_of(request.query, REFUSAL_FIELDS)
    await api.control.caught_up()
    return api.json_reply(encoded(views.refusals(api.control, await api.control.snapshots(), limit, wanted)))


async def failures(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/failures``: in groups, the newest first. What workers have seen until now is in it."""
    limit = integer(request.query, "limit", DEFAULT_ROWS, 1, PAGE_ROWS)
    wanted = filter_of(request.query, FAILURE_FIELDS)
    await api.control.caught_up()
    return api.json_reply(encoded(views.failures(api.control, limit, wanted)))


async def history(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/history``: series of counters over the last two hours at most."""
    return api.json_reply(encoded(await history_of(api.control, request.query)))


async def events(api: Api, request: AdminRequest) -> Stream:
    """``GET /v1/events``: server-sent events, from the one after ``Last-Event-ID`` on while it is kept."""
    matches = event_matcher(filter_of(request.query, EVENT_FIELDS), api.control.clock.now)
    text = request.headers.get("last-event-id", "").strip()
    after = whole_number(text)
    if text and after is None:
        raise ApiError(400, "Last-Event-ID is not a sequence number")
    follow = choice(request.query, "follow", ("yes", "no"), "yes") == "yes"
    return api.event_stream(api.control.events.subscribe(after), matches, follow=follow)


async def openapi(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/openapi.json``."""
    from tlsidecar.admin.openapi import document

    return Reply(200, encode(document(api.routes)))


async def metrics(api: Api, request: AdminRequest) -> Reply:
    """``GET /metrics``: Prometheus' text format, version 0.0.4."""
    from tlsidecar.admin import metrics

    return Reply(200, (await metrics.exposition(api.control)).encode(), metrics.CONTENT_TYPE)


async def healthz(api: Api, request: AdminRequest) -> Reply:
    """``GET /healthz``: 503 when no worker is alive. Of several one is replaced without it."""
    if api.control.is_live():
        return Reply(200, b"live\n", PLAIN_TEXT)
    return Reply(503, b"not live\n", PLAIN_TEXT)


async def readyz(api: Api, request: AdminRequest) -> Reply:
    """``GET /readyz``: 503, and why in a line each, while it starts or drains or something critical is wrong."""
    control = api.control
    if control.is_ready():
        return Reply(200, b"ready\n", PLAIN_TEXT)
    reasons = [control.state.value] if control.state in (State.STARTING, State.DRAINING) else []
    reasons += [
        f"{problem.code}: {escaped(problem.message)}"
        for problem in control.problems()
        if problem.severity is Severity.CRITICAL
    ]
    return Reply(503, "".join(f"{reason}\n" for reason in reasons or ["not ready"]).encode(), PLAIN_TEXT)
