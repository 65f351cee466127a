"""What came before its turn knows when it came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.http1.held import MOST_ARRIVALS, Held


def test_each_byte_has_the_moment_it_came() -> None:
    held = Held()
    held.add(b"..abc", 2, 5, 1.0)
    held.add(b"de", 0, 2, 2.0)
    assert (bytes(held.data), len(held)) == (b"abcde", 5)
    assert [held.arrived(end) for end in (1, 3, 4, 5)] == [1.0, 1.0, 2.0, 2.0]
    held.drop(2)
    assert (bytes(held.data), [held.arrived(end) for end in (1, 2, 3)]) == (b"cde", [1.0, 2.0, 2.0])
    held.drop(3)
    assert not held
    held.add(b"f", 0, 1, 3.0)
    assert held.arrived(1) == 3.0


def test_who_sends_a_byte_at_a_time_costs_bounded_memory() -> None:
    held = Held()
    for number in range(10_000):
        held.add(b"x", 0, 1, float(number))
    assert len(held._arrivals) == MOST_ARRIVALS
    assert held.arrived(10_000) == 9999.0, "the end of a head that came so is told as it was"
    assert held.arrived(9_990) == 9989.0
    # Of what lies further back earlier than it was, never later: who waited is not said to have waited less.
    assert held.arrived(5_000) == 0.0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), max_size=40))
def test_dropping_changes_no_moment(steps: list[tuple[int, int]]) -> None:
    held = Held()
    moments: list[float] = []
    for now, (size, dropped) in enumerate(steps):
        held.add(bytes(size), 0, size, float(now))
        moments += [float(now)] * size
        held.drop(min(dropped, len(moments)))
        del moments[:dropped]
        assert [held.arrived(at + 1) for at in range(len(held))] == moments
