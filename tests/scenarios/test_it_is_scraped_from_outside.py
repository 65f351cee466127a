"""`[metrics] listen`: /metrics, /healthz, /readyz on any address, in the clear or by mutual TLS, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import Alerted, connected
from support.pki import Pair, Pki
from support.raw_http import read_answer, request
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

from tlsidecar.admin.routes import ROUTES

PATHS = ("/metrics", "/healthz", "/readyz")
HOSTS = ("127.0.0.1", "10.1.2.3:9902", "web.shop.svc", "")
ELSEWHERE = sorted(
    {(route.method, route.path.replace("{id}", "1")) for route in ROUTES if route.path not in PATHS}
    | {("POST", path) for path in PATHS}
    | {("DELETE", "/metrics"), ("PUT", "/healthz"), ("CONNECT", "127.0.0.1:1"), ("OPTIONS", "*"), ("TRACE", "/metrics")}
    | {("GET", path) for path in ("/", "//metrics", "/metrics/", "/metrics/../v1/status", "/%2e%2e/v1/status", "/v1")}
    | {("GET", "http://localhost/v1/status"), ("GET", "/metrics?x=1#/v1/status"), ("GET", "/readyz/../v1/status")}
)


def scraped(port: int, method: str, target: str, host: str = "localhost", body: bytes = b"") -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.putrequest(method, target, skip_host=True)
        connection.putheader("Host", host)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def port_of(sidecar: Sidecar) -> int:
    line = eventually(lambda: [line for line in sidecar.log_text.splitlines() if '"message":"metrics"' in line])[0]
    return int(json.loads(line)["address"].rpartition(":")[2])


def config(pki: Pki, service: str, server: Pair, metrics: str) -> str:
    return f"[metrics]\n{metrics}\n" + configs.identity(server, pki.trust) + configs.terminate(service)


def test_three_paths_and_nothing_else(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with (
        serving(echo) as service,
        running(tmp_path / "sidecar", config(pki, service.address, server, 'listen = "0.0.0.0:0"')) as sidecar,
    ):
        port = port_of(sidecar)
        for host in HOSTS:
            status, body = scraped(port, "GET", "/metrics", host)
            assert status == 200
            assert b"\ntlsidecar_connections_active{" in body
        assert scraped(port, "GET", "/healthz")[0] == 200
        assert scraped(port, "GET", "/readyz") == (200, b"ready\n")
        for method, target in ELSEWHERE:
            status, body = scraped(port, method, target, body=b"{}")
            # A query that is not known is refused where the path is; everything else is not there.
            assert status in (400, 404, 405), (method, target, status)
            assert b"listeners" not in body
            assert b"connections_active" not in body
        assert sidecar.status()["state"] == "ready"  # nobody drained it


def test_not_ready_is_said_without_the_reasons(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with (
        serving(echo) as service,
        running(tmp_path / "sidecar", config(pki, service.address, server, 'listen = "127.0.0.1:0"')) as sidecar,
    ):
        port = port_of(sidecar)
        with connected(sidecar.port(), pki.trust, pki.issue("client", "client.test")) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            drain = threading.Thread(target=sidecar.call, args=("POST", "/v1/drain"))
            drain.start()
            eventually(lambda: sidecar.status()["state"] == "draining")
            assert scraped(port, "GET", "/readyz") == (503, b"not ready\n")
            assert scraped(port, "GET", "/healthz")[0] == 200
        drain.join(10)


@pytest.mark.parametrize("workers", [1, 2])
def test_only_for_those_it_allows(pki: Pki, tmp_path: Path, workers: int) -> None:
    server, scraper = pki.issue("server", "localhost"), pki.issue("scraper", "prometheus.test")
    stranger = pki.issue("stranger", "client.test")
    metrics = 'listen = "127.0.0.1:0"\nallow = ["dns:prometheus.test"]'
    with (
        serving(echo) as service,
        running(
            tmp_path / "sidecar",
            config(pki, service.address, server, metrics),
            env={"TLSIDECAR_WORKERS": str(workers)},
        ) as sidecar,
    ):
        port = sidecar.port("metrics")
        with connected(port, pki.trust, scraper) as peer:
            for path in PATHS:
                peer.send(request("GET", path))
                assert read_answer(peer).status == 200, path
            for target in ("/v1/status", "/v1/connections", "/", "/metrics/../v1/status"):
                peer.send(request("GET", target))
                assert read_answer(peer).status == 404, target
            peer.send(request("POST", "/v1/shutdown", "Content-Type: application/json", body=b"{}"))
            assert read_answer(peer).status in (404, 405)
        for nobody in (stranger, None):
            with pytest.raises((Alerted, ConnectionError)):
                ask(port, pki, nobody)
        with pytest.raises((http.client.BadStatusLine, ConnectionError, AssertionError)):
            assert scraped(port, "GET", "/metrics")[0] == 200
        assert sidecar.status()["state"] == "ready"


def ask(port: int, pki: Pki, client: Pair | None) -> None:
    with connected(port, pki.trust, client) as peer:
        peer.send(request("GET", "/metrics"))
        assert peer.recv()


def test_slow_and_many_scrapers_keep_nobody_out(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with (
        serving(echo) as service,
        running(tmp_path / "sidecar", config(pki, service.address, server, 'listen = "127.0.0.1:0"')) as sidecar,
    ):
        port = port_of(sidecar)
        slow = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(40)]
        for sock in slow:
            sock.sendall(b"GET /metr")
        assert scraped(port, "GET", "/healthz")[0] == 200
        for sock in slow:
            sock.close()


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ('listen = "unix:/run/x"', "metrics.listen"),
        ('allow = ["any"]', "there is no listen"),
        ('listen = "127.0.0.1:0"\nallow = []', "lets nobody in"),
        ('listen = ":9902"', "no host"),
        ('listen = "127.0.0.1:0"\nallow = ["nonsense"]', "metrics.allow"),
    ],
)
def test_what_is_wrong_with_it_is_said(pki: Pki, tmp_path: Path, metrics: str, said: str) -> None:
    server = pki.issue("server", "localhost")
    sidecar = Sidecar(tmp_path / "sidecar", config(pki, "127.0.0.1:1", server, metrics))
    sidecar.start(wait=False)
    assert sidecar.wait() == 2
    assert said in sidecar.log_text
    assert "Traceback" not in sidecar.log_text


def test_a_port_that_is_taken_is_named(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sidecar = Sidecar(tmp_path / "sidecar", config(pki, "127.0.0.1:1", server, f'listen = "127.0.0.1:{port}"'))
        sidecar.start(wait=False)
        assert sidecar.wait() == 1
        assert f"metrics.listen cannot listen on 127.0.0.1:{port}: Address already in use" in sidecar.log_text
