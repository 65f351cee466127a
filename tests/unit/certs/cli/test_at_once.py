"""Several sidecars are asked at once, and each one's answer or error is kept."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import cast

import pytest

from certs.cli.at_once import MOST_AT_ONCE, ask_all, ask_each
from certs.cli.context import EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE, Failure
from certs.errors import CertsError
from certs.probe import SidecarProbe, SidecarRefused, SidecarUnreachable


@dataclass(frozen=True)
class Named:
    name: str


def named(*names: str) -> list[SidecarProbe]:
    return [cast("SidecarProbe", Named(name)) for name in names]


@pytest.mark.parametrize("number", [0, 1, 2, 3 * MOST_AT_ONCE])
def test_answers_come_in_the_order_of_the_sidecars(number: int) -> None:
    names = [str(each) for each in range(number)]
    assert ask_all(named(*names), lambda sidecar: sidecar.name) == names


def test_none_waits_for_another() -> None:
    together = threading.Barrier(8)
    assert ask_all(named(*"abcdefgh"), lambda _: together.wait(30) < 8) == [True] * 8


def test_no_more_than_so_many_at_once() -> None:
    under_way = threading.BoundedSemaphore(MOST_AT_ONCE)

    def ask(_: SidecarProbe) -> bool:
        with_room = under_way.acquire(blocking=False)
        threading.Event().wait(0.001)
        under_way.release()
        return with_room

    assert all(ask_all(named(*["x"] * 200), ask))


ERRORS: dict[str, CertsError | Failure] = {
    "far": SidecarUnreachable("far: nobody answers"),
    "strict": SidecarRefused("strict: no"),
    "late": Failure("late: not served", EXIT_FAILED),
}


def ask(sidecar: SidecarProbe) -> str:
    if sidecar.name in ERRORS:
        raise ERRORS[sidecar.name]
    return sidecar.name


def test_each_error_stands_in_its_place() -> None:
    assert ask_each(named("a", "far", "b", "late"), ask) == ["a", ERRORS["far"], "b", ERRORS["late"]]
    assert ask_each(named("far"), ask) == [ERRORS["far"]]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["late", "a"], EXIT_FAILED),
        (["far", "a", "late"], EXIT_UNREACHABLE),
        (["late", "far", "strict"], EXIT_REFUSED),
    ],
)
def test_all_who_failed_are_named_and_the_gravest_decides(names: list[str], code: int) -> None:
    with pytest.raises(Failure) as failure:
        ask_all(named(*names), ask)
    assert str(failure.value).split("\n") == [str(ERRORS[name]) for name in names if name in ERRORS]
    assert failure.value.exit_code == code


def test_a_defect_is_no_answer() -> None:
    with pytest.raises(ZeroDivisionError):
        ask_each(named("a", "b"), lambda _: 1 // 0)
