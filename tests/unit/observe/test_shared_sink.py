"""Several processes, one pipe: every line arrives whole, also one longer than a pipe takes in one piece."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading

from tlsidecar.observe.sink import LineSink

LINES = 200
LENGTH = 3 * select.PIPE_BUF

WRITER = f"""
import sys
from tlsidecar.observe.sink import LineSink
sink = LineSink(1, shared=int(sys.argv[2]))
for number in range({LINES}):
    while not sink.is_sound:
        pass
    sink.write(f"{{sys.argv[1]}} {{number}} " + sys.argv[1] * {LENGTH})
sink.close(30.0)
assert not sink.dropped_lines
"""


def test_lines_do_not_mix() -> None:
    lock = os.memfd_create("lock")
    reading, writing = os.pipe()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, name, str(lock)], stdout=writing, pass_fds=[lock])
        for name in "abc"
    ]
    os.close(writing)
    seen: list[str] = []
    with open(reading, encoding="utf-8") as pipe:
        reader = threading.Thread(target=lambda: seen.extend(pipe))
        reader.start()
        assert [writer.wait(60) for writer in writers] == [0, 0, 0]
        reader.join(30)
    os.close(lock)
    assert len(seen) == 3 * LINES
    for name in "abc":
        mine = [line for line in seen if line.startswith(name)]
        assert mine == [f"{name} {number} {name * LENGTH}\n" for number in range(LINES)]


def test_a_turn_that_nobody_ends_is_not_waited_for_for_ever() -> None:
    """A process that was stopped while it wrote holds its turn: lines are written all the same."""
    lock = os.memfd_create("lock")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, sys; fcntl.lockf({lock}, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[lock],
    )
    reading, writing = os.pipe()
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        sink = LineSink(writing, shared=lock)
        os.close(writing)
        sink.write("all the same")
        with open(reading, encoding="utf-8") as pipe:
            assert pipe.readline() == "all the same\n"
        sink.close()
    finally:
        holder.kill()
        holder.communicate()
        os.close(lock)
