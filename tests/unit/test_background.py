"""Tasks that outlive their caller have an owner, which ends them and tells of their defects."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tlsidecar.background import Background


async def test_what_is_left_is_cancelled_and_waited_for() -> None:
    background, ended = Background(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background.begin(work(), "work")
    await asyncio.sleep(0)
    await background.close()
    assert ended.is_set()
    assert repr(background) == "<Background []>"


async def test_what_ends_in_time_is_not_cancelled() -> None:
    background, go, ended = Background(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        ended.set()

    background.begin(work(), "work")
    asyncio.get_running_loop().call_soon(go.set)
    await background.close(within_s=10)
    assert ended.is_set()


async def test_a_task_may_close_its_owner() -> None:
    background, closed = Background(), asyncio.Event()

    async def work() -> None:
        await background.close()
        closed.set()

    background.begin(work(), "work")
    await asyncio.wait_for(closed.wait(), 10)


async def test_a_defect_is_logged_and_does_not_spread(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()

    async def work() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR, "tlsidecar"):
        background.begin(work(), "the work")
        await asyncio.sleep(0)
        await background.close()
        await asyncio.sleep(0)
    assert "a defect ended the work" in caplog.text
    assert "ValueError: broken" in caplog.text
