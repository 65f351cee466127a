"""One process, two children: the sidecar, and the command it serves. The sidecar is ready before the command begins and
drains after it has ended; whoever waits for us gets the command's exit code.

The command runs in front: standard input, output and the terminal are its own, and so are the signals. The sidecar has
a session of its own, so that what is typed does not reach it. This process only waits, passes signals on, and collects
whatever ended, also what the command left behind; so it can be process 1 of a container.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum

from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.service_manager import READY, ServiceManager

EXIT_FAILED = 1
EXIT_CANNOT_RUN = 126  # as env(1), timeout(1) and the shells have it
EXIT_NOT_FOUND = 127
_EXIT_BY_SIGNAL = 128

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_SI_KERNEL = 0x80  # sigaction(2): typed at the terminal, so the command has it, too

# Those that would stop us are left alone: a terminal stops the command and us together, and continues us together.
# Those that a fault raises are for whoever has the fault.
_NOT_OURS = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE, signal.SIGTRAP),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS, signal.SIGXFSZ),
}
_PASSED_ON = frozenset(signal.valid_signals()) - _NOT_OURS - {signal.SIGCHLD}


class OnSidecarExit(StrEnum):
    """What becomes of the command when the sidecar has died."""

    STOP = "stop"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long it is waited, in seconds."""

    ready_s: float
    kill_after_s: float


def run(
    serve: Callable[[ServiceManager], int], command: Sequence[str], on_sidecar_exit: OnSidecarExit, patience: Patience
) -> int:
    """Run ``serve`` in a child until ``command`` has ended; returns the exit code to end with."""
    program = shutil.which(command[0])
    if program is None:
        return _cannot_run(command[0])
    signal.pthread_sigmask(signal.SIG_SETMASK, _PASSED_ON | {signal.SIGCHLD})
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return _Foreground(_Sidecar.start(serve), program, list(command), on_sidecar_exit, patience).run()


class _Sidecar:
    """The child that serves, and what it says of itself."""

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid = pid
        self._told = told

    @classmethod
    def start(cls, serve: Callable[[ServiceManager], int]) -> _Sidecar:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        parent = os.getpid()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _in_the_child(lambda: serve(ServiceManager(theirs)), parent)
        theirs.close()
        ours.setblocking(False)
        return cls(pid, ours)

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            while words := self._told.recv(4096):
                if READY.encode() in words.split(b"\n"):
                    return True
        return False

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _in_the_child(serve: Callable[[], int], parent: int) -> None:
    """Never returns."""
    code = EXIT_FAILED
    try:
        os.setsid()
        with contextlib.suppress(OSError, AttributeError):
            # If we are killed, it drains, instead of serving a port for nobody.
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == parent:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            os.dup2(2, 1)  # standard output is the command's
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            code = serve()
    except BaseException as error:
        _say(f"the sidecar failed: {type(error).__name__}: {error}")
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


class _Foreground:
    """What has ended and what has not; :meth:`run` is the one loop."""

    def __init__(
        self,
        sidecar: _Sidecar,
        program: str,
        command: list[str],
        on_sidecar_exit: OnSidecarExit,
        patience: Patience,
    ) -> None:
        self._sidecar = sidecar
        self._program = program
        self._command = command
        self._on_sidecar_exit = on_sidecar_exit
        self._patience = patience
        self._pid = 0
        self._ended: dict[int, int] = {}  # the exit codes of our two children, by pid

    def run(self) -> int:
        code = self._until_ready()
        if code is None:
            code = self._in_front()
        self._drain()
        return code

    def _until_ready(self) -> int | None:
        """None when it is ready; the exit code when it is not going to be."""
        deadline = time.monotonic() + self._patience.ready_s
        while not self._sidecar.is_ready():
            if self._sidecar.pid in self._ended:
                _say(f"the sidecar ended before it was ready; {self._name} was not started")
                return self._ended[self._sidecar.pid] or EXIT_FAILED
            if time.monotonic() >= deadline:
                _say(f"the sidecar was not ready in {self._patience.ready_s:g} s; {self._name} was not started")
                return EXIT_FAILED
            for number, _ in self._signals(until=min(deadline, time.monotonic() + 0.02)):
                if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                    return _EXIT_BY_SIGNAL + number
        return None

    def _in_front(self) -> int:
        try:
            self._pid = os.posix_spawn(
                self._program, self._command, os.environ, setsigmask=(), setsigdef=(signal.SIGPIPE, signal.SIGXFSZ)
            )
        except OSError as error:
            _say(f"cannot run {self._command[0]}: {error.strerror}")
            return EXIT_CANNOT_RUN
        kill_at = float("inf")
        while self._pid not in self._ended:
            for number, typed in self._signals(until=kill_at):
                if not typed and self._pid not in self._ended:
                    os.kill(self._pid, number)  # it is not collected yet, so that the number is still its own
            if self._pid in self._ended:
                break
            if self._sidecar.pid in self._ended and kill_at == float("inf") and not self._may_go_on:
                _say(f"the sidecar ended with {self._ended[self._sidecar.pid]}; ending {self._name}")
                os.kill(self._pid, signal.SIGTERM)
                kill_at = time.monotonic() + self._patience.kill_after_s
            elif time.monotonic() >= kill_at:
                _say(f"{self._name} is still there {self._patience.kill_after_s:g} s after TERM; killing it")
                os.kill(self._pid, signal.SIGKILL)
                kill_at = time.monotonic() + self._patience.kill_after_s
        self._name_what_is_left()
        if self._sidecar.pid in self._ended and not self._may_go_on:
            return EXIT_FAILED
        return self._ended[self._pid]

    @property
    def _may_go_on(self) -> bool:
        return self._on_sidecar_exit is OnSidecarExit.KEEP

    @property
    def _name(self) -> str:
        return os.path.basename(self._command[0])

    def _drain(self) -> None:
        """The sidecar bounds its own drain; whoever cannot wait for it sends one more signal."""
        if self._sidecar.pid in self._ended:
            return
        self._sidecar.signal(signal.SIGTERM)
        while self._sidecar.pid not in self._ended:
            for number, _ in self._signals():
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._sidecar.signal(signal.SIGTERM)
        if self._ended[self._sidecar.pid]:
            _say(f"the sidecar ended with {self._ended[self._sidecar.pid]}")

    def _signals(self, until: float = float("inf")) -> Iterator[tuple[int, bool]]:
        """The next signal and whether it was typed at the terminal; nothing after ``until``. Children that have ended
        are collected here."""
        if until == float("inf"):
            found: signal.struct_siginfo | None = signal.sigwaitinfo(_PASSED_ON | {signal.SIGCHLD})
        else:
            found = signal.sigtimedwait(_PASSED_ON | {signal.SIGCHLD}, max(0.0, until - time.monotonic()))
        if found is not None and found.si_signo == signal.SIGCHLD:
            self._collect()
        elif found is not None:
            yield found.si_signo, found.si_code == _SI_KERNEL

    def _collect(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in (self._pid, self._sidecar.pid):
                    code = os.waitstatus_to_exitcode(status)
                    self._ended[pid] = code if code >= 0 else _EXIT_BY_SIGNAL - code
                    if pid == self._sidecar.pid and self._pid and self._may_go_on and self._pid not in self._ended:
                        _say(f"the sidecar ended with {self._ended[pid]}; {self._name} goes on without it")

    def _name_what_is_left(self) -> None:
        """A command that puts itself into the background has ended as far as anybody can tell."""
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                left = sorted({int(pid) for pid in file.read().split()} - {self._sidecar.pid} - self._ended.keys())
        except (OSError, ValueError):
            return
        if left:
            pids = ", ".join(map(str, left))
            _say(f"{self._name} ended and left processes behind ({pids}); the sidecar serves only until it has drained")


def _cannot_run(name: str) -> int:
    if os.path.exists(name) and "/" in name:
        why = "is a directory" if os.path.isdir(name) else "may not be executed"
        _say(f"{name} {why}; nothing was started")
        return EXIT_CANNOT_RUN
    _say(f"{name}: no such command; nothing was started")
    return EXIT_NOT_FOUND


def _say(text: str) -> None:
    printable = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    sys.stderr.write(f"tlsidecar exec: {printable}\n")
