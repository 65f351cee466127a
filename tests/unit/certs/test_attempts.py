"""Attempts that may hang: each with a deadline, and at most one thread that cannot be stopped."""

from __future__ import annotations

import asyncio
import threading

import pytest
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.sources.attempts import Attempts


@pytest.fixture
def attempts() -> Attempts:
    return Attempts(forge.ManualClock(), deadline_s=0.05)


async def test_what_it_returns_and_what_it_raises(attempts: Attempts) -> None:
    assert await attempts.make("adding", lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        await attempts.make("dividing", lambda: 1 / 0)


async def test_one_that_hangs_fails_and_so_does_the_next_until_it_ends(attempts: Attempts) -> None:
    over = threading.Event()
    with pytest.raises(MaterialError, match=r"reading took longer than 0\.05 s") as raised:
        await attempts.make("reading", over.wait)
    assert raised.value.reason is MaterialReason.SOURCE_TIMEOUT
    with pytest.raises(MaterialError, match="an earlier attempt has been waiting"):
        await attempts.make("reading", lambda: 1)
    assert "one hangs" in repr(attempts)
    over.set()
    while repr(attempts) == "<Attempts one hangs>":
        await asyncio.sleep(0.001)
    assert await attempts.make("reading", lambda: 1) == 1


async def test_without_a_thread_it_fails_and_the_next_may_have_one(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of processes that is reached for a moment must not end all reloads."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short_of_threads:
        short_of_threads.setattr(threading.Thread, "start", start)
        with pytest.raises(MaterialError, match="reading: can't start new thread"):
            await attempts.make("reading", lambda: 1)
    assert await attempts.make("reading", lambda: 1) == 1


async def test_want_of_memory_is_a_failed_attempt(attempts: Attempts) -> None:
    def read() -> None:
        raise MemoryError

    with pytest.raises(MaterialError, match="reading: out of memory"):
        await attempts.make("reading", read)


async def test_one_that_is_under_way_is_waited_for(attempts: Attempts) -> None:
    begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        begun.set()
        may_end.wait(20)
        order.append("first")

    patient = Attempts(forge.ManualClock(), deadline_s=10)
    async with asyncio.TaskGroup() as group:
        group.create_task(patient.make("looking", first))
        await asyncio.to_thread(begun.wait, 20)
        group.create_task(patient.make("reading", lambda: order.append("second")))
        await asyncio.sleep(0.01)
        may_end.set()
    assert order == ["first", "second"]


async def test_its_thread_keeps_no_process_from_ending(attempts: Attempts) -> None:
    assert await attempts.make("looking", lambda: threading.current_thread().daemon)
