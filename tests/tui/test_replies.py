"""Whatever the sidecar says becomes a view model or a default, never an exception, and never raw text."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ui_world import HOSTILE, NOW, healthy, hostile

from tui import replies
from tui.decode import Fields
from tui.views import Severity


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
    status = replies.status_view(healthy().document("status"))
    assert status.now == NOW
    assert (status.node, status.state, status.ready, status.modes) == ("web-1", "ready", True, "terminate+originate")
    assert status.totals.connections_active == 12
    assert status.listeners[0].upstreams[0].healthy
    assert status.listeners[1].expect == ("spiffe://prod.example/ns/pay/sa/api",)
    assert status.handshake_p99_s == 0.01
    assert status.certificate.next_renewal_at is not None


def test_certificates_connections_refusals_and_events() -> None:
    world = healthy()
    certificates = replies.certificates_view(world.document("certificates"))
    assert certificates.leaf is not None
    assert certificates.leaf.uris == ("spiffe://prod.example/ns/shop/sa/web",)
    assert certificates.crls[0].revoked == 2
    assert certificates.last_attempt is not None
    assert certificates.last_attempt.outcome == "applied"
    assert certificates.connections_by_generation == {"2": 1, "3": 11}
    page = replies.connection_page_view({"total": 3, "matched": 2, "offset": 1, "connections": world.connections[:1]})
    assert (page.total, page.matched, page.offset, page.connections[0].id) == (3, 2, 1, 1)
    refusals = replies.refusals_view({"total": 3, "refusals": world.refusals})
    assert [each.seq for each in refusals.refusals] == [3, 2, 1]
    event = replies.event_view("opened", {"seq": 7, "at": "2026-11-23T23:15:00.000Z", "id": 17, "listener": "web"})
    assert (event.seq, event.kind, event.summary) == (7, "opened", "listener=web  id=17")
    lost = replies.event_view("lost", {"from": 3, "to": 9})
    assert lost.summary == "events 3 to 9 are no longer kept"
    nested = replies.event_view("reload", {"seq": 8, "attempt": {"outcome": "refused", "at": None}})
    assert nested.summary == "attempt=outcome=refused"


def test_who_was_refused_by_the_best_name_there_is() -> None:
    first = {"identity": "spiffe://a/b", "subject": "CN=b", "peer_address": "10.0.0.1:1"}
    views = [replies.refusals_view({"refusals": [first | gone]}).refusals[0] for gone in ({}, {"identity": ""})]
    assert [view.who for view in views] == ["spiffe://a/b", "CN=b"]
    nobody = replies.refusals_view({"refusals": [{}]}).refusals[0]
    assert nobody.who == "unknown"


def test_hostile_texts_arrive_harmless_and_the_raw_json_verbatim() -> None:
    world = hostile()
    status = replies.status_view(world.document("status"))
    views = [
        status,
        replies.certificates_view(world.document("certificates")),
        replies.connection_page_view({"connections": world.connections}),
        replies.refusals_view({"refusals": world.refusals}),
        *(replies.event_view(kind, fields) for kind, fields in world.events),
    ]
    texts = [text for view in views for text in _texts(view)]
    assert len(texts) > 500
    assert all(text.isprintable() for text in texts)
    assert status.raw["node"] in HOSTILE


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)
_names = sorted({name for part in healthy().status["listeners"] for name in part} | set(healthy().status))


@given(st.dictionaries(st.sampled_from([*_names, "leaf", "chain", "last_attempt", "connections", "refusals"]), _json))
def test_any_json_makes_a_view(reply: dict[str, Any]) -> None:
    views: list[Any] = [
        view(reply)
        for view in (
            replies.status_view,
            replies.certificates_view,
            replies.connection_page_view,
            replies.connection_view,
            replies.refusals_view,
            replies.attempt_view,
        )
    ]
    views.append(replies.event_view("opened", reply))
    assert all(text.isprintable() for view in views for text in _texts(view))


def test_fields_out_of_range_become_defaults() -> None:
    fields = Fields(
        json.loads(
            '{"huge": 1e999, "big": 1' + "0" * 400 + ', "flag": 1, "list": {}, "when": "2026-13-01T00:00:00Z",'
            ' "naive": "2026-01-01T00:00:00", "edge": "0001-01-01T00:00:00+14:00", "text": null, "number": "7"}'
        )
    )
    assert fields.number("huge") == 0.0
    assert fields.integer("huge") == 0
    assert fields.integer("big") == 2**63 - 1
    assert fields.number("big") == float(2**63 - 1)
    assert not fields.flag("flag")
    assert list(fields.objects("list")) == []
    assert fields.texts("list") == ()
    assert [fields.moment(name) for name in ("when", "naive", "edge", "text", "missing")] == [None] * 5
    assert fields.text("text") == ""
    assert fields.integer("number") == 0
    assert fields.plain("big") == ""


def test_an_unknown_severity_is_a_warning() -> None:
    (problem,) = replies.status_view({"problems": [{"severity": "fatal", "message": "x"}]}).problems
    assert problem.severity is Severity.WARNING


def test_times_are_utc() -> None:
    assert Fields({"at": "2026-11-24T00:15:00+01:00"}).moment("at") == datetime(2026, 11, 23, 23, 15, tzinfo=UTC)
