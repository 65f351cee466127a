"""``tlsidecar ui`` as a command: plain where there is no terminal, and one clear line where something is missing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from ui_sidecar import Sidecar
from ui_world import World, healthy

from tui import cli

Serve = Callable[[World], Awaitable[Sidecar]]

_FORBID_TEXTUAL = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("textual", "rich"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Gone())
from tui.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"TLSIDECAR_ADMIN_SOCKET": "/a/b.sock", "XDG_RUNTIME_DIR": "/run/user/7"}, "/a/b.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/tlsidecar/admin.sock"),
        ({}, "/run/tlsidecar/admin.sock"),
    ],
)
def test_default_socket(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], path: str) -> None:
    for name in ("TLSIDECAR_ADMIN_SOCKET", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.default_socket() == Path(path)


def test_help_tells_the_exit_codes() -> None:
    result = CliRunner().invoke(cli.ui, ["--help"])
    assert result.exit_code == 0
    assert "0 all is well, 1 warnings, 2 something is critical, 3 not" in " ".join(result.output.split())


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--json", "-o", "table"]) == 2
    assert "contradict each other" in capsys.readouterr().err
    assert cli.main(["--nonsense"]) == 2


def test_without_a_terminal_it_prints_one_look(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", str(socket)]) == 3
    assert "is tlsidecar running?" in capsys.readouterr().err


async def _run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import asyncio

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False
        )

    return await asyncio.to_thread(run)


async def test_the_plain_forms_work_without_textual(serve: Serve) -> None:
    sidecar = await serve(healthy(datetime.now(UTC)))
    plain = await _run(sys.executable, "-c", _FORBID_TEXTUAL, "--once", "--socket", str(sidecar.socket), LC_ALL="C")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "nothing is wrong" in plain.stdout
    assert plain.stdout.isascii()  # as the locale asks for
    as_json = await _run(sys.executable, "-c", _FORBID_TEXTUAL, "--json", "--socket", str(sidecar.socket))
    assert json.loads(as_json.stdout)["sidecars"][0]["reachable"]


def _in_a_terminal(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Run on a pseudo-terminal until it ends; returns the exit code and what it printed."""
    pid, descriptor = pty.fork()
    if pid == 0:  # pragma: no cover - the child becomes another program
        os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, "TERM": "xterm", **environment})
    printed = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            break
        if not chunk:
            break
        printed += chunk
    os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), printed.decode()


def test_the_console_without_textual_says_how_to_install_it(socket: Path) -> None:
    code, printed = _in_a_terminal(["-c", _FORBID_TEXTUAL, "--socket", str(socket)])
    assert code == 2
    assert printed.strip() == "tlsidecar ui: the terminal UI needs Textual: pip install textual"


def test_an_unknown_theme_and_a_dumb_terminal(socket: Path) -> None:
    code, printed = _in_a_terminal(["-m", "tui.cli", "--socket", str(socket), "--theme", "no\x1b such"])
    assert code == 2
    assert "there are ansi-dark, " in printed
    assert "\x1b such" not in printed
    code, printed = _in_a_terminal(["-m", "tui.cli", "--socket", str(socket)], TERM="dumb")
    assert code == 3
    assert "is tlsidecar running?" in printed
