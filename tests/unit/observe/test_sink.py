"""The line sink against real descriptors: pipes that block, disks that are full, files that are rotated."""

from __future__ import annotations

import fcntl
import os
import select
import termios
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from tlsidecar.observe.sink import BUFFERED_BYTES, LineSink, LogFileError


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def test_lines_appear_promptly_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LineSink.file(path)
    sink.write("first")
    sink.write("second")
    until(lambda: path.read_text() == "first\nsecond\n")
    sink.close()


def test_without_a_thread_to_write_them_lines_wait_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "log"
    sink = LineSink.file(path)
    with monkeypatch.context() as short_of_threads:
        short_of_threads.setattr(threading.Thread, "start", start)
        assert sink.write("first")
        assert sink.write("second")
    assert sink.write("third")
    until(lambda: path.read_text() == "first\nsecond\nthird\n")
    sink.close()


def test_want_of_memory_costs_the_lines_that_were_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batch(_: LineSink, lines: list[bytes]) -> None:
        raise MemoryError

    path = tmp_path / "log"
    sink = LineSink.file(path)
    with monkeypatch.context() as short_of_memory:
        short_of_memory.setattr(LineSink, "_write_batch", batch)
        sink.write("first")
        until(lambda: sink.dropped_lines == 1)
    sink.write("second")
    until(lambda: path.read_text() == "second\n")
    sink.close()
    assert sink.dropped_lines == 1


def test_close_writes_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LineSink.file(path)
    for number in range(1000):
        sink.write(f"line {number}")
    sink.close()
    assert path.read_text().splitlines() == [f"line {number}" for number in range(1000)]
    assert sink.dropped_lines == 0


def test_a_blocked_pipe_holds_nobody_up_and_its_lines_are_counted() -> None:
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    sink = LineSink(writer)
    line = "x" * 1023
    count = 3 * BUFFERED_BYTES // 1024
    began = time.monotonic()
    accepted = sum(sink.write(line) for _ in range(count))
    assert time.monotonic() - began < 5
    assert accepted < count
    assert not sink.is_sound
    until(lambda: not select.select([], [writer], [], 0)[1])
    sink.close(deadline_s=0.3)
    assert fcntl.fcntl(writer, fcntl.F_GETFL) == flags, "the blocking mode of a shared descriptor was changed"
    os.set_blocking(reader, False)
    written = 0
    while data := _read(reader):
        written += data.count(b"\n")
    assert written + sink.dropped_lines == count
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_is_read_again_gets_whole_lines() -> None:
    reader, writer = os.pipe()
    sink = LineSink(writer)
    for number in range(2000):
        sink.write(f"{number:0100d}")
    got = bytearray()
    while got.count(b"\n") < 2000:
        got += os.read(reader, 65536)
    assert got.split() == [b"%0100d" % number for number in range(2000)]
    sink.close()
    os.close(reader)
    os.close(writer)


def test_two_sinks_on_one_pipe_do_not_mix_their_lines() -> None:
    reader, writer = os.pipe()
    sinks = [LineSink(writer), LineSink(writer)]
    for number in range(500):
        for letter, sink in zip("ab", sinks, strict=True):
            sink.write(letter * (number % 300 + 1))
    got = bytearray()
    while got.count(b"\n") < 1000:
        got += os.read(reader, 65536)
    assert all(len(set(line)) == 1 for line in got.splitlines())
    for sink in sinks:
        sink.close()
    os.close(reader)
    os.close(writer)


def test_a_pipe_without_a_reader_drops_and_counts() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = LineSink(writer)
    sink.write("nobody reads this")
    until(lambda: sink.dropped_lines == 1)
    sink.close()
    os.close(writer)


def test_a_full_disk_drops_and_counts() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    sink = LineSink(full)
    for _ in range(3):
        sink.write("no space left for this")
    until(lambda: sink.dropped_lines == 3)
    sink.close()
    os.close(full)


def test_a_full_disk_leaves_no_torn_line_in_front_of_the_next(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    sink = LineSink(writer)
    # A non-blocking pipe of one page takes a part of a line, and nothing takes the rest; its reader's end is an error.
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    sink.write("a" * 6000)
    until(lambda: _waiting(reader) == 4096)
    os.close(reader)
    until(lambda: sink.dropped_lines == 1)
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(fd, sink._fd)
    os.close(fd)
    sink.write("whole")
    until(lambda: path.read_text().endswith("whole\n"))
    assert path.read_text().splitlines()[-1] == "whole"
    assert path.read_text().startswith("\n")
    sink.close()
    os.close(writer)


def test_somebody_elses_non_blocking_pipe_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = LineSink(writer)
    for number in range(3000):
        sink.write(f"{number:099d}")
    got = bytearray()
    while got.count(b"\n") < 3000:
        got += os.read(reader, 65536)
        time.sleep(0)
    assert sink.dropped_lines == 0
    assert got.split()[-1] == b"%099d" % 2999
    sink.close()
    os.close(reader)
    os.close(writer)


def test_a_rotated_file_is_reopened(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LineSink.file(path)
    sink.write("old")
    until(lambda: path.read_text() == "old\n")
    path.rename(tmp_path / "log.1")
    sink.reopen()
    sink.write("new")
    sink.close()
    assert path.read_text() == "new\n"
    assert (tmp_path / "log.1").read_text() == "old\n"


def test_the_file_is_not_readable_by_others(tmp_path: Path) -> None:
    sink = LineSink.file(tmp_path / "log")
    sink.close()
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match=r"cannot open the log file .*: No such file or directory"):
        LineSink.file(tmp_path / "absent" / "log")


def test_a_fifo_nobody_reads_does_not_hang_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LogFileError):
        LineSink.file(tmp_path / "fifo")


def test_writing_after_close_is_counted_and_not_an_error(tmp_path: Path) -> None:
    sink = LineSink.file(tmp_path / "log")
    sink.close()
    assert sink.write("too late") is False
    assert sink.dropped_lines == 1


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    sink = LineSink.file(tmp_path / "log")
    threads = [
        threading.Thread(target=lambda letter=letter: [sink.write(letter * 50) for _ in range(500)])
        for letter in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(letter * 50 for letter in "abcd" for _ in range(500))


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


def _waiting(descriptor: int) -> int:
    """How many bytes are there to be read: ioctl_tty(2), FIONREAD."""
    count = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]
