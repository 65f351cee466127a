"""What a shell does to a command's streams: each command, with its output full, closed, gone or of another alphabet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.cli.conftest import COMMAND_S, Served

from tlsidecar.cli.root import COMMANDS

PRINTS = (
    ["--version"],
    ["--help"],
    ["config", "schema"],
    ["config", "show", "--listen=[::1]:1", "--upstream=[::1]:2", "--cert=c", "--key=k", "--trust=t", "--allow=any"],
    ["status"],
    ["status", "--json"],
    ["connections"],
    ["certificates"],
    ["refusals"],
    ["health"],
    ["health", "--json"],
    ["health", "--help"],
    ["health", "-h"],
    ["wait", "--json"],
    ["ui", "--once"],
)
WAYS = (["status"], ["health"])
FAILS = (
    ["status", "--socket", "/nowhere"],
    ["health", "--socket", "/nowhere"],
    ["health", "--nonsense"],
    ["certs", "verify", "/nowhere", "--trust", "/nowhere"],
    ["run", "--config", "/nowhere"],
    ["wait", "--timeout", "nonsense"],
    ["nonsense"],
)


def shell(redirections: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`tlsidecar ARGUMENTS` under a shell with these redirections."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirections}', "-", sys.executable, "-m", "tlsidecar", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_S,
        check=False,
    )


def _in_the_shell(command: list[str]) -> str:
    return " ".join(command)


@pytest.mark.parametrize("command", PRINTS, ids=_in_the_shell)
def test_a_result_that_is_lost_is_a_failure(served: Served, command: list[str]) -> None:
    for redirections, told in ((">/dev/full", "No space left on device"), (">&-", "closed")):
        done = shell(redirections, *command, TLSIDECAR_ADMIN_SOCKET=str(served.socket))
        assert (done.returncode, done.stderr) == (1, f"Error: standard output: {told}\n"), redirections


def test_what_was_done_is_said_where_the_result_is_lost(served: Served, tmp_path: Path) -> None:
    """Or it would be done again: the exit code says no more than that the result did not arrive."""
    ca, out = str(tmp_path / "ca"), str(tmp_path / "web")
    for command, done_so in (
        (["certs", "init", ca], f"made {ca}"),
        (["certs", "issue", ca, "--out", out, "--dns", "web.test"], f"issued web.test into {out}"),
        (["certs", "rotate", out, "--json"], f"rotated {out}"),
        (["certs", "crl", ca], f"wrote {ca}/ca.crl"),
        (["certs", "rollover", ca, "start"], "start done: ca-1 issues"),
        (["reload"], "reload"),
    ):
        done = shell(">/dev/full", *command, TLSIDECAR_ADMIN_SOCKET=str(served.socket))
        said = f"Error: standard output: No space left on device; all the same it is done: {done_so}"
        assert done.returncode == 1, command
        assert done.stderr.startswith(said), command
        assert done.stderr.count("\n") == 1, command
    assert shell("", "certs", "verify", f"{out}/tls.crt", "--trust", f"{ca}/ca.crt").returncode == 0
    nothing = shell(">/dev/full", "certs", "rotate", out, "--dry-run")
    assert (nothing.returncode, nothing.stderr) == (1, "Error: standard output: No space left on device\n")


@pytest.mark.parametrize("command", WAYS, ids=_in_the_shell)
def test_with_every_stream_in_every_state(served: Served, command: list[str]) -> None:
    """``| true`` reads nothing; a command may be quick enough to write into the pipe before it is gone."""
    for redirections, codes in (
        (">/dev/full 2>&-", {1}),
        (">&- 2>&-", {1}),
        ("<&- >&- 2>&-", {1}),
        (">/dev/full 2>/dev/full", {1}),
        ("| true", {0, 1}),
        ("2>&- | true", {0, 1}),
        ("2>&-", {0}),
        ("<&-", {0}),
        ("2>/dev/full", {0}),
        ("<&- 2>&-", {0}),
    ):
        done = shell(redirections, *command, TLSIDECAR_ADMIN_SOCKET=str(served.socket))
        assert done.returncode in codes, redirections
        assert done.stderr == ""
        assert bool(done.stdout) == (codes == {0})


@pytest.mark.parametrize("command", FAILS, ids=_in_the_shell)
def test_the_code_of_a_failure_is_kept(command: list[str]) -> None:
    expected = shell("", *command)
    assert expected.returncode in (2, 3)
    assert "Traceback" not in expected.stderr
    for redirections in (">&-", "2>/dev/full", "<&- >&- 2>&-"):
        done = shell(redirections, *command)
        assert done.returncode == expected.returncode, redirections
        assert done.stderr == ("" if "2>" in redirections else expected.stderr)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
@pytest.mark.parametrize("arguments", [["check", "--json"], ["check"], ["certs", "show"]])
def test_what_an_alphabet_has_no_sign_for_is_spelled_out(tmp_path: Path, encoding: str, arguments: list[str]) -> None:
    odd = tmp_path / "žluťoučký-日本.toml"
    odd.write_text("# 日本\nnonsense = 1\n", encoding="utf-8")
    config = [] if arguments[0] == "certs" else ["--config"]
    done = shell("", *arguments, *config, str(odd), PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "Error: a defect" not in done.stderr
    assert "Traceback" not in done.stderr
    assert ".toml" in done.stdout + done.stderr


def test_bytes_that_are_no_text_are_named() -> None:
    """However long the path before them is."""
    name = os.fsdecode(b"/nowhere/" + b"long" * 25 + b"/\xff\xfe.toml")
    for arguments in (["check", "--config", name], ["certs", "show", name], ["status", "--socket", name]):
        done = shell("", *arguments)
        assert done.returncode in (2, 3)
        assert "\\udcff" in done.stdout + done.stderr, arguments


def test_a_defect_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise RuntimeError('not\\nthe \\x1b[31mclick')\n")
    done = shell("", "status", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        r"Error: a defect of tlsidecar, please report it: RuntimeError: not\nthe \x1b[31mclick in "
    )
    assert f"{tmp_path}/click.py, line 1 " in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_so_it_is_for_every_command(command: str) -> None:
    done = shell(">/dev/full", command, "--help")
    assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")
