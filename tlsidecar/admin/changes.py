"""The admin API's calls that change something. Each answers when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tlsidecar.admin.actions import check_count, known_identity
from tlsidecar.admin.api import Api
from tlsidecar.admin.messages import MAX_DRAIN_S, AdminRequest, ApiError, Reply
from tlsidecar.admin.parameters import connection_id_of, expected_in_body, fields_of, number
from tlsidecar.api.certificates import AttemptReply
from tlsidecar.api.connections import Closed
from tlsidecar.api.encode import encoded
from tlsidecar.api.replies import Drained, LogLevel, Stopping, Undrained
from tlsidecar.api.words import DrainEnd
from tlsidecar.control.interface import Attempt, CannotUndrain, Outcome, Trigger, most_telling


async def reload(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/reload``: answers when configuration and material have been read, judged and used or refused."""
    fields_of(request)
    return _attempts_reply(api, await api.control.reload(Trigger.ADMIN))


async def rotate(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/rotate``: of one identity, or of all; answers when what was renewed is in use or refused."""
    body = fields_of(request, "identity")
    name = known_identity(api.control, body["identity"]) if "identity" in body else None
    return _attempts_reply(api, await api.control.rotate(name))


def _attempts_reply(api: Api, attempts: Sequence[Attempt]) -> Reply:
    attempt = most_telling(attempts)
    document = encoded(AttemptReply(api.control.clock.now(), attempt.outcome, attempt, tuple(attempts)))
    if attempt.outcome != Outcome.REFUSED:
        return api.json_reply(document)
    message = ": ".join(part for part in (attempt.reason, attempt.detail) if part) or "refused"
    if api.control.settings.names_identities:
        message = f"identity {attempt.identity}: {message}"
    return api.error_reply(ApiError(409, message), **document)


async def drain(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/drain``: answers when the last connection has ended, or was cut at the end of the time. 409 where
    there are not about as many as expected."""
    body = fields_of(request, "timeout_s", "expected")
    timeout_s = number(body, "timeout_s", 0, MAX_DRAIN_S)
    expected = expected_in_body(body)
    if expected is not None:
        check_count(sum(each.connections for each in await api.control.snapshots()), expected)
    outcome = await api.control.drain(timeout_s)
    end = DrainEnd.DRAINED if outcome.drained else DrainEnd.FORCED
    now = api.control.clock.now()
    return api.json_reply(encoded(Drained(now, end.value, outcome.closed, outcome.forced, outcome.duration_s)))


async def undrain(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/undrain``. 409 where the listeners cannot accept again."""
    fields_of(request)
    try:
        await api.control.undrain()
    except CannotUndrain as error:
        raise ApiError(409, str(error)) from None
    return api.json_reply(encoded(Undrained(api.control.clock.now(), "undrained")))


async def shutdown(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/shutdown``: answers 202 first, then drains and ends the process."""
    fields_of(request)
    return replace(
        api.json_reply(encoded(Stopping(api.control.clock.now(), "stopping")), 202), afterwards=api.begin_shutdown
    )


async def log_level(api: Api, request: AdminRequest) -> Reply:
    """``PUT /v1/log-level``: of the process log, until the process ends."""
    level = fields_of(request, "level").get("level")
    if not isinstance(level, str):
        raise ApiError(400, "level is missing or is no text")
    previous = api.control.log_level
    try:
        api.control.set_log_level(level)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    return api.json_reply(encoded(LogLevel(api.control.clock.now(), api.control.log_level, previous)))


async def close_connection(api: Api, request: AdminRequest) -> Reply:
    """``DELETE /v1/connections/{id}``: with a reset, whatever it is doing."""
    fields_of(request)
    connection_id = connection_id_of(request)
    if not await api.control.close_connection(connection_id):
        raise ApiError(404, f"no connection {connection_id}")
    return api.json_reply(encoded(Closed(api.control.clock.now(), closed=True, id=connection_id)))
