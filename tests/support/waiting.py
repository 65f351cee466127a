"""Waiting for something to become true, with a deadline; never for a fixed time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(ask: Callable[[], Value], within_s: float = 20.0, every_s: float = 0.02) -> Value:
    """The first truthy answer of ``ask``; an AssertionError raised by it counts as not yet. Raises what it last raised,
    or AssertionError, after ``within_s``."""
    deadline = time.monotonic() + within_s
    last: AssertionError | None = None
    while True:
        try:
            answer = ask()
            if answer:
                return answer
            last = AssertionError(f"still {answer!r} after {within_s} s")
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            raise last
        time.sleep(every_s)


def listens(port: int) -> bool:
    """Whether somebody accepts on 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
