"""The commands that change something, and ``wait``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import eventually
from unit.admin.fake_control import critical
from unit.cli.conftest import COMMAND_S, Served, tlsidecar

from tlsidecar.control.interface import DrainOutcome, Outcome, State


@pytest.mark.parametrize("command", ["reload", "rotate"])
def test_an_attempt_and_its_outcomes(served: Served, command: str) -> None:
    done = served.run(command)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("applied: generation 4, serial ")
    served.control.next_outcome = Outcome.UNCHANGED
    assert json.loads(served.run(command, "--json").out)["outcome"] == "unchanged"


@pytest.mark.parametrize("command", ["reload", "rotate"])
def test_a_refused_attempt_is_exit_code_4(served: Served, command: str) -> None:
    served.control.next_outcome = Outcome.REFUSED
    done = served.run(command)
    assert (done.code, done.out, done.err) == (4, "", "Error: refused: key_mismatch: tls.key\n")
    done = served.run(command, "--json")
    assert done.code == 4
    assert json.loads(done.out)["attempt"]["reason"] == "key_mismatch"


def test_a_drain_and_its_outcomes(served: Served) -> None:
    done = served.run("drain", "--timeout", "1m30s")
    assert (done.code, done.out) == (0, "drained: 3 closed in 0.125s\n")
    served.control.drain_outcome = DrainOutcome(drained=False, closed=3, forced=2, duration_s=90)
    done = served.run("drain")
    assert (done.code, done.out) == (1, "forced: 3 closed, 2 of them cut in 1m 30s\n")
    assert served.run("drain", "--timeout", "0s", "--json").code == 1
    assert served.control.calls == ["drain 90.0", "drain None", "drain 0.0"]
    assert served.run("drain", "--timeout", "soon").code == 2


def test_shutdown(served: Served) -> None:
    done = served.run("shutdown")
    assert (done.code, done.out) == (0, "stopping\n")


def test_shutdown_can_wait_until_nobody_answers(served: Served) -> None:
    command = [sys.executable, "-m", "tlsidecar", "shutdown", "--wait", "--socket", str(served.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        eventually(lambda: "shutdown" in served.control.calls or waiting.poll() is not None)
        assert waiting.poll() is None
        served.stop()
        out, _ = waiting.communicate(timeout=COMMAND_S)
    assert (waiting.returncode, out) == (0, "ended\n")


def test_kill(served: Served) -> None:
    assert served.run("kill", "2").out == "closed 2\n"
    done = served.run("kill", "2")
    assert (done.code, done.err) == (4, "Error: not_found: no connection 2\n")
    assert json.loads(served.run("kill", "3", "--json").out)["closed"] is True
    assert served.run("kill", "x").code == 2


def test_the_log_level(served: Served) -> None:
    assert served.run("log-level", "debug").out == "debug (was info)\n"
    assert served.control.log_level == "debug"
    assert served.run("log-level", "loud").code == 2


def test_wait_returns_when_it_is_ready(served: Served) -> None:
    assert served.run("wait").out.startswith("ready after ")
    served.control.state = State.STARTING
    command = [sys.executable, "-m", "tlsidecar", "wait", "--json", "--socket", str(served.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        served.soon(setattr, served.control, "state", State.READY)
        out, _ = waiting.communicate(timeout=COMMAND_S)
    assert waiting.returncode == 0
    assert json.loads(out)["ready"] is True


def test_wait_gives_up_and_says_what_is_in_the_way(served: Served, tmp_path: Path) -> None:
    served.control.state = State.STARTING
    served.control.found_problems = [critical("no_material", "the certificate is not there")]
    done = served.run("wait", "--timeout", "1s")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("starting; no_material: the certificate is not there\n")
    done = tlsidecar("wait", "--timeout", "0s", "--socket", tmp_path / "absent.sock")
    assert done.code == 3
    done = served.run("wait", "--timeout", "0s", "--json")
    assert json.loads(done.out)["ready"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kill", "abc"], "Invalid value for '[ID]': 'abc' is not a valid whole number."),
        (["connections", "--limit", "x"], "'x' is not a valid whole number."),
        (["events", "--count", "0"], "0 is not in the range x>=1."),
        (["log-level", "loud"], "Invalid value for 'LEVEL': 'loud' is not one of 'debug',"),
        (["drain", "--timeout", "5"], "'5' has no unit: write \"5s\" if seconds are meant"),
    ],
)
def test_what_is_wrong_with_an_argument_is_said_in_its_words(arguments: list[str], said: str) -> None:
    done = tlsidecar(*arguments)
    assert done.code == 2
    assert said in done.err


def test_what_is_no_socket_is_called_so(tmp_path: Path) -> None:
    file = tmp_path / "tlsidecar.toml"
    file.touch()
    for path in (file, tmp_path):
        done = tlsidecar("status", "--socket", path)
        assert (done.code, done.err) == (3, f"Error: {path} is not a socket\n")
