"""The admin API's calls that end connections or keep somebody out: each is told how many it is expected to touch, and
is refused where that has changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tlsidecar.admin.api import Api
from tlsidecar.admin.messages import MAX_GENERATION_DRAIN_S, MAX_IDENTITY_CHARACTERS, AdminRequest, ApiError, Reply
from tlsidecar.admin.parameters import (
    denial_id_of,
    expected_in_body,
    expected_in_query,
    fields_of,
    filter_of,
    number,
    whole,
)
from tlsidecar.api.connections import ConnectionsEnded
from tlsidecar.api.denials import LONGEST_DENIAL_S, DenialEnded, DenialReply, Denials
from tlsidecar.api.encode import encoded
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.control.denials import TooManyDenials
from tlsidecar.control.interface import Control
from tlsidecar.dataplane.snapshot import ConnectionSelection
from tlsidecar.outcomes import Reason

# Connections come and go between the caller's look and its call. Where the count differs by more than this part of what
# was expected, something else has happened meanwhile.
TOLERANCE = 0.1
DRAIN_POLL_S = 0.05
DEFAULT_DRAIN_S = 30.0


async def close_connections(api: Api, request: AdminRequest) -> Reply:
    """``DELETE /v1/connections``: all that match a filter, or all of an identity. 409 where they are not about as many
    as expected."""
    fields_of(request)
    control = api.control
    wanted = filter_of(request.query, CONNECTION_FIELDS)
    selection = ConnectionSelection(filter=str(wanted) if wanted else "", identity=request.query.get("identity", ""))
    if selection.means_nobody:
        raise ApiError(400, "filter or identity says which connections: there is no call to close all of them")
    await check_expected(control, selection, expected_in_query(request.query))
    ended = await control.end(selection, Reason.CLOSED_BY_ADMIN)
    audited = f"{ended} closed: {selection.filter or selection.identity}"
    return _with_audit(api.json_reply(encoded(ConnectionsEnded(control.clock.now(), ended, 0))), audited)


async def drain_generations(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/drain-generations``: those accepted under an older generation end after their exchange; answers when
    they have, or the time is up."""
    body = fields_of(request, "older_than", "own_identity", "expected", "timeout_s")
    control = api.control
    in_use = {each.name: each.generation.number if each.generation is not None else 0 for each in control.identities}
    if "own_identity" in body:
        name = known_identity(control, body["own_identity"])
        in_use = {name: in_use[name]}
    current = max(in_use.values())
    older_than = whole(body, "older_than", 1, max(1, current))
    timeout_s = number(body, "timeout_s", 0, MAX_GENERATION_DRAIN_S)
    pairs = tuple(
        (name, in_force if older_than is None else min(older_than, in_force)) for name, in_force in in_use.items()
    )
    selection = ConnectionSelection(older_than=pairs)
    await check_expected(control, selection, expected_in_body(body))
    ended = await control.end(selection, Reason.GENERATION_DRAINED, gently=True)
    left = await _left(control, selection, DEFAULT_DRAIN_S if timeout_s is None else timeout_s)
    audited = f"{ended} older than generation {', '.join(_generation_named(control, *pair) for pair in pairs)}"
    return _with_audit(api.json_reply(encoded(ConnectionsEnded(control.clock.now(), ended, left))), audited)


def _generation_named(control: Control, name: str, number: int) -> str:
    return f"{number} of {name}" if control.settings.names_identities else str(number)


def known_identity(control: Control, name: object) -> str:
    """The name of an identity of ours that there is. Raises ApiError."""
    if not isinstance(name, str):
        raise ApiError(400, "the name of an identity is text")
    known = [each.name for each in control.identities]
    if name not in known:
        raise ApiError(404, f"no identity is called {name!r}: there is {', '.join(known)}")
    return name


async def denials(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/denials``: who is kept out, until when, and by whom."""
    return api.json_reply(encoded(Denials(api.control.clock.now(), api.control.denials.kept_out)))


async def deny(api: Api, request: AdminRequest) -> Reply:
    """``POST /v1/denials``: keeps an identity out for a while and closes what it has open. 409 when too many are kept
    out already, or when the number of its connections is not about the one expected."""
    body = fields_of(request, "identity", "for_s", "expected")
    identity = body.get("identity")
    if not isinstance(identity, str) or not identity.strip() or len(identity) > MAX_IDENTITY_CHARACTERS:
        raise ApiError(400, f"identity is a name in the certificate, of at most {MAX_IDENTITY_CHARACTERS} characters")
    for_s = number(body, "for_s", 1, LONGEST_DENIAL_S)
    if for_s is None:
        raise ApiError(400, "for_s is missing: a denial ends by itself")
    control = api.control
    await check_expected(control, ConnectionSelection(identity=identity, inbound_only=True), expected_in_body(body))
    caller = request.caller
    try:
        denial, closed = await control.deny(identity, for_s, f"uid {caller.uid}" if caller.uid >= 0 else "nobody known")
    except TooManyDenials as error:
        raise ApiError(409, str(error)) from None
    audited = f"{identity} for {for_s:g} s, {closed} closed"
    return _with_audit(api.json_reply(encoded(DenialReply(control.clock.now(), denial, closed))), audited)


async def undeny(api: Api, request: AdminRequest) -> Reply:
    """``DELETE /v1/denials/{id}``: ends a denial before its time. 404 when there is none of that number."""
    fields_of(request)
    denial_id = denial_id_of(request)
    ended = await api.control.undeny(denial_id)
    if ended is None:
        raise ApiError(404, f"no denial {denial_id}")
    return _with_audit(api.json_reply(encoded(DenialEnded(api.control.clock.now(), ended))), ended.identity)


async def check_expected(control: Control, selection: ConnectionSelection, expected: int | None) -> None:
    """Raises ApiError (409) where the number of connections differs by more than a tenth from what was expected."""
    if expected is not None:
        check_count(await control.count(selection), expected)


def check_count(found: int, expected: int) -> None:
    """The same for connections that were counted."""
    if abs(found - expected) > expected * TOLERANCE:
        raise ApiError(409, f"{found} connections would be touched now, not {expected}: look again, and ask again")


async def _left(control: Control, selection: ConnectionSelection, timeout_s: float) -> int:
    until = control.clock.monotonic() + timeout_s
    left = await control.count(selection)
    while left and control.clock.monotonic() < until:
        await asyncio.sleep(DRAIN_POLL_S)
        left = await control.count(selection)
    return left


def _with_audit(reply: Reply, audited: str) -> Reply:
    return replace(reply, audited=audited)
