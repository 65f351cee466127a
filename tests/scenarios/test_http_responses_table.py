# ruff: noqa: E501 - one row of a table is one line, however long
"""The table's other direction, over real TLS: what an upstream may not answer, and what its answers become."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connected
from support.pki import Pair, Pki
from support.recording import OK, Answer, Recorder, recording
from support.services import serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

pytestmark = pytest.mark.xdist_group("http_responses_table")


@dataclass
class World:
    sidecar: Sidecar
    recorder: Recorder
    trust: Path
    client: Pair

    def connect(self):  # type: ignore[no-untyped-def]
        return connected(self.sidecar.port(), self.trust, self.client)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("http_responses")
    pki = Pki(directory / "pki")
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with recording() as recorder:
        config = configs.limits(response_idle_timeout="1s") + configs.identity(server, pki.trust)
        config += configs.terminate(recorder.address, protocol="http", trailers=["x-keep"])
        with running(directory / "sidecar", config) as sidecar:
            yield World(sidecar, recorder, pki.trust, client)
        assert recorder.malformed == []


def ask(world: World, peer: Peer, answer: Answer, *, target: bytes, method: bytes = b"GET", lines: bytes = b"") -> None:
    world.recorder.answers[target] = answer
    peer.send(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")


def ok(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
REFUSED: list[tuple[str, bytes, bytes, bytes]] = [
    ("length and coding", ok(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), b"GET", b""),
    ("coding and length", ok(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), b"GET", b""),
    ("two lengths", ok(b"Content-Length: 2", b"Content-Length: 3", body=b"abc"), b"GET", b""),
    ("list of lengths", ok(b"Content-Length: 2, 2", body=b"ab"), b"GET", b""),
    ("signed length", ok(b"Content-Length: +2", body=b"ab"), b"GET", b""),
    ("gzip, chunked", ok(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), b"GET", b""),
    ("coding with 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"GET", b""),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"GET", b""),
    ("one bare LF", b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok", b"GET", b""),
    ("bare CR", b"HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 2\r\n\r\nok", b"GET", b""),
    ("NUL", ok(b"X: \0", b"Content-Length: 0"), b"GET", b""),
    ("fold", ok(b"X: a", b" b", b"Content-Length: 0"), b"GET", b""),
    ("space before the colon", ok(b"Content-Length : 0"), b"GET", b""),
    ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", b"GET", b""),
    ("HTTP/2", b"HTTP/2 200 OK\r\n\r\n", b"GET", b""),
    ("interim flood", ok(status=b"102 Processing") * 1000 + OK, b"GET", b""),
    ("a line over the limit", ok(b"X: " + b"y" * 33000), b"GET", b""),
    ("a head over the limit", ok(*[b"X: " + b"y" * 8000] * 5), b"GET", b""),
    ("101 fields", ok(*[b"X: y"] * 101), b"GET", b""),
    ("101 without request", ok(b"Connection: Upgrade", b"Upgrade: websocket", status=b"101 Go"), b"GET", b""),
    ("101 to something else", ok(b"Connection: Upgrade", b"Upgrade: h2c", status=b"101 Go"), b"GET", UPGRADE),
    ("101 without Upgrade", ok(status=b"101 Go"), b"GET", UPGRADE),
]  # fmt: skip


@pytest.mark.parametrize(("data", "method", "lines"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_answer_that_is_refused(world: World, data: bytes, method: bytes, lines: bytes) -> None:
    with world.connect() as peer:
        before = sum(each["count"] for each in world.sidecar.failures())
        ask(world, peer, Answer(data), target=b"/bad", method=method, lines=lines)
        answer = peer.recv_all()
        head = answer.rpartition(b"HTTP/1.1 ")[2]
        assert head.startswith(b"502 "), answer
        assert b"Connection: close\r\n" in head
        assert b"y" * 100 not in answer
    failure = world.sidecar.failure(reason="upstream_bad_response", upstream=world.recorder.address)
    assert failure["last_identity"] == "client.test"
    eventually(lambda: sum(each["count"] for each in world.sidecar.failures()) == before + 1)
    assert world.sidecar.refusals() == []
    bad = world.recorder.requests[-1].connection
    with world.connect() as peer:
        ask(world, peer, Answer(), target=b"/good")
        assert peer.recv_exactly(len(OK)) == OK
    assert world.recorder.requests[-1].connection != bad, "a connection with an uncertain end was used again"


CUT: list[tuple[str, Answer, str]] = [
    ("short body", Answer(ok(b"Content-Length: 9", body=b"abc"), then="close"), "upstream_closed"),
    ("reset in the body", Answer(ok(b"Content-Length: 9", body=b"abc"), then="reset"), "upstream_reset"),
    (
        "unfinished chunks",
        Answer(ok(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"), then="close"),
        "upstream_closed",
    ),
    ("bad chunk", Answer(ok(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n") + b"zz\r\n"), "bad_chunk"),
    ("chunk data too long", Answer(ok(b"Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n")), "bad_chunk"),
    ("body stops", Answer(ok(b"Content-Length: 9", body=b"abc")), "upstream_timeout"),
]


@pytest.mark.parametrize(("answer", "reason"), [row[1:] for row in CUT], ids=[row[0] for row in CUT])
def test_an_answer_that_breaks_off_is_cut_off(world: World, answer: Answer, reason: str) -> None:
    with world.connect() as peer:
        ask(world, peer, answer, target=b"/cut")
        # Part of it may have come; an end as if it were whole must not.
        with pytest.raises(ConnectionError):
            peer.recv_all()
    world.sidecar.last_access(access="request", target="/cut", reason=reason)


@dataclass(frozen=True)
class Passed:
    name: str
    answer: Answer
    status: int = 200
    body: bytes = b""
    has: tuple[bytes, ...] = ()
    hasnt: tuple[bytes, ...] = ()
    method: bytes = b"GET"
    reused: bool = True
    stays: bool = True


PASSED = [
    Passed("ordinary", Answer(ok(b"Content-Length: 3", b"Server: x", body=b"abc")), body=b"abc", has=(b"server: x",)),
    Passed("keep-alive", Answer(ok(b"Content-Length: 0", b"Connection: keep-alive", b"Keep-Alive: timeout=5")), hasnt=(b"keep-alive: timeout",)),
    Passed("chunks", Answer(ok(b"Transfer-Encoding: chunked", body=b"3;x=y\r\nabc\r\n0\r\nX-Keep: 1\r\nX-Drop: 2\r\n\r\n")), body=b"3\r\nabc\r\n0\r\nX-Keep: 1\r\n\r\n", has=(b"transfer-encoding: chunked",)),
    Passed("upstream closes after it", Answer(ok(b"Content-Length: 3", b"Connection: close", body=b"abc"), then="close"), body=b"abc", hasnt=(b"connection: close",), reused=False),
    Passed("ends with its connection", Answer(ok(b"Server: x", body=b"abc"), then="close"), body=b"3\r\nabc\r\n0\r\n\r\n", has=(b"transfer-encoding: chunked",), reused=False),
    Passed("HTTP/1.0", Answer(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"), body=b"abc", reused=False),
    Passed("HEAD", Answer(ok(b"Content-Length: 9")), method=b"HEAD", has=(b"content-length: 9",), reused=False),
    Passed("HEAD of what is empty", Answer(ok(b"Content-Length: 0")), method=b"HEAD", has=(b"content-length: 0",)),
    Passed("HEAD with a body", Answer(ok(b"Content-Length: 4", body=b"body")), method=b"HEAD", has=(b"content-length: 4",), reused=False),
    Passed("204 with a body", Answer(ok(status=b"204 No Content", body=b"body")), status=204, hasnt=(b"content-length",), reused=False),
    Passed("204 with a length", Answer(ok(b"Content-Length: 4", status=b"204 No Content")), status=204, hasnt=(b"content-length",), reused=False),
    Passed("304 with a body", Answer(ok(b"Content-Length: 4", status=b"304 Not Modified", body=b"body")), status=304, has=(b"content-length: 4",), reused=False),
    Passed("100 interim answers", Answer(ok(status=b"103 Early Hints") * 100 + ok(b"Content-Length: 3", body=b"abc")), body=b"abc"),
    Passed("204", Answer(ok(status=b"204 No Content")), status=204, hasnt=(b"content-length", b"transfer-encoding")),
    Passed("204 with an empty body", Answer(ok(b"Content-Length: 0", status=b"204 No Content")), status=204, hasnt=(b"content-length",)),
    Passed("304", Answer(ok(b"ETag: x", status=b"304 Not Modified")), status=304, has=(b"etag: x",)),
    Passed("beyond its end", Answer(ok(b"Content-Length: 3", body=b"abcHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")), body=b"abc", reused=False),
    Passed("100 unasked for", Answer(ok(status=b"100 Continue") + ok(b"Content-Length: 3", body=b"abc")), body=b"abc"),
    Passed("hop-by-hop", Answer(ok(b"Content-Length: 0", b"Connection: x-one", b"X-One: 1", b"Proxy-Authenticate: x", b"Upgrade: h2c", b"Trailer: x")), hasnt=(b"x-one", b"proxy-authenticate", b"upgrade", b"trailer")),
    Passed("early, with the body still to come", Answer(ok(b"Content-Length: 2", status=b"403 No", body=b"no"), early=True), status=403, body=b"no", method=b"POST", has=(b"connection: close",), reused=False, stays=False),
]  # fmt: skip


@pytest.mark.parametrize("row", PASSED, ids=lambda row: row.name)
def test_an_answer_that_is_passed_on(world: World, row: Passed) -> None:
    already = len(world.recorder.requests)
    with world.connect() as peer:
        lines = b"Content-Length: 1000\r\n" if row.method == b"POST" else b""
        ask(world, peer, row.answer, target=b"/row", method=row.method, lines=lines)
        head = _head(peer)
        while head.startswith(b"HTTP/1.1 1"):
            head = _head(peer)
        assert head.startswith(b"HTTP/1.1 %d " % row.status), head
        for part in row.has:
            assert b"\r\n" + part in head.lower()
        for part in row.hasnt:
            assert b"\r\n" + part not in head.lower()
        if not row.stays:
            assert peer.recv_all() == row.body
            return
        assert peer.recv_exactly(len(row.body)) == row.body
        ask(world, peer, Answer(), target=b"/after")
        assert peer.recv_exactly(len(OK)) == OK
    first, after = world.recorder.requests[already:]
    assert (first.connection == after.connection) is row.reused


def test_data_of_the_new_protocol_before_the_101_waits_for_it(pki: Pki, tmp_path: Path) -> None:
    """With a service of its own: a kept connection would lead to the one that answers the rows."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    seen: list[bytes] = []

    def reluctant(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        sock.settimeout(0.3)
        try:
            seen.append(sock.recv(65536))
        except TimeoutError:
            seen.append(b"")
        sock.settimeout(20)
        sock.sendall(ok(b"Connection: Upgrade", b"Upgrade: websocket", status=b"101 Go"))
        seen.append(sock.recv(65536))

    with serving(reluctant) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"GET /late HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n\x81\x05early")
            assert _head(peer).startswith(b"HTTP/1.1 101 ")
            assert peer.recv_all() == b""
    assert seen == [b"", b"\x81\x05early"]


def test_an_upgrade_that_the_service_declines_stays_http(world: World) -> None:
    with world.connect() as peer:
        ask(world, peer, Answer(ok(b"Content-Length: 0", status=b"426 No")), target=b"/declined", lines=UPGRADE)
        assert _head(peer).startswith(b"HTTP/1.1 426 ")
        ask(world, peer, Answer(), target=b"/after")
        assert peer.recv_exactly(len(OK)) == OK


def _head(peer: Peer) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv_exactly(1)
    return head
