"""tls-alpn-01: answered by us until there are workers, and by every worker from then on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from support.ports import free_port
from unit.certs import forge
from unit.control.world import SETTINGS

from certs.acme.challenges import Challenge, ChallengeType
from certs.acme.messages import AcmeError
from tlsidecar.control import alpn_challenges as module
from tlsidecar.control.alpn_challenges import MAX_CLIENTS, AlpnChallenges
from tlsidecar.dataplane import challenges as looking
from tlsidecar.settings import Address, Mode

ONE = Challenge(ChallengeType.TLS_ALPN_01, "one.test", "tok-1", "tok-1.thumb")
TWO = Challenge(ChallengeType.TLS_ALPN_01, "two.test", "tok-2", "tok-2.thumb")
WAIT_S = 10.0


@dataclass
class Worker:
    shown: list[list[Challenge]] = field(default_factory=list)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def present(self, challenges: Sequence[Challenge]) -> None:
        async with self.busy:
            self.shown.append(list(challenges))


@dataclass
class House:
    """Before its workers are there, and after."""

    port: int
    challenges: AlpnChallenges = field(init=False)
    workers: list[Worker] | None = None

    def __post_init__(self) -> None:
        (web,) = SETTINGS.listeners
        listeners = [
            replace(web, listen=Address("127.0.0.1", self.port)),
            replace(web, name="out", mode=Mode.ORIGINATE, listen=Address("192.0.2.1", 1)),
        ]
        self.challenges = AlpnChallenges(listeners, forge.ManualClock(), lambda: self if self.workers else None)  # type: ignore[arg-type, return-value] - as much of a supervisor as is asked

    async def shown_for(self, name: str) -> bool:
        """Whether a CA that asks for ``name`` is shown the certificate for it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["acme-tls/1"])
        async with asyncio.timeout(WAIT_S):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)
            except ConnectionRefusedError:
                raise
            except OSError:
                return False
            writer.close()
            return True

    @property
    def is_bound(self) -> bool:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", self.port))
            except OSError:
                return True
            return False


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(free_port())
    yield house
    house.workers = None
    for challenge in (ONE, TWO):
        await beside(house.challenges.withdraw, challenge)
    assert not house.is_bound


async def beside(action: Callable[[Challenge], None], challenge: Challenge) -> None:
    """In a thread, as an order is made."""
    await asyncio.to_thread(action, challenge)


async def test_before_there_are_workers_we_answer_on_their_addresses_while_something_is_shown(house: House) -> None:
    await beside(house.challenges.present, ONE)
    await beside(house.challenges.present, TWO)
    assert await house.shown_for("one.test")
    assert await house.shown_for("TWO.test")
    assert not await house.shown_for("three.test")
    await beside(house.challenges.withdraw, ONE)
    assert not await house.shown_for("one.test")
    assert await house.shown_for("two.test")
    await beside(house.challenges.withdraw, TWO)
    assert not house.is_bound


async def test_everybody_else_is_sent_away(house: House) -> None:
    await beside(house.challenges.present, ONE)
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):  # where our request had not been read
            assert await reader.read() == b""
        writer.close()


async def test_not_more_than_so_many_are_looked_at(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LOOK_S", WAIT_S)
    await beside(house.challenges.present, ONE)
    silent = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(MAX_CLIENTS)]
    assert not await house.shown_for("one.test")
    for _, writer in silent:
        writer.close()


async def test_an_address_that_is_taken_shows_nothing_and_names_it(house: House) -> None:
    """And nothing of it is left for the next one, nor has whoever withdraws it to open anything."""
    with socket.create_server(("127.0.0.1", house.port)):
        for challenge in (ONE, TWO):
            with pytest.raises(AcmeError, match=rf"listener web: cannot listen on 127\.0\.0\.1:{house.port}"):
                await beside(house.challenges.present, challenge)
        await beside(house.challenges.withdraw, ONE)
    await beside(house.challenges.present, TWO)
    assert await house.shown_for("two.test")
    assert not await house.shown_for("one.test")
    await beside(house.challenges.withdraw, TWO)
    assert not house.is_bound


async def test_once_there_are_workers_each_of_them_answers(house: House) -> None:
    house.workers = [Worker(), Worker()]
    await beside(house.challenges.present, ONE)
    await beside(house.challenges.present, TWO)
    await beside(house.challenges.withdraw, ONE)
    for worker in house.workers:
        assert worker.shown == [[ONE], [ONE, TWO], [TWO]]
    assert not house.is_bound


async def test_what_was_shown_before_is_shown_by_the_workers_with_the_next(house: House) -> None:
    await beside(house.challenges.present, ONE)
    house.workers = [Worker()]
    await beside(house.challenges.present, TWO)
    assert house.workers[0].shown == [[ONE, TWO]]
    await beside(house.challenges.withdraw, ONE)
    await beside(house.challenges.withdraw, TWO)
    assert house.workers[0].shown[-1] == []
    assert not house.is_bound


async def test_workers_that_do_not_take_it_are_not_waited_for_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRESENT_TIMEOUT_S", 0.02)
    worker = Worker()
    house.workers = [worker]
    async with worker.busy:
        with pytest.raises(AcmeError, match="did not take the challenge in time"):
            await beside(house.challenges.present, ONE)
        await beside(house.challenges.withdraw, ONE)  # as far as can be said
    async with asyncio.timeout(WAIT_S):
        while worker.shown[-1:] != [[]]:
            await asyncio.sleep(0)
