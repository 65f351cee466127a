"""The queue: requests that wait are one batch; signals are spaced, admin calls are not."""

from __future__ import annotations

import asyncio

import pytest

from certs.errors import MaterialError, MaterialReason
from certs.sources import Failed
from tlsidecar.control.interface import Trigger
from tlsidecar.control.requests import RequestQueue


async def test_requests_that_wait_are_answered_together() -> None:
    queue = RequestQueue()
    answers = [queue.join(Trigger.SIGNAL), queue.join(Trigger.FILE_CHANGE), queue.join(Trigger.ADMIN)]
    batch = await queue.next()
    assert batch.triggers == [Trigger.SIGNAL, Trigger.FILE_CHANGE, Trigger.ADMIN]
    assert (batch.trigger, batch.renews) == (Trigger.SIGNAL, False)
    assert all(answer is batch.answer for answer in answers)
    later = queue.join(Trigger.ADMIN)
    assert later is not batch.answer


async def test_one_wish_to_renew_renews() -> None:
    queue = RequestQueue()
    queue.join(Trigger.SIGNAL)
    queue.join(Trigger.TIMER, renew=True)
    assert (await queue.next()).renews


async def test_what_the_source_said_stands_only_where_nobody_asked_for_more() -> None:
    queue = RequestQueue()
    old, new = (Failed(MaterialError(MaterialReason.MISSING_FILE, text)) for text in ("old", "new"))
    queue.join(Trigger.FILE_CHANGE, event=old)
    queue.join(Trigger.FILE_CHANGE, event=new)
    assert (await queue.next()).event is new
    queue.join(Trigger.FILE_CHANGE, event=new)
    queue.join(Trigger.ADMIN)
    assert (await queue.next()).event is None
    queue.join(Trigger.ADMIN)
    queue.join(Trigger.FILE_CHANGE, event=new)
    assert (await queue.next()).event is None


@pytest.mark.leaps
async def test_signals_are_spaced_and_an_admin_call_ends_the_wait() -> None:
    queue = RequestQueue(spacing_s=60.0)
    queue.join(Trigger.SIGNAL)
    await queue.next()  # the first does not wait
    queue.join(Trigger.SIGNAL)
    waiting = asyncio.get_running_loop().create_task(queue.next())
    await asyncio.sleep(59)
    assert not waiting.done()
    queue.join(Trigger.ADMIN)
    batch = await asyncio.wait_for(waiting, 20)
    assert batch.triggers == [Trigger.SIGNAL, Trigger.ADMIN]
