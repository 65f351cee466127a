"""One sidecar watched: what is asked, what is lost, what is found again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ui_clock import StillClock
from ui_sidecar import Sidecar
from ui_world import World, healthy

from tlsidecar.api.sse import SseMessage
from tui.client import AdminClient
from tui.clock import Clock
from tui.model import ConnectionQuery, Sort
from tui.monitor import Monitor
from tui.plan import BACKGROUND_INTERVAL_S, POLL_INTERVAL_S, Interest
from tui.reach.endpoints import SocketEndpoint
from tui.tabs import CERTIFICATES, CONFIG, CONNECTIONS, EVENTS, OVERVIEW, REFUSALS

Serve = Callable[[World], Awaitable[Sidecar]]


def _monitor(sidecar: Sidecar, clock: Clock) -> Monitor:
    return Monitor(AdminClient(SocketEndpoint(sidecar.socket), timeout_s=2.0), clock, random.Random(1))


def _paths(sidecar: Sidecar) -> list[str]:
    paths = [target.partition("?")[0] for _, target in sidecar.requests]
    sidecar.requests.clear()
    return paths


async def test_each_view_costs_what_it_shows(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy())
    monitor = _monitor(sidecar, clock)
    assert await monitor.poll(Interest(needs=OVERVIEW.needs)) == POLL_INTERVAL_S
    assert _paths(sidecar) == ["/v1/status", "/v1/history", "/v1/certificates", "/v1/refusals"]
    for view, further in {
        OVERVIEW: [],
        CONNECTIONS: ["/v1/connections"],
        CERTIFICATES: [],
        REFUSALS: [],
        EVENTS: [],
        CONFIG: [],
    }.items():
        clock.move(0.5)
        await monitor.poll(Interest(needs=view.needs))
        assert _paths(sidecar) == ["/v1/status", *further]
    assert await monitor.poll(Interest(needs=None)) == BACKGROUND_INTERVAL_S
    await monitor.poll(Interest(needs=CONNECTIONS.needs, paused=True))
    assert _paths(sidecar) == ["/v1/status", "/v1/status"]
    assert sidecar.connections_accepted == 1
    await monitor.client.close()


async def test_the_sidecar_filters_sorts_and_cuts(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy(connections=300))
    monitor = _monitor(sidecar, clock)
    query = ConnectionQuery(filter="cart", sort=Sort.BYTES_OUT, descending=False, offset=20, limit=10)
    await monitor.poll(Interest(needs=CONNECTIONS.needs, connections=query))
    page = monitor.model.connections
    assert page is not None
    assert (page.total, page.matched, page.offset, len(page.connections)) == (300, 60, 20, 10)
    assert [each.bytes_out for each in page.connections] == sorted(each.bytes_out for each in page.connections)
    assert monitor.model.connections_query == query
    await monitor.client.close()


async def test_one_connection_until_it_closes(serve: Serve, clock: StillClock) -> None:
    world = healthy()
    sidecar = await serve(world)
    monitor = _monitor(sidecar, clock)
    interest = Interest(needs=CONNECTIONS.needs, connection_id=7)
    await monitor.poll(interest)
    assert monitor.model.connection is not None
    assert [each.subject for each in monitor.model.connection.chain] == ["CN=search", "CN=Prod Issuing CA 7,O=Example"]
    world.connections = []
    await monitor.poll(interest)
    assert monitor.model.connection_gone
    assert monitor.model.connection.id == 7
    _paths(sidecar)
    await monitor.poll(interest)
    assert _paths(sidecar) == ["/v1/status"]
    await monitor.client.close()


async def test_what_one_view_is_refused_is_that_views_trouble(serve: Serve, clock: StillClock) -> None:
    world = healthy()
    sidecar = await serve(world)
    monitor = _monitor(sidecar, clock)
    answer = sidecar._answer

    def forbid(method: str, target: str, body: bytes) -> tuple[int, object]:
        if target.startswith("/v1/refusals"):
            return 403, sidecar._error("forbidden", "not for you")
        return answer(method, target, body)

    sidecar._answer = forbid  # type: ignore[method-assign]
    await monitor.poll(Interest(needs=OVERVIEW.needs))
    assert monitor.model.troubles == {"refusals": "not for you"}
    assert not monitor.model.link.is_lost
    sidecar._answer = answer  # type: ignore[method-assign]
    await monitor.poll(Interest(needs=OVERVIEW.needs))
    assert monitor.model.troubles == {}
    await monitor.client.close()


async def test_lost_and_found(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy())
    monitor = _monitor(sidecar, clock)
    await monitor.poll(Interest())
    await sidecar.stop()
    delays = []
    for attempt in range(1, 8):
        delays.append(await monitor.poll(Interest()))
        assert monitor.model.link.attempt == attempt
    assert all(0.25 <= delay <= 10.0 for delay in delays)
    assert delays[-1] > delays[0]
    assert monitor.model.link.next_attempt_at == clock.monotonic() + delays[-1]
    assert monitor.model.status is not None
    await sidecar.start()
    assert await monitor.poll(Interest()) == POLL_INTERVAL_S
    assert not monitor.model.link.is_lost
    await monitor.client.close()


async def test_something_else_behind_the_socket(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy())
    sidecar.raw_reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    monitor = _monitor(sidecar, clock)
    await monitor.poll(Interest())
    assert monitor.model.link.error == "the reply is not a sidecar's status"
    await monitor.client.close()


async def test_watching_goes_on_and_wakes_at_once(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy())
    monitor = _monitor(sidecar, clock)
    polled = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        watching = group.create_task(monitor.watch(Interest, polled.set))
        for _ in range(3):  # far quicker than the poll interval
            await polled.wait()
            polled.clear()
            monitor.wake()
        watching.cancel()
    assert len([path for path in _paths(sidecar) if path == "/v1/status"]) >= 3
    await monitor.client.close()


async def test_events_are_followed_over_a_loss_without_a_gap(serve: Serve, clock: StillClock) -> None:
    world = healthy()
    sidecar = await serve(world)
    monitor = _monitor(sidecar, clock)
    changed = asyncio.Event()

    async def until(number: int) -> None:
        while len(monitor.model.events) < number:
            await changed.wait()
            changed.clear()

    async with asyncio.timeout(20):
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                following = group.create_task(monitor.follow_events(changed.set))
                await until(7)
                sidecar.cut()
                sidecar.happen("drain", outcome="drained")
                await until(8)
                following.cancel()
    assert [event.seq for event in monitor.model.events] == list(range(1, 9))
    assert monitor.model.last_event_id == 8


async def test_a_gap_makes_everything_be_read_afresh(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy())
    monitor = _monitor(sidecar, clock)
    await monitor.poll(Interest(needs=EVENTS.needs))
    _paths(sidecar)
    monitor.take_message(SseMessage("lost", '{"from": 3, "to": 9}', "9"))
    assert monitor.model.last_event_id == 9
    await monitor.poll(Interest(needs=EVENTS.needs))
    assert _paths(sidecar) == ["/v1/status", "/v1/certificates"]
    for nonsense in ("{", "[]", "[" * 100_000):
        monitor.take_message(SseMessage("opened", nonsense, ""))
    assert len(monitor.model.events) == 1
    for number in ("9" * 5000, "-1", "\u00b2", "x"):
        monitor.take_message(SseMessage("opened", "{}", number))
    assert monitor.model.last_event_id == 9
    await monitor.client.close()
