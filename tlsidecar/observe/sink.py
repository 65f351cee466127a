"""Where log lines go: one file descriptor, written to by one thread, so that nobody else ever waits for it.

A log that is a blocked pipe, a full disk or a dead terminal must cost the traffic nothing. So lines are put into a
bounded buffer and a thread writes them. What does not fit, or cannot be written, is counted and gone. The thread does
no work in Python per line, for it would hold the interpreter's lock while the data path waits: lines come to it made.

The descriptor's blocking mode is never changed. It belongs to the open file, and standard error is shared with the
process that started us.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
import threading
import time
from pathlib import Path

BUFFERED_BYTES = 4 * 1024 * 1024
# One wake-up of the writer for all lines of this time: at 10,000 lines a second it wakes 20 times, not 10,000.
GATHER_S = 0.05
# A pipe takes this much in one piece or nothing of it (POSIX.1-2017, write(): PIPE_BUF), so that lines of several
# processes on one pipe do not mix, and a write of this much to a pipe that polls as writable does not block.
PIPE_WRITE_BYTES = select.PIPE_BUF
FILE_WRITE_BYTES = 256 * 1024
# How often a writer that waits for a blocked descriptor looks whether it was told to stop.
BLOCKED_POLL_S = 0.1
CLOSE_DEADLINE_S = 1.0
# How long one process waits for another to finish its lines, and how often it looks. A stopped one holds its turn.
TURN_DEADLINE_S = 1.0
TURN_POLL_S = 0.002


class LogFileError(OSError):
    """The log file cannot be opened; the text is one sentence for the operator."""


class LineSink:
    """A bounded buffer of lines before one descriptor. ``write`` may be called from any thread."""

    def __init__(self, fd: int, *, path: Path | None = None, shared: int | None = None) -> None:
        """Writes to a duplicate of ``fd``, so that a writer stuck in it can never meet another file under its number.
        ``path`` is where it was opened, if that is known: then it can be reopened. ``shared`` is for :meth:`share`."""
        self._fd = os.dup(fd)
        self._path = path
        self._shared = shared
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._buffered = 0  # bytes, those being written included
        self._writing_lines = 0
        self._dropped = 0
        self._failing = False  # the last write was an error: a full disk, a pipe without a reader
        self._torn = False  # the last thing written stopped in the middle of a line
        self._awake = threading.Event()
        self._stop = threading.Event()
        self._stopping = False  # the same as a plain flag, since every line looks at it
        self._abandoned = False
        self._thread: threading.Thread | None = None

    @classmethod
    def stderr(cls) -> LineSink:
        """Standard error as the process got it."""
        return cls(_stderr())

    @classmethod
    def file(cls, path: Path) -> LineSink:
        """Append to ``path``, made 0640 where there is none. Raises LogFileError."""
        fd = _open(path)
        try:
            return cls(fd, path=path)
        finally:
            os.close(fd)

    def __repr__(self) -> str:
        where = self._path or f"fd {self._fd}"
        return f"<LineSink {where}, {self._buffered} bytes waiting, {self._dropped} lines dropped>"

    @property
    def descriptor(self) -> int:
        """What is written to, for handing to another process."""
        return self._fd

    def share(self, lock: int | None) -> None:
        """Other processes write to the same file: take turns by a record lock on ``lock``, a descriptor of a file that
        all of them have open (fcntl(2)). Only a pipe needs it, where a line longer than PIPE_BUF is written in pieces;
        the kernel gives the lock back when its holder dies."""
        self._shared = lock

    @property
    def dropped_lines(self) -> int:
        """Lines that were not written: no room, or the write failed."""
        return self._dropped

    @property
    def is_sound(self) -> bool:
        """False while a line written now is likely lost: the buffer is all but full, or the last write failed."""
        return not self._failing and self._buffered < BUFFERED_BYTES * 3 // 4

    def write(self, line: str) -> bool:
        """Take one line, without its newline and already escaped; False when there was no room and it is gone."""
        return self.write_bytes(line.encode("utf-8", "backslashreplace"))

    def write_bytes(self, line: bytes) -> bool:
        """:meth:`write` for a line that is encoded."""
        with self._lock:
            buffered = self._buffered + len(line)
            if buffered > BUFFERED_BYTES or self._stopping:
                self._dropped += 1
                return False
            lines = self._lines
            lines.append(line)
            self._buffered = buffered + 1
            if len(lines) > 1 and self._thread is not None:
                return True
        self._wake_writer()
        return True

    def reopen(self) -> None:
        """Open the file anew, after a log rotation renamed it. Raises LogFileError and goes on with the old one."""
        if self._path is None or self._stop.is_set():
            return
        fresh = _open(self._path)
        # dup2 exchanges the file under the same number, so the writer needs no lock to see it.
        os.dup2(fresh, self._fd, inheritable=False)
        os.close(fresh)
        self._failing = False

    def move(self, path: Path | None) -> None:
        """Write to ``path`` from now on, or, where it is None, to standard error. Raises LogFileError and goes on as
        it was."""
        if self._stop.is_set():
            return
        fresh = os.dup(_stderr()) if path is None else _open(path)
        os.dup2(fresh, self._fd, inheritable=False)
        os.close(fresh)
        self._path = path
        self._failing = False

    def close(self, deadline_s: float = CLOSE_DEADLINE_S) -> None:
        """Write what is left, for at most ``deadline_s``; what is left then is counted as dropped."""
        with self._lock:
            self._stopping = True
            self._stop.set()
            thread = self._thread
        self._awake.set()
        if thread is not None:
            thread.join(deadline_s)
        with self._lock:
            # The writer may be stuck in the kernel: it is a daemon thread and ends with the process.
            self._abandoned = True
            self._dropped += len(self._lines) + self._writing_lines
            self._lines = []
            self._buffered = self._writing_lines = 0
            if thread is None:
                self._close_descriptor()

    def _wake_writer(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stop.is_set():
                    thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:
                        return  # too many processes, or no memory: the next line may have one
                    self._thread = thread
        self._awake.set()

    def _run(self) -> None:
        try:
            self._write_until_stopped()
        finally:
            self._close_descriptor()

    def _close_descriptor(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_until_stopped(self) -> None:
        while True:
            self._awake.wait()
            self._stop.wait(GATHER_S)
            self._awake.clear()
            with self._lock:
                lines, self._lines = self._lines, []
                taken = self._buffered
                self._writing_lines = len(lines)
            if lines:
                try:
                    self._write_batch(lines)
                except MemoryError:  # these lines are lost, and not all that come later
                    self._drop(self._writing_lines)
            with self._lock:
                if self._abandoned:
                    return
                self._buffered -= taken
                self._writing_lines = 0
                if self._stop.is_set() and not self._lines:
                    return

    def _write_batch(self, lines: list[bytes]) -> None:
        if not _is_pipe(self._fd):
            self._write_piece(lines)
            return
        start = size = 0
        for end, line in enumerate(lines):
            length = len(line) + 1
            if size and size + length > PIPE_WRITE_BYTES:
                self._write_piece(lines[start:end])
                start, size = end, 0
            size += length
        self._write_piece(lines[start:])

    def _write_piece(self, lines: list[bytes]) -> None:
        """Write these lines, and let no other process write between them."""
        if self._shared is None or not _is_pipe(self._fd):
            self._write_lines(lines)
            return
        locked = self._take_turn(self._shared)
        try:
            self._write_lines(lines)
        finally:
            if locked:
                fcntl.lockf(self._shared, fcntl.LOCK_UN)

    def _take_turn(self, lock: int) -> bool:
        """False when whoever has the turn does not end it: better a torn line than no lines."""
        deadline = time.monotonic() + TURN_DEADLINE_S
        while not self._abandoned:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    return False
                self._stop.wait(TURN_POLL_S)
            else:
                return True
        return False

    def _write_lines(self, lines: list[bytes]) -> None:
        data = memoryview(b"\n".join([b"", *lines, b""] if self._torn else [*lines, b""]))
        written = 0
        while written < len(data):
            try:
                if not self._wait_writable():
                    self._drop(len(lines))
                    return
                written += os.write(self._fd, data[written : written + FILE_WRITE_BYTES])
            except BlockingIOError:
                # Somebody else made the shared descriptor non-blocking and filled it between poll and write.
                self._stop.wait(BLOCKED_POLL_S / 10)
            except OSError:
                self._failing = True
                self._torn = self._torn if written == 0 else data[written - 1] != ord("\n")
                self._drop(data[written:].tobytes().count(b"\n"))
                return
        self._torn = self._failing = False
        with self._lock:
            if not self._abandoned:
                self._writing_lines -= len(lines)

    def _wait_writable(self) -> bool:
        """Wait until the descriptor takes bytes; False once the sink has been abandoned by ``close``."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while not self._abandoned:
            if poll.poll(BLOCKED_POLL_S * 1000):
                return not self._abandoned  # close() may have counted these lines as dropped meanwhile
        return False

    def _drop(self, count: int) -> None:
        with self._lock:
            if self._abandoned:
                return  # close() has counted them
            self._dropped += count
            self._writing_lines = max(0, self._writing_lines - count)


def try_file(path: Path) -> None:
    """Whether lines can be appended there; the file is made where there is none. Raises LogFileError."""
    os.close(_open(path))


def _stderr() -> int:
    return sys.__stderr__.fileno() if sys.__stderr__ else 2


def _open(path: Path) -> int:
    # O_NONBLOCK: a FIFO nobody reads must not hang the start. This open file is ours alone, so nobody else is affected.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(path, flags, 0o640)
    except OSError as error:
        raise LogFileError(f"cannot open the log file {path}: {error.strerror}") from error
    return fd


def _is_pipe(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
