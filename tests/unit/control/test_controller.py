"""The controller between its parts and its workers: what each call comes to, and what is told to whom."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge
from unit.control.world import SETTINGS, Issuer, ScriptedSource, snapshot

from certs.errors import MaterialError, MaterialReason
from tlsidecar.control.controller import Controller, StartError
from tlsidecar.control.interface import CannotUndrain, Outcome, State, Trigger
from tlsidecar.dataplane.bind import BindError
from tlsidecar.dataplane.denials import Denial
from tlsidecar.dataplane.snapshot import ConnectionSelection, PolicyChange, WorkerSnapshot
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Log, Settings
from tlsidecar.workers.handle import SupervisorError

GONE = MaterialError(MaterialReason.MISSING_FILE, "tls.crt")
CLIENTS = ConnectionSelection(identity="billing", inbound_only=True)
TWO = replace(
    SETTINGS,
    identities=tuple(replace(SETTINGS.identity, name=name) for name in ("mesh", "public")),
    listeners=(replace(SETTINGS.listeners[0], identities=("mesh", "public")),),
)


@dataclass
class Worker:
    """Writes down what it is told."""

    number: int = 0
    told: list[tuple[object, ...]] = field(default_factory=list)
    is_live: bool = True
    failing: None = None
    connections_on_our_loop: int = 0
    ids: tuple[int, ...] = ()
    dropped: int = 0
    everybody_left: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, contexts: Contexts) -> None:
        self.told.append(("apply", contexts.generation))

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        self.told.append(("configure", settings.log.level))
        return [PolicyChange(self.number, "web", f"peer-{self.number}", closes=True)]

    async def snapshot(self) -> WorkerSnapshot:
        return replace(snapshot(worker=self.number), log_lines_dropped=self.dropped)

    async def connection(self, connection_id: int) -> str | None:
        self.told.append(("connection", connection_id))
        return f"of {self.number}" if connection_id in self.ids else None

    async def close_connection(self, connection_id: int) -> bool:
        self.told.append(("close", connection_id))
        return connection_id in self.ids

    async def deny(self, denials: Sequence[Denial]) -> None:
        self.told.append(("deny", *(denial.name for denial in denials)))

    async def count(self, _selection: ConnectionSelection) -> int:
        return len(self.ids)

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool) -> int:
        self.told.append(("end", selection, reason, gently))
        return len(self.ids)

    def set_log_level(self, level: str) -> None:
        self.told.append(("level", level))

    async def drain(self, *, inbound_only: bool = False) -> int:
        return len(self.ids)

    async def drained(self, *, inbound_only: bool = False) -> None:
        await self.everybody_left.wait()

    async def close_all(self, _reason: Reason) -> int:
        return 0 if self.everybody_left.is_set() else len(self.ids)


class House:
    """A controller with its workers, and sources that give what they are told to, one for each identity."""

    def __init__(self, directory: Path, settings: Settings = SETTINGS, workers: int = 1) -> None:
        self.clock = forge.ManualClock()
        self.issuer = Issuer(directory, self.clock)
        self.workers = [Worker(number) for number in range(workers)]
        self.sources = {identity.name: ScriptedSource() for identity in settings.identities}
        self.hub = EventHub(self.clock)
        self.levels: list[str] = []
        self.logs: list[Log] = []
        self.dropped = 0
        self.listening: list[object] = []  # what was done with the addresses
        self.obstacle: Exception | None = None  # to accepting again
        self.controller = Controller(
            settings,
            lambda identity: self.sources[identity.name],
            self.clock,
            RefusalLog(),
            FailureLog(),
            self.hub,
            set_log_level=self.levels.append,
            configure_log=self.logs.append,
            dropped_log_lines=lambda: self.dropped,
            random_unit=lambda: 0.5,
        )

    # The supervisor, and what binds.

    async def undrain(self, _sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        if isinstance(self.obstacle, SupervisorError):
            raise self.obstacle
        self.listening.append("accepts")

    def stop_listening(self, *, inbound_only: bool = False) -> None:
        self.listening.append("stopped" if not inbound_only else "stopped inbound")

    def rebind(self, listeners: Sequence[object]) -> Mapping[str, Sequence[socket.socket]]:
        if isinstance(self.obstacle, BindError):
            raise self.obstacle
        self.listening.append("bound")
        return {}

    async def begin(self) -> None:
        """Material for each identity, and workers."""
        for source in self.sources.values():
            source.at_hand = self.issuer.material()
        await self.controller.first_material()
        self.controller.supervisor = self  # type: ignore[assignment] - as much of one as is used
        self.controller.rebind = self.rebind

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Controller]:
        await self.begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                self.controller.serving(tasks)
                yield self.controller
                raise _Over
        except* _Over:
            pass

    def told(self, *kinds: str) -> list[dict[str, object]]:
        """The events of these kinds so far."""
        return [dict(event.fields) for event in self.hub.since(0, 1000) if event.kind in kinds]


class _Over(Exception):
    """Ends the loops."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def several(tmp_path: Path) -> House:
    return House(tmp_path, workers=2)


async def test_what_is_done_each_second_is_done_in_steps(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = house.controller
    done: list[str] = []
    noted = asyncio.Event()
    snapshots = controller.snapshots

    async def step() -> None:
        done.append("step")
        await asyncio.sleep(0)

    async def watched() -> Sequence[WorkerSnapshot]:
        done.append("snapshots")
        return await snapshots()

    monkeypatch.setattr(controller.pace, "step", step)
    monkeypatch.setattr(controller, "snapshots", watched)
    monkeypatch.setattr(controller.history, "observe", lambda _: done.append("history"))
    monkeypatch.setattr(controller.history, "note", lambda _: (done.append("problems"), noted.set()))
    async with house.serving(), asyncio.timeout(20):
        await noted.wait()
    assert done[done.index("snapshots") - 1 :][:6] == ["step", "snapshots", "step", "history", "step", "problems"]


async def test_before_anything_is_there_it_lives_and_is_not_ready(house: House) -> None:
    controller = house.controller
    assert (controller.state, controller.is_live(), controller.is_ready()) == (State.STARTING, True, False)
    assert controller.contexts_of("default") is None
    with pytest.raises(KeyError):
        controller.contexts_of("other")
    assert (controller.problems(), await controller.snapshots()) == ([], [])


async def test_what_keeps_it_from_starting_is_one_line_with_every_identity(tmp_path: Path) -> None:
    one, two = House(tmp_path / "one"), House(tmp_path / "two", TWO)
    one.sources["default"].at_hand = GONE
    with pytest.raises(StartError, match=r"^a file is not there: tls\.crt \(missing_file\)$"):
        await one.controller.first_material()
    two.sources["mesh"].at_hand = GONE
    two.sources["public"].at_hand = GONE
    with pytest.raises(StartError, match=r"^identity mesh: .* \(missing_file\); identity public: .*$"):
        await two.controller.first_material()
    two.sources["mesh"].at_hand = two.issuer.material()
    with pytest.raises(StartError, match=r"^identity public: [^;]*$"):
        await two.controller.first_material()
    two.sources["public"].at_hand = two.issuer.material()
    assert [each.generation for each in await two.controller.first_material()] == [1, 1]
    assert two.sources["mesh"].calls.count("read") == 2, "what is there already is not fetched again"


@pytest.mark.leaps
async def test_new_material_is_in_every_worker_when_a_reload_is_answered(several: House) -> None:
    async with several.serving() as controller:
        several.sources["default"].at_hand = several.issuer.material()
        (attempt,) = await controller.reload(Trigger.ADMIN)
        assert (attempt.outcome, attempt.generation, attempt.trigger) == (Outcome.APPLIED, 2, Trigger.ADMIN)
        for worker in several.workers:
            assert ("apply", 2) in worker.told
        contexts = controller.contexts_of("default")
        assert contexts is not None
        assert contexts.generation == 2


@pytest.mark.leaps
async def test_the_state_is_settled_when_a_reload_is_answered(house: House) -> None:
    """Whoever asks right after sees what it came to."""
    async with house.serving() as controller:
        good, house.sources["default"].at_hand = house.sources["default"].at_hand, GONE
        (attempt,) = await controller.reload(Trigger.ADMIN)
        assert (attempt.outcome, controller.state) == (Outcome.REFUSED, State.DEGRADED)
        assert controller.is_ready(), "what was served before goes on being served"
        house.sources["default"].at_hand = house.sources["default"].fresh = good
        await controller.rotate()
        assert controller.state is State.READY
        assert [each["state"] for each in house.told("state")] == ["ready", "degraded", "ready"]
        assert [each.outcome for each in controller.attempts(2)] == [Outcome.UNCHANGED, Outcome.REFUSED]


@pytest.mark.leaps
async def test_whoever_asked_may_leave_and_it_is_done_all_the_same(house: House) -> None:
    async with house.serving() as controller:
        house.sources["default"].at_hand = house.issuer.material()
        asked = asyncio.get_running_loop().create_task(controller.reload(Trigger.ADMIN))
        await asyncio.sleep(0)
        asked.cancel()
        await controller.reload(Trigger.ADMIN)
        assert [told for told in house.workers[0].told if told[0] == "apply"] == [("apply", 2)]


@pytest.mark.leaps
async def test_one_identity_is_renewed_and_no_other(tmp_path: Path) -> None:
    house = House(tmp_path, TWO)
    async with house.serving() as controller:
        for source in house.sources.values():
            source.renews = True
            source.fresh = house.issuer.material()
            source.calls.clear()
        (attempt,) = await controller.rotate("public")
        assert (attempt.identity, attempt.outcome) == ("public", Outcome.APPLIED)
        assert (house.sources["public"].calls, house.sources["mesh"].calls) == (["renew"], [])
        assert {each.identity for each in await controller.rotate()} == {"mesh", "public"}
        with pytest.raises(KeyError):
            await controller.rotate("nobody")


async def test_ready_while_one_identity_of_several_is_valid(tmp_path: Path) -> None:
    house = House(tmp_path, TWO)
    house.sources["mesh"].at_hand = house.issuer.material(timedelta(hours=1))
    house.sources["public"].at_hand = house.issuer.material(timedelta(hours=2))
    await house.controller.first_material()
    house.controller.life.enter(State.READY)
    for hours, is_ready in ((0.0, True), (1.0, True), (2.0, False)):
        house.clock.jump(timedelta(hours=hours) - (house.clock.now() - forge.NOW))
        assert house.controller.is_ready() is is_ready


async def test_live_while_one_worker_is(several: House) -> None:
    await several.begin()
    several.workers[0].is_live = False
    assert several.controller.is_live()
    several.workers[1].is_live = False
    assert not several.controller.is_live()


async def test_a_connection_is_looked_for_until_it_is_found(several: House) -> None:
    await several.begin()
    controller, (first, second) = several.controller, several.workers
    first.ids, second.ids = (1,), (2,)
    assert await controller.connection(1) == "of 0"
    assert second.told == []
    assert await controller.connection(2) == "of 1"
    assert await controller.connection(3) is None
    assert (await controller.close_connection(2), await controller.close_connection(3)) == (True, False)
    assert (await controller.count(CLIENTS), await controller.end(CLIENTS, Reason.CLOSED_BY_ADMIN, gently=True)) == (
        2,
        2,
    )
    assert ("end", CLIENTS, Reason.CLOSED_BY_ADMIN, True) in first.told


@pytest.mark.parametrize("of_worker", [0, 4])
async def test_lines_that_no_log_took_are_counted_once(several: House, of_worker: int) -> None:
    await several.begin()
    several.dropped = 3
    several.workers[1].dropped = of_worker
    found = await several.controller.snapshots()
    assert [each.log_lines_dropped for each in found] == [3, of_worker]
    (problem,) = several.controller.problems()
    assert (problem.code, problem.message) == ("log_lines_dropped", f"{3 + of_worker} log lines could not be written")


async def test_who_is_kept_out_is_known_to_all_before_connections_are_cut(several: House) -> None:
    await several.begin()
    several.workers[0].ids = (1, 2)
    denied, closed = await several.controller.deny("billing", 60.0, "ann")
    assert closed == 2
    for worker in several.workers:
        assert worker.told[-2:] == [("deny", "billing"), ("end", CLIENTS, Reason.IDENTITY_DENIED, False)]
    assert [each.code for each in several.controller.problems()] == ["identity_denied"]
    assert await several.controller.undeny(denied.id + 1) is None
    assert len(several.workers[0].told) == 2, "nothing to say"
    assert await several.controller.undeny(denied.id) == denied
    assert several.workers[1].told[-1] == ("deny",)
    assert several.controller.problems() == []


@pytest.mark.leaps
async def test_a_denial_ends_by_itself_in_every_worker(several: House) -> None:
    async with several.serving() as controller:
        await controller.deny("billing", 60.0, "ann")
        several.clock.advance(timedelta(seconds=61))
        await asyncio.sleep(2.5)
        for worker in several.workers:
            assert worker.told[-1] == ("deny",)
        assert [each["outcome"] for each in several.told("denial")] == ["denied", "over"]


async def test_the_log_level_is_the_same_everywhere(several: House) -> None:
    await several.begin()
    several.controller.set_log_level("debug")
    assert (several.levels, several.controller.log_level) == (["debug"], "debug")
    assert all(worker.told == [("level", "debug")] for worker in several.workers)


async def test_settings_that_change_nothing_of_the_log_leave_a_level_that_was_set_by_hand(several: House) -> None:
    await several.begin()
    several.controller.set_log_level("debug")
    other_rules = replace(SETTINGS, listeners=(replace(SETTINGS.listeners[0], allow=("ou:sre",)),))
    changes = await several.controller.configure(other_rules, [])
    assert [change.identity for change in changes] == ["peer-0", "peer-1"]
    assert (several.controller.settings, several.controller.log_level) == (other_rules, "debug")
    await several.controller.configure(replace(other_rules, log=replace(SETTINGS.log, level="error")), [])
    assert (several.levels, several.controller.log_level) == (["debug", "error"], "error")
    assert several.workers[0].told[-1] == ("level", "error")
    assert len(several.logs) == 2


@pytest.mark.leaps
async def test_a_drain_is_one_whoever_asks_for_it(tmp_path: Path) -> None:
    """It takes as long as the listener with the most patience; who asked first may leave."""
    (web,) = SETTINGS.listeners
    patient = replace(web, name="patient", limits=replace(web.limits, drain_timeout_s=90.0))
    house = House(tmp_path, replace(SETTINGS, listeners=(web, patient)))
    house.workers[0].ids = (1, 2)
    async with house.serving() as controller:
        loop = asyncio.get_running_loop()
        began = loop.time()
        first = loop.create_task(controller.drain())
        await asyncio.sleep(1)
        assert (controller.state, controller.is_ready()) == (State.DRAINING, False)
        first.cancel()
        outcome = await controller.drain(5.0)
        assert (outcome.drained, outcome.forced, loop.time() - began) == (False, 2, pytest.approx(90.0))
        assert await controller.drain() is outcome
        assert [each["outcome"] for each in house.told("drain")] == ["forced"]


@pytest.mark.leaps
async def test_what_was_drained_serves_again(house: House) -> None:
    async with house.serving() as controller:
        house.workers[0].everybody_left.set()
        assert (await controller.drain()).drained
        house.listening.clear()
        await controller.undrain()
        assert house.listening == ["bound", "accepts"]
        assert (controller.state, controller.life.draining_since) == (State.READY, None)
        await controller.drain()
        assert [each["state"] for each in house.told("state")] == ["ready", "draining", "ready", "draining"]


@pytest.mark.leaps
async def test_when_it_cannot_serve_again_it_says_why_and_goes_on_being_drained(house: House) -> None:
    async with house.serving() as controller:
        with pytest.raises(CannotUndrain, match="nothing has been drained"):
            await controller.undrain()
        house.workers[0].ids = (1,)
        drain = asyncio.get_running_loop().create_task(controller.drain())
        await asyncio.sleep(1)
        with pytest.raises(CannotUndrain, match="still under way"):
            await controller.undrain()
        house.workers[0].everybody_left.set()
        await drain
        house.listening.clear()
        house.obstacle = BindError("listener web: cannot listen on 127.0.0.1:8443: taken")
        with pytest.raises(CannotUndrain, match="cannot listen on"):
            await controller.undrain()
        house.obstacle = SupervisorError("the workers do not start: see the log")
        with pytest.raises(CannotUndrain, match="do not start"):
            await controller.undrain()
        assert house.listening == ["bound", "stopped"], "nobody may connect to where nobody accepts"
        assert controller.state is State.DRAINING
        house.obstacle = None
        await controller.undrain()
        assert controller.state is State.READY
        await controller.drain()
        await controller.shutdown()
        with pytest.raises(CannotUndrain, match="the process is ending"):
            await controller.undrain()


@pytest.mark.leaps
async def test_a_defect_in_one_of_its_loops_is_a_problem_and_ends_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async with house.serving() as controller:
        broken: Callable[[], object] = lambda: 1 // 0  # noqa: E731
        with caplog.at_level(logging.CRITICAL):
            house.workers[0].snapshot, whole = broken, house.workers[0].snapshot  # type: ignore[method-assign, assignment]
            await asyncio.sleep(3)
        assert [each.code for each in controller.problems()] == ["internal_error"]
        house.workers[0].snapshot = whole  # type: ignore[method-assign]
        (attempt,) = await controller.reload(Trigger.ADMIN)
        assert attempt.outcome is Outcome.UNCHANGED


@pytest.mark.parametrize(("workers", "asked"), [(1, 0), (2, 1)])
async def test_only_workers_elsewhere_may_be_behind(tmp_path: Path, workers: int, asked: int) -> None:
    house = House(tmp_path, workers=workers)
    await house.begin()
    calls: list[int] = []
    for worker in house.workers:

        async def told(number: int = worker.number) -> WorkerSnapshot:
            calls.append(number)
            return snapshot(worker=number)

        worker.snapshot = told  # type: ignore[method-assign]
    await house.controller.caught_up()
    assert len(calls) == asked * workers
