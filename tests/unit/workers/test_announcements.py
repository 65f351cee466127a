"""What a worker tells unasked: together, bounded, and the same at the other end."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, cast

import pytest

from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.workers import messages
from tlsidecar.workers.announcements import ANNOUNCED_AT_ONCE, UNSENT_BYTES, Announcements, take
from tlsidecar.workers.channel import Channel, ChannelClosed
from tlsidecar.workers.wire import WireError

OPENED = Opened(17, "web", "terminate", "tcp", "192.0.2.1:4711", "spiffe://a.example/b", "uri:*", 3, "default")
CHANGE = UpstreamChange(1, "web", "127.0.0.1:8080", False, "refused")


class Line:
    """The worker's end of a channel, as far as announcements use one."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.unsent_bytes = 0
        self.is_closed = False

    def tell(self, verb: str, body: bytes) -> None:
        if self.is_closed:
            raise ChannelClosed
        self.sent.append((verb, body))


class Taken:
    """The controller's collector: writes down what arrives."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def __getattr__(self, _name: str) -> Any:
        return self.told.append


def announcing(line: Line) -> Announcements:
    return Announcements(cast("Channel", line))


def taken(line: Line) -> list[object]:
    collector = Taken()
    for verb, body in line.sent:
        take(cast("Any", collector), 1, verb, body)
    return collector.told


async def test_what_happened_together_is_sent_together() -> None:
    line = Line()
    announcements = announcing(line)
    announcements.opened(OPENED)
    announcements.upstream_changed(CHANGE)
    assert line.sent == []
    async with asyncio.timeout(20):
        while not line.sent:
            await asyncio.sleep(0.005)
    assert [verb for verb, _ in line.sent] == [messages.ANNOUNCED]
    assert taken(line) == [OPENED, CHANGE]


async def test_many_do_not_wait() -> None:
    line = Line()
    announcements = announcing(line)
    for number in range(ANNOUNCED_AT_ONCE):
        announcements.opened(OPENED._replace(id=number))
    assert [cast("Opened", each).id for each in taken(line)] == list(range(ANNOUNCED_AT_ONCE))


async def test_a_controller_that_does_not_read_costs_announcements_and_is_told_how_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = Line()
    line.unsent_bytes = UNSENT_BYTES + 1
    announcements = announcing(line)
    for _ in range(3):
        announcements.opened(OPENED)
    line.unsent_bytes = 0
    announcements.opened(OPENED)
    announcements.flush()
    assert [verb for verb, _ in line.sent] == [messages.LOST, messages.ANNOUNCED]
    with caplog.at_level(logging.WARNING):
        assert taken(line) == [OPENED]
    assert [record.getMessage() for record in caplog.records] == [
        "3 events of a worker were dropped: it told more than could be taken"
    ]


async def test_nobody_left_to_tell_is_no_trouble() -> None:
    line = Line()
    line.is_closed = True
    announcements = announcing(line)
    announcements.opened(OPENED)
    announcements.flush()
    assert line.sent == []


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("whatever", b"[]"),
        (messages.ANNOUNCED, json.dumps([["whatever", []]]).encode()),
        (messages.ANNOUNCED, json.dumps([[messages.OPENED, {"id": "x"}]]).encode()),
        (messages.ANNOUNCED, b"{"),
        (messages.ANNOUNCED, b"[1]"),
        (messages.LOST, b'"many"'),
    ],
)
def test_what_none_of_ours_sends_is_refused(verb: str, body: bytes) -> None:
    with pytest.raises((WireError, ValueError, TypeError)):
        take(cast("Any", Taken()), 1, verb, body)
