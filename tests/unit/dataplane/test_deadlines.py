"""Deadlines fall due in order, once, and not when lifted."""

from __future__ import annotations

import asyncio

from tlsidecar.dataplane.deadlines import DeadlineQueue


async def test_what_is_not_lifted_expires_once_and_in_order() -> None:
    queue = DeadlineQueue(asyncio.get_running_loop(), 0.02)
    done = asyncio.Event()
    expired: list[str] = []
    for name in ("a", "b", "c"):
        queue.add(name, lambda name=name: expired.append(name))
    queue.lift("b")
    queue.add("a", lambda: expired.append("a again"))  # starts anew: now the last
    queue.add("last", done.set)
    await asyncio.wait_for(done.wait(), 20)
    assert expired == ["c", "a again"]
    assert len(queue) == 0


async def test_an_expiry_may_add_and_lift() -> None:
    queue = DeadlineQueue(asyncio.get_running_loop(), 0.01)
    done = asyncio.Event()

    def first() -> None:
        queue.lift("second")
        queue.add("third", done.set)

    queue.add("first", first)
    await asyncio.sleep(0)
    queue.add("second", lambda: None)
    await asyncio.wait_for(done.wait(), 20)


async def test_nothing_expires_after_clear() -> None:
    queue = DeadlineQueue(asyncio.get_running_loop(), 0.0)
    expired: list[str] = []
    queue.add("a", lambda: expired.append("a"))
    queue.clear()
    await asyncio.sleep(0.01)
    assert expired == []
