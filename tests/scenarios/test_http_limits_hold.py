"""Every bound on HTTP traffic, met over real TLS: what the client is told, what is recorded, what does not reach
the service."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from support import configs
from support.mtls import Alerted, connect, connected
from support.pki import Pki
from support.raw_http import read_answer, request
from support.services import Handler, http_service, serving
from support.several import in_one_worker
from support.sidecar import running
from support.waiting import eventually


def recording(received: list[bytes]) -> Handler:
    """Keeps what it is sent, and answers every piece that ends a request head or body with 200."""

    def handle(sock: socket.socket) -> None:
        at = len(received)
        received.append(b"")
        while data := sock.recv(65536):
            received[at] += data
            if received[at].endswith((b"\r\n\r\n", b"!")):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    return handle


def test_requests_per_connection(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    config = configs.limits(max_requests_per_connection=3) + configs.identity(server, pki.trust)
    with http_service() as service:
        config += configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            for left in (2, 1, 0):
                peer.send(request())
                answer = read_answer(peer)
                assert (answer.status, answer.closes) == (200, left == 0)
            assert peer.recv_all() == b""
            # Requests sent ahead of their turn are not served beyond the bound either.
            with connected(sidecar.port(), pki.trust, client) as eager:
                eager.send(request() * 10)
                assert eager.recv_all().count(b"HTTP/1.1 200 OK") == 3
            sidecar.counts(6, "tlsidecar_requests_total")


def test_requests_at_once(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    go = threading.Event()

    def holds(sock: socket.socket) -> None:
        while sock.recv(65536):
            go.wait(20)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with serving(holds) as service:
        # Two for each worker: several divide the limit among them.
        most = 2 * int(os.environ.get("TLSIDECAR_WORKERS", "1"))
        config = configs.limits(max_concurrent_requests=most) + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            peers = in_one_worker(sidecar, 4, lambda: connect(sidecar.port(), pki.trust, client))
            one, two, three, four = peers
            one.send(request(target="/1"))
            two.send(request(target="/2"))
            eventually(lambda: service.connections == 2)
            three.send(request(target="/3"))
            answer = read_answer(three)
            assert (answer.status, answer.fields["retry-after"], answer.closes) == (503, "1", False)
            refusal = sidecar.refusal(reason="shed")
            assert (refusal["status"], refusal["target"], refusal["identity"]) == (503, "/3", "client.test")
            # Who is cut off in the middle leaves its place.
            two.reset()
            eventually(lambda: sidecar.status()["totals"]["connections_active"] == 3)
            four.send(request(target="/4"))
            eventually(lambda: service.connections == 3)
            three.send(request(target="/3"))
            assert read_answer(three).status == 503
            go.set()
            assert [read_answer(one).status, read_answer(four).status] == [200, 200]
            three.send(request(target="/3"))
            assert read_answer(three).status == 200
            for peer in (one, three, four):
                peer.close()


def test_requests_of_one_identity_a_second(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    greedy, modest = pki.issue("greedy", "greedy.test"), pki.issue("modest", "modest.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http") + "[listener.limits]\n"
        config += 'request_rate = "2/m"\nrequest_burst = 3\n'
        config += configs.terminate(service, protocol="http", name="quick") + "[listener.limits]\n"
        config += 'request_rate = "10/s"\nrequest_burst = 1\n'
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port("in"), pki.trust, greedy) as peer:
                statuses = []
                for _ in range(5):
                    peer.send(request())
                    answer = read_answer(peer)
                    statuses.append(answer.status)
                assert statuses == [200, 200, 200, 429, 429]
                assert 1 <= int(answer.fields["retry-after"]) <= 30
                assert not answer.closes
                # It is the identity's, not the connection's; and nobody else's.
                with connected(sidecar.port("in"), pki.trust, greedy) as again:
                    again.send(request())
                    assert read_answer(again).status == 429
            with connected(sidecar.port("in"), pki.trust, modest) as other:
                other.send(request())
                assert read_answer(other).status == 200
            refusal = sidecar.refusal(reason="rate_limited")
            assert (refusal["stage"], refusal["status"], refusal["identity"]) == ("authorize", 429, "greedy.test")

            with connected(sidecar.port("quick"), pki.trust, greedy) as peer:

                def status() -> int:
                    peer.send(request())
                    return read_answer(peer).status

                began, served = time.monotonic(), 0
                assert status() == 200
                while served < 5:
                    served += status() == 200
                # Ten a second, however fast it asks.
                assert time.monotonic() - began >= 0.45


@pytest.mark.parametrize("trickles", [False, True])
def test_a_head_takes_too_long(trickles: bool, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    received: list[bytes] = []
    with serving(recording(received)) as service:
        config = configs.limits(head_timeout="400ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            began = time.monotonic()
            peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            stop = threading.Event()

            def trickle() -> None:
                while not stop.wait(0.05):
                    try:
                        peer.send(b"x")
                    except (ConnectionError, OSError, Alerted):
                        return

            writer = threading.Thread(target=trickle)
            if trickles:
                writer.start()
            answer = read_answer(peer)
            stop.set()
            if trickles:
                writer.join(5)
            assert (answer.status, answer.closes) == (408, True)
            assert time.monotonic() - began >= 0.4
            assert sidecar.refusal(reason="head_timeout")["status"] == 408
            assert received == []


def test_a_client_that_asks_nothing_is_let_go(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.limits(head_timeout="200ms", keepalive_timeout="800ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            began = time.monotonic()
            with connected(sidecar.port(), pki.trust, client) as silent:
                assert silent.recv_all() == b""  # close_notify: an end, not a cut
                assert time.monotonic() - began >= 0.75, "opened ahead, it waits like one that is kept"
            with connected(sidecar.port(), pki.trust, client) as peer:
                for _ in range(2):
                    began = time.monotonic()
                    peer.send(request())
                    assert read_answer(peer).status == 200
                assert peer.recv_all() == b""
                assert time.monotonic() - began >= 0.75
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request())
                assert read_answer(peer).status == 200
                peer.end_writing()
                assert peer.recv_all() == b""
            for outcome in ("head_timeout", "idle_timeout", "completed"):
                eventually(
                    lambda outcome=outcome: sidecar.metric("tlsidecar_connections_total", outcome=outcome) == 1  # type: ignore[misc]
                )
            assert sidecar.refusals() == []


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        pytest.param(request("POST", "/", "Content-Length: 6"), [b"12", b"34", b"5!"], id="length"),
        pytest.param(
            request("POST", "/", "Transfer-Encoding: chunked"),
            [b"5\r\n12", b"345\r\n1\r\n!\r", b"\n0\r\n\r\n"],
            id="chunked",
        ),
    ],
)
def test_a_body_stops_arriving(head: bytes, pieces: list[bytes], pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    received: list[bytes] = []
    with serving(recording(received)) as service:
        config = configs.limits(body_idle_timeout="1200ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(head + pieces[0])
                answer = read_answer(peer)
                assert (answer.status, answer.closes) == (408, True)
                assert sidecar.refusal(reason="body_timeout")["status"] == 408
            # Slow is not stopped: a pause below the bound, several times over, is in order.
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(head)
                for piece in pieces:
                    threading.Event().wait(0.45)
                    peer.send(piece)
                assert read_answer(peer).status == 200
            assert len(received) == 2


def test_a_reader_that_does_not_read(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    size = 64 * 1024 * 1024
    cut_off = threading.Event()

    def pours(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(1024 * 1024)
        try:
            for _ in range(size // len(block)):
                sock.sendall(block)
        except OSError:
            cut_off.set()

    with serving(pours) as service:
        config = configs.limits(write_timeout="1s") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            before = sidecar.resident_bytes()
            stuck = connect(sidecar.port(), pki.trust, client)
            stuck.send(request())
            assert cut_off.wait(20)
            line = sidecar.last_access(access="request")
            assert (line["reason"], line["status"]) == ("slow_reader", 200)
            sidecar.counts(1, "tlsidecar_connections_total", outcome="slow_reader")
            # What it did not take was not kept for it.
            assert sidecar.resident_bytes() - before < 8 * 1024 * 1024
            with pytest.raises((ConnectionError, Alerted)):
                stuck.recv_all()
            stuck.close()

            # One that reads with pauses gets everything, in more time than the timeout.
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request())
                began, got = time.monotonic(), 0
                while got < size and (data := peer.recv(65536)):
                    got += len(data)
                    if got % (4 * 1024 * 1024) < len(data):
                        threading.Event().wait(0.08)
                assert got >= size
                assert time.monotonic() - began > 1.0


@pytest.mark.parametrize("expects", [False, True], ids=["", "expect"])
def test_a_body_is_too_large(expects: bool, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    received: list[bytes] = []
    more = ["Expect: 100-continue"] if expects else []
    with serving(recording(received)) as service:
        config = configs.limits(max_body_bytes="1KiB") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request("POST", "/long", "Content-Length: 1025", *more))
                answer = read_answer(peer)
                assert (answer.status, answer.closes) == (413, True)
                assert received == []
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request("POST", "/chunked", "Transfer-Encoding: chunked", *more))
                peer.send(b"400\r\n" + b"x" * 1024 + b"\r\n1\r\ny\r\n0\r\n\r\n")
                answers = peer.recv_all()
                assert answers.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").startswith(b"HTTP/1.1 413 ")
            assert [refusal["target"] for refusal in sidecar.refusals()] == ["/chunked", "/long"]
            assert {refusal["reason"] for refusal in sidecar.refusals()} == {"body_too_large"}
            # The service never had the whole of it: no last chunk.
            assert all(b"0\r\n\r\n" not in each.partition(b"\r\n\r\n")[2] for each in received)
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request("POST", "/fits", body=b"x" * 1023 + b"!"))
                assert read_answer(peer).status == 200


def test_an_answer_may_pause_for_longer_than_a_request(pki: Pki, tmp_path: Path) -> None:
    """An event stream is silent for long; it is bounded by a limit of its own."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    go_on = threading.Event()

    def events(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
        go_on.wait(20)
        sock.sendall(b"two")

    with serving(events) as service:
        config = configs.limits(body_idle_timeout="100ms", response_idle_timeout="1200ms")
        config += configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request())
                assert peer.recv().endswith(b"one")
                threading.Event().wait(0.4)
                go_on.set()
                assert peer.recv_exactly(3) == b"two"
            go_on.clear()
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request())
                assert peer.recv().endswith(b"one")
                with pytest.raises(ConnectionError):
                    peer.recv()
            sidecar.last_access(reason="upstream_timeout", status=200)
            go_on.set()
