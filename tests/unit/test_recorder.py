"""What the data plane reports, put where people and programs look: once each, in the words of the contract."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from unit.observe.test_access_log import CONNECTION, REQUEST, Lines

from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.observe import line_limit
from tlsidecar.observe.access_log import AccessLog
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import AccessEntry, Failure, Reason, Refusal, Side, Stage
from tlsidecar.recorder import Collector, Recorder
from tlsidecar.settings import Log

OPENED = Opened(17, "web", "terminate", "tcp", "192.0.2.1:4711", "spiffe://a/b", "any", 3)
CHANGE = UpstreamChange(0, "web", "127.0.0.1:8080", False, "refused")
REFUSAL = Refusal(
    at=1.0,
    listener="web",
    peer_address="192.0.2.1:4711",
    side=Side.LOCAL,
    stage=Stage.AUTHORIZE,
    reason=Reason.NOT_ALLOWED,
    identity="spiffe://a/b",
    connection_id=17,
)
FAILURE = Failure(at=1.0, listener="web", upstream="127.0.0.1:8080", reason=Reason.UPSTREAM_REFUSED, connection_id=17)


class Health:
    def __init__(self) -> None:
        self.changes: list[object] = []

    def changed(self, change: UpstreamChange) -> None:
        self.changes.append(change)

    def forget(self, worker: int) -> None: ...


class World:
    """A worker's recorder before the controller's collector, in one process."""

    def __init__(self, access: str = "json", spans: Any = None) -> None:
        self.lines = Lines()
        self.health = Health()
        self.collector = Collector(RefusalLog(), FailureLog(), EventHub(SYSTEM_CLOCK), self.health)
        self.recorder = Recorder(AccessLog(Log(access=cast("Any", access)), self.lines), self.collector, spans)

    def events(self) -> list[tuple[str, Any]]:
        return [(each.kind, each.fields) for each in self.collector.hub.since(0, 100)]

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.lines]


async def test_a_connection_is_told_of_twice_and_logged_once_when_it_carried_bytes_alone() -> None:
    world = World()
    world.recorder.opened(OPENED)
    world.recorder.closed(CONNECTION._replace(connection_id=17, total_s=1.23456))
    world.recorder.closed(REQUEST._replace(connection_id=18))
    assert [kind for kind, _ in world.events()] == ["opened", "closed", "closed"]
    closed = world.events()[1][1]
    assert (closed["id"], closed["reason"], closed["duration_s"]) == (17, "completed", 1.235)
    assert closed["sentence"] == Reason.COMPLETED.sentence
    assert [line["connection"] for line in world.logged()] == [17], "a request has a line of its own"


class Ended:
    """A request that is over."""

    def entry(self, now: float) -> AccessEntry:
        return REQUEST._replace(at=now)


class Spans:
    def __init__(self) -> None:
        self.taken: list[AccessEntry] = []

    def record(self, entry: AccessEntry) -> None:
        self.taken.append(entry)


async def test_where_nobody_wants_to_know_of_requests_the_data_plane_makes_nothing_of_them() -> None:
    assert World(access="off").recorder.exchanged is None
    assert World().recorder.exchanged is not None


async def test_with_tracing_a_request_is_logged_and_told_from_one_entry() -> None:
    spans = Spans()
    world = World(access="off", spans=spans)
    exchanged: Callable[[Any, float], None] | None = world.recorder.exchanged
    assert exchanged is not None, "a span is wanted even where no line is"
    exchanged(Ended(), 5.0)
    assert [entry.at for entry in spans.taken] == [5.0]
    assert world.lines.lines == []


async def test_a_refusal_has_one_number_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.INFO, "tlsidecar.refusals"):
        world.recorder.refused(REFUSAL)
    ((kind, fields),) = world.events()
    (record,) = caplog.records
    assert (kind, fields["number"], fields["reason"]) == ("refusal", 1, "not_allowed")
    assert world.collector.refusals.find(1) == (1, REFUSAL)
    assert record.getMessage() == f"refused: {Reason.NOT_ALLOWED.sentence}"
    told = record.fields  # type: ignore[attr-defined]
    assert told == {name: value for name, value in fields.items() if name not in ("number", "sentence")}
    assert {"status", "method", "target", "own_identity"}.isdisjoint(told), "it was no request"


async def test_of_a_request_and_of_an_identity_with_a_name_more_is_said(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.INFO, "tlsidecar"):
        world.recorder.refused(
            replace(REFUSAL, status=403, method="GET", target="/admin", own_identity="public", stage=Stage.REQUEST)
        )
        world.recorder.refused(replace(REFUSAL, own_identity="default"))
        world.recorder.failed(replace(FAILURE, status=502, method="GET", target="/x"))
        world.recorder.failed(FAILURE)
    first, second, third, fourth = (record.fields for record in caplog.records)  # type: ignore[attr-defined]
    assert (first["status"], first["target"], first["own_identity"]) == (403, "/admin", "public")
    assert "own_identity" not in second
    assert (third["status"], third["target"], "status" in fourth) == (502, "/x", False)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING", "WARNING"]


async def test_what_the_checks_hold_of_an_upstream_goes_to_who_keeps_it() -> None:
    world = World()
    world.recorder.upstream_changed(CHANGE)
    assert (world.health.changes, world.events()) == ([CHANGE], [])


async def test_a_flood_of_one_cause_is_a_few_lines_and_their_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flushes: list[Callable[[], None]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda _, flush, *arguments: flushes.append(flush))
    world = World()
    with caplog.at_level(logging.INFO, "tlsidecar"):
        for _ in range(line_limit.BURST_LINES + 5):
            world.recorder.refused(REFUSAL)
        world.recorder.refused(replace(REFUSAL, reason=Reason.NOT_EXPECTED))
        assert len(caplog.records) == line_limit.BURST_LINES + 1, "another cause has its own"
        for flush in flushes:
            flush()
    assert caplog.records[-1].getMessage() == f"refused, 5 more: {Reason.NOT_ALLOWED.sentence}"
    assert world.collector.refusals.find(line_limit.BURST_LINES + 5) is not None, "each is kept all the same"


async def test_a_log_that_is_off_costs_no_allowance(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.WARNING, "tlsidecar.refusals"):
        for _ in range(line_limit.BURST_LINES + 1):
            world.recorder.refused(REFUSAL)
    with caplog.at_level(logging.INFO, "tlsidecar.refusals"):
        world.recorder.refused(REFUSAL)
    (record,) = caplog.records
    assert record.getMessage() == f"refused: {Reason.NOT_ALLOWED.sentence}"
