"""A loop of the controller that fails is said, and begins again."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from unit.certs import forge

from tlsidecar.control.guard import WELL_AFTER_S, Guard


async def test_a_loop_that_fails_begins_again_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = forge.ManualClock()
    guard = Guard(clock, restart_after_s=0.0)
    turns = 0
    went_on = asyncio.Event()

    async def loop() -> None:
        nonlocal turns
        turns += 1
        if turns <= 3:
            raise ValueError("T61String")
        went_on.set()
        await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(guard.keep("following the source", loop))
    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(went_on.wait(), 20)
    defect = guard.defects()["following the source"]
    assert (defect.error, defect.count, defect.since) == ("ValueError: T61String", 3, clock.now())
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
    clock.advance(timedelta(seconds=WELL_AFTER_S + 1))
    assert guard.defects() == {}
    task.cancel()
