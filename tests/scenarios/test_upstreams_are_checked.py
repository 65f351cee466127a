"""Active health checks: an upstream that is down is known to be, and so is one that is back."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, server_context
from support.pki import Pair, Pki
from support.ports import free_port
from support.services import Handler, Service, echo, reset, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

FAST = {"interval": "50ms", "timeout": "5s"}


def health_check(**values: object) -> str:
    """For the listener before it."""
    return "[listener.health_check]\n" + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in {**FAST, **values}.items()
    )


def answers(status: Callable[[], int], seen: list[bytes] | None = None) -> Handler:
    """An HTTP service that answers each connection's first request."""

    def handle(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = sock.recv(65536)
            if not more:
                return
            head += more
        if seen is not None:
            seen.append(head)
        sock.sendall(b"HTTP/1.1 %d Whatever\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" % status())

    return handle


def ready(sidecar: Sidecar) -> int:
    return sidecar.get("/readyz", expect=None)[0]


def upstream_lines(sidecar: Sidecar) -> list[tuple[str, str]]:
    return [
        (line["message"], line["upstream"])
        for line in sidecar.log_lines
        if str(line.get("message", "")).startswith("upstream ")
    ]


def ask(pki: Pki, port: int, pair: Pair) -> int:
    with contextlib.closing(
        http.client.HTTPSConnection("localhost", port, timeout=20, context=pki.client_context(pair))
    ) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status


def test_readiness_follows_the_service_and_liveness_does_not(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    status, seen = [200], list[bytes]()
    with serving(answers(lambda: status[0], seen)) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        config += health_check(path="/health?deep=1", readiness=True)
        with running(tmp_path / "sidecar", config) as sidecar:
            eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is True)  # by each worker
            assert sidecar.listener()["upstreams"][0]["healthy"] is True
            sidecar.counts(1, "tlsidecar_upstream_healthy", listener="in")
            assert seen[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\n")
            assert f"\r\nHost: {service.address}\r\n".encode() in seen[0]

            status[0] = 503
            eventually(lambda: ready(sidecar) == 503)
            assert "upstream_not_ready: in is not ready" in sidecar.get("/readyz", expect=503)[1]
            assert sidecar.get("/healthz")[0] == 200

            def unhealthy_to_all() -> dict[str, Any]:
                (record,) = sidecar.listener()["upstreams"]
                assert (record["healthy"], record["checked"]) == (False, False)
                return record

            # One worker's word is enough for readiness; the others come to it with their own next check.
            record = unhealthy_to_all() if sidecar.workers == 1 else eventually(unhealthy_to_all)
            assert record["last_error"].endswith("GET /health?deep=1 was answered 503")
            assert sidecar.metric("tlsidecar_upstream_healthy", listener="in") == 0
            assert sidecar.metric("tlsidecar_upstream_checks_total", outcome="failed") >= 2
            assert sidecar.metric("tlsidecar_ready") == 0
            eventually(lambda: sidecar.status()["state"] == "degraded")
            # A check is no gate: with one address, requests go to it and have its own answer.
            assert ask(pki, sidecar.port(), client) == 503

            status[0] = 204
            eventually(lambda: ready(sidecar) == 200)
            eventually(lambda: sidecar.status()["state"] == "ready")
            told = [(f"upstream {word}", service.address) for word in ("healthy", "unhealthy", "healthy")]
            eventually(lambda: upstream_lines(sidecar) == told)


def test_without_being_asked_readiness_does_not_follow(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address) + health_check()
        with running(tmp_path / "sidecar", config) as sidecar:
            eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is True)
            service.close()
            eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is False)
            assert ready(sidecar) == 200
            status = sidecar.status()
            assert (status["state"], status["ready"]) == ("degraded", True)
            assert [(problem["severity"], problem["code"]) for problem in sidecar.problems()] == [
                ("critical", "upstream_down")
            ]


def test_not_ready_before_the_service_is_there(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}")
    config += health_check(readiness=True)
    with running(tmp_path / "sidecar", config, until="/healthz") as sidecar:
        eventually(lambda: "upstream_not_ready" in sidecar.get("/readyz", expect=503)[1])
        assert sidecar.get("/healthz")[0] == 200
        with serving(echo, port=port):
            eventually(lambda: ready(sidecar) == 200)


def test_a_flapping_upstream_is_back_with_its_first_success(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    handler = answers(lambda: 200)
    port = free_port()
    with serving(handler, port=port) as first:
        config = configs.identity(server, pki.trust) + configs.terminate(first.address, protocol="http")
        config += health_check(path="/", readiness=True, interval="30ms", unhealthy_threshold=1)
        with running(tmp_path / "sidecar", config) as sidecar:
            service: Service = first
            for _ in range(20):
                service.close()
                eventually(lambda: ready(sidecar) == 503)
                assert ask(pki, sidecar.port(), client) == 502
                service = Service(handler, port=port)
                # Not only the checks: the first request is let through, whatever the failures before it.
                assert ask(pki, sidecar.port(), client) == 200
                eventually(lambda: ready(sidecar) == 200)
            record = sidecar.listener()["upstreams"][0]
            assert (record["healthy"], record["failures"], record["ejected_until"]) == (True, 0, None)
            told = ["upstream healthy", *(["upstream unhealthy", "upstream healthy"] * 20)]
            eventually(lambda: [words for words, _ in upstream_lines(sidecar)] == told)
            service.close()


def test_an_unhealthy_address_is_left_out_until_it_is_well(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    status = [200, 200]
    hits = [0, 0]

    def service_number(number: int) -> Handler:
        def count() -> int:
            hits[number] += 1
            return status[number]

        def handle(sock: socket.socket) -> None:
            seen: list[bytes] = []
            checks = answers(lambda: status[number] if b"GET /health" in seen[-1] else count(), seen)
            checks(sock)

        return handle

    with serving(service_number(0)) as one, serving(service_number(1)) as two:
        config = configs.identity(server, pki.trust)
        config += configs.terminate([one.address, two.address], protocol="http") + health_check(path="/health")
        with running(tmp_path / "sidecar", config) as sidecar:

            def checked() -> list[bool | None]:
                return [record["checked"] for record in sidecar.listener()["upstreams"]]

            eventually(lambda: checked() == [True, True])
            status[0] = 500
            eventually(lambda: checked() == [False, True])
            before = hits[0]
            assert [ask(pki, sidecar.port(), client) for _ in range(10)] == [200] * 10
            assert hits[0] == before
            status[0] = 200
            eventually(lambda: checked() == [True, True])
            # Least connections, the first of equals: the address that is well again gets the next request.
            assert ask(pki, sidecar.port(), client) == 200
            assert hits[0] == before + 1
            status[:] = [500, 500]
            eventually(lambda: checked() == [False, False])
            assert ask(pki, sidecar.port(), client) == 500


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        pytest.param(reset, "", id="resets"),
        pytest.param(lambda sock: sock.recv(1000), "", id="closes"),
        pytest.param(lambda sock: sock.sendall(b"220 mail.test ESMTP\r\n"), "not HTTP/1.1", id="another protocol"),
        pytest.param(lambda sock: sock.sendall(b"x" * 4000), "not HTTP/1.1", id="no line at all"),
        pytest.param(lambda sock: threading.Event().wait(3), "was not done within 0.3 s", id="hangs"),
    ],
)
def test_what_is_no_answer_is_a_failure(handler: Handler, problem: str, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(handler) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        config += health_check(path="/", timeout="300ms")
        with running(tmp_path / "sidecar", config) as sidecar:
            eventually(lambda: sidecar.listener()["upstreams"][0]["checks_failed"] >= 2)
            eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is False)  # by each worker
            record = sidecar.listener()["upstreams"][0]
            assert record["last_error"].startswith(service.address)
            assert problem in record["last_error"]


@contextlib.contextmanager
def remote(trust: Path, pair: Pair, port: int = 0) -> Iterator[Service]:
    """A mutual-TLS server."""
    context = server_context(trust, pair)

    def handle(sock: socket.socket) -> None:
        with contextlib.suppress(SSL.Error, OSError, Alerted):
            peer = Peer(context, sock, server_side=True).handshake()
            peer.recv_all()
            peer.end_writing()

    with serving(handle, port=port) as service:
        yield service


def test_an_ambassador_checks_who_the_remote_is(pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "app.internal")
    right, wrong = pki.issue("right", "localhost"), pki.issue("wrong", "elsewhere.internal")
    port = free_port()
    with remote(pki.trust, right, port) as service:
        config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{port}") + health_check()
        with running(tmp_path / "sidecar", config) as sidecar:
            eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is True)
            service.close()
            with remote(pki.trust, wrong, port):

                def names_the_reason() -> bool:
                    return "expected identities" in sidecar.listener()["upstreams"][0]["last_error"]

                eventually(names_the_reason)
                eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is False)  # by each worker
            with remote(pki.trust, right, port):
                eventually(lambda: sidecar.listener()["upstreams"][0]["checked"] is True)
            assert sidecar.refusals() == []


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_a_sidecar_is_not_disturbed_by_being_checked(protocol: str, pki: Pki, tmp_path: Path) -> None:
    leaf = pki.issue("leaf", "localhost")
    with serving(answers(lambda: 200)) as service:
        inner = configs.identity(leaf, pki.trust) + configs.terminate(service.address, protocol=protocol)
        with running(tmp_path / "inner", inner) as inside:
            outer = configs.identity(leaf, pki.trust)
            outer += configs.originate(f"localhost:{inside.port()}", protocol=protocol)
            outer += health_check(**({"path": "/"} if protocol == "http" else {}))
            with running(tmp_path / "outer", outer) as outside:

                def checked_often() -> bool:
                    record = outside.listener()["upstreams"][0]
                    assert record["checks_failed"] == 0, record
                    return record["checks_total"] >= 20

                descriptors = outside.descriptors()
                eventually(checked_often)
                assert outside.descriptors() <= descriptors + 4
                # Asked before it ends: a check that its end cuts off in the handshake is rightly told of.
                assert inside.refusals() == []
            inside.settles()
