"""The admin API over a real Unix socket: kept alive, resumed, refused, cut, silent, malformed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from ui_sidecar import Sidecar
from ui_world import World, healthy

from tlsidecar.api.sse import SseMessage
from tui.client import AdminClient, Backoff, BadReply, Refused, Unreachable
from tui.reach.endpoints import SocketEndpoint

Serve = Callable[[World], Awaitable[Sidecar]]


async def test_polls_share_one_connection_and_name_localhost(serve: Serve) -> None:
    sidecar = await serve(healthy())
    client = AdminClient(SocketEndpoint(sidecar.socket))
    for _ in range(3):
        assert (await client.read("/v1/status"))["node"] == "web-1"
    page = await client.read("/v1/connections", filter="a b&c", sort="id", order="asc", limit=5, offset=0)
    assert page["matched"] == 0
    await client.close()
    assert sidecar.connections_accepted == 1
    assert sidecar.requests[-1] == ("GET", "/v1/connections?filter=a+b%26c&sort=id&order=asc&limit=5&offset=0")
    assert {each["host"] for each in sidecar.headers} == {"localhost"}
    assert not any("origin" in each for each in sidecar.headers)


async def test_a_connection_closed_in_between_is_opened_anew(serve: Serve) -> None:
    sidecar = await serve(healthy())
    sidecar.closes_after = 1
    client = AdminClient(SocketEndpoint(sidecar.socket))
    for _ in range(3):
        await client.read("/v1/status")
    await client.close()
    assert sidecar.connections_accepted == 3
    assert len(sidecar.requests) == 3


async def test_reads_at_the_same_time_take_turns(serve: Serve) -> None:
    sidecar = await serve(healthy())
    client = AdminClient(SocketEndpoint(sidecar.socket))
    replies = await asyncio.gather(*(client.read("/v1/status") for _ in range(5)))
    await client.close()
    assert len(replies) == 5
    assert sidecar.connections_accepted == 1


async def test_refused(serve: Serve) -> None:
    sidecar = await serve(healthy())
    client = AdminClient(SocketEndpoint(sidecar.socket))
    with pytest.raises(Refused) as caught:
        await client.read("/v1/connections/999")
    assert (caught.value.status, caught.value.code, caught.value.message) == (404, "not_found", "no connection 999")
    sidecar.refuses = "busy \x1b[2J"
    with pytest.raises(Refused, match=r"busy \\x1b\[2J"):
        await client.change("POST", "/v1/reload")
    assert (await client.read("/v1/status"))["pid"] == 4711
    await client.close()


async def test_changes_are_sent_once_on_a_connection_of_their_own(serve: Serve) -> None:
    sidecar = await serve(healthy())
    client = AdminClient(SocketEndpoint(sidecar.socket))
    await client.read("/v1/status")
    assert (await client.change("POST", "/v1/drain", {"timeout_s": 30}))["outcome"] == "drained"
    assert (await client.change("PUT", "/v1/log-level", {"level": "debug"}))["previous"] == "info"
    await client.close()
    assert sidecar.changes == [
        ("POST", "/v1/drain", {"timeout_s": 30}),
        ("PUT", "/v1/log-level", {"level": "debug"}),
    ]
    assert sidecar.connections_accepted == 3
    assert sidecar.headers[-1]["content-type"] == "application/json"


async def test_read_only_sends_no_change(serve: Serve) -> None:
    sidecar = await serve(healthy())
    client = AdminClient(SocketEndpoint(sidecar.socket), read_only=True)
    with pytest.raises(Refused, match="read-only"):
        await client.change("POST", "/v1/reload")
    assert sidecar.requests == []


async def test_nobody_there(socket: Path) -> None:
    with pytest.raises(Unreachable, match=r"no socket at .*: is tlsidecar running"):
        await AdminClient(SocketEndpoint(socket)).read("/v1/status")
    socket.write_text("")
    with pytest.raises(Unreachable, match=r"nobody listens|is not a socket"):
        await AdminClient(SocketEndpoint(socket)).read("/v1/status")
    with pytest.raises(Unreachable, match=r"cannot connect|path too long"):
        await AdminClient(SocketEndpoint(socket.with_name("x" * 200))).read("/v1/status")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect anywhere")
async def test_no_permission(serve: Serve) -> None:
    sidecar = await serve(healthy())
    sidecar.socket.chmod(0)
    with pytest.raises(Unreachable, match="no permission"):
        await AdminClient(SocketEndpoint(sidecar.socket)).read("/v1/status")


async def test_no_answer_in_time(serve: Serve) -> None:
    sidecar = await serve(healthy())
    sidecar.hangs = True
    client = AdminClient(SocketEndpoint(sidecar.socket), timeout_s=0.05)
    with pytest.raises(Unreachable, match=r"no answer within 0\.05 s"):
        await client.read("/v1/status")
    with pytest.raises(Unreachable, match="may still be under way"):
        await client.change("POST", "/v1/reload", timeout_s=0.05)
    with pytest.raises(Unreachable, match="fell silent"):
        await anext(client.events())
    sidecar.hangs = False
    assert (await client.read("/v1/status"))["pid"] == 4711
    await client.close()


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", Unreachable),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", BadReply),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", BadReply),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{{{", BadReply),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b'{"a":NaN}', BadReply),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000, BadReply),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 17000000\r\n\r\n" + b"x" * 17_000_000, BadReply),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\n{}", Refused),
    ],
)
async def test_what_is_not_an_admin_api(serve: Serve, octets: bytes, error: type[Exception]) -> None:
    sidecar = await serve(healthy())
    sidecar.raw_reply = octets
    client = AdminClient(SocketEndpoint(sidecar.socket))
    with pytest.raises(error):
        await client.read("/v1/status")
    with pytest.raises(error):
        await client.change("POST", "/v1/reload")
    await client.close()


async def _take(client: AdminClient, number: int, after: int | None = None) -> list[SseMessage]:
    taken: list[SseMessage] = []
    async with aclosing(client.events(after)) as messages:
        async for message in messages:
            taken.append(message)
            if len(taken) == number:
                break
    return taken


async def test_events_resume_from_the_last_id_and_tell_what_was_lost(serve: Serve) -> None:
    world = healthy()
    sidecar = await serve(world)
    client = AdminClient(SocketEndpoint(sidecar.socket))
    first = await _take(client, 3, after=0)
    assert [message.id for message in first] == ["1", "2", "3"]
    assert "last-event-id" in sidecar.headers[-1]
    resumed = await _take(client, 2, after=5)
    assert [message.event for message in resumed] == ["refusal", "closed"]
    del world.events[:4]
    lost = await _take(client, 2, after=1)
    assert [(message.event, message.id) for message in lost] == [("lost", "4"), ("opened", "5")]
    sidecar.happen("state", state="draining")
    latest = await _take(client, 1, after=7)
    assert latest[0].event == "state"


async def test_the_end_of_the_event_stream_is_told(serve: Serve) -> None:
    sidecar = await serve(healthy())
    client = AdminClient(SocketEndpoint(sidecar.socket))
    events = client.events(0)
    await anext(events)
    sidecar.cut()
    with pytest.raises(Unreachable):
        async for _ in events:
            pass
    forbidden = b'{"error": {"code": "forbidden", "message": "not here"}}'
    sidecar.raw_reply = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%s" % (len(forbidden), forbidden)
    with pytest.raises(Refused, match="not here"):
        await anext(client.events())
    sidecar.raw_reply = b"HTTP/1.1 200 OK\r\n\r\n" + b"data: x\n" * 200_000
    with pytest.raises(BadReply, match="1 MiB"):
        await anext(client.events())


def test_backoff_grows_to_a_cap_and_is_spread() -> None:
    backoff = Backoff(random.Random(7))
    delays = [backoff.delay_s(attempt) for attempt in range(1, 40)]
    for attempt, delay in enumerate(delays, 1):
        longest = min(10.0, 0.5 * 2 ** (attempt - 1))
        assert longest / 2 <= delay <= longest
    assert len(set(delays)) == len(delays)
