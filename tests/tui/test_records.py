"""Whatever the sidecar says becomes a view model or a default, never an exception, and never raw text."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ui_world import NOW, healthy, hostile

from tui.records import (
    AttemptReply,
    Certificates,
    ConnectionReply,
    Connections,
    Failures,
    Refusals,
    Severity,
    Status,
    decoded,
    event_of,
)


def _texts(value: Any) -> list[str]:
    """Every text in a view model, the raw JSON apart."""
    if isinstance(value, str):
        return [value]
    if dataclasses.is_dataclass(value):
        return [
            text
            for each in dataclasses.fields(value)
            if each.name != "raw"
            for text in _texts(getattr(value, each.name))
        ]
    if isinstance(value, dict):
        return [text for item in value.items() for each in item for text in _texts(each)]
    if isinstance(value, tuple):
        return [text for each in value for text in _texts(each)]
    return []


def test_a_healthy_status() -> None:
    status = decoded(Status, healthy().document("status"))
    assert status.now == NOW
    assert (status.node, status.state, status.ready, status.modes) == ("web-1", "ready", True, "terminate+originate")
    assert status.totals.connections_active == 12
    assert status.listeners[0].upstreams[0].healthy
    assert status.listeners[1].expect == ("spiffe://prod.example/ns/pay/sa/api",)
    assert status.recent_handshake_p99_s == 0.0049
    assert status.certificate is not None
    assert status.certificate.next_renewal_at is not None


def test_certificates_connections_refusals_and_events() -> None:
    world = healthy()
    certificates = decoded(Certificates, world.document("certificates"))
    assert certificates.leaf is not None
    assert certificates.leaf.uris == ("spiffe://prod.example/ns/shop/sa/web",)
    assert certificates.crls[0].revoked == 2
    assert certificates.last_attempt is not None
    assert certificates.last_attempt.outcome == "applied"
    assert certificates.connections_by_generation == {"2": 1, "3": 11}
    page = decoded(Connections, {"total": 3, "matched": 2, "offset": 1, "connections": world.connections[:1]})
    assert (page.total, page.matched, page.offset, page.connections[0].id) == (3, 2, 1, 1)
    refusals = decoded(Refusals, {"total": 3, "refusals": world.refusals})
    assert [each.seq for each in refusals.refusals] == [3, 2, 1]
    event = event_of("opened", {"seq": 7, "at": "2026-11-23T23:15:00.000Z", "id": 17, "listener": "web"})
    assert (event.seq, event.kind, event.summary) == (7, "opened", "listener=web  id=17")
    lost = event_of("lost", {"from": 3, "to": 9})
    assert lost.summary == "events 3 to 9 are no longer kept"
    restarted = event_of("lost", {"from": 0, "to": 4, "restarted": True})
    assert restarted.summary == "the sidecar was restarted: its events are numbered anew"
    nested = event_of("reload", {"seq": 8, "attempt": {"outcome": "refused", "at": None}})
    assert nested.summary == "attempt=outcome=refused"


def test_who_was_refused_by_the_best_name_there_is() -> None:
    first = {"identity": "spiffe://a/b", "subject": "CN=b", "peer_address": "10.0.0.1:1"}
    views = [decoded(Refusals, {"refusals": [first | gone]}).refusals[0] for gone in ({}, {"identity": ""})]
    assert [view.who for view in views] == ["spiffe://a/b", "CN=b"]
    nobody = decoded(Refusals, {"refusals": [{}]}).refusals[0]
    assert nobody.who == "unknown"


def test_hostile_texts_arrive_harmless() -> None:
    world = hostile()
    status = decoded(Status, world.document("status"))
    views = [
        status,
        decoded(Certificates, world.document("certificates")),
        decoded(Connections, {"connections": world.connections}),
        decoded(Refusals, {"refusals": world.refusals}),
        *(event_of(kind, fields) for kind, fields in world.events),
    ]
    texts = [text for view in views for text in _texts(view)]
    assert len(texts) > 500
    assert all(text.isprintable() for text in texts)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)
_names = sorted({name for part in healthy().status["listeners"] for name in part} | set(healthy().status))


@given(st.dictionaries(st.sampled_from([*_names, "leaf", "chain", "last_attempt", "connections", "refusals"]), _json))
def test_any_json_makes_a_view(reply: dict[str, Any]) -> None:
    kinds: tuple[Any, ...] = (Status, Certificates, Connections, ConnectionReply, Refusals, Failures, AttemptReply)
    views: list[Any] = [decoded(kind, reply) for kind in kinds]
    views.append(event_of("opened", reply))
    assert all(text.isprintable() for view in views for text in _texts(view))


def test_an_unknown_severity_is_a_warning() -> None:
    (problem,) = decoded(Status, {"problems": [{"severity": "fatal", "message": "x"}]}).problems
    assert problem.severity is Severity.WARNING
