"""The SPIFFE source against a real gRPC server, and against what is none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.spiffe_agent import Agent, Identity, response
from unit.certs import forge

from certs.certificate import Certificate
from certs.errors import MaterialError, MaterialReason
from certs.sources import Candidate, Event, Failed
from certs.spiffe import EndpointError, endpoint_of
from tlsidecar.control.workload_api import WorkloadApiSource

WEB, OTHER = "spiffe://prod.example/ns/shop/sa/web", "spiffe://prod.example/ns/shop/sa/other"
ROOT = forge.authority()
PARTNER = forge.authority("Partner Root")
WAIT_S = 20.0


def identity(spiffe_id: str = WEB, hint: str = "") -> Identity:
    key = forge.new_key()
    leaf = forge.leaf(ROOT, forge.Wish(dns=(), uris=(spiffe_id,), key=key))
    return Identity(spiffe_id, [leaf.certificate], key, [ROOT.certificate], hint)


def leaf_of(given: Identity) -> Certificate:
    return Certificate.of(given.chain[0])


async def next_event(events: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(WAIT_S):
        return await anext(events)


async def refused(source: WorkloadApiSource) -> MaterialError:
    with pytest.raises(MaterialError) as failure:
        await source.read()
    return failure.value


async def test_what_the_agent_says_is_material(tmp_path: Path) -> None:
    web, other = identity(), identity(OTHER, "external")
    says = response([web, other], {"partner.example": [PARTNER.certificate]})
    with Agent(tmp_path / "agent.sock", says) as agent:
        material = await WorkloadApiSource(agent.url).read()
        assert material.leaf == leaf_of(web)
        assert material.federated == {"partner.example": (Certificate.of(PARTNER.certificate),)}
        assert (await WorkloadApiSource(agent.url, OTHER).renew()).leaf == leaf_of(other)
        assert (await WorkloadApiSource(agent.url, hint="external").read()).leaf == leaf_of(other)
        missing = await refused(WorkloadApiSource(agent.url, hint="none"))
    assert missing.reason is MaterialReason.AGENT_FAILED
    assert OTHER in missing.detail


async def test_it_is_followed_through_updates_a_restart_and_a_denial(tmp_path: Path) -> None:
    first, second, third = identity(), identity(), identity()
    agent = Agent(tmp_path / "agent.sock", response([first]))
    agent.start()
    events = WorkloadApiSource(agent.url, random_unit=lambda: 0.0).follow()
    try:
        event = await next_event(events)
        assert isinstance(event, Candidate)
        assert event.material.leaf == leaf_of(first)
        agent.say(response([second]))
        event = await next_event(events)
        assert isinstance(event, Candidate)
        assert event.material.leaf == leaf_of(second)
        agent.stop()
        event = await next_event(events)
        assert isinstance(event, Failed)
        assert "cannot be reached" in event.error.detail
        agent.say(None)
        agent.start()
        while "permission denied (no identity issued)" not in event.error.detail:
            event = await next_event(events)
            assert isinstance(event, Failed)
        agent.say(response([third]))
        while isinstance(event, Failed):
            event = await next_event(events)
        assert isinstance(event, Candidate)
        assert event.material.leaf == leaf_of(third)
    finally:
        await events.aclose()  # type: ignore[attr-defined]
        agent.stop()


async def test_a_message_that_is_none_is_told_and_the_next_is_taken(tmp_path: Path) -> None:
    with Agent(tmp_path / "agent.sock", b"\xff\xff") as agent:
        source = WorkloadApiSource(agent.url, random_unit=lambda: 0.0)
        assert "its message cannot be read" in (await refused(source)).detail
        events = source.follow()
        event = await next_event(events)
        assert isinstance(event, Failed)
        good = identity()
        agent.say(response([good]))
        while isinstance(event, Failed):
            event = await next_event(events)
        assert isinstance(event, Candidate)
        assert event.material.leaf == leaf_of(good)
        await events.aclose()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def listening(path: Path, answer: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield f"unix://{path}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "it closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (bytes(range(256)) * 64, ""),
        (b"\0\0\0\4\0\0\0\0\0", ""),
        (b"\xff" * 100_000, ""),
    ],
    ids=["nothing", "HTTP/1.1", "every byte", "settings alone", "a flood"],
)
async def test_what_is_no_agent_is_told(tmp_path: Path, answer: bytes, said: str) -> None:
    async with listening(tmp_path / "agent.sock", answer) as url:
        error = await refused(WorkloadApiSource(url))
    assert error.reason is MaterialReason.AGENT_FAILED
    assert error.detail.startswith(url)
    assert said in error.detail


async def test_an_agent_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsidecar.control.workload_api.FIRST_ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "agent.sock"))
        silent.listen()
        source = WorkloadApiSource(f"unix://{tmp_path}/agent.sock", random_unit=lambda: 0.0)
        error = await refused(source)
        events = source.follow()
        event = await next_event(events)
        await events.aclose()  # type: ignore[attr-defined]
    assert error.reason is MaterialReason.SOURCE_TIMEOUT
    assert isinstance(event, Failed), "one that takes calls and says nothing has gone, too"
    assert str(event.error) == str(error)


async def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    error = await refused(WorkloadApiSource(f"unix://{tmp_path}/none.sock"))
    assert "No such file or directory" in error.detail


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/agent.sock", ("/run/agent.sock", "", 0)),
        ("unix:/run/agent.sock", ("/run/agent.sock", "", 0)),
        ("tcp://127.0.0.1:8081", ("", "127.0.0.1", 8081)),
        ("tcp://[::1]:8081", ("", "::1", 8081)),
        ("unix://run/agent.sock", None),
        ("unix:run/agent.sock", None),
        ("/run/agent.sock", None),
        ("tcp://127.0.0.1", None),
        ("tcp://127.0.0.1:8081/x", None),
        ("tcp://127.0.0.1:99999", None),
        ("http://127.0.0.1:80", None),
        ("unix:///run/agent.sock?x=1", None),
        ("", None),
    ],
)
def test_addresses_of_agents(text: str, address: tuple[str, str, int] | None) -> None:
    if address is not None:
        assert endpoint_of(text) == address
        return
    with pytest.raises(EndpointError):
        endpoint_of(text)
