"""The event hub: numbered, bounded, resumable, and indifferent to slow readers."""

from __future__ import annotations

import asyncio

from certs.clock import SYSTEM_CLOCK
from tlsidecar.observe.events import LOST, OPENED, EventHub


def published(hub: EventHub, count: int) -> None:
    for number in range(count):
        hub.publish(OPENED, {"id": number})


def test_numbers_count_from_one_without_gaps() -> None:
    hub = EventHub(SYSTEM_CLOCK)
    published(hub, 3)
    assert [event.sequence for event in hub.since(0, 10)] == [1, 2, 3]
    assert hub.sequence == 3


def test_resume_in_the_middle_tells_only_what_is_newer() -> None:
    hub = EventHub(SYSTEM_CLOCK)
    published(hub, 5)
    assert [event.sequence for event in hub.since(3, 10)] == [4, 5]
    assert hub.since(5, 10) == []


def test_what_left_the_ring_is_told_first_as_lost() -> None:
    hub = EventHub(SYSTEM_CLOCK, history=4)
    published(hub, 10)
    lost, *kept = hub.since(2, 10)
    assert (lost.kind, lost.fields, lost.sequence) == (LOST, {"from": 3, "to": 6}, 6)
    assert [event.sequence for event in kept] == [7, 8, 9, 10]


def test_the_last_number_before_the_ring_has_lost_nothing() -> None:
    hub = EventHub(SYSTEM_CLOCK, history=4)
    published(hub, 10)
    assert [event.sequence for event in hub.since(6, 10)] == [7, 8, 9, 10]


def test_a_number_from_an_earlier_process_gets_everything_kept_and_is_told() -> None:
    hub = EventHub(SYSTEM_CLOCK)
    published(hub, 2)
    lost, *kept = hub.since(500, 10)
    assert lost.kind == LOST
    assert lost.fields["restarted"] is True
    assert [event.sequence for event in kept] == [1, 2]


def test_a_batch_is_bounded_and_the_next_goes_on_where_it_ended() -> None:
    hub = EventHub(SYSTEM_CLOCK, history=4)
    published(hub, 10)
    first = hub.since(0, 3)
    assert [event.sequence for event in first] == [6, 7, 8]
    assert [event.sequence for event in hub.since(first[-1].sequence, 3)] == [9, 10]


async def test_a_subscription_waits_for_what_comes() -> None:
    hub = EventHub(SYSTEM_CLOCK)
    published(hub, 2)
    subscription = hub.subscribe()
    async with asyncio.TaskGroup() as tasks:
        batch = tasks.create_task(subscription.batch())
        await asyncio.sleep(0)
        assert not batch.done()
        hub.publish(OPENED, {"id": 99})
    assert [event.fields for event in batch.result()] == [{"id": 99}]
    assert subscription.position == 3


async def test_a_slow_reader_is_told_what_it_lost_and_holds_nobody_up() -> None:
    hub = EventHub(SYSTEM_CLOCK, history=16)
    slow = hub.subscribe()
    published(hub, 1000)
    lost, first, *_ = await slow.batch()
    assert lost.fields == {"from": 1, "to": 984}
    assert first.sequence == 985


async def test_two_readers_each_get_everything() -> None:
    hub = EventHub(SYSTEM_CLOCK)
    readers = [hub.subscribe(), hub.subscribe()]
    async with asyncio.TaskGroup() as tasks:
        batches = [tasks.create_task(reader.batch()) for reader in readers]
        await asyncio.sleep(0)
        published(hub, 2)
    assert [[event.sequence for event in batch.result()] for batch in batches] == [[1, 2], [1, 2]]


async def test_a_reader_that_gives_up_leaves_nothing_behind() -> None:
    hub = EventHub(SYSTEM_CLOCK)
    async with asyncio.TaskGroup() as tasks:
        batch = tasks.create_task(hub.subscribe().batch())
        await asyncio.sleep(0)
        assert "1 waiting" in repr(hub)
        batch.cancel()
    assert "0 waiting" in repr(hub)
