"""Asking several sidecars at once: one that is far or slow keeps no other waiting, one that fails hides no other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from certs.cli.context import Failure, exit_code_of
from certs.errors import CertsError
from certs.probe import SidecarProbe

MOST_AT_ONCE = 32

R = TypeVar("R")


def ask_each(sidecars: Sequence[SidecarProbe], ask: Callable[[SidecarProbe], R]) -> list[R | CertsError | Failure]:
    """What ``ask`` gives or raises for each, in their order. Called in threads of its own but where there is one."""
    if len(sidecars) == 1:
        return [_answer(sidecars[0], ask)]
    answers: dict[int, R | CertsError | Failure] = {}
    defects: list[Exception] = []
    waiting: queue.SimpleQueue[tuple[int, SidecarProbe]] = queue.SimpleQueue()
    for place in enumerate(sidecars):
        waiting.put(place)

    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                place, sidecar = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answers[place] = _answer(sidecar, ask)
            except Exception as defect:
                defects.append(defect)

    # Daemons: who ends the command with ^C does not wait for the slowest.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(sidecars), MOST_AT_ONCE))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        over.set()
    if defects:
        raise defects[0]
    return [answers[place] for place in range(len(sidecars))]


def ask_all(sidecars: Sequence[SidecarProbe], ask: Callable[[SidecarProbe], R]) -> list[R]:
    """What ``ask`` gives for each, in their order. Raises :class:`Failure` that names all who did not answer."""
    answers = ask_each(sidecars, ask)
    fail_for(answers)
    return [answer for answer in answers if not isinstance(answer, CertsError | Failure)]


def fail_for(answers: Sequence[object]) -> None:
    """Raises :class:`Failure` with every error among ``answers``, a line each, and the exit code of the gravest: who
    refused (4) before who could not be reached (3), and what else went wrong."""
    errors = [answer for answer in answers if isinstance(answer, CertsError | Failure)]
    if errors:
        raise Failure("\n".join(map(str, errors)), max(map(exit_code_of, errors)))


def _answer(sidecar: SidecarProbe, ask: Callable[[SidecarProbe], R]) -> R | CertsError | Failure:
    try:
        return ask(sidecar)
    except (CertsError, Failure) as error:
        return error
