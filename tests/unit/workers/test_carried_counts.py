"""What a worker number has counted goes on where its last process left it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.snapshot import ListenerCounters, UpstreamRecord, WorkerSnapshot
from tlsidecar.settings import Address, ListenerSettings, Mode
from tlsidecar.workers.carried_counts import CarriedCounts

WEB = ListenerSettings("web", Mode.TERMINATE, Address("127.0.0.1", 8443), (Address("127.0.0.1", 8080),))


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = Board.descriptor_for(1, 1)
    yield Board(descriptor, 1, 1)
    os.close(descriptor)


def counts(board: Board) -> CarriedCounts:
    return CarriedCounts(0, board, {"web": []}, [WEB])


def said(blank: WorkerSnapshot, counters: ListenerCounters, *, checks: int = 0, dropped: int = 0) -> WorkerSnapshot:
    upstream = UpstreamRecord("127.0.0.1:8080", True, 0, 0, 0, checks_total=checks, checks_failed=checks // 2)
    record = replace(blank.listeners[0], counters=counters, upstreams=(upstream,))
    return replace(blank, listeners=(record,), log_lines_dropped=dropped)


def test_before_a_process_has_reported_there_is_a_blank_of_each_listener(board: Board) -> None:
    snapshot = counts(board).report()
    assert [record.name for record in snapshot.listeners] == ["web"]
    assert snapshot.listeners[0].counters == ListenerCounters()


def test_counters_never_go_backwards_and_gauges_end_with_their_process(board: Board) -> None:
    carried = counts(board)
    blank = carried.latest
    busy = ListenerCounters(
        connections_active=3, handshakes_active=2, streams_active=7, bytes_in=100, connections={"accepted": 5}
    )
    carried.latest = said(blank, busy, checks=4, dropped=6)
    board.words[board.place(0, 0)] = 3
    assert carried.process_ended([WEB]) == 3
    after = carried.report().listeners[0].counters
    assert (after.connections_active, after.handshakes_active, after.streams_active) == (0, 0, 0)
    assert (after.bytes_in, after.connections) == (100, {"accepted": 5, "worker_lost": 3})
    carried.latest = said(blank, ListenerCounters(streams_active=1, bytes_in=1), checks=2, dropped=1)
    report = carried.report()
    assert (report.listeners[0].counters.bytes_in, report.listeners[0].counters.streams_active) == (101, 1)
    assert (report.listeners[0].upstreams[0].checks_total, report.listeners[0].upstreams[0].checks_failed) == (6, 3)
    assert report.log_lines_dropped == 7


def test_a_report_is_no_view_on_what_is_carried(board: Board) -> None:
    carried = counts(board)
    carried.latest = said(carried.latest, ListenerCounters(connections={"accepted": 1}))
    carried.report().listeners[0].counters.connections["accepted"] = 99
    assert carried.report().listeners[0].counters.connections == {"accepted": 1}


def test_a_snapshot_of_other_listeners_does_not_fit(board: Board) -> None:
    carried = counts(board)
    assert carried.fits(carried.latest)
    assert not carried.fits(replace(carried.latest, listeners=()))
