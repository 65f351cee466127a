"""The states of the process, and the drain."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from unit.certs import forge

from tlsidecar.control.interface import Problem, Severity, State
from tlsidecar.control.life import IllegalMove, Life
from tlsidecar.observe.events import EventHub

NOW = forge.NOW


@pytest.fixture
def hub() -> EventHub:
    return EventHub(forge.ManualClock())


@pytest.fixture
def life(hub: EventHub) -> Life:
    return Life(forge.ManualClock(), hub)


def problem(severity: Severity) -> Problem:
    return Problem(severity, f"a_{severity.value}", "something", NOW, "", "")


def told(hub: EventHub) -> list[object]:
    return [event.fields.get("state", event.kind) for event in hub.since(0, 100)]


def test_a_critical_problem_degrades_and_its_end_makes_ready_again(life: Life, hub: EventHub) -> None:
    life.follow([problem(Severity.CRITICAL)])
    assert life.state is State.STARTING  # not before it serves
    life.enter(State.READY)
    life.follow([problem(Severity.WARNING), problem(Severity.NOTICE)])
    life.follow([problem(Severity.CRITICAL), problem(Severity.WARNING)])
    life.follow([problem(Severity.CRITICAL)])
    life.follow([])
    assert told(hub) == ["ready", "degraded", "ready"]
    assert hub.since(0, 100)[1].fields["problem"] == "a_critical"


@pytest.mark.parametrize("state", [State.READY, State.DEGRADED, State.STARTING])
def test_nothing_follows_a_drain(life: Life, state: State) -> None:
    life.enter(State.READY)
    life.enter(State.DRAINING)
    with pytest.raises(IllegalMove, match="from draining"):
        life.enter(state)
    life.follow([problem(Severity.CRITICAL)])
    assert life.state is State.DRAINING


class Worker:
    """One of several, with connections that end when they are told to."""

    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.empty = asyncio.Event()
        self.drains: list[bool] = []

    async def drain(self, *, inbound_only: bool = False) -> int:
        self.drains.append(inbound_only)
        if not self.connections:
            self.empty.set()
        return self.connections

    async def drained(self, *, inbound_only: bool = False) -> None:
        await self.empty.wait()

    async def close_all(self, _reason: object) -> int:
        left, self.connections = self.connections, 0
        return left


class Supervisor:
    def __init__(self, *workers: Worker) -> None:
        self.workers = workers
        self.listens = True
        self.all_ended = False

    def stop_listening(self, *, inbound_only: bool = False) -> None:
        self.listens = False
        self.all_ended = not inbound_only


@pytest.mark.leaps
async def test_a_drain_waits_for_everybody(life: Life, hub: EventHub) -> None:
    life.enter(State.READY)
    supervisor = Supervisor(Worker(0), Worker(2))
    drain = asyncio.get_running_loop().create_task(life.drain(supervisor, 10.0))  # type: ignore[arg-type] - as much as is used
    await asyncio.sleep(0.01)
    assert (life.state, supervisor.listens, drain.done()) == (State.DRAINING, False, False)
    assert not supervisor.all_ended, "what originates goes on for the sake of what is under way"
    assert [worker.drains for worker in supervisor.workers] == [[True], [True]]
    supervisor.workers[1].connections = 0
    supervisor.workers[1].empty.set()
    outcome = await drain
    assert (outcome.drained, outcome.closed, outcome.forced, life.forced) == (True, 2, 0, False)
    assert told(hub) == ["ready", "draining", "drain"]
    assert supervisor.all_ended
    assert [worker.drains for worker in supervisor.workers] == [[True, False], [True, False]]


@pytest.mark.leaps
async def test_a_drain_may_begin_later_but_not_last_longer(life: Life) -> None:
    life.enter(State.READY)
    supervisor = Supervisor(Worker(1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    drain = loop.create_task(life.drain(supervisor, 20.0, 10.0))  # type: ignore[arg-type] - as much as is used
    await asyncio.sleep(9.9)
    assert (life.state, supervisor.listens) == (State.DRAINING, True)
    outcome = await drain
    assert outcome.forced == 1
    assert loop.time() - began == pytest.approx(20.0)
    assert supervisor.all_ended


@pytest.mark.leaps
async def test_what_is_left_at_the_timeout_is_cut(life: Life) -> None:
    life.enter(State.READY)
    supervisor = Supervisor(Worker(3), Worker(0))
    outcome = await life.drain(supervisor, 0.01)  # type: ignore[arg-type] - as much as is used
    assert (outcome.drained, outcome.closed, outcome.forced, life.forced) == (False, 0, 3, True)
    assert life.draining_since == NOW + timedelta(0)
