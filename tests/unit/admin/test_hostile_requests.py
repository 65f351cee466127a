"""What a hostile, slow or broken client of the admin socket gets, and that the next client is served regardless."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
from unit.admin.conftest import Served
from unit.admin.fake_control import made_connection
from unit.admin.transcript import read_answer

HEAD = b"Host: localhost\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"


def drain(body: bytes, head: bytes = JSON) -> bytes:
    return b"POST /v1/drain HTTP/1.1\r\n" + HEAD + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


TABLE: list[tuple[str, bytes, int]] = [
    ("a NUL in the target", b"GET /v1/\0status HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
    ("a NUL in a header", b"GET /v1/status HTTP/1.1\r\n" + HEAD + b"X: a\0b\r\n\r\n", 400),
    ("bytes that are no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("invalid UTF-8 in the target", b"GET /v1/\xff\xfe HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
    ("invalid UTF-8 in the query", b"GET /v1/connections?filter=%ff HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
    ("invalid UTF-8 in the body", drain(b'{"timeout_s": "\xff"}'), 400),
    ("no Host", b"GET /v1/status HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
    ("a Host of another name", b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    ("a Host with a port", b"GET /v1/status HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 403),
    ("HTTP/1.0 without Host", b"GET /v1/status HTTP/1.0\r\n\r\n", 403),
    ("an Origin", b"POST /v1/reload HTTP/1.1\r\n" + HEAD + b"Origin: http://localhost\r\n\r\n", 403),
    ("a null Origin", b"GET /v1/status HTTP/1.1\r\n" + HEAD + b"Origin: null\r\n\r\n", 403),
    ("a Referer", b"GET /v1/status HTTP/1.1\r\n" + HEAD + b"Referer: http://evil/\r\n\r\n", 403),
    ("the wrong verb", b"GET /v1/reload HTTP/1.1\r\n" + HEAD + b"\r\n", 405),
    ("a verb nobody knows", b"BREW /v1/status HTTP/1.1\r\n" + HEAD + b"\r\n", 405),
    ("CONNECT", b"CONNECT localhost:443 HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    ("a path that is not there", b"GET /v1/keys HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    ("a path that climbs", b"GET /v1/../v1/status HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    ("an encoded path", b"GET /v1/%73tatus HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    ("an absolute target", b"GET http://localhost/v1/status HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    ("a body of a form", drain(b"timeout_s=1", b"Content-Type: application/x-www-form-urlencoded\r\n"), 415),
    ("a body of no type", drain(b'{"timeout_s": 1}', b""), 415),
    ("a body of text", drain(b'{"timeout_s": 1}', b"Content-Type: text/plain\r\n"), 415),
    ("a body that is not JSON", drain(b"{"), 400),
    ("a body that is not an object", drain(b"[1]"), 400),
    ("a body with NaN", drain(b'{"timeout_s": NaN}'), 400),
    ("a body with a name twice", drain(b'{"timeout_s": 1, "timeout_s": 2}'), 400),
    ("a body 33 deep", drain(b'{"timeout_s":' + b"[" * 32 + b"]" * 32 + b"}"), 400),
    ("a body 10,000 deep", drain(b"[" * 10_000 + b"]" * 10_000), 400),
    ("a body 10,000 deep behind brackets in a string", drain(b'["' + b"]" * 10_000 + b'",' + b"[" * 10_000), 400),
    ("a number of 60,000 digits", drain(b'{"timeout_s": ' + b"1" * 60_000 + b"}"), 400),
    ("a body of 64 KiB and one", drain(b" " * 65_537), 413),
    (
        "a body said to be huge",
        b"POST /v1/drain HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 99999999999\r\n\r\n",
        413,
    ),
    ("a body of 10 MB", drain(b" " * 10_000_000), 413),
    (
        "10 MB in chunks",
        b"POST /v1/drain HTTP/1.1\r\n" + HEAD + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
        b"989680\r\n" + b" " * 10_000_000,
        413,
    ),
    ("two lengths", b"POST /v1/drain HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ("a negative length", b"POST /v1/drain HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n", 400),
    ("a head of 20 KiB", b"GET /v1/status HTTP/1.1\r\n" + HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ("a target of 20 KiB", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n", 431),
    ("a Last-Event-ID of letters", b"GET /v1/events HTTP/1.1\r\n" + HEAD + b"Last-Event-ID: abc\r\n\r\n", 400),
    ("a negative Last-Event-ID", b"GET /v1/events HTTP/1.1\r\n" + HEAD + b"Last-Event-ID: -1\r\n\r\n", 400),
]


@pytest.mark.parametrize(("raw", "status"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_is_refused_and_the_next_is_served(served: Served, raw: bytes, status: int) -> None:
    answer = await served.wire().send(raw)
    assert answer is not None
    assert answer.status == status
    assert set(answer.json) == {"now", "error"}
    assert served.control.calls == []
    assert (await served.wire().get("/healthz")).status == 200


async def test_a_body_of_exactly_32_deep_is_parsed(served: Served) -> None:
    answer = await served.wire().send(drain(b'{"more":' + b"[" * 31 + b"]" * 31 + b"}"))
    assert answer is not None
    assert "unknown field 'more'" in answer.json["error"]["message"]


async def test_a_405_says_what_is_allowed(served: Served) -> None:
    answer = await served.wire().call("PATCH", "/v1/connections/1")
    assert (answer.error, answer.headers["allow"]) == ((405, "method_not_allowed"), "GET, DELETE")


async def test_many_requests_on_one_connection_come_back_in_order(served: Served) -> None:
    async with served.wire().connected() as (reader, writer):
        for number in range(50):
            writer.write(b"GET /v1/connections/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % (number % 3 + 1))
        ids = [(await read_answer(reader)).json["connection"]["id"] for _ in range(50)]  # type: ignore[union-attr]
    assert ids == [number % 3 + 1 for number in range(50)]


async def test_one_byte_at_a_time_is_a_request(served: Served) -> None:
    async with served.wire().connected() as (reader, writer):
        for byte in b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        answer = await read_answer(reader)
    assert answer is not None
    assert answer.body == b"live\n"


async def test_expect_100_continue_is_answered(served: Served) -> None:
    body = b'{"timeout_s": 1}'
    async with served.wire().connected() as (reader, writer):
        head = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(b"POST /v1/drain HTTP/1.1\r\n" + HEAD + JSON + head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        writer.write(body)
        answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 200


@pytest.mark.leaps
@pytest.mark.parametrize(
    ("began", "status"),
    [(b"", None), (b"GET /v1/sta", 408), (b"POST /v1/drain HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\n{", 408)],
    ids=["says nothing", "stops in the head", "stops in the body"],
)
async def test_a_silent_client_is_cut_after_five_seconds(served: Served, began: bytes, status: int | None) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    answer = await served.wire().send(began)
    assert loop.time() - start == pytest.approx(5.0)
    assert (answer and answer.status) == status


@pytest.mark.leaps
async def test_a_slow_client_is_cut_though_it_keeps_sending(served: Served) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with served.wire().connected() as (reader, writer):
        writer.write(b"GET /v1/status HTTP/1.1\r\n")
        while loop.time() - start < 12 and not reader.at_eof():
            writer.write(b"X: y\r\n")
            try:
                await writer.drain()
                async with asyncio.timeout(0.2):
                    await reader.read(1)
                break
            except TimeoutError:
                continue
            except OSError:
                break
    assert loop.time() - start == pytest.approx(5.0, abs=0.2)


async def test_two_hundred_at_once_are_all_served(served: Served) -> None:
    answers = await asyncio.gather(*(served.wire().get("/v1/status") for _ in range(200)))
    assert {answer.status for answer in answers} == {200}


async def test_idle_and_slow_clients_make_room_for_an_operator(served: Served) -> None:
    wire = served.wire()
    stack = []
    for _ in range(40):
        connection = wire.connected()
        _, writer = await connection.__aenter__()
        writer.write(b"GET /v1/status HTTP/1.1\r\nX: ")
        stack.append(connection)
    start = time.monotonic()
    assert (await wire.get("/healthz")).status == 200
    assert time.monotonic() - start < 9  # those before it, each with its five seconds, would take ten
    for connection in stack:
        await connection.__aexit__(None, None, None)


async def test_kept_alive_clients_make_room_at_once(served: Served) -> None:
    wire = served.wire()
    kept = [wire.connected() for _ in range(16)]
    for connection in kept:
        reader, writer = await connection.__aenter__()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await read_answer(reader)) is not None
    start = time.monotonic()
    assert (await wire.get("/healthz")).status == 200
    assert time.monotonic() - start < 15  # a kept one is cut after thirty
    for connection in kept:
        await connection.__aexit__(None, None, None)


async def test_a_client_that_resets_in_the_middle_of_a_reply(served: Served) -> None:
    served.control.records = [made_connection(number) for number in range(1, 1001)]
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(served.socket))
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.sendall(b"GET /v1/connections?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.sleep(0.005)
    assert (await served.wire().get("/healthz")).status == 200


@pytest.mark.leaps
async def test_a_client_that_does_not_read_its_reply_is_cut(served: Served) -> None:
    served.control.records = [made_connection(number) for number in range(1, 1001)]
    with socket.socket(socket.AF_UNIX) as lazy:
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(lazy, str(served.socket))
        await loop.sock_sendall(lazy, b"GET /v1/connections?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(6)
        got = 0
        async with asyncio.timeout(20):
            while data := await loop.sock_recv(lazy, 65536):
                got += len(data)
    assert 0 < got < 600_000


async def test_too_many_changes_are_held_back(served: Served) -> None:
    answers = [await served.wire().call("POST", "/v1/reload") for _ in range(50)]
    assert {answer.status for answer in answers} == {200}, "50 reloads in a row are a normal test"
    answers = [await served.wire().call("POST", "/v1/reload") for _ in range(400)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert refused[0].error == (429, "rate_limited")
    assert int(refused[0].headers["retry-after"]) >= 1
    assert (await served.wire().get("/v1/status")).status == 200
