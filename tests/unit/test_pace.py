"""Steps beside traffic are set apart in time, by whomever they are made; without traffic they follow at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from certs.steps import Steps
from tlsidecar.pace import ALL_WITHIN_S, STEPS_APART_S, Pace

# What the loop's clock may be early by.
CLOCK_S = 0.001


def moments_of_steps(pace: Pace, makers: int, steps: int) -> list[float]:
    """When each step was made, on the loop's clock, from when it was begun."""
    moments: list[float] = []

    async def make(loop: asyncio.AbstractEventLoop, begun: float) -> None:
        for _ in range(steps):
            await pace.step()
            moments.append(loop.time() - begun)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(make(loop, begun) for _ in range(makers)))

    asyncio.run(story())
    return moments


def gaps(moments: list[float]) -> list[float]:
    return [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]


def test_beside_traffic_each_step_waits_for_those_of_all_others() -> None:
    assert min(gaps(moments_of_steps(Pace(lambda: True), makers=3, steps=2))) > STEPS_APART_S - CLOCK_S


def test_however_many_there_are_a_step_of_each_is_made_in_the_same_time() -> None:
    many = 100
    found = gaps(moments_of_steps(Pace(lambda: True), makers=many, steps=1))
    assert all(gap > 0 for gap in found)
    assert sorted(found)[many // 4] < STEPS_APART_S / 2, "a hundred waits of a whole pause would be a second"
    assert ALL_WITHIN_S / many < STEPS_APART_S


def test_without_traffic_nothing_is_waited_for() -> None:
    pace = Pace(lambda: False)
    turns = 0

    async def story() -> None:
        nonlocal turns
        step = asyncio.ensure_future(pace.step())
        while not step.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(story())
    assert turns <= 3, "a turn of the loop, and no time"


def test_whoever_gives_up_waiting_holds_nobody_up() -> None:
    pace = Pace(lambda: True)

    async def story() -> None:
        first = asyncio.ensure_future(pace.step())
        second = asyncio.ensure_future(pace.step())
        await asyncio.sleep(0)
        first.cancel()
        await second
        await pace.step()

    asyncio.run(story())
    assert repr(pace) == "<Pace waiting=0>"


def test_steps_are_made_one_after_each_wait_and_end_with_what_they_come_to() -> None:
    pace = Pace(lambda: False)
    made: list[int] = []

    def steps(fail: bool) -> Steps[str]:
        for number in range(3):
            made.append(number)
            yield
        if fail:
            raise ValueError("of no use")
        return "done"

    async def story() -> None:
        going = asyncio.ensure_future(pace.through(steps(fail=False)))
        await asyncio.sleep(0)
        assert made == []
        assert await going == "done"
        assert made == [0, 1, 2]
        with pytest.raises(ValueError, match="of no use"):
            await pace.through(steps(fail=True))

    asyncio.run(story())


@pytest.mark.parametrize("is_beside_traffic", [True, False])
def test_a_thread_rests_beside_traffic_alone(is_beside_traffic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    Pace(lambda: is_beside_traffic).rest()
    assert waits == ([STEPS_APART_S] if is_beside_traffic else [])
