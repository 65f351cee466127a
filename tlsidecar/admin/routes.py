"""The admin API's routes: one table, from which requests are served and the OpenAPI document is made."""

from __future__ import annotations

from tlsidecar.admin import actions, changes, reads, why
from tlsidecar.admin.access import Access
from tlsidecar.admin.api import Parameter, Route
from tlsidecar.admin.messages import EVENT_STREAM, JSON, PLAIN_TEXT
from tlsidecar.api.certificates import AttemptReply, Certificates
from tlsidecar.api.connections import Closed, ConnectionReply, Connections, ConnectionsEnded
from tlsidecar.api.denials import DenialEnded, DenialReply, Denials
from tlsidecar.api.explanations import ExplanationReply, RefusalReply
from tlsidecar.api.failures import Failures
from tlsidecar.api.history import History
from tlsidecar.api.refusals import Refusals
from tlsidecar.api.replies import Drained, LogLevel, Stopping, Undrained
from tlsidecar.api.status import Status
from tlsidecar.api.words import CONNECTION_GROUPS, CONNECTION_SORT_KEYS, GROUP_SORT_KEYS, PAGE_ROWS

_FILTER = Parameter("filter", "words that have to occur, and field:value terms: docs/filters.md has the language")
_LIMIT = Parameter("limit", f"rows, 1 to {PAGE_ROWS}", "integer")
_IDENTITY = Parameter("identity", "a name that the peer's certificate has, whole")
_PAGE = (
    _FILTER,
    Parameter("group", "connections counted together by this, in place of each", values=CONNECTION_GROUPS),
    Parameter(
        "sort",
        "the field to sort by; of groups key, connections or a rate, the largest first",
        values=tuple(dict.fromkeys((*CONNECTION_SORT_KEYS, *GROUP_SORT_KEYS))),
    ),
    _IDENTITY,
    Parameter("order", "asc or desc", values=("asc", "desc")),
    _LIMIT,
    Parameter("offset", "rows to skip", "integer"),
)

_HISTORY = (
    Parameter("since", "a time (RFC 3339), or a duration before now, as 15m; two hours without it"),
    Parameter("step", "a duration, 1s or more for the last two minutes, 10s or more for the last two hours"),
    Parameter("upstream", "include the series of the upstream at this address, or of each with *"),
    Parameter(
        "identity",
        "include the series of the identity of this key or name, of each with *, or of all that are not kept each by"
        " itself with others",
    ),
)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/status", Access.VIEW, reads.status, "State, listeners with counters, ranked problems", Status),
    Route(
        "GET",
        "/v1/connections",
        Access.VIEW,
        reads.connections,
        "A window on the open connections",
        Connections,
        parameters=_PAGE,
    ),
    Route(
        "GET",
        "/v1/connections/{id}",
        Access.VIEW,
        reads.connection,
        "One connection with its peer's chain",
        ConnectionReply,
        other_statuses=(404,),
    ),
    Route(
        "DELETE",
        "/v1/connections/{id}",
        Access.CONTROL,
        changes.close_connection,
        "Close one connection",
        Closed,
        other_statuses=(404,),
    ),
    Route(
        "DELETE",
        "/v1/connections",
        Access.CONTROL,
        actions.close_connections,
        "Close all that match a filter, or all of an identity",
        ConnectionsEnded,
        parameters=(
            _FILTER,
            _IDENTITY,
            Parameter("expected", "how many are meant: refused where it is off by more than a tenth", "integer"),
        ),
        other_statuses=(400, 409),
    ),
    Route("GET", "/v1/denials", Access.VIEW, actions.denials, "Whom an operator keeps out for a time", Denials),
    Route(
        "POST",
        "/v1/denials",
        Access.CONTROL,
        actions.deny,
        "Keep an identity out for a time, and cut what it has open",
        DenialReply,
        body="DenialRequest",
        other_statuses=(409,),
    ),
    Route(
        "DELETE",
        "/v1/denials/{id}",
        Access.CONTROL,
        actions.undeny,
        "Keep it out no longer",
        DenialEnded,
        other_statuses=(404,),
    ),
    Route(
        "POST",
        "/v1/drain-generations",
        Access.CONTROL,
        actions.drain_generations,
        "End the connections of older generations after their exchange",
        ConnectionsEnded,
        body="DrainGenerationsRequest",
        other_statuses=(404, 409),
    ),
    Route("GET", "/v1/certificates", Access.VIEW, reads.certificates, "What is served and trusted now", Certificates),
    Route(
        "GET",
        "/v1/refusals",
        Access.VIEW,
        reads.refusals,
        "Who was turned away, newest first",
        Refusals,
        parameters=(_FILTER, _LIMIT),
    ),
    Route(
        "GET",
        "/v1/refusals/{id}",
        Access.VIEW,
        why.refusal,
        "One refusal (r17), and what would become of the same peer now",
        RefusalReply,
        other_statuses=(404,),
    ),
    Route(
        "GET",
        "/v1/connections/{id}/explanation",
        Access.VIEW,
        why.connection,
        "Why a connection's peer is let in, rule by rule",
        ExplanationReply,
        other_statuses=(404,),
    ),
    Route(
        "GET",
        "/v1/explain",
        Access.VIEW,
        why.certificate,
        "What becomes of a certificate, and perhaps of a request",
        ExplanationReply,
        parameters=(
            Parameter("certificate", "DER in base64url without padding; several, leaf first, with commas between"),
            Parameter("listener", "left out: every listener that such a peer may come to"),
            Parameter("path", "of a request to ask about"),
            Parameter("method", "of that request; GET by default"),
        ),
        other_statuses=(400,),
    ),
    Route(
        "GET",
        "/v1/failures",
        Access.VIEW,
        reads.failures,
        "What could not be served, by listener, upstream and reason",
        Failures,
        parameters=(_FILTER, _LIMIT),
    ),
    Route(
        "GET",
        "/v1/events",
        Access.VIEW,
        reads.events,
        "Server-Sent Events; Last-Event-ID resumes",
        EVENT_STREAM,
        parameters=(_FILTER, Parameter("follow", "no: end after those that are kept", values=("yes", "no"))),
    ),
    Route(
        "GET",
        "/v1/history",
        Access.VIEW,
        reads.history,
        "The last two hours in steps, with reloads and problems",
        History,
        parameters=_HISTORY,
    ),
    Route("GET", "/v1/openapi.json", Access.VIEW, reads.openapi, "This document", JSON),
    Route("GET", "/metrics", Access.PROBE, reads.metrics, "Prometheus text format 0.0.4", PLAIN_TEXT),
    Route("GET", "/healthz", Access.PROBE, reads.healthz, "Whether the loop turns", PLAIN_TEXT, other_statuses=(503,)),
    Route(
        "GET",
        "/readyz",
        Access.PROBE,
        reads.readyz,
        "Whether material is valid, listeners are bound and nothing drains",
        PLAIN_TEXT,
        other_statuses=(503,),
    ),
    Route(
        "POST",
        "/v1/reload",
        Access.CONTROL,
        changes.reload,
        "Read the configuration and the material's source again",
        AttemptReply,
        other_statuses=(409,),
    ),
    Route(
        "POST",
        "/v1/rotate",
        Access.CONTROL,
        changes.rotate,
        "Ask the material's source to renew now: of one identity, or of all",
        AttemptReply,
        body="RotateRequest",
        other_statuses=(404, 409),
    ),
    Route("POST", "/v1/drain", Access.CONTROL, changes.drain, "Let connections finish", Drained, body="DrainRequest"),
    Route(
        "POST",
        "/v1/undrain",
        Access.CONTROL,
        changes.undrain,
        "Accept again, after a drain is over",
        Undrained,
        other_statuses=(409,),
    ),
    Route(
        "POST", "/v1/shutdown", Access.CONTROL, changes.shutdown, "Drain, then end the process", Stopping, status=202
    ),
    Route(
        "PUT",
        "/v1/log-level",
        Access.CONTROL,
        changes.log_level,
        "Change the process log's level",
        LogLevel,
        body="LogLevelRequest",
    ),
)
