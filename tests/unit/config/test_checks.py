"""What values must satisfy together. Each kind of mistake in a file, with its line, is in test_problems.py; here is
what is no mistake, and what a value that is itself wrong keeps from being said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from unit.config.documents import IDENTITY, ORIGINATE, TERMINATE, document

from tlsidecar.config.checks import check
from tlsidecar.config.problems import dotted

ACME = {"directory": "https://ca.test/dir", "state": "acme"}


def found(*listeners: Mapping[str, object], **root: object) -> dict[str, str]:
    """By its key, what is found wrong between values."""
    return {dotted(each.key): each.message for each in check(document(*listeners, **root))}


def unreadable(*listeners: Mapping[str, object], **root: object) -> list[str]:
    """The keys of the values that are wrong by themselves."""
    return [dotted(each.key) for each in document(*listeners, **root).findings]


def test_nothing_is_wrong_with_what_the_manual_shows() -> None:
    assert found(TERMINATE, ORIGINATE) == {}


@pytest.mark.parametrize(
    ("delay", "limits", "of_listeners", "is_wrong"),
    [
        ("29s", {}, [{}], False),
        ("30s", {}, [{}], True),
        ("40s", {}, [{"drain_timeout": "1m"}], False),
        ("40s", {}, [{"drain_timeout": "1m"}, {}], False),
        ("10s", {}, [{"drain_timeout": "5s"}], True),
        ("10s", {"drain_timeout": "1m"}, [{"drain_timeout": "5s"}], True),
        ("10s", {"drain_timeout": "1m"}, [{"drain_timeout": "5s"}, {}], False),
        ("10s", {"drain_timeout": "5s"}, [{}], True),
        ("1h", {"drain_timeout": "soon"}, [{}], False),
        ("1h", {}, [{"drain_timeout": "soon"}], False),
        ("soon", {}, [{}], False),
        ("0s", {}, [{}], False),
    ],
)
def test_the_shutdown_delay_is_a_part_of_the_longest_drain(
    delay: str, limits: dict[str, object], of_listeners: list[dict[str, object]], is_wrong: bool
) -> None:
    listeners = [
        {**TERMINATE, "name": f"l{number}", "listen": f"127.0.0.1:{number + 1}", "limits": each}
        for number, each in enumerate(of_listeners)
    ]
    wrong = found(*listeners, shutdown_delay=delay, limits=limits)
    assert ("shutdown_delay" in wrong) is is_wrong, wrong


def test_the_port_of_the_metrics_drains_as_the_file_says_at_the_top() -> None:
    short = {**TERMINATE, "limits": {"drain_timeout": "5s"}}
    metrics = {"listen": "0.0.0.0:9902", "allow": ["any"]}
    assert found(short, shutdown_delay="10s", metrics=metrics) == {}
    assert list(found(short, shutdown_delay="10s")) == ["shutdown_delay"]


@pytest.mark.parametrize(
    ("limits", "of_listener", "wrong"),
    [
        ({"request_burst": 5}, {}, ["limits.request_burst"]),
        ({"request_burst": 5, "request_rate": "9/s"}, {}, []),
        ({"request_burst": 5}, {"request_rate": "9/s"}, []),
        ({"request_rate": "9/s"}, {"request_burst": 5}, []),
        ({}, {"request_burst": 5}, ["listener.0.limits.request_burst"]),
        # A rate that is wrong has been reported, wherever it stands.
        ({"request_rate": "fast"}, {"request_burst": 5}, []),
        ({"request_burst": 5}, {"request_rate": "fast"}, []),
        ({"max_connections": 5}, {"max_handshakes": 6}, ["listener.0.limits.max_handshakes"]),
        ({"max_handshakes": 6}, {"max_connections": 5}, ["listener.0.limits.max_handshakes"]),
        ({"max_connections": 5, "max_handshakes": 6}, {}, ["limits.max_handshakes"]),
        ({"max_connections": 5}, {"max_handshakes": 5}, []),
        ({"max_connections": "many"}, {"max_handshakes": 5}, []),
    ],
)
def test_limits_are_judged_as_a_listener_has_them(
    limits: dict[str, object], of_listener: dict[str, object], wrong: list[str]
) -> None:
    listener = {**TERMINATE, "protocol": "http", "limits": of_listener}
    assert list(found(listener, limits=limits)) == wrong


@pytest.mark.parametrize(
    ("upstream", "message"),
    [
        (["a.example:1", "a.example.:2"], ""),
        (["A.example:1", "a.example:2"], ""),
        ("10.0.0.1:1", ""),
        (["a.example:1", "b.example:2"], "the upstreams have different names; say who is expected"),
        ("unix:/run/pay", "a Unix socket has no name to expect"),
        (["a.example:1", "nowhere"], ""),
    ],
)
def test_who_is_expected_follows_from_one_name(upstream: object, message: str) -> None:
    assert found({**ORIGINATE, "upstream": upstream}).get("listener.0.expect", "") == message


WRONG_ALONE: list[tuple[dict[str, Any], str]] = [
    ({"mode": "both"}, "listener.0.mode"),
    ({"protocol": "quic"}, "listener.0.protocol"),
    ({"listen": "nowhere"}, "listener.0.listen"),
    ({"upstream": "nowhere"}, "listener.0.upstream"),
    ({"allow": ["everybody"]}, "listener.0.allow.0"),
    ({"unsafe_upstream": "yes", "upstream": "10.0.0.1:80"}, "listener.0.unsafe_upstream"),
    ({"identity": 3}, "listener.0.identity"),
    ({"protocol": "http", "route": [{"path": 3, "allow": ["any"]}]}, "listener.0.route.0.path"),
    ({"starttls": "imap"}, "listener.0.starttls"),
    ({"health_check": {"grpc": "yes"}, "protocol": "http"}, "listener.0.health_check.grpc"),
]


@pytest.mark.parametrize(("change", "key"), WRONG_ALONE, ids=[key for _, key in WRONG_ALONE])
def test_a_value_that_is_wrong_is_reported_once_and_says_nothing_here(change: dict[str, Any], key: str) -> None:
    listener = {**TERMINATE, **change}
    assert (unreadable(listener), found(listener)) == ([key], {})


@pytest.mark.parametrize(
    ("identity", "wrong"),
    [
        (IDENTITY, []),
        ({"cert": "tls.p12", "trust": "ca.crt"}, []),
        ({"authority": "pki", "dns": ["a"]}, []),
        ({"authority": "pki", "ip": ["10.0.0.1"], "trust": "ca.crt", "crl": "ca.crl"}, []),
        ({"authority": "pki", "spiffe": "spiffe://td/a", "crl": "ca.crl"}, ["identity.crl"]),
        ({"spiffe_socket": "unix:///agent.sock", "spiffe": "spiffe://td/a"}, []),
        ({"command": ["issue"]}, []),
        ({"command": ["issue"], "ttl": "1h"}, ["identity.ttl"]),
        ({"acme": ACME, "dns": ["a"], "trust": "ca.crt"}, []),
        ({"acme": ACME, "dns": ["a"]}, ["identity.trust"]),
        ({"acme": {**ACME, "eab_key_file": "k"}, "dns": ["a"], "trust": "t"}, ["identity.acme.eab_key_id"]),
        ({"acme": {**ACME, "http": "0.0.0.0:80"}, "dns": ["a"], "trust": "t"}, ["identity.acme.http"]),
        ({"acme": {**ACME, "http": ":", "challenge": "http-01"}, "dns": ["a"], "trust": "t"}, []),
        ({**IDENTITY, "crl_urls": ["http://crl.test/a"]}, ["identity.crl_urls"]),
        ({**IDENTITY, "crl_cache": "crls"}, ["identity.crl_cache"]),
        ({**IDENTITY, "crl_cache": "crls", "crl_urls": ["http://crl.test/a"]}, []),
        ({"cert": 3, "trust": "ca.crt"}, []),
        ({}, ["identity.cert"]),
    ],
)
def test_each_source_has_its_own_keys(identity: dict[str, object], wrong: list[str]) -> None:
    assert list(found(TERMINATE, identity=identity)) == wrong


@pytest.mark.parametrize(
    ("listeners", "more", "wrong"),
    [
        ((TERMINATE, ORIGINATE), {}, []),
        ((ORIGINATE,), {}, ["identity.acme.challenge"]),
        ((ORIGINATE,), {"challenge": "http-01", "http": "0.0.0.0:80"}, []),
        (({**ORIGINATE, "mode": "orginate"},), {}, []),
    ],
)
def test_a_ca_that_asks_by_tls_needs_a_listener_to_answer(
    listeners: tuple[dict[str, object], ...], more: dict[str, object], wrong: list[str]
) -> None:
    identity = {"acme": {**ACME, **more}, "dns": ["a"], "trust": "ca.crt"}
    assert list(found(*listeners, identity=identity)) == wrong


def test_a_name_that_cannot_be_read_makes_no_other_unknown() -> None:
    several = [{**IDENTITY, "name": "pub lic"}, {**IDENTITY, "name": "mesh"}]
    listener = {**TERMINATE, "identity": ["public", "mesh"]}
    metrics = {"listen": "0.0.0.0:9902", "allow": ["any"], "identity": "public"}
    assert found(listener, identity=several, metrics=metrics) == {}
    assert list(found(listener, identity=[{**IDENTITY, "name": "mesh"}])) == ["listener.0.identity.0"]


def test_where_nothing_listens_it_is_said_what_to_do() -> None:
    (without_file,) = check(document(file=None))
    (with_file,) = check(document(file=Path("/etc/t.toml")))
    assert without_file.message == with_file.message == "there is nothing to listen on"
    assert without_file.suggestion.startswith("no tlsidecar.toml is here")
    assert with_file.suggestion.startswith("add a [[listener]] table")
    assert list(check(document("web"))) == [], "which is wrong by itself"  # type: ignore[arg-type]
