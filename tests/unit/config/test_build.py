"""From a document in which nothing is wrong to settings: what follows from what is written. Every key with its field is
in test_loader.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from unit.config.documents import ADMIN_SOCKET, IDENTITY, ORIGINATE, TERMINATE, document

from tlsidecar.config.build import build
from tlsidecar.config.checks import check
from tlsidecar.settings import METRICS_LISTENER, Address, Limits, ListenerSettings, Mode, Protocol, Settings


def built(*listeners: Mapping[str, object], **root: object) -> Settings:
    whole = document(*listeners, **root)
    assert [*whole.findings, *check(whole)] == []
    return build(whole)


def listener(written: Mapping[str, object], **root: object) -> ListenerSettings:
    (only,) = built(written, **root).listeners
    return only


def test_limits_come_from_the_listener_else_from_the_top_else_they_are_the_usual_ones() -> None:
    own = {**TERMINATE, "limits": {"idle_timeout": "1m"}, "max_connection_age": "2h"}
    limits = listener(own, limits={"idle_timeout": "5m", "head_timeout": "3s"}).limits
    assert limits == Limits(idle_timeout_s=60.0, head_timeout_s=3.0, max_connection_age_s=7200.0)
    settings = built(own, limits={"idle_timeout": "5m"})
    assert settings.limits == Limits(idle_timeout_s=300.0)


@pytest.mark.parametrize(
    ("upstream", "more", "server_name", "expect"),
    [
        ("a.example:1", {}, "a.example", ("dns:a.example",)),
        (["a.example:1", "a.example.:2"], {}, "a.example", ("dns:a.example",)),
        ("localhost:1", {}, "localhost", ("dns:localhost",)),
        ("127.0.0.1:1", {}, "", ("ip:127.0.0.1",)),
        ("[::1]:1", {}, "", ("ip:::1",)),
        ("a.example:1", {"expect": ["ou:pay"]}, "a.example", ("ou:pay",)),
        ("a.example:1", {"server_name": "b.example"}, "b.example", ("dns:b.example",)),
        (["a.example:1", "b.example:1"], {"server_name": "c.example"}, "c.example", ("dns:c.example",)),
        (["a.example:1", "unix:/b"], {"expect": ["ou:pay"]}, "", ("ou:pay",)),
    ],
)
def test_a_remote_is_called_by_one_name_and_never_by_an_address(
    upstream: object, more: dict[str, object], server_name: str, expect: tuple[str, ...]
) -> None:
    """RFC 6066, section 3: no literal address is a server name."""
    made = listener({**ORIGINATE, "upstream": upstream, **more})
    assert (made.server_name, made.expect) == (server_name, expect)


def test_whoever_terminates_expects_nobody_and_calls_nobody() -> None:
    made = listener(TERMINATE)
    assert (made.mode, made.server_name, made.expect) == (Mode.TERMINATE, "", ())


def test_grpc_is_http_with_names_as_they_are() -> None:
    made = listener({**TERMINATE, "protocol": "grpc", "health_check": {"grpc": True}})
    assert (made.protocol, made.http2, made.http.underscores) == (Protocol.HTTP, "only", "allow")
    assert made.health_check is not None
    assert made.health_check.grpc


def test_a_listener_has_the_first_identity_unless_it_names_others() -> None:
    several = [{**IDENTITY, "name": "mesh"}, {**IDENTITY, "name": "public"}]
    named = {**TERMINATE, "name": "named", "listen": "127.0.0.1:1", "identity": ["public", "mesh"]}
    first, other = built(TERMINATE, named, identity=several).listeners
    assert (first.identities, other.identities) == (("mesh",), ("public", "mesh"))


@pytest.mark.parametrize(
    ("metrics", "identities"),
    [
        ({"listen": "0.0.0.0:9902"}, None),
        ({"listen": "0.0.0.0:9902", "allow": ["ou:sre"]}, ("mesh",)),
        ({"listen": "0.0.0.0:9902", "allow": ["ou:sre"], "identity": "public"}, ("public",)),
        ({}, None),
    ],
)
def test_metrics_for_some_stand_behind_a_listener_as_any_other(
    metrics: dict[str, object], identities: tuple[str, ...] | None
) -> None:
    several = [{**IDENTITY, "name": "mesh"}, {**IDENTITY, "name": "public"}]
    settings = built(TERMINATE, identity=several, metrics=metrics, limits={"idle_timeout": "1m"})
    behind = settings.listeners[1:]
    if identities is None:
        assert behind == ()
        return
    assert behind == (
        ListenerSettings(
            name=METRICS_LISTENER,
            mode=Mode.TERMINATE,
            protocol=Protocol.HTTP,
            listen=Address("0.0.0.0", 9902),
            upstreams=(Address(path=str(ADMIN_SOCKET.with_name("metrics.sock"))),),
            identities=identities,
            allow=("ou:sre",),
            limits=Limits(idle_timeout_s=60.0),
        ),
    )


def test_the_file_and_the_admin_socket_are_the_documents() -> None:
    settings = built(TERMINATE, admin={"http": "127.0.0.1:9901"})
    assert (settings.config_file, settings.admin.socket) == (Path("/etc/t.toml"), ADMIN_SOCKET)
    assert settings.admin.http == Address("127.0.0.1", 9901)
    assert built(TERMINATE, admin={"socket": "own.sock"}).admin.socket == Path("/etc/own.sock")
    assert built(TERMINATE, file=None).config_file is None
