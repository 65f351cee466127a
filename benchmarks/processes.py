"""The processes of a run: started pinned to their cores, measured and paused as whole trees, always stopped by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

STOP_WITHIN_S = 1.0  # ours would drain for longer: nobody is waiting for it here
KIB = 1024

# CPUCLOCK_SCHED of a whole process, as clock_getcpuclockid(3) makes it: the sum that /proc/PID/stat shows in ticks of
# 10 ms, in nanoseconds, threads that have ended included.
_CPUCLOCK_SCHED = 2


class DidNotStart(Exception):
    """A program ended, or did not listen in time; the message says which and what it last said."""


class Process:
    """A program that this run started, with whatever it has forked."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"ended with {self._popen.returncode}"
        return f"<Process {self.name} {self.pid} {state}>"

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    @property
    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "said nothing")

    def tree(self) -> list[int]:
        """The pids of the program and of everything under it, parents first."""
        return list(tree_of(self.pid)) if self.is_running else []

    def cpu_s(self) -> float:
        """CPU time used so far by every process of the tree that is alive."""
        return sum(cpu_s(pid) for pid in self.tree())

    def pss_bytes(self) -> int:
        """Proportional set size of the tree. Raises PermissionError where the kernel keeps it from us."""
        return sum(_of_rollup(pid, "Pss:") for pid in self.tree())

    def alone_bytes(self) -> int:
        """The same if nobody else had the same files mapped, as this run's own Python has: what a container of its own
        is charged. Raises PermissionError."""
        files: dict[str, int] = {}
        anonymous = 0
        for pid in self.tree():
            anonymous += _of_rollup(pid, "Pss_Anon:")
            for mapping, resident in _file_bytes(pid):
                files[mapping] = max(resident, files.get(mapping, 0))
        return anonymous + sum(files.values())

    def signal(self, number: int) -> None:
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait(self, within_s: float) -> int:
        """Raises subprocess.TimeoutExpired."""
        return self._popen.wait(within_s)

    def stop(self) -> None:
        """End the whole tree: TERM to the program, KILL to what is left of it."""
        tree = [(pid, started) for pid in self.tree() if (started := _started(pid))]
        for pid, _ in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.is_running:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_WITHIN_S)
        for pid, started in tree:
            if _started(pid) == started:  # else it has ended, and its number may be another's by now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._popen.wait()


class Processes:
    """Everything one run starts. Leaving the context stops all of it, whatever the reason."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._all: list[Process] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._all):
            process.stop()
        self._all.clear()

    def start(
        self,
        name: str,
        command: Sequence[str],
        cores: Iterable[int],
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
        has_own_session: bool = False,
    ) -> Process:
        """Start ``command`` on ``cores`` only. A session of its own gets as much of a core as all others
        together, where the kernel has autogroups (sched(7)). Raises :class:`DidNotStart` when there is no such
        program."""
        log = self._logs / f"{len(self._all):03}-{name.replace(' ', '-').replace('/', '-')}.log"
        pinned = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), *command]
        if shutil.which("setpriv"):  # should this program be killed, they are told to end, too
            pinned = ["setpriv", "--pdeathsig", "TERM", *pinned]
        if shutil.which(command[0]) is None:
            raise DidNotStart(f"{command[0]} is not installed")
        with log.open("wb") as errors, (output or log).open("ab") as written:
            popen = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=errors,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                start_new_session=has_own_session,
                process_group=None if has_own_session else 0,  # Ctrl-C is for us: we stop them in order
            )
        process = Process(name, popen, log)
        self._all.append(process)
        return process

    def stop(self, *processes: Process) -> None:
        for process in processes:
            process.stop()
            self._all.remove(process)


def cpu_s(pid: int) -> float:
    """CPU time of one process, in seconds; 0.0 when there is no such process any more."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def bytes_moved(pid: int) -> tuple[int, int]:
    """What a process has read and written so far through read(2) and write(2), in bytes (proc(5), rchar and wchar)."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["rchar"]), int(fields["wchar"])


def tree_of(pid: int) -> Iterator[int]:
    """A process and all that it and they have started, as far as they are there, parents first."""
    yield pid
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield from tree_of(int(child))


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot; empty when it is gone or waits only to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _of_rollup(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * KIB
    return 0


def _file_bytes(pid: int) -> Iterator[tuple[str, int]]:
    """Each mapping of a file, by device, inode and offset, and what of it is resident as it is in the file."""
    mapping, resident = "", 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if name == "Rss:":
            resident = int(rest[0])
        elif name == "Anonymous:":
            if mapping:
                yield mapping, (resident - int(rest[0])) * KIB
        elif not name.endswith(":"):  # the first of its lines: addresses, mode, offset, device, inode, path
            _, offset, device, inode, *_ = rest
            mapping = f"{device} {inode} {offset}" if inode != "0" else ""
