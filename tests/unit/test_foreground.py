"""``exec``: a command that cannot be run is said so before anything is started; the rest is in tests/scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlsidecar.foreground import EXIT_CANNOT_RUN, EXIT_NOT_FOUND, OnSidecarExit, Patience, run


def ran(command: str) -> int:
    def serve(_: object) -> int:
        raise AssertionError("nothing may be started")

    return run(serve, [command], OnSidecarExit.STOP, Patience(ready_s=1.0, kill_after_s=1.0))


def test_a_command_that_there_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    assert ran("no-such-command") == EXIT_NOT_FOUND
    assert capfd.readouterr() == ("", "tlsidecar exec: no-such-command: no such command; nothing was started\n")


def test_a_file_that_may_not_be_executed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no-such-command").write_text("#!/bin/sh\n")
    assert ran(f"{tmp_path}/no-such-command") == EXIT_CANNOT_RUN
    assert capfd.readouterr().err.endswith("no-such-command may not be executed; nothing was started\n")


def test_a_directory_is_no_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ran(str(tmp_path)) == EXIT_CANNOT_RUN
    assert capfd.readouterr().err.endswith("is a directory; nothing was started\n")


def test_a_name_in_the_working_directory_is_none_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no-such-command").write_text("#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    assert ran("no-such-command") == EXIT_NOT_FOUND
    assert "no such command" in capfd.readouterr().err


def test_what_a_terminal_would_obey_is_spelled_out(capfd: pytest.CaptureFixture[str]) -> None:
    assert ran("\x1b[2Jlist\u202e") == EXIT_NOT_FOUND
    assert capfd.readouterr().err == r"tlsidecar exec: \x1b[2Jlist\u202e: no such command; nothing was started" + "\n"
