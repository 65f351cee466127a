"""gRPC through the sidecar, by grpcio on both ends: every kind of call, both ways, with who is asking told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support import configs
from support.grpc_calls import (
    SERVICE,
    EchoService,
    channel,
    credentials,
    grpc_service,
    server_credentials,
    unary,
)
from support.h2_services import GoesAway
from support.pki import Pki
from support.services import serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

ROUTES = """
[[listener.route]]
path = "/demo.Echo/Both"
allow = ["cn:nobody"]
"""


@pytest.fixture
def inward(pki: Pki, tmp_path: Path) -> Iterator[tuple[Sidecar, EchoService, grpc.Channel]]:
    """A client over mutual TLS, the sidecar, a plaintext service."""
    server = pki.issue("server", "localhost")
    client = pki.issue("client", "client.test", common_name="client")
    with grpc_service() as (service, address):
        config = configs.identity(server, pki.trust) + configs.terminate(address, protocol="grpc")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            channel(sidecar.port(), credentials(pki, client)) as through,
        ):
            yield sidecar, service, through


@pytest.fixture
def outward(pki: Pki, tmp_path: Path) -> Iterator[tuple[Sidecar, EchoService, grpc.Channel]]:
    """A plaintext client, the sidecar, a service that speaks mutual TLS."""
    server = pki.issue("server", "localhost")
    client = pki.issue("client", "client.test", common_name="client")
    with grpc_service(credentials=server_credentials(pki, server)) as (service, address):
        target = address.replace("127.0.0.1", "localhost")
        config = configs.identity(client, pki.trust) + configs.originate(target, protocol="http", http2="also")
        with running(tmp_path / "sidecar", config) as sidecar, channel(sidecar.port()) as through:
            yield sidecar, service, through


@pytest.mark.parametrize("way", ["inward", "outward"])
def test_every_kind_of_call(way: str, request: pytest.FixtureRequest) -> None:
    sidecar, service, through = request.getfixturevalue(way)
    metadata = [
        ("x-key", "value"),
        ("x-bytes-bin", b"\x00\x01\xff"),
        ("x_under_score" if way == "inward" else "x-u", "1"),
    ]
    call = unary(through).with_call(b"hello", timeout=20, metadata=metadata)
    answer, told = call
    assert answer == b"hello"
    assert dict(told.initial_metadata())["x-raw-bin"] == b"\x00\xff"
    assert dict(told.trailing_metadata())["x-trailing-bin"] == b"\xfe\x00"
    for key, value in metadata:
        assert service.metadata[key] == value
    assert ("DNS=client.test" in str(service.metadata.get("x-forwarded-client-cert"))) is (way == "inward")
    assert list(through.unary_stream(f"/{SERVICE}/ServerStream")(b"1000", timeout=20)) == [
        b"%d" % n for n in range(1000)
    ]
    assert through.stream_unary(f"/{SERVICE}/ClientStream")(iter([b"x" * 1000] * 100), timeout=20) == b"100000"
    assert list(through.stream_stream(f"/{SERVICE}/Both")(iter([b"a", b"b"]), timeout=20)) == [b"A", b"B"]
    zipped = unary(through)(b"z" * 100_000, timeout=20, compression=grpc.Compression.Gzip)
    assert zipped == b"z" * 100_000
    line = sidecar.last_access(access="request", status=200, method="POST", target=f"/{SERVICE}/Unary")
    assert line["identity"] == ("client.test" if way == "inward" else "localhost")
    sidecar.counts(5, "tlsidecar_grpc_calls_total", code="0")


def test_a_status_with_a_message(inward: tuple[Sidecar, EchoService, grpc.Channel]) -> None:
    _, _, through = inward
    with pytest.raises(grpc.RpcError) as caught:
        unary(through)(b"fail", timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no such thing: 50 % ü"
    assert dict(caught.value.trailing_metadata())["x-trailing"] == "2"


def test_deadlines_and_cancelling(inward: tuple[Sidecar, EchoService, grpc.Channel]) -> None:
    sidecar, service, through = inward
    with pytest.raises(grpc.RpcError) as caught:
        unary(through)(b"slow", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    stream = through.unary_stream(f"/{SERVICE}/ServerStream")(b"forever")
    assert next(stream) == b"tick"

    def connection() -> dict[str, Any]:
        (row,) = sidecar.json("/v1/connections")["connections"]
        assert row["streams"] == 1, "the one that was given up is still there"
        return row  # type: ignore[no-any-return]

    assert eventually(connection)["alpn"] == "h2"
    sidecar.counts(1, "tlsidecar_http2_streams_active")
    stream.cancel()
    eventually(lambda: service.cancelled == 1)
    sidecar.counts(0, "tlsidecar_http2_streams_active")
    eventually(lambda: "stream_reset" in {line["reason"] for line in sidecar.access_lines()})


@pytest.mark.parametrize("way", ["inward", "outward"])
def test_large_messages_and_many_calls(way: str, request: pytest.FixtureRequest) -> None:
    _, service, through = request.getfixturevalue(way)
    large = bytes(range(256)) * (20 << 12)
    assert unary(through)(large, timeout=60) == large
    calls = [unary(through).future(b"%d" % number, timeout=60) for number in range(2000)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(2000)]
    assert service.calls == 2001


def test_who_may_call_what(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test", common_name="client")
    with grpc_service() as (service, address):
        config = configs.identity(server, pki.trust)
        config += configs.terminate(address, protocol="grpc", allow=("cn:client",)) + ROUTES
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            channel(sidecar.port(), credentials(pki, client)) as through,
        ):
            assert unary(through)(b"fine", timeout=20) == b"fine"
            with pytest.raises(grpc.RpcError) as caught:
                list(through.stream_stream(f"/{SERVICE}/Both")(iter([b"a" * 100_000] * 10), timeout=20))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert service.calls == 1
            assert unary(through)(b"still", timeout=20) == b"still"
            (refusal,) = [each for each in sidecar.refusals() if each["reason"] == "route_denied"]
            assert (refusal["identity"], refusal["target"]) == ("client.test", f"/{SERVICE}/Both")


def test_a_service_that_is_not_there(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1", protocol="grpc")
    with running(tmp_path / "sidecar", config) as sidecar:
        with channel(sidecar.port(), credentials(pki, client), ("grpc.enable_retries", 0)) as through:
            with pytest.raises(grpc.RpcError) as caught:
                unary(through)(b"x", timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        eventually(lambda: "upstream_refused" in {line["reason"] for line in sidecar.access_lines()})


def test_a_remote_without_http2_is_told_so(pki: Pki, tmp_path: Path) -> None:
    """The remote agrees on nothing by ALPN: a sidecar of its own, for plain TCP."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with grpc_service() as (_, address):
        remote = configs.identity(server, pki.trust) + configs.terminate(address)
        with running(tmp_path / "remote", remote) as far:
            config = configs.identity(client, pki.trust)
            config += configs.originate(f"localhost:{far.port()}", protocol="http", http2="only")
            with running(tmp_path / "near", config) as near, channel(near.port()) as through:
                with pytest.raises(grpc.RpcError) as caught:
                    unary(through)(b"x", timeout=30)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                eventually(lambda: "upstream_no_h2" in {line["reason"] for line in near.access_lines()})


def test_a_call_that_was_not_begun_with_is_tried_again(pki: Pki, tmp_path: Path) -> None:
    """By the client itself (gRPC's transparent retry), which learns from the service's GOAWAY that it may."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    leaves = GoesAway()
    with serving(leaves) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="grpc")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            channel(sidecar.port(), credentials(pki, client)) as through,
        ):
            for body in (b"first", b"second", b"third"):
                assert unary(through)(body, timeout=20) == body
            assert (leaves.left, leaves.connections) == (1, 2)


def test_grpc_over_tcp_by_alpn(pki: Pki, tmp_path: Path) -> None:
    """The bytes are not looked at; ALPN is what a gRPC client insists on."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with grpc_service() as (_, address):
        config = configs.identity(server, pki.trust) + configs.terminate(address, alpn=["h2"])
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            channel(sidecar.port(), credentials(pki, client)) as through,
        ):
            assert unary(through)(b"hello", timeout=20) == b"hello"
            (row,) = sidecar.json("/v1/connections")["connections"]
            assert (row["protocol"], row["alpn"]) == ("tcp", "h2")


def test_keepalive_pings_pass(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    options = (
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_timeout_ms", 1500),
        ("grpc.http2.max_pings_without_data", 0),
    )
    with grpc_service() as (_, address):
        config = configs.identity(server, pki.trust) + configs.terminate(address, protocol="grpc")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            channel(sidecar.port(), credentials(pki, client), *options) as through,
        ):
            assert unary(through)(b"slow", timeout=20) == b"slow"


def test_a_drain_waits_for_the_call(inward: tuple[Sidecar, EchoService, grpc.Channel]) -> None:
    sidecar, _, through = inward
    slow = unary(through).future(b"slow", timeout=20)
    sidecar.counts(1, "tlsidecar_http2_streams_active")
    sidecar.call("POST", "/v1/drain")
    assert slow.result() == b"slow"


HEALTH = """
[listener.health_check]
grpc = true
interval = "50ms"
timeout = "5s"
readiness = true
"""


@pytest.mark.parametrize("way", ["inward", "outward"])
def test_the_health_of_a_service_is_asked_by_grpc(way: str, pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "localhost")
    secrets = None if way == "inward" else server_credentials(pki, pki.issue("remote", "localhost"))
    with grpc_service(credentials=secrets) as (service, address):
        config = configs.identity(ours, pki.trust)
        if way == "inward":
            config += configs.terminate(address, protocol="grpc") + HEALTH
        else:
            config += configs.originate(address.replace("127.0.0.1", "localhost"), protocol="grpc") + HEALTH
        with running(tmp_path / "sidecar", config) as sidecar:
            eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is True)  # by each worker
            service.serves = False
            eventually(lambda: sidecar.get("/readyz", expect=None)[0] == 503)
            assert "not serving" in sidecar.listener()["upstreams"][0]["last_error"]
            service.serves = True
            eventually(lambda: sidecar.get("/readyz", expect=None)[0] == 200)
