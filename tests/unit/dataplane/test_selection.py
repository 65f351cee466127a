"""Which connections are meant: by filter, by a name whole, by the generation they came under."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.certs import forge

from certs.identity import Identity
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.selection import SORT_KEYS, goes_by, matching, ordered, selected
from tlsidecar.dataplane.snapshot import ConnectionQuery, ConnectionSelection

PKI = forge.authority()
WEB = forge.leaf(PKI, uris=["spiffe://prod.example/ns/shop/sa/web"], dns=["Web.Internal"]).identity
RAW = forge.leaf(PKI, uris=["spiffe://prod.example/ns/raw/sa/web"]).identity


def connection(number: int, identity: Identity | None = WEB, **more: Any) -> Connection:
    """As much of one as is asked."""
    facts = {"generation": 1, "own": "default", "terminates": True, "bytes_in": 0, "active_at": 100.0, **more}
    return cast(
        "Connection",
        SimpleNamespace(
            id=number,
            identity=identity,
            frontend=SimpleNamespace(name="web", mode="terminate", protocol="http", terminates=facts["terminates"]),
            peer_address="192.0.2.1:4711",
            state=SimpleNamespace(value="established"),
            contexts=SimpleNamespace(generation=facts["generation"], identity=facts["own"]),
            rule="any",
            upstream_address="127.0.0.1:8080",
            bytes_in=facts["bytes_in"],
            bytes_out=0,
            requests=0,
            opened_at=1000.0,
            active_at=facts["active_at"],
            accepted_at=0.0,
            streams=0,
            shared=SimpleNamespace(worker=0),
        ),
    )


ALL = [connection(1), connection(2, RAW), connection(3, None), connection(4, WEB, bytes_in=5000, active_at=40.0)]


def ids(connections: list[Connection]) -> list[int]:
    return [each.id for each in connections]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("", [1, 2, 3, 4]),
        ("namespace:shop", [1, 4]),
        ("!namespace:shop", [2, 3]),
        ("bytes:>4k", [4]),
        ("idle:>30s", [4]),
        ("age:>1h", []),
        ("192.0.2.1 shop", [1, 4]),
        ("connection:3", [3]),
    ],
)
def test_a_filter(wanted: str, meant: list[int]) -> None:
    assert ids(matching(ALL, wanted, now=100.0, wall=1060.0)) == meant


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("spiffe://prod.example/ns/shop/sa/web", True),
        ("web.internal", True),  # DNS names without case
        ("spiffe://prod.example/ns/shop", False),
        ("SPIFFE://prod.example/ns/shop/sa/web", False),
        ("", False),
    ],
)
def test_a_name_is_meant_whole(name: str, goes: bool) -> None:
    assert goes_by(ALL[0], name) is goes
    assert not goes_by(ALL[2], name)  # nobody is known there


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (ConnectionSelection(filter="namespace:shop"), [1, 4, 5]),
        (ConnectionSelection(identity="spiffe://prod.example/ns/raw/sa/web"), [2]),
        (ConnectionSelection(identity="spiffe://prod.example/ns/shop/sa/web", inbound_only=True), [1, 4]),
        (ConnectionSelection(older_than=(("default", 3), ("other", 2))), [1, 2, 3, 4]),
        (ConnectionSelection(older_than=(("other", 9),)), []),
        (ConnectionSelection(), []),  # who asks for nothing means nobody
    ],
)
def test_those_to_end(selection: ConnectionSelection, meant: list[int]) -> None:
    everyone = [*ALL, connection(5, WEB, generation=3, terminates=False)]
    assert ids(selected(everyone, selection, now=100.0, wall=1060.0)) == meant


def test_every_key_orders_both_ways() -> None:
    for key in SORT_KEYS:
        up = ordered(list(ALL), ConnectionQuery(sort=key))
        assert sorted(ids(up)) == [1, 2, 3, 4]
    assert ids(ordered(list(ALL), ConnectionQuery(sort="bytes_in", descending=True)))[0] == 4
    assert ids(ordered(list(ALL), ConnectionQuery(sort="idle_s", descending=True)))[0] == 4  # idle the longest
    assert ids(ordered(list(ALL), ConnectionQuery(sort="idle_s")))[-1] == 4
