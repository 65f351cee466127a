"""Active checks: what each answer means, and how many of them turn a verdict."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.outbound.test_reach import closed_port

from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.outbound.health import HealthChecks
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.outbound.outbound import Outbound
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.report import UpstreamChange
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.tally import Tally
from tlsidecar.settings import Address, HealthCheck, ListenerSettings, Mode

WITHIN_S = 30.0
SOON = {"interval_s": 0.005, "timeout_s": 5.0}


class Observer:
    exchanged = None

    def __init__(self) -> None:
        self.changes: list[UpstreamChange] = []
        self.noted: list[object] = []
        self.note: Callable[[], object] = lambda: None

    def upstream_changed(self, change: UpstreamChange) -> None:
        self.changes.append(change)
        self.noted.append(self.note())


class Checked:
    """One upstream that is checked."""

    def __init__(self, address: Address, check: HealthCheck) -> None:
        loop = asyncio.get_running_loop()
        context = cast("Any", SimpleNamespace(generation=1, identity="default"))
        self.observer = Observer()
        self.shared = Shared(Reactor(loop), SYSTEM_CLOCK, cast("Any", self.observer), [context])
        settings = ListenerSettings("web", Mode.TERMINATE, Address(port=1), (address,))
        tally = Tally("web", cast("Any", self.observer))
        current = self.shared.current["default"]
        self.outbound = Outbound(self.shared, Network(loop), settings, Policy.of(settings), tally, current)
        self.checks = HealthChecks(self.outbound, check)

    @property
    def upstream(self) -> Upstream:
        (upstream,) = self.outbound.upstreams.all
        return upstream

    async def until(self, checks: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while self.upstream.checks_total < checks:
                await asyncio.sleep(0.001)

    def told(self) -> list[tuple[bool, str]]:
        return [(change.healthy, change.detail) for change in self.observer.changes]


@contextlib.asynccontextmanager
async def checking(address: Address, **settings: Any) -> AsyncIterator[Checked]:
    checked = Checked(address, HealthCheck(**(SOON | settings)))
    checked.checks.start()
    try:
        yield checked
    finally:
        checked.checks.close()
        checked.shared.close()


class Service:
    """Answers each connection with what it is told to; ``None`` is silence."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.ended = asyncio.Event()  # a client went without its answer

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if said is None:
                await reader.read()
                self.ended.set()
            else:
                writer.write(said)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(*answers: bytes | None) -> AsyncIterator[tuple[Address, Service]]:
    service = Service(*answers)
    async with await asyncio.start_server(service.answer, "127.0.0.1", 0) as server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1]), service


def status(code: int) -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % code


async def test_without_a_path_whoever_accepts_is_well_and_is_told_of_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address("127.0.0.1", listening.getsockname()[1])
        async with checking(address) as checked:
            await checked.until(3)
            assert checked.told() == [(True, "")]
            assert (checked.upstream.checked, checked.upstream.checks_failed) == (True, 0)


async def test_the_first_check_is_believed_and_says_why() -> None:
    address = closed_port()
    async with checking(address) as checked:
        await checked.until(2)
        assert checked.told() == [(False, f"{address}: Connection refused")]
        assert checked.upstream.check_problem == f"{address}: Connection refused"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (status(200), ""),
        (status(204), ""),
        (status(302), ""),
        (b"HTTP/1.0 200\r\n\r\n", ""),
        (status(404), "GET /ready was answered 404"),
        (status(503), "GET /ready was answered 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what it answered is not HTTP/1.1"),
        (b"HTTP/2 200\r\n\r\n", "what it answered is not HTTP/1.1"),
        (b"x" * 2000, "what it answered is not HTTP/1.1"),
    ],
)
async def test_with_a_path_the_status_decides(answer: bytes, problem: str) -> None:
    async with serving(answer) as (address, service), checking(address, path="/ready") as checked:
        await checked.until(1)
        assert checked.told() == [(not problem, f"{address}: {problem}" if problem else "")]
        asked = service.asked[0].decode()
        assert asked.startswith(f"GET /ready HTTP/1.1\r\nHost: {address}\r\n")
        assert "User-Agent: tlsidecar-health-check\r\n" in asked


async def test_one_that_never_answers_is_late() -> None:
    async with serving(None) as (address, _), checking(address, path="/ready", timeout_s=0.02) as checked:
        await checked.until(1)
        assert checked.told() == [(False, f"{address}: the check was not done within 0.02 s")]


async def test_a_verdict_is_turned_by_as_many_in_a_row_as_the_settings_say() -> None:
    answers = [status(code) for code in (200, 500, 200, 500, 500, 500, 200, 200, 200)]
    async with (
        serving(*answers) as (address, _),
        checking(address, path="/", unhealthy_threshold=3, healthy_threshold=2) as checked,
    ):
        checked.observer.note = lambda: checked.upstream.checks_total
        await checked.until(9)
        assert [healthy for healthy, _ in checked.told()] == [True, False, True]
        assert checked.observer.noted == [1, 6, 8], "a failure, a success, two failures: not three in a row"
        assert checked.upstream.checks_failed == 4


async def test_a_check_that_takes_longer_than_the_interval_is_waited_for() -> None:
    async with serving(None) as (address, service), checking(address, path="/", timeout_s=0.2) as checked:
        checked.observer.note = lambda: len(service.asked)
        await checked.until(1)
        assert checked.observer.noted == [1]


async def test_after_the_end_nobody_is_asked_or_told() -> None:
    async with serving(None) as (address, service):
        async with checking(address, path="/") as checked:
            async with asyncio.timeout(WITHIN_S):
                while not service.asked:
                    await asyncio.sleep(0.001)
        await asyncio.wait_for(service.ended.wait(), WITHIN_S)
        assert (len(service.asked), checked.told(), checked.upstream.checks_total) == (1, [], 0)
