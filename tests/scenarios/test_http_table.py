# ruff: noqa: E501 - one row of a table is one line, however long
"""The HTTP table, row by row, over real TLS: the status, the close, the record, and what reached the service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connected
from support.pki import Pair, Pki
from support.recording import OK, Answer, Recorder, recording
from support.sidecar import Sidecar, running
from support.waiting import eventually
from unit.dataplane.http1.refused_heads import REFUSED, get

pytestmark = pytest.mark.xdist_group("http_table")


@dataclass
class World:
    sidecar: Sidecar
    recorder: Recorder
    trust: Path
    client: Pair
    ports: dict[str, int]

    def connect(self, listener: str = "in"):  # type: ignore[no-untyped-def]
        return connected(self.ports[listener], self.trust, self.client)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("http_table")
    pki = Pki(directory / "pki")
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test", common_name="client")
    with recording() as recorder:
        variants: dict[str, dict[str, object]] = {
            "in": {"trailers": ["x-keep"]},
            "drop": {"underscores": "drop"},
            "allow": {"underscores": "allow", "remove_headers": ["x-tenant"]},
            "append": {"client_certificate_header": "append_forward"},
            "forward": {"client_certificate_header": "forward_only"},
            "sanitize": {"client_certificate_header": "sanitize"},
            "trusting": {"trust_forwarded": True},
            "no_upgrades": {"upgrades": []},
            "upgrades": {"upgrades": ["SPDY/3.1", "tcp"]},
            "strict": {"underscores": "refuse", "http10_without_host": "refuse"},
        }
        config = configs.limits(max_body_bytes="100000B", head_timeout="1s", body_idle_timeout="1s")
        config += configs.identity(server, pki.trust)
        for name, more in variants.items():
            config += configs.terminate(recorder.address, protocol="http", name=name, **more)
        config += configs.terminate(recorder.address, protocol="http", name="routed")
        config += '[[listener.route]]\npath = "/admin/**"\nallow = ["dns:admin.test"]\n'
        config += '[[listener.route]]\npath = "/**"\nmethods = ["GET"]\nallow = ["any"]\n'
        config += '[[listener.route]]\npath = "/**"\nallow = ["dns:admin.test"]\n'
        with running(directory / "sidecar", config) as sidecar:
            ports = {name: sidecar.port(name) for name in [*variants, "routed"]}
            yield World(sidecar, recorder, pki.trust, client, ports)
        assert recorder.malformed == []


def refused(
    world: World, data: bytes, status: int, reason: str, *, listener: str = "in", stage: str = "request"
) -> None:
    """``data`` is answered with ``status`` and the end; the record says why; the service has seen none of it."""
    connections, requests = len(world.recorder.received), len(world.recorder.requests)
    with world.connect(listener) as peer:
        address = "{}:{}".format(*peer.sock.getsockname())
        peer.send(data)
        answer = peer.recv_all()  # ends with close_notify, or raises
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    refusal = world.sidecar.refusal(peer_address=address)
    assert (refusal["status"], refusal["reason"], refusal["stage"]) == (status, reason, stage)
    assert (refusal["identity"], refusal["listener"], refusal["side"]) == ("client.test", listener, "local")
    assert len(world.recorder.received) == connections, "the service got bytes of a refused request"
    assert len(world.recorder.requests) == requests


@pytest.mark.parametrize(("data", "status", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_head_that_is_refused(world: World, data: bytes, status: int, reason: str) -> None:
    refused(world, data, status, str(reason))


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED_BODIES = [
    ("sign", b"+1\r\n", 400, "bad_chunk"),
    ("minus", b"-1\r\n", 400, "bad_chunk"),
    ("0x", b"0x1\r\na\r\n0\r\n\r\n", 400, "bad_chunk"),
    ("underscore", b"1_0\r\n", 400, "bad_chunk"),
    ("space before", b" 1\r\na\r\n", 400, "bad_chunk"),
    ("space after", b"1 \r\na\r\n", 400, "bad_chunk"),
    ("17 digits", b"00000000000000001\r\na\r\n", 400, "bad_chunk"),
    ("over 2^63-1", b"8000000000000000\r\n", 400, "bad_chunk"),
    ("bare LF after the size", b"1\na\r\n", 400, "bad_chunk"),
    ("bare CR after the size", b"1\ra\r\n", 400, "bad_chunk"),
    ("bare LF in an extension", b"1;a\nb\r\n", 400, "bad_chunk"),
    ("bare CR in an extension", b"1;a\rb\r\n", 400, "bad_chunk"),
    ("NUL in an extension", b"1;\0\r\n", 400, "bad_chunk"),
    ("extension over 1 KiB", b"1;" + b"a" * 1024 + b"\r\na\r\n", 400, "bad_chunk"),
    ("data too long", b"1\r\nab\r\n", 400, "bad_chunk"),
    ("LF after the data", b"1\r\na\n", 400, "bad_chunk"),
    ("too large", b"186a1\r\n", 413, "body_too_large"),
    ("folded trailer", b"0\r\nX-Keep: a\r\n b\r\n\r\n", 400, "bad_trailer"),
    ("bare LF in a trailer", b"0\r\nX-Keep: a\n\r\n", 400, "bad_trailer"),
    ("bare LF ends the trailers", b"0\r\n\n", 400, "bad_trailer"),
    ("space before a trailer's colon", b"0\r\nX-Keep : a\r\n\r\n", 400, "bad_trailer"),
    ("trailers over 8 KiB", b"0\r\nX-Keep: " + b"a" * 8200, 431, "bad_trailer"),
    ("33 trailers", b"0\r\n" + b"X-Keep: a\r\n" * 33, 431, "bad_trailer"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "reason"), [row[1:] for row in REFUSED_BODIES], ids=[row[0] for row in REFUSED_BODIES]
)
def test_a_body_that_is_refused(world: World, body: bytes, status: int, reason: str) -> None:
    refused(world, CHUNKED + body, status, reason)


def test_a_body_that_is_refused_later_never_becomes_a_request(world: World) -> None:
    requests = len(world.recorder.requests)
    connections = len(world.recorder.received)
    with world.connect() as peer:
        peer.send(CHUNKED + b"1\r\na\r\n")
        eventually(lambda: len(world.recorder.received) > connections)
        peer.send(b"1\nb\r\n0\r\n\r\n")
        assert peer.recv_all().startswith(b"HTTP/1.1 400 ")
    world.sidecar.settles()
    eventually(lambda: world.recorder.received[-1].endswith(b"1\r\na\r\n"))
    assert len(world.recorder.requests) == requests


def test_what_can_be_refused_by_an_option(world: World) -> None:
    refused(world, get(b"X_Y: 1"), 400, "underscore_header", listener="strict")
    refused(world, b"GET / HTTP/1.0\r\n\r\n", 400, "bad_host", listener="strict")


def test_what_is_dropped_is_counted(world: World) -> None:
    before = world.sidecar.metric("tlsidecar_dropped_headers_total", listener="in")
    with world.connect() as peer:
        peer.send(get(b"client_id: 1", b"client_secret: 2"))
        assert peer.recv_exactly(len(OK)) == OK
    assert not [name for name, _ in world.recorder.requests[-1].headers if b"_" in name]
    world.sidecar.counts(before + 2, "tlsidecar_dropped_headers_total", listener="in")


@pytest.mark.parametrize("token", [b"tcp", b"SPDY/3.1"])
def test_an_upgrade_by_post_with_a_body_becomes_a_tunnel(world: World, token: bytes) -> None:
    answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: " + token + b"\r\n\r\n"
    world.recorder.answers[b"/exec"] = Answer(answer)
    head = get(b"Connection: Upgrade", b"Upgrade: " + token, b"Content-Length: 2", target=b"/exec").replace(
        b"GET", b"POST", 1
    )
    with world.connect("upgrades") as peer:
        peer.send(head + b"{}")
        assert _head(peer).startswith(b"HTTP/1.1 101 ")
    request = world.recorder.requests[-1]
    assert (request.method, request.body, request.values("upgrade")) == (b"POST", b"{}", [token])


def test_a_stated_length_over_the_limit(world: World) -> None:
    refused(world, get(b"Content-Length: 100001").replace(b"GET", b"POST"), 413, "body_too_large")


def test_a_slow_head_and_a_slow_body(world: World) -> None:
    refused(world, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 408, "head_timeout")
    with world.connect() as peer:
        address = "{}:{}".format(*peer.sock.getsockname())
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        answer = peer.recv_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert world.sidecar.refusal(peer_address=address)["reason"] == "body_timeout"


@dataclass(frozen=True)
class Passed:
    """A request that goes on: what the service reads in it. ``absent`` are names that must not be there."""

    name: str
    data: bytes
    first: tuple[bytes, bytes] = (b"GET", b"/")
    listener: str = "in"
    has: tuple[tuple[str, bytes], ...] = ()
    absent: tuple[str, ...] = ()
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    stays: bool = True


OURS = b"Hash="
PASSED = [
    Passed("ordinary", get(b"Accept: */*"), has=(("accept", b"*/*"), ("host", b"a.example"))),
    Passed("absolute-form", get(target=b"http://A.example/x?y"), first=(b"GET", b"/x?y")),
    Passed("asterisk", get(target=b"*").replace(b"GET", b"OPTIONS"), first=(b"OPTIONS", b"*")),
    Passed("h2c", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), absent=("upgrade", "http2-settings", "connection")),
    Passed("websocket off the list", get(b"Connection: Upgrade", b"Upgrade: websocket"), listener="no_upgrades", absent=("upgrade", "connection")),
    Passed("an upgrade with POST that is not allowed", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3").replace(b"GET", b"POST") + b"abc", first=(b"POST", b"/"), listener="upgrades", body=b"abc", absent=("upgrade", "connection")),
    Passed("an upgrade of HTTP/1.0", get(b"Connection: Upgrade", b"Upgrade: websocket").replace(b"1.1", b"1.0"), stays=False, absent=("upgrade",)),
    Passed("empty lines before it", b"\r\n" * 8 + get()),
    Passed("default port", get(target=b"http://a.example:80/x"), first=(b"GET", b"/x")),
    Passed("empty port", get(host=b"Host: a.example:\r\n"), has=(("host", b"a.example:"),)),
    Passed("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", stays=False, has=(("host", b"in"),)),
    Passed("a line of 30,000 bytes", get(b"Authorization: Negotiated " + b"y" * 30_000)),
    Passed("hop-by-hop", get(b"Connection: x-one, keep-alive", b"X-One: 1", b"X-Two: 2", b"Keep-Alive: 5", b"TE: trailers", b"Proxy-Authorization: x", b"Proxy: http://evil"), has=(("x-two", b"2"),), absent=("x-one", "keep-alive", "te", "proxy-authorization", "proxy", "connection")),
    Passed("length", get(b"Content-Length: 3") + b"abc", body=b"abc"),
    Passed("no length at all", get().replace(b"GET", b"POST"), first=(b"POST", b"/")),
    Passed("chunks", get(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n", body=b"abc"),
    Passed("chunk extensions", get(b"Transfer-Encoding: chunked") + b'3;a="b"\r\nabc\r\n0;c\r\n\r\n', body=b"abc"),
    Passed("trailers", get(b"Transfer-Encoding: chunked", b"Trailer: x-keep") + b"0\r\nX-Keep: 1\r\nX-Drop: 2\r\nContent-Length: 5\r\nHost: evil\r\nTransfer-Encoding: x\r\nX-Forwarded-Client-Cert: evil\r\n\r\n", trailers=((b"x-keep", b"1"),), absent=("trailer",)),
    Passed("Connection: close", get(b"Connection: close"), stays=False, absent=("connection",)),
    Passed("HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n", stays=False, absent=("connection",)),
    Passed("dropped underscore", get(b"X_Low: 1", b"x_forwarded_client_cert: evil"), listener="drop", absent=("x_low",)),
    Passed("allowed underscore", get(b"X_Low: 1", b"X_Tenant: 2", b"x-tenant: 3"), listener="allow", has=(("x_low", b"1"),), absent=("x_tenant", "x-tenant")),
    Passed("normal form", get(target=b"/a/./b//%61?q"), first=(b"GET", b"/a/b/a?q"), listener="routed"),
    Passed("its own request id", get(b"X-Request-Id: mine"), has=(("x-request-id", b"mine"),)),
]  # fmt: skip
SPOOFS = [
    "X-Forwarded-Client-Cert", "x-FORWARDED-client-CERT", "X-Client-Cert", "X-SSL-Client-Verify", "SSL-Client-S-DN",
    "Client-Cert", "Client-Cert-Chain", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded",
    "X.Forwarded.Client.Cert", "X-Forwarded-Tls-Client-Cert-Info", "X-ARR-ClientCert", "X-Amzn-Mtls-Clientcert", "l5d-client-id",
    "X-Client-DN", "Remote-User", "X-Original-URI", "X-Forwarded-Prefix", "$WSRU",
]  # fmt: skip
UNDERSCORED = ["x_forwarded_client_cert", "X_Forwarded-Client_Cert", "client_cert", "x_real_ip", "X_SSL_Client_Verify"]
for _spoof in SPOOFS:
    for _label, _lines in (
        ("once", [f"{_spoof}: evil"]),
        ("twice", [f"{_spoof}: evil", f"{_spoof}: evil"]),
        ("named in Connection", [f"{_spoof}: evil", f"Connection: {_spoof}"]),
    ):
        PASSED.append(Passed(f"spoofed {_spoof} {_label}", get(*[line.encode() for line in _lines])))
    _chunked = get(b"Transfer-Encoding: chunked") + f"0\r\n{_spoof}: evil\r\n\r\n".encode()
    PASSED.append(Passed(f"spoofed {_spoof} in a trailer", _chunked))
for _spoof in UNDERSCORED:
    PASSED.extend(
        Passed(f"spoofed {_spoof}, {policy}", get(f"{_spoof}: evil".encode()), listener=policy)
        for policy in ("drop", "allow")
    )


@pytest.mark.parametrize("row", PASSED, ids=lambda row: row.name)
def test_a_request_that_is_passed_on(world: World, row: Passed) -> None:
    already = len(world.recorder.requests)
    with world.connect(row.listener) as peer:
        peer.send(row.data)
        if row.stays:
            assert peer.recv_exactly(len(OK)) == OK
            peer.send(get(target=b"/after"))
            assert peer.recv_exactly(len(OK)) == OK
        else:
            answer = peer.recv_all()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close\r\n" in answer.lower()
    request, *after = world.recorder.requests[already:]
    assert [later.target for later in after] == [b"/after"] * row.stays
    assert (request.method, request.target) == row.first
    assert request.body == row.body
    assert request.trailers == list(row.trailers)
    for name, value in row.has:
        assert request.values(name) == [value]
    for name in row.absent:
        assert request.values(name) == []
    (told,) = request.values("x-forwarded-client-cert")
    assert told.startswith(OURS)
    assert b"DNS=client.test" in told
    assert request.values("x-forwarded-for") == [b"127.0.0.1"]
    assert len(request.values("x-request-id")) == 1
    assert len(request.values("host")) == 1
    assert not any(b"evil" in name + value for name, value in request.headers + request.trailers)
    assert b"evil" not in world.recorder.received[request.connection]


@pytest.mark.parametrize(
    ("listener", "expected"),
    [("append", [b"By=them;Hash=01,Hash="]), ("forward", [b"By=them;Hash=01"]), ("sanitize", [])],
)
def test_the_modes_of_the_certificate_header(world: World, listener: str, expected: list[bytes]) -> None:
    with world.connect(listener) as peer:
        peer.send(get(b"X-Forwarded-Client-Cert: By=them;Hash=01", target=b"/mode"))
        assert peer.recv_exactly(len(OK)) == OK
    values = world.recorder.requests[-1].values("x-forwarded-client-cert")
    assert [value[: len(start)] for value, start in zip(values, expected, strict=True)] == expected


def test_trusted_words_are_kept(world: World) -> None:
    with world.connect("trusting") as peer:
        peer.send(get(b"X-Forwarded-For: 198.51.100.1", b"X-Forwarded-Proto: http", b"X-Real-IP: 6.6.6.6"))
        assert peer.recv_exactly(len(OK)) == OK
    request = world.recorder.requests[-1]
    assert request.values("x-forwarded-for") == [b"198.51.100.1, 127.0.0.1"]
    assert request.values("x-forwarded-proto") == [b"http"]
    assert request.values("x-real-ip") == []


@pytest.mark.parametrize(
    ("target", "method", "status", "reason", "stage"),
    [
        (b"/admin/x", b"GET", 403, "route_denied", "authorize"),
        (b"/x/../admin", b"GET", 403, "route_denied", "authorize"),
        (b"/ADMIN;a/x", b"GET", 403, "route_denied", "authorize"),
        (b"/x", b"DELETE", 403, "route_denied", "authorize"),
        (b"/%2fadmin", b"GET", 400, "bad_path", "request"),
        (b"/../admin", b"GET", 400, "bad_path", "request"),
    ],
)
def test_what_a_route_denies_keeps_the_connection(
    world: World, target: bytes, method: bytes, status: int, reason: str, stage: str
) -> None:
    already = len(world.recorder.requests)
    with world.connect("routed") as peer:
        address = "{}:{}".format(*peer.sock.getsockname())
        peer.send(get(target=target).replace(b"GET", method))
        answer = _response(peer)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        peer.send(get(target=b"/after"))
        assert peer.recv_exactly(len(OK)) == OK
    refusal = world.sidecar.refusal(peer_address=address)
    assert (refusal["status"], refusal["reason"], refusal["stage"]) == (status, reason, stage)
    assert (refusal["method"], refusal["target"]) == (method.decode(), target.decode())
    assert [request.target for request in world.recorder.requests[already:]] == [b"/after"]


def test_an_expectation_is_answered_by_the_service(world: World) -> None:
    world.recorder.answers[b"/expect"] = Answer(b"HTTP/1.1 100 Continue\r\n\r\n", early=True)
    world.recorder.answers[b"/denied"] = Answer(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", early=True)
    with world.connect() as peer:
        peer.send(get(b"Expect: 100-continue", b"Content-Length: 3", target=b"/expect"))
        assert _head(peer) == b"HTTP/1.1 100 Continue\r\n\r\n"
    with world.connect() as peer:
        peer.send(get(b"Expect: 100-continue", b"Content-Length: 3", target=b"/denied"))
        answer = peer.recv_all()
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in answer.lower()


def test_a_thousand_requests_in_a_pipeline_arrive_in_order(world: World) -> None:
    already = len(world.recorder.requests)
    with world.connect() as peer:
        peer.send(b"".join(get(target=b"/%d" % number) for number in range(1000)))
        assert peer.recv_exactly(1000 * len(OK)) == OK * 1000
    seen = world.recorder.requests[already:]
    assert [request.target for request in seen] == [b"/%d" % number for number in range(1000)]
    assert len({request.connection for request in seen}) == 1


def test_the_pipeline_ends_with_the_first_refusal(world: World) -> None:
    already = len(world.recorder.requests)
    with world.connect() as peer:
        peer.send(get(target=b"/1") + get(b"X: \0", target=b"/2") + get(target=b"/3"))
        answer = peer.recv_all()
    assert answer.startswith(OK + b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert [request.target for request in world.recorder.requests[already:]] == [b"/1"]


def test_bytes_beyond_the_body_are_the_next_request(world: World) -> None:
    already = len(world.recorder.requests)
    with world.connect() as peer:
        peer.send(get(b"Content-Length: 3", target=b"/1") + b"abcGARBAGE / x\r\n\r\n")
        answer = peer.recv_all()
    assert answer.startswith(OK + b"HTTP/1.1 400 ")
    assert [(request.target, request.body) for request in world.recorder.requests[already:]] == [(b"/1", b"abc")]


def test_bytes_after_a_closing_request_are_dropped(world: World) -> None:
    already = len(world.recorder.requests)
    with world.connect() as peer:
        peer.send(get(b"Connection: close", target=b"/1") + get(target=b"/2"))
        answer = peer.recv_all()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert [request.target for request in world.recorder.requests[already:]] == [b"/1"]


def _head(peer: Peer) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv_exactly(1)
    return head


def _response(peer: Peer) -> bytes:
    head = _head(peer)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return head + peer.recv_exactly(length)
