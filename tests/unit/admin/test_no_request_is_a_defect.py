"""Whatever a request asks for, in path, query and body: it is answered, or refused with a reason; no 500."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.admin.fake_control import FakeControl, made_refusal
from unit.certs.forge import ManualClock

from tlsidecar.admin.access import Access
from tlsidecar.admin.api import Api, Route
from tlsidecar.admin.guard import ChangeGuard
from tlsidecar.admin.messages import AdminRequest, Stream
from tlsidecar.admin.openapi import BODIES
from tlsidecar.admin.routes import ROUTES
from tlsidecar.observe.audit import AuditLog, Caller
from tlsidecar.settings import Admin

# Texts and numbers that a call could stumble over, beside any others.
_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", "*", "others", "r1", "c2", "2", "-1", "1e999", "9" * 400, "0s", "1h", "15m", "9" * 12 + "d"]),
    st.sampled_from(
        ["2026-11-23T23:15:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "identity:*/web", "/a%2fb"]
    ),
    st.sampled_from(["default", "web", "spiffe://prod.example/ns/shop/sa/client-1", "info", "asc", "id", "AAAA"]),
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.integers(), st.just(10**400), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)

_ASKED_SOMETHING = [route for route in ROUTES if route.parameters or route.body or "{" in route.path]


@st.composite
def _requests(draw: st.DrawFn, route: Route) -> AdminRequest:
    path = "/".join(draw(_TEXTS).replace("/", "") if part.startswith("{") else part for part in route.path.split("/"))
    query = {parameter.name: draw(_TEXTS) for parameter in route.parameters if draw(st.booleans())}
    names = BODIES[route.body]["properties"] if route.body else {}
    body: dict[str, Any] = {name: draw(_VALUES) for name in names if draw(st.booleans())}
    return AdminRequest(
        route.method,
        path,
        {name: text for name, text in query.items() if text},
        {"content-type": "application/json", "last-event-id": draw(_TEXTS)},
        json.dumps(body).encode() if body else b"",
        Caller(),
        Access.CONTROL,
    )


@pytest.fixture(scope="module")
def control() -> FakeControl:
    control = FakeControl(Admin(Path("admin.sock")), ManualClock())
    control.refusals.record(made_refusal())
    return control


@pytest.mark.parametrize("route", _ASKED_SOMETHING, ids=lambda route: f"{route.method} {route.path}")
@settings(max_examples=25)
@given(data=st.data())
async def test_no_request_is_a_defect(control: FakeControl, route: Route, data: st.DataObject) -> None:
    api = Api(ROUTES, control, ChangeGuard(AuditLog(control.clock), control.clock))
    reply = await api.answer(data.draw(_requests(route)))
    if isinstance(reply, Stream):
        await reply.pieces.aclose()
    else:
        assert reply.status < 500 or route.path in ("/healthz", "/readyz"), reply.body
