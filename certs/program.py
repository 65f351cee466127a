"""Running a program that prints material: with a deadline, a bound on its output, and no shell.

Light: the process that runs it may have nothing else of ours.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
END_POLL_S = 0.1  # between looks whether the program has ended while its pipes are still open


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: ``executable`` is the path of ``argv[0]``, ``variables`` the names of those of the environment that
    it gets, and ``deadline_s`` how long it may take."""

    argv: tuple[str, ...]
    executable: str
    variables: tuple[str, ...]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Ran:
    """How it ended: ``code`` as subprocess has it, negative for a signal; ``failure`` is why it could not be started.
    Of what is late or prints too much nothing counts but that: it was killed."""

    output: bytes = b""
    errors: bytes = b""
    code: int = 0
    is_late: bool = False
    is_too_long: bool = False
    failure: str = ""


Run = Callable[[Program], Ran]


def run_program(program: Program) -> Ran:
    """Run it to its end, or kill it; never raises."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the program the configuration names, and no shell
            program.argv,
            executable=program.executable,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(program.variables),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return Ran(failure=error.strerror or str(error))
    watchdog = _Watchdog(process, program.deadline_s)
    with process, watchdog:
        output, errors = _printed(process, watchdog)
        is_too_long = len(output) > MAX_OUTPUT_BYTES
        if is_too_long:
            watchdog.kill()
        process.wait()
    return Ran(output, errors, process.returncode, watchdog.has_struck and not is_too_long, is_too_long)


def environment(variables: Sequence[str]) -> dict[str, str]:
    """What a program gets of ours."""
    named = {name: os.environ[name] for name in variables if name in os.environ}
    return {"PATH": os.environ.get("PATH") or DEFAULT_PATH, "LC_ALL": "C.UTF-8", **named}


class _Watchdog:
    """Kills a program, and whatever it has started, when its time is up or it is told to. A context manager."""

    def __init__(self, process: subprocess.Popen[bytes], deadline_s: float) -> None:
        self.has_struck = False
        self._process = process
        self._timer = threading.Timer(deadline_s, self.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> _Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def kill(self) -> None:
        self.has_struck = True
        if self._process.returncode is not None:
            return  # its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _printed(process: subprocess.Popen[bytes], watchdog: _Watchdog) -> tuple[bytes, bytes]:
    """What a program prints until it ends, up to a little over the bounds, and what it says of errors.

    A helper that it leaves behind (an agent, say) may hold the pipes open for ever: the program's end is the end."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, (output, MAX_OUTPUT_BYTES + 1))
        selector.register(process.stderr, selectors.EVENT_READ, (errors, MAX_ERROR_BYTES))
        while selector.get_map() and len(output) <= MAX_OUTPUT_BYTES:
            has_ended = process.poll() is not None  # asked first: whatever it printed is there then
            ready = selector.select(0 if has_ended else END_POLL_S)
            if has_ended and (not ready or watchdog.has_struck):
                break
            for key, _ in ready:
                piece = os.read(key.fd, PIECE_BYTES)
                if not piece:
                    selector.unregister(key.fileobj)
                kept, limit = key.data
                kept += piece[: limit - len(kept)]
    return bytes(output), bytes(errors)
