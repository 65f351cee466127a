"""OpenTelemetry: each HTTP request is told to a collector as a span, in its client's trace; nobody waits for it."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support import configs
from support.collector import Collector, attributes, collecting
from support.grpc_calls import channel, credentials, grpc_service, unary
from support.mtls import connected
from support.pki import Pair, Pki
from support.raw_http import Answer, read_answer, request
from support.services import http_service, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
# Batches leave at once; nothing else of the environment may have a say.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50", "NO_PROXY": "*"}


def tracing(endpoint: str, **more: str) -> str:
    lines = {"endpoint": endpoint, "service_name": "shop", **more}
    return "[tracing]\n" + "".join(f'{key} = "{value}"\n' for key, value in lines.items())


def ask(sidecar: Sidecar, pki: Pki, pair: Pair, *lines: str, target: str = "/") -> Answer:
    with connected(sidecar.port(), pki.trust, pair) as peer:
        peer.send(request("GET", target, *lines))
        return read_answer(peer)


def told(answer: Answer, name: str = "traceparent") -> str:
    """What the service was sent under this name; it tells each line it got."""
    values: list[str] = re.findall(rf"(?im)^{name}: (.*)$", answer.body.decode())
    assert len(values) <= 1
    return values[0] if values else ""


def span_of(collector: Collector, target: str) -> Span:
    def look() -> Span | None:
        return next((span for span in collector.spans if attributes(span)["url.path"] == target), None)

    found = eventually(look)
    assert found is not None
    return found


def test_a_request_joins_its_clients_trace(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with collecting() as collector, http_service() as service:
        config = tracing(collector.endpoint) + configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config, env=SOON) as sidecar:
            parent = f"traceparent: 00-{TRACE}-{PARENT}-01"
            answer = ask(sidecar, pki, client, parent, "tracestate: vendor=1", target="/joined?token=secret")
            span = span_of(collector, "/joined")
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
            assert told(answer) == f"00-{TRACE}-{span.span_id.hex()}-01"
            assert told(answer, "tracestate") == "vendor=1"
            assert (span.name, span.kind, span.status.code) == ("GET", Span.SPAN_KIND_SERVER, Status.STATUS_CODE_UNSET)
            assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 5e9
            assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 30
            line = sidecar.last_access(access="request", status=200)
            assert line["trace_id"] == TRACE
            said = attributes(span)
            assert said["tlsidecar.request_id"] == line["request_id"]
            assert said["tlsidecar.identity"] == "client.test"
            assert said["http.response.status_code"] == 200
            assert b"secret" not in span.SerializeToString()
            assert collector.resource["service.name"] == "shop"

            # None of its own: a trace begins here.
            answer = ask(sidecar, pki, client, target="/begun")
            span = span_of(collector, "/begun")
            assert span.parent_span_id == b""
            assert told(answer) == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"

            # What cannot be read is not honoured, and its vendor's state belongs to a trace that is not ours.
            for number, bad in enumerate(
                (
                    f"00-{'0' * 32}-{PARENT}-01",
                    f"ff-{TRACE}-{PARENT}-01",
                    f"00-{TRACE}-{PARENT}-01-x",
                    "x",
                    TRACE.upper(),
                )
            ):
                answer = ask(
                    sidecar, pki, client, f"traceparent: {bad}", "tracestate: vendor=1", target=f"/bad{number}"
                )
                span = span_of(collector, f"/bad{number}")
                assert span.trace_id.hex() != TRACE
                assert told(answer) == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
                assert told(answer, "tracestate") == ""

            # The client says that its trace is not recorded: it is passed on so.
            answer = ask(sidecar, pki, client, f"traceparent: 00-{TRACE}-{PARENT}-00", target="/unsampled")
            assert re.fullmatch(rf"00-{TRACE}-(?!{PARENT})[0-9a-f]{{16}}-00", told(answer))
            ask(sidecar, pki, client, target="/last")
            span_of(collector, "/last")
            assert all(attributes(span)["url.path"] != "/unsampled" for span in collector.spans)


def test_two_sidecars_are_two_spans_of_one_trace(pki: Pki, tmp_path: Path) -> None:
    leaf = pki.issue("leaf", "localhost")
    with collecting() as collector, http_service() as service:
        inner = tracing(collector.endpoint) + configs.identity(leaf, pki.trust)
        inner += configs.terminate(service, protocol="http")
        with running(tmp_path / "inner", inner, env=SOON) as inside:
            outer = tracing(collector.endpoint) + configs.identity(leaf, pki.trust)
            outer += configs.originate(f"localhost:{inside.port()}", protocol="http")
            with running(tmp_path / "outer", outer, env=SOON) as outside:
                with socket.create_connection(("127.0.0.1", outside.port()), 10) as sock:
                    sock.sendall(request("GET", "/through"))
                    read_answer(sock)
                eventually(lambda: len(collector.spans) == 2)
        by_kind = {span.kind: span for span in collector.spans}
        client, server = by_kind[Span.SPAN_KIND_CLIENT], by_kind[Span.SPAN_KIND_SERVER]
        assert client.trace_id == server.trace_id
        assert server.parent_span_id == client.span_id
        assert client.parent_span_id == b""
        assert attributes(client)["tlsidecar.request_id"] == attributes(server)["tlsidecar.request_id"]


def test_the_refused_and_the_failed_are_told_too(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with collecting() as collector, serving(lambda sock: None) as service:
        config = tracing(collector.endpoint) + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        config += '[[listener.route]]\npath = "/admin/**"\nallow = ["ou:sre"]\n'
        with running(tmp_path / "sidecar", config, env=SOON) as sidecar:
            parent = f"traceparent: 00-{TRACE}-{PARENT}-01"
            assert ask(sidecar, pki, client, parent, target="/admin/x").status == 403
            span = span_of(collector, "/admin/x")
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
            assert attributes(span)["tlsidecar.reason"] == "route_denied"
            assert ask(sidecar, pki, client, target="/gone").status == 502
            span = span_of(collector, "/gone")
            assert span.status.code == Status.STATUS_CODE_ERROR
            assert attributes(span)["http.response.status_code"] == 502


@pytest.mark.parametrize("collector", ["closed", "hangs"])
def test_a_collector_that_is_away_holds_nobody_up(collector: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    release = threading.Event()
    with serving(lambda sock: release.wait(30)) as hanging, http_service() as service:
        endpoint = f"http://{hanging.address}/v1/traces"
        if collector == "closed":
            hanging.close()
        config = tracing(endpoint) + configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config, env=SOON) as sidecar:
            with connected(sidecar.port(), pki.trust, client) as peer:
                began = time.monotonic()
                for _ in range(40):
                    peer.send(request())
                    assert read_answer(peer).status == 200
                assert time.monotonic() - began < 10
            began = time.monotonic()
            assert sidecar.stop() == 0
            assert time.monotonic() - began < 8
        release.set()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_the_extra_it_serves_untraced_and_says_what_to_install(pki: Pki, tmp_path: Path, workers: str) -> None:
    """The extra is made to be missing: an import of it fails as that of a package that is not there."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    missing = tmp_path / "missing" / "opentelemetry"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('not installed')\n")
    env = {"PYTHONPATH": str(missing.parent), "TLSIDECAR_WORKERS": workers}
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "off", config, env=env) as sidecar:
            # Off: not imported at all, and the client's own words pass as they are.
            parent = f"00-{TRACE}-{PARENT}-01"
            assert told(ask(sidecar, pki, client, f"traceparent: {parent}")) == parent
            assert "trace_id" not in sidecar.last_access(access="request")
        traced = Sidecar(tmp_path / "on", tracing("http://127.0.0.1:1/v1/traces") + config, env=env)
        try:
            traced.start(wait=False)
            assert traced.wait() == 2
            assert "[tracing] needs packages: " in traced.log_text
            assert "-m pip install 'opentelemetry-" in traced.log_text
        finally:
            traced.kill()


def test_grpc_calls_are_told_alike(pki: Pki, tmp_path: Path) -> None:
    """Each stream is a request with a span of its own; also where the same header block comes again."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test", common_name="client")
    with collecting() as collector, grpc_service() as (service, address):
        config = tracing(collector.endpoint) + configs.identity(server, pki.trust)
        config += configs.terminate(address, protocol="grpc")
        with (
            running(tmp_path / "sidecar", config, env=SOON) as sidecar,
            channel(sidecar.port(), credentials(pki, client)) as through,
        ):
            spans: set[str] = set()
            for _ in range(3):
                parent = ("traceparent", f"00-{TRACE}-{PARENT}-01")
                unary(through)(b"x", timeout=20, metadata=[parent])
                said = str(service.metadata["traceparent"])
                assert said.startswith(f"00-{TRACE}-")
                assert PARENT not in said
                spans.add(said)
            assert len(spans) == 3
            eventually(lambda: len(collector.spans) == 3)
            assert {f"00-{TRACE}-{span.span_id.hex()}-01" for span in collector.spans} == spans
            assert {attributes(span)["url.path"] for span in collector.spans} == {"/demo.Echo/Unary"}
            assert {attributes(span)["http.response.status_code"] for span in collector.spans} == {200}
            assert sidecar.last_access(access="request", status=200)["trace_id"] == TRACE
