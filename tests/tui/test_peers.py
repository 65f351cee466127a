"""What can be done about a peer: each action says how many it touches and sends that, with the name as it came."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ui_world import HOSTILE, NOW, connection, healthy, refusal

from tui.actions import Verb
from tui.lines import Kind, Target
from tui.model import ConnectionQuery, Model, Snapshot
from tui.peers import (
    DENY_FOR,
    Peer,
    close_identity,
    close_matching,
    deny,
    drain_older,
    older_connections,
    undeny,
    undrain,
)
from tui.records import Denial, decoded
from tui.text import SafeText

NAME = "spiffe://prod.example/ns/shop/sa/cart"
CART = Peer(NAME, SafeText(NAME))


def asked(path: str) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(path)
    return parts.path, parse_qs(parts.query, keep_blank_values=True, strict_parsing=True)


def snapshot(**replies: Any) -> Snapshot:
    world, model = healthy(), Model(SafeText("admin.sock"))
    model.take_status(world.document("status"), 10.0, NOW, 0.0)
    model.take_certificates(replies.get("certificates", world.document("certificates")), 10.0)
    if "connections" in replies:
        model.take_connections({"total": 1, "matched": 1, "connections": replies["connections"]}, ConnectionQuery())
    if "refusals" in replies:
        model.take_refusals({"total": 1, "refusals": replies["refusals"], "groups": []}, 100, 10.0)
    return model.snapshot(10.0)


@pytest.mark.parametrize("name", [*HOSTILE, NAME, "a&b=c#d+e f/%2e"], ids=range(len(HOSTILE) + 2))
def test_a_name_is_sent_back_as_it_came_and_shown_safe(name: str) -> None:
    told = snapshot(connections=[connection(7, NOW) | {"identity": name}])
    peer = Peer.under(told, Target(Kind.CONNECTION, 7))
    assert peer is not None
    assert peer.name == name
    assert peer.shown.isprintable()
    action = close_identity(peer, 3)
    path, query = asked(action.path)
    assert (action.method, path, query) == ("DELETE", "/v1/connections", {"identity": [name], "expected": ["3"]})
    assert action.consequence.isprintable()
    assert len(action.title) < 80


def test_whoever_has_no_name_can_be_kept_out_by_none() -> None:
    told = snapshot(connections=[connection(7, NOW) | {"identity": ""}], refusals=[refusal(4, NOW), refusal(3, NOW)])
    assert Peer.under(told, Target(Kind.CONNECTION, 7)) is None
    assert Peer.under(told, Target(Kind.CONNECTION, 8)) is None, "it is gone"
    told.raw["connection"] = {"connection": connection(9, NOW)}
    assert Peer.under(told, Target(Kind.CONNECTION, 8)) is None, "what was looked at last is somebody else"
    assert Peer.under(told, Target(Kind.CONNECTION, 9)) is not None
    assert Peer.under(told, Target(Kind.REFUSAL, 4)) is None, "it showed no certificate"
    assert Peer.under(told, Target(Kind.LISTENER, "web")) is None
    found = Peer.under(told, Target(Kind.REFUSAL, 3))
    assert found is not None
    assert found.name == "spiffe://old.example/ns/shop/sa/cart"


def test_a_denial_says_for_how_long_and_how_many_are_cut() -> None:
    for words, seconds in DENY_FOR.items():
        action = deny(CART, words, 12)
        assert (action.verb, action.method, action.path) == (Verb.DENY, "POST", "/v1/denials")
        assert action.body == {"identity": NAME, "for_s": seconds, "expected": 12}
        assert f"kept out for {words}" in action.consequence
        assert "12 connections cut now" in action.consequence
        assert deny(CART, words, 9).body == {"identity": NAME, "for_s": seconds}, "a tenth of so few is none"


def test_a_denial_ends_by_its_number() -> None:
    action = undeny(decoded(Denial, {"id": 9, "identity": NAME}))
    assert (action.method, action.path, action.body) == ("DELETE", "/v1/denials/9", None)


def test_what_matches_a_filter_is_closed_by_that_filter() -> None:
    action = close_matching("listener:web idle:>1h", 1)
    assert asked(action.path) == ("/v1/connections", {"filter": ["listener:web idle:>1h"], "expected": ["1"]})
    assert action.consequence.startswith("1 connection matching listener:web idle:>1h cut now")


def test_of_several_identities_the_older_connections_are_added_up() -> None:
    assert older_connections(Model(SafeText("x")).snapshot(0.0)) == 0
    certificates = healthy().document("certificates")
    own = {key: certificates[key] for key in ("leaf", "chain", "trust", "crls", "source")}
    certificates["identities"] = [
        own | {"name": name, "generation": 3, "connections_by_generation": counts}
        for name, counts in (("public", {"1": 2, "3": 9}), ("mesh", {"2": 5}))
    ]
    told = snapshot(certificates=certificates)
    assert older_connections(told) == 7
    action = drain_older(told)
    assert action.body == {"expected": 7, "timeout_s": 30}
    assert action.timeout_s > 30, "the answer comes when the time is over"
    assert "7 connections accepted under older material" in action.consequence


def test_an_undrain_names_the_sidecar() -> None:
    action = undrain(snapshot())
    assert (action.method, action.path) == ("POST", "/v1/undrain")
    assert action.consequence.startswith(snapshot().name)
