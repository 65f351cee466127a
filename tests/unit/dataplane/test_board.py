"""Whose turn it is to accept, and whose a connection id is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice

import pytest

from tlsidecar.dataplane.board import Board, Turn, owner_of_id


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = Board.descriptor_for(3, 2)
    board = Board(descriptor, 3, 2)
    yield board
    board.close()
    os.close(descriptor)


def turns_of(board: Board, *shares: int, listener: int = 0) -> list[Turn]:
    return [Turn(board, worker, listener, shares) for worker in range(len(shares))]


def whose(turns: list[Turn]) -> list[int]:
    return [worker for worker, turn in enumerate(turns) if turn.is_mine()]


def test_fewest_open_goes_first_then_fewest_ever_accepted(board: Board) -> None:
    turns = turns_of(board, 10, 10, 10)
    assert whose(turns) == [0, 1, 2]  # who is quickest
    turns[0].accepted()
    turns[0].active(1)
    assert whose(turns) == [1, 2]
    turns[0].active(0)
    assert whose(turns) == [1, 2]  # it has had one
    for worker in (1, 2):
        turns[worker].accepted()
    assert whose(turns) == [0, 1, 2]


def test_a_burst_is_spread_evenly(board: Board) -> None:
    turns = turns_of(board, 100, 100, 100)
    open_ = [0, 0, 0]
    for _ in range(90):
        (worker, *_others) = whose(turns)
        open_[worker] += 1
        turns[worker].accepted()
        turns[worker].active(open_[worker])
    assert open_ == [30, 30, 30]


def test_a_full_worker_leaves_it_to_one_with_room(board: Board) -> None:
    turns = turns_of(board, 1, 5, 5)
    turns[0].active(1)
    turns[1].active(4)
    turns[2].active(4)
    assert whose(turns) == [1, 2]
    assert not turns[0].may_help()
    assert turns[1].may_help()
    turns[1].active(5)
    turns[2].active(5)
    assert whose(turns) == [0, 1, 2]  # to refuse
    assert turns[0].may_help()


def test_nobody_waits_for_one_that_is_gone(board: Board) -> None:
    turns = turns_of(board, 5, 5, 5)
    turns[1].active(3)
    turns[2].active(3)
    board.leave(0)
    assert whose(turns)[-2:] == [1, 2]
    assert board.active(0, 0) == 0
    assert not board.is_complete()
    board.enter(0)
    assert board.is_complete()
    assert whose(turns) == [0]


def test_listeners_do_not_meet(board: Board) -> None:
    web, admin = turns_of(board, 5, 5, 5), turns_of(board, 5, 5, 5, listener=1)
    web[0].active(5)
    assert whose(admin) == [0, 1, 2]
    assert board.active(0, 0) == 5
    assert board.active(0, 1) == 0


def test_ids_are_nobody_elses_and_go_on_after_a_restart(board: Board) -> None:
    ids = {worker: list(islice(board.ids(worker), 4)) for worker in range(3)}
    assert sorted(chain.from_iterable(ids.values())) == list(range(1, 13))
    for worker, given in ids.items():
        assert {owner_of_id(each, 3) for each in given} == {worker}
    board.leave(1)
    board.enter(1)
    assert next(board.ids(1)) > max(ids[1])


def test_a_beat_is_kept_to_the_microsecond(board: Board) -> None:
    board.beat(2, 12345.678901)
    assert board.last_beat_s(2) == pytest.approx(12345.678901, abs=1e-6)
    assert board.last_beat_s(0) == 0
