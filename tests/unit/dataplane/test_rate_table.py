"""The rates of clients that several workers know together, in one shared memory."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.http.rate import TokenBuckets
from tlsidecar.dataplane.rate_table import RateTable, SharedBucket, SharedBuckets

WORKERS = 3
NOW = 1000.0


class Memory:
    """The file that the workers of one sidecar share; each of them maps it for itself."""

    def __init__(self, workers: int = WORKERS) -> None:
        self.workers = workers
        self.descriptor = Board.descriptor_for(workers, 1)
        self.boards = [Board(self.descriptor, workers, 1) for _ in range(workers)]
        self.tables = [board.rates(worker) for worker, board in enumerate(self.boards)]

    def buckets(self, rate: float, burst: int, listener: str = "web") -> list[SharedBuckets]:
        """Those of each worker."""
        return [SharedBuckets(table, listener, rate, burst) for table in self.tables]

    def used_bytes(self) -> int:
        return os.fstat(self.descriptor).st_blocks * 512

    def close(self) -> None:
        for table in self.tables:
            table.close()
        for board in self.boards:
            board.close()
        os.close(self.descriptor)


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.close()


def in_turn(buckets: list[SharedBuckets], key: object, count: int, now: float = NOW) -> list[bool]:
    """What so many requests got, of each worker in turn; each time by a connection of its own."""
    return [buckets[at % len(buckets)].bucket(key).take(now) for at in range(count)]


def test_a_burst_and_then_the_rate_of_all_together(memory: Memory) -> None:
    one, two, three = (each.bucket("a") for each in memory.buckets(2.0, 3))
    assert [one.take(NOW), two.take(NOW), three.take(NOW), one.take(NOW), two.take(NOW)] == [True] * 3 + [False] * 2
    assert [each.retry_after_s(NOW) for each in (one, two, three)] == [1, 1, 1]
    assert [two.take(NOW + 0.5), one.take(NOW + 0.5), three.take(NOW + 1.0)] == [True, False, True]
    later = NOW + 100.0
    assert [each.take(later) for each in (three, one, one, two, three)] == [True] * 3 + [False] * 2


def test_keys_listeners_and_terms_have_buckets_of_their_own(memory: Memory) -> None:
    for buckets in (
        memory.buckets(1.0, 2),
        memory.buckets(1.0, 2, "other"),
        memory.buckets(2.0, 2),  # as after a change of the rate
    ):
        for key in (("a", ("b",)), ("a", "b"), ("a", ""), "'a', 'b'", "192.0.2.1"):
            assert in_turn(buckets, key, 4) == [True, True, False, False], key
    assert in_turn(memory.buckets(1.0, 3), "192.0.2.1", 4) == [True, True, True, False]


def test_a_wait_that_was_told_is_long_enough_in_every_worker(memory: Memory) -> None:
    buckets = [each.bucket("a") for each in memory.buckets(0.3, 1)]
    assert [each.retry_after_s(NOW) for each in buckets] == [1, 1, 1], "nobody has asked yet"
    assert buckets[0].take(NOW)
    wait_s = buckets[1].retry_after_s(NOW)
    assert wait_s == 4
    assert not buckets[2].take(NOW + 3.3)
    assert buckets[2].take(NOW + wait_s)


def test_a_worker_that_is_replaced_goes_on_where_the_other_was(memory: Memory) -> None:
    buckets = memory.buckets(1.0, 2)
    assert in_turn(buckets[:1], "a", 3) == [True, True, False]
    again = SharedBuckets(memory.boards[0].rates(0), "web", 1.0, 2)
    assert not again.bucket("a").take(NOW)
    assert again.bucket("a").take(NOW + 1.0)
    assert not buckets[1].bucket("a").take(NOW + 1.0)


def test_memory_is_used_where_there_is_a_rate_and_as_far_as_it_is_used(memory: Memory) -> None:
    assert memory.used_bytes() <= mmap.PAGESIZE, "the board itself"
    buckets = memory.buckets(1.0, 2)
    assert memory.used_bytes() <= mmap.PAGESIZE
    assert in_turn(buckets, "a", 3) == [True, True, False]
    assert memory.used_bytes() <= 3 * mmap.PAGESIZE


def test_whoever_has_used_least_gives_way(memory: Memory) -> None:
    """Nine that are in the same set: more than it has slots."""
    first = memory.buckets(1.0, 20)[0]
    of_one_set = sharing_a_set(first, 9)
    for number, bucket in enumerate(of_one_set[:8]):
        for _ in range(20 - number):
            assert bucket.take(NOW)
    assert of_one_set[8].take(NOW)
    assert not of_one_set[0].take(NOW), "it is remembered"
    assert [of_one_set[7].take(NOW) for _ in range(21)] == [True] * 20 + [False], "it was forgotten, and begins anew"


def test_a_full_bucket_gives_way_to_no_harm(memory: Memory) -> None:
    first = memory.buckets(1.0, 2)[0]
    buckets = sharing_a_set(first, 24)
    for number, bucket in enumerate(buckets):
        assert [bucket.take(NOW + 10.0 * number) for _ in range(3)] == [True, True, False]


def sharing_a_set(buckets: SharedBuckets, count: int) -> list[SharedBucket]:
    found: dict[int, list[SharedBucket]] = {}
    for number in range(1_000_000):
        bucket = buckets.bucket(f"client {number}")
        same = found.setdefault(bucket._first, [])
        same.append(bucket)
        if len(same) == count:
            return same
    raise AssertionError("no set has so many")


def test_as_many_as_one_worker_remembers_are_remembered(memory: Memory) -> None:
    buckets = memory.buckets(1.0, 1)
    clients = [each.bucket(f"client {number}") for number in range(16_384 // 4) for each in buckets[:1]]
    assert all(client.take(NOW) for client in clients)
    assert not any(buckets[1].bucket(f"client {number}").take(NOW) for number in range(len(clients)))


def test_names_are_nobody_elses_to_work_out() -> None:
    one, other = Memory(1), Memory(1)
    try:
        named = [memory.tables[0].name_of(("web", "a")) for memory in (one, other)]
        assert named[0] != named[1]
        assert named[0] == one.boards[0].rates(0).name_of(("web", "a")), "all workers call it the same"
        assert all(named)
    finally:
        one.close()
        other.close()


@pytest.mark.parametrize("writes", [1, 2, 3, 4])
def test_what_a_killed_worker_leaves_behind_passes(memory: Memory, writes: int) -> None:
    """It dies after so many of its writes; whoever had the slot used all of a rate that is a million times slower."""
    slow = sharing_a_set(memory.buckets(1e-6, 1000)[0], 8)
    for bucket in slow:
        while bucket.take(NOW):
            pass

    class Killed(Exception):
        pass

    class Words:
        """Those of the table, until so many were written."""

        def __init__(self, left: int) -> None:
            self.left = left

        def __getitem__(self, at: slice) -> memoryview:
            return memory.tables[1].words[at]

        def __setitem__(self, at: int, word: int) -> None:
            if not self.left:
                raise Killed
            self.left -= 1
            memory.tables[1].words[at] = word

    quick = memory.buckets(1.0, 2)
    victim = next(
        (number, bucket)
        for number in range(1_000_000)
        if (bucket := quick[1].bucket(f"quick {number}"))._first == slow[0]._first
    )
    name, dying = f"quick {victim[0]}", victim[1]
    dying._words = cast("memoryview", Words(writes))
    counted = writes == 4
    if counted:
        assert dying.take(NOW)
    else:
        with pytest.raises(Killed):
            dying.take(NOW)
    got = in_turn([quick[0], quick[2]], name, 3)
    assert got == ([True, False, False] if counted else [True, True, False])
    assert in_turn(quick, name, 1, NOW + 1.0) == [True]


def test_what_is_written_to_it_by_mistake_passes(memory: Memory) -> None:
    """Another's count, of a worker that was held up since before the slot changed hands."""
    buckets = memory.buckets(1.0, 2)
    assert in_turn(buckets, "a", 3) == [True, True, False]
    bucket = buckets[0].bucket("a")
    at = bucket._place()
    words = memory.tables[0].words
    words[at + 1] += 10**9 * 3600
    assert in_turn(buckets, "a", 3) == [True, True, False]
    words[at + 1] += 10**9 * 30  # less than what turns of loops may be apart: that is waited for
    assert not bucket.take(NOW)
    assert bucket.take(NOW + 31.0)


@pytest.mark.parametrize(("rate", "burst"), [(1e-13, 5), (1e-4, 10**15), (1e12, 10)])
def test_the_slowest_and_the_quickest_rates_fit(memory: Memory, rate: float, burst: int) -> None:
    for now in (NOW, 3e9):  # a hundred years up
        assert in_turn(memory.buckets(rate, burst), f"at {now}", 1, now) == [True]
        memory.buckets(rate, burst)[1].bucket(f"at {now}").retry_after_s(now)


@pytest.mark.parametrize("wrong", [(0.0, 1), (1.0, 0)])
def test_bounds_are_above_zero(memory: Memory, wrong: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        memory.buckets(*wrong)


def test_counts_that_have_gone_round(memory: Memory) -> None:
    """What a worker counts in a slot grows for as long as there is the table."""
    buckets = memory.buckets(1.0, 3)
    bucket = buckets[1].bucket("a")
    assert bucket.take(NOW)
    at, words = bucket._place(), memory.tables[0].words
    almost = (1 << 64) - 1_500_000_000
    for worker in range(WORKERS):
        words[at + WORKERS] = (words[at + WORKERS] + words[at + worker] - almost) & ((1 << 64) - 1)
        words[at + worker] = almost
    assert in_turn(buckets, "a", 3) == [True, True, False]
    assert in_turn(buckets, "a", 4, NOW + 10.0) == [True, True, True, False]


# Every time and every interval is a whole number of nanoseconds, and a number that floats can hold: so both are exact.
TICK_S = 1 / 512
STEPS = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, WORKERS - 1), st.integers(0, 2)), min_size=1, max_size=120
)


@given(power=st.integers(-4, 6), burst=st.integers(1, 12), steps=STEPS)
def test_they_let_through_what_the_buckets_of_one_worker_do(
    power: int, burst: int, steps: list[tuple[int, int, int]]
) -> None:
    rate, now = 2.0**power, NOW
    memory, model = Memory(), TokenBuckets(2.0**power, burst)
    try:
        buckets = memory.buckets(rate, burst)
        for ticks, worker, key in steps:
            now += ticks * TICK_S * (ticks % 3 == 0)  # two of three come at once
            bucket = buckets[worker].bucket(key)
            allowed = model.take(key, now)
            assert bucket.take(now) == allowed
            if not allowed:
                assert bucket.retry_after_s(now) == model.retry_after_s(key, now)
    finally:
        memory.close()


@given(rate=st.floats(0.01, 5000), burst=st.integers(1, 20), steps=st.lists(st.floats(-0.5, 2.0), max_size=80))
def test_never_more_than_the_burst_and_the_rate_together(rate: float, burst: int, steps: list[float]) -> None:
    """Also where one worker's turn of its loop began earlier than another's."""
    memory = Memory()
    try:
        buckets = [each.bucket("a") for each in memory.buckets(rate, burst)]
        latest, taken, now = NOW, 0, NOW
        for number, step in enumerate(steps):
            now = max(NOW, now + step / rate)
            latest = max(latest, now)
            taken += buckets[number % WORKERS].take(now)
            assert taken <= burst + (rate + 1e-5) * (latest - NOW) + 1e-5
    finally:
        memory.close()


class Interrupted:
    """The words of a worker that is held up after so many ``writes``: meanwhile ``others`` take, so many ``times``."""

    def __init__(self, table: RateTable, writes: int, others: list[SharedBucket], times: int) -> None:
        self._table = table
        self._writes = writes
        self._others = others
        self._times = times
        self.let_in = 0

    def __getitem__(self, at: slice) -> memoryview:
        return self._table.words[at]

    def __setitem__(self, at: int, word: int) -> None:
        if not self._writes:
            for _ in range(self._times):
                self.let_in += sum(other.take(NOW) for other in self._others)
        self._writes -= 1
        self._table.words[at] = word


@pytest.mark.parametrize("interval_s", [1, 3600])
@pytest.mark.parametrize(("used", "writes"), [(0, 0), (0, 1), (0, 2), (1, 0), (5, 0)])
def test_a_worker_that_is_held_up_undoes_nothing(memory: Memory, interval_s: int, used: int, writes: int) -> None:
    """Held up for as long as the others take to use up the burst, and more: before it writes that it has the slot, that
    it is full, or that one more is in."""
    burst = 20
    one, two, three = (each.bucket("a") for each in memory.buckets(1 / interval_s, burst))
    assert all(three.take(NOW) for _ in range(used))
    interrupted = Interrupted(memory.tables[0], writes, [two, three], burst)
    one._words = cast("memoryview", interrupted)
    let_in = used + one.take(NOW) + interrupted.let_in
    assert burst <= let_in <= burst + 1, "its own, for which there was room when it looked"
    owed = let_in - burst
    assert not two.take(NOW + (owed + 0.5) * interval_s)
    assert two.take(NOW + (owed + 1.0) * interval_s)


PROGRAM = """
import sys
from tlsidecar.dataplane.board import Board
from tlsidecar.dataplane.rate_table import SharedBuckets

worker, descriptor, burst = map(int, sys.argv[1:])
bucket = SharedBuckets(Board(descriptor, 2, 1).rates(worker), "web", 1e-4, burst).bucket("a")
print("ready", flush=True)
sys.stdin.readline()
let_in = 0
while bucket.take(1000.0):
    let_in += 1
print(let_in, flush=True)
"""


def test_processes_that_take_as_fast_as_they_can() -> None:
    burst, memory = 100_000, Memory(2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(worker), str(memory.descriptor), str(burst)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[memory.descriptor],
            text=True,
        )
        for worker in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        let_in = [int(process.communicate(timeout=60)[0]) for process in processes]
        assert burst <= sum(let_in) <= burst + 1, let_in
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        memory.close()
