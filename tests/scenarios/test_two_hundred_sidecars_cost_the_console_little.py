"""``tlsidecar ui DIRECTORY`` on a real terminal, with two hundred simulated sidecars in it: what it costs to watch, and
that a key is still answered."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.terminal import terminal

pytestmark = [pytest.mark.needs("tmux"), pytest.mark.slow]

SIDECARS = 200
WATCHED_S = 15.0
MOST_OF_A_CORE = 0.10


@pytest.fixture
def fleet() -> Iterator[Path]:
    """A directory of sockets, short in path."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        program = Path(__file__).parents[1] / "tui" / "ui_fleet.py"
        command = [sys.executable, str(program), "--folder", folder, "--count", str(SIDECARS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
            try:
                assert serving.stdout is not None
                assert serving.stdout.readline() == "ready\n"
                yield Path(folder)
            finally:
                serving.kill()


def cpu_s(pid: int) -> float:
    """Processor time a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_watching_costs_under_a_tenth_of_a_core(fleet: Path) -> None:
    with terminal(120, 40) as shown:
        shown.run(sys.executable, "-m", "tlsidecar", "ui", str(fleet))
        shown.shows(f"{SIDECARS} sidecars", "14 critical", "186 ok", "REQ/S", within_s=60.0)
        pid = shown.child_pid
        time.sleep(WATCHED_S)  # not a wait for something: what is measured lasts so long
        before, began = cpu_s(pid), time.monotonic()
        time.sleep(WATCHED_S)
        part = (cpu_s(pid) - before) / (time.monotonic() - began)
        shown.type("N")
        shown.shows("web-000.sock", "NAME↑")
        shown.press("Enter")
        shown.shows("web-000", "1/200", "ADMIN: connected")
        shown.press("Escape")
        shown.shows(f"{SIDECARS} sidecars")
        shown.type("q")
        assert part < MOST_OF_A_CORE, f"{part:.1%} of a core"
