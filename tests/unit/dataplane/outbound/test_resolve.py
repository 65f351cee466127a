"""Names are looked up when they are needed, one lookup at a time, and a good answer outlives a resolver that fails."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tlsidecar.dataplane.outbound import resolve
from tlsidecar.dataplane.outbound.resolve import Resolver, Target, literal_targets
from tlsidecar.settings import Address

WEB = Address("web.internal", 8080)


class Names:
    """Stands in for the system's resolver, which has no names of ours."""

    def __init__(self) -> None:
        self.address = "192.0.2.1"
        self.asked = 0

    def __call__(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        if not self.address:
            raise socket.gaierror(socket.EAI_AGAIN, "try again later")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))] * 2


class Asked:
    """Who wants to know, and what it has heard."""

    def __init__(self, resolver: Resolver, address: Address = WEB) -> None:
        self.heard: list[tuple[tuple[Target, ...], str]] = []
        resolver.resolve(address, lambda targets, detail: self.heard.append((targets, detail)))

    async def answer(self) -> tuple[tuple[Target, ...], str]:
        while not self.heard:
            await asyncio.sleep(0.001)
        (answer,) = self.heard
        return answer


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return names


@pytest.mark.parametrize(
    ("address", "targets"),
    [
        (Address(path="/run/web.sock"), [(socket.AF_UNIX, "/run/web.sock")]),
        (Address("192.0.2.7", 80), [(socket.AF_INET, ("192.0.2.7", 80))]),
        (Address("2001:db8::7", 80), [(socket.AF_INET6, ("2001:db8::7", 80))]),
        (Address("LocalHost.", 80), [(socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET6, ("::1", 80))]),
        (WEB, []),
    ],
)
def test_only_a_name_needs_a_lookup(address: Address, targets: list[Target]) -> None:
    assert list(literal_targets(address)) == targets


async def test_all_who_wait_for_a_name_share_one_lookup_and_its_distinct_targets(names: Names) -> None:
    resolver = Resolver(asyncio.get_running_loop())
    several = [Asked(resolver) for _ in range(3)]
    answers = [await each.answer() for each in several]
    assert answers == [((Target(socket.AF_INET, ("192.0.2.1", 8080)),), "")] * 3
    assert names.asked == 1


async def test_a_failure_says_why_and_is_not_remembered(names: Names) -> None:
    resolver = Resolver(asyncio.get_running_loop())
    names.address = ""
    targets, detail = await Asked(resolver).answer()
    assert (targets, "try again later" in detail) == ((), True)
    names.address = "192.0.2.2"
    targets, detail = await Asked(resolver).answer()
    assert (targets[0].address, detail) == (("192.0.2.2", 8080), "")


async def test_without_a_thread_for_it_a_lookup_fails_and_the_next_may_have_one(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    resolver = Resolver(loop)

    def executor(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short_of_threads:
        short_of_threads.setattr(loop, "run_in_executor", executor)
        assert await Asked(resolver).answer() == ((), "can't start new thread")
    targets, _ = await Asked(resolver).answer()
    assert targets[0].address == ("192.0.2.1", 8080)


async def test_an_old_answer_serves_while_it_is_looked_up_again(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(asyncio.get_running_loop())
    await Asked(resolver).answer()
    monkeypatch.setattr(resolve, "ANSWER_LIFETIME_S", -1.0)
    names.address = ""
    assert Asked(resolver).heard[0][0][0].address == ("192.0.2.1", 8080)
    while resolver._lookups:
        await asyncio.sleep(0.001)
    assert names.asked == 2
    assert Asked(resolver).heard, "the last good answer is still there"
    names.address = "192.0.2.9"
    while Asked(resolver).heard[0][0][0].address != ("192.0.2.9", 8080):
        await asyncio.sleep(0.001)


async def test_nobody_is_called_after_the_end(names: Names) -> None:
    resolver = Resolver(asyncio.get_running_loop())
    asked = Asked(resolver)
    resolver.close()
    while resolver._lookups:
        await asyncio.sleep(0.001)
    assert asked.heard == []
