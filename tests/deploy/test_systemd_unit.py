"""The systemd unit: systemd accepts it, it gives little away, and the commands in it exist."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from certs.durations import parse_seconds

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/systemd/tlsidecar.service"
INSTALLED = "/opt/tlsidecar/bin/tlsidecar"
# Of 10, as `systemd-analyze security` counts; a service with no restriction at all has 9.6.
HIGHEST_EXPOSURE = 1.5


@pytest.fixture
def unit_here(tmp_path: Path) -> Path:
    """The unit with the program where it is on this machine: systemd looks for it."""
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace(INSTALLED, str(Path(sys.executable).with_name("tlsidecar"))))
    return here


@pytest.mark.needs("systemd-analyze")
def test_systemd_accepts_it(unit_here: Path) -> None:
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit_here], capture_output=True, text=True, timeout=60, check=False
    )
    assert (verify.returncode, verify.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_it_leaves_little_to_attack(unit_here: Path) -> None:
    security = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit_here],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", security.stdout)
    assert exposure is not None, security.stderr
    assert float(exposure[1]) <= HIGHEST_EXPOSURE


def test_its_filter_lets_the_sandbox_in() -> None:
    """Landlock's system calls are not in @system-service before systemd 254, and without them there is no sandbox."""
    allowed = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("SystemCallFilter=")]
    calls = {call for line in allowed if not line.startswith("~") for call in line.split()}
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= calls


@pytest.mark.needs("systemd-analyze")
def test_systemd_accepts_it_with_its_socket(unit_here: Path) -> None:
    shutil.copy(UNIT.with_suffix(".socket"), unit_here.parent)
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit_here.with_suffix(".socket")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (verify.returncode, verify.stderr) == (0, "")


def test_it_may_take_as_long_to_start_as_it_waits_for_material() -> None:
    text = UNIT.read_text()
    start = re.search(r"^TimeoutStartSec=(\d+)$", text, re.MULTILINE)
    waits = re.search(r"^Environment=TLSIDECAR_WAIT_FOR_MATERIAL=(\S+)$", text, re.MULTILINE)
    assert start is not None
    assert waits is not None
    assert int(start[1]) > parse_seconds(waits[1])


def commands() -> list[list[str]]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's keys are case-sensitive
    parser.read(UNIT)
    return [shlex.split(parser["Service"][key]) for key in ("ExecStart", "ExecReload")]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[1])
def test_its_commands_exist(command: list[str]) -> None:
    assert command[0] == INSTALLED
    shown = subprocess.run(
        [sys.executable, "-m", "tlsidecar", command[1], "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    for flag in (part for part in command[2:] if part.startswith("--")):
        assert flag in shown.stdout


def test_it_may_take_longer_to_stop_than_a_drain_takes() -> None:
    from tlsidecar.settings import Limits

    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > Limits().drain_timeout_s


def test_the_user_it_runs_as_is_the_one_that_is_made() -> None:
    user = re.search(r"^User=(\S+)$", UNIT.read_text(), re.MULTILINE)
    assert user is not None
    assert f"\nu {user[1]} " in (UNIT.with_name("tlsidecar.sysusers")).read_text()
