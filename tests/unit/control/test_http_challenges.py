"""The plain port of http-01: open only while something is presented, for one short request each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from support.ports import free_port

from certs.acme.challenges import Challenge, ChallengeType
from certs.acme.messages import AcmeError
from tlsidecar.control import http_challenges
from tlsidecar.control.http_challenges import MAX_CLIENTS, HttpChallenges
from tlsidecar.settings import Address

ONE = Challenge(ChallengeType.HTTP_01, "a.test", "tok-1", "tok-1.thumb")
TWO = Challenge(ChallengeType.HTTP_01, "b.test", "tok-2", "tok-2.thumb")
WAIT_S = 30.0


async def in_thread(action: Callable[[Challenge], None], challenge: Challenge) -> None:
    await asyncio.to_thread(action, challenge)


async def ask(port: int, request: bytes) -> bytes:
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()


def uvloop_event_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, uvloop_event_loop])
def test_it_answers_what_is_presented_and_then_nobody(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_present_ask_and_withdraw())


async def _present_ask_and_withdraw() -> None:
    port = free_port()
    challenges = HttpChallenges(Address("127.0.0.1", port))
    await in_thread(challenges.present, ONE)
    await in_thread(challenges.present, TWO)
    assert (await ask(port, get(ONE.path))).endswith(b"\r\n\r\ntok-1.thumb")
    assert (await ask(port, get(TWO.path))).startswith(b"HTTP/1.1 200 OK")
    for odd in (
        get("/"),
        get(f"{ONE.path}/../x"),
        get("/.well-known/acme-challenge/other"),
        b"POST / HTTP/1.1\r\n\r\n",
    ):
        assert (await ask(port, odd)).startswith(b"HTTP/1.1 404 ")
    await in_thread(challenges.withdraw, ONE)
    assert (await ask(port, get(ONE.path))).startswith(b"HTTP/1.1 404 ")
    await in_thread(challenges.withdraw, TWO)
    with pytest.raises(ConnectionRefusedError):
        await ask(port, get(TWO.path))


async def test_whoever_is_slow_long_or_many_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_challenges, "CLIENT_TIMEOUT_S", 0.2)
    port = free_port()
    challenges = HttpChallenges(Address("127.0.0.1", port))
    await in_thread(challenges.present, ONE)
    assert await ask(port, b"GET /") == b""
    assert await ask(port, b"x" * 20_000) == b""
    monkeypatch.setattr(http_challenges, "CLIENT_TIMEOUT_S", 60.0)
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CLIENTS)]
    assert await ask(port, get(ONE.path)) == b""
    for _, writer in waiting:
        writer.close()
    await in_thread(challenges.withdraw, ONE)


async def test_a_port_that_is_taken_is_named_by_its_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        challenges = HttpChallenges(Address("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(AcmeError, match=r"\[identity\.acme\] http = 127\.0\.0\.1:\d+ cannot be listened on"):
            await in_thread(challenges.present, ONE)
