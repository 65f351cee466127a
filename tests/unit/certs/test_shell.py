"""What a command makes of its streams, and the shell of its end. Each is a process of its own: the streams are the
point."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import eventually

from certs.shell import DEFECT_CHARACTERS, EXIT_FAILED, EXIT_INTERRUPTED

WAIT_S = 60
PIPE_BYTES = 65536  # what one holds (pipe(7))
SCRIPT = "import os, sys\nfrom certs.shell import guarded, has_done\ndef command():\n {}\nsys.exit(guarded(command))"


class Pipe:
    """Somebody reads our standard output or error, or does not."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def fill(self) -> None:
        os.write(self.writing, b"x" * PIPE_BYTES)

    @property
    def is_full(self) -> bool:
        held = fcntl.ioctl(self.reading, termios.FIONREAD, bytes(4))
        return int.from_bytes(held, sys.byteorder) == PIPE_BYTES

    def all(self) -> bytes:
        """What comes until nobody can write any more."""
        self.close_writing()
        with os.fdopen(self.reading, "rb", closefd=False) as file:
            return file.read()

    def close_reading(self) -> None:
        self.reading = self._closed(self.reading)

    def close_writing(self) -> None:
        self.writing = self._closed(self.writing)

    def _closed(self, end: int) -> int:
        if end >= 0:
            os.close(end)
        return -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close_reading()
    pipe.close_writing()


def begun(*lines: str, out: int = subprocess.PIPE, err: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """A process whose command is these lines."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT.format("\n ".join(lines))], stdout=out, stderr=err)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Its exit code, and what it said on standard error."""
    try:
        _, said = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    return process.returncode, (said or b"").decode()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("return 4", 4, ""),
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no\\nsuch \\x1b[31mthing')", EXIT_FAILED, "Error: no\\nsuch \\x1b[31mthing\n"),
        ("raise KeyboardInterrupt", EXIT_INTERRUPTED, "Error: interrupted\n"),
        ("open('/no/such')", EXIT_FAILED, "Error: /no/such: No such file or directory\n"),
        ("raise TimeoutError", EXIT_FAILED, "Error: TimeoutError\n"),
    ],
)
def test_how_a_command_ends_is_the_exit_code(line: str, code: int, said: str) -> None:
    assert ended(begun(line)) == (code, said)


def test_a_defect_is_one_short_line_that_says_where() -> None:
    code, said = ended(begun("raise ValueError('secret\\n' * 1000)"))
    assert code == EXIT_FAILED
    assert said.startswith("Error: a defect of tlsidecar, please report it: ValueError: secret\\nsecret")
    assert said.endswith(" in <string>, line 4 (python -X dev -m tlsidecar … shows more)\n")
    assert said.count("\n") == 1
    assert len(said) < 2 * DEFECT_CHARACTERS


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_full_stream_that_does_not_block_is_waited_for(pipe: Pipe, stream: str) -> None:
    """As one that a shell, an editor or Node.js shares with us and has made non-blocking."""
    os.set_blocking(pipe.writing, False)
    process = begun(f"print('y' * {3 * PIPE_BYTES}, file=sys.std{stream})", **{stream: pipe.writing})
    eventually(lambda: pipe.is_full)
    assert pipe.all() == b"y" * 3 * PIPE_BYTES + b"\n"
    assert ended(process) == (0, "")


def test_a_reader_that_left_is_no_news_unless_something_was_done(pipe: Pipe) -> None:
    pipe.close_reading()
    assert ended(begun("print('result')", out=pipe.writing)) == (EXIT_FAILED, "")
    assert ended(begun("has_done('made pki')", "has_done('issued a')", "print('result')", out=pipe.writing)) == (
        EXIT_FAILED,
        "Error: standard output: Broken pipe; all the same it is done: made pki, issued a\n",
    )


def test_a_result_that_is_lost_is_a_failure_whatever_the_command_says() -> None:
    with open("/dev/full", "wb") as full:
        lost = (EXIT_FAILED, "Error: standard output: No space left on device\n")
        assert ended(begun("print('result')", "return 0", out=full.fileno())) == lost
        assert ended(begun("print('result', flush=True)", "return 4", out=full.fileno())) == lost
        # An OSError that is handled on the way is another one.
        swallowed = ("try:", "  print('result', flush=True)", "except OSError:", "  return 0")
        assert ended(begun(*swallowed, out=full.fileno())) == lost


def test_who_waits_for_a_pager_may_be_interrupted_and_drops_the_rest(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short result is written when the command is over: that is when it waits."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    pipe.fill()
    process = begun("print('result')", "print('ready', file=sys.stderr)", out=pipe.writing)
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (EXIT_INTERRUPTED, "Error: interrupted\n")
    assert pipe.all() == b"x" * PIPE_BYTES


def test_a_descriptor_that_is_closed_is_taken_by_no_file(tmp_path: Path) -> None:
    """What is printed would go into it."""
    mine = tmp_path / "mine"
    script = SCRIPT.format(f"file = open({str(mine)!r}, 'w')\n sys.stderr.write('lost')\n print('lost')")
    process = subprocess.run(
        ["sh", "-c", '"$@" <&- >&- 2>&-', "-", sys.executable, "-c", script], check=False, timeout=WAIT_S
    )
    assert process.returncode == EXIT_FAILED
    assert mine.read_text() == ""


def test_what_the_alphabet_has_no_sign_for_is_spelled_out(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert ended(begun("print('a\\udcff日')", out=pipe.writing)) == (0, "")
    assert pipe.all() == b"a\\udcff\\u65e5\n"


def test_it_loads_nothing_that_the_interpreter_has_not() -> None:
    """A probe runs every second, and answers in a few milliseconds."""
    script = "import sys; before = set(sys.modules); import certs.shell; print(*set(sys.modules) - before)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert {"certs", "certs.shell"} <= set(shown.stdout.split()) <= {"certs", "certs.shell", "__future__", "errno"}
