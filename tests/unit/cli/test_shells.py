"""Completion in real, interactive shells: what a reader sees in the line after the tab key."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.shell_completion import FishComplete, ShellComplete, ZshComplete
from unit.admin.fake_control import made_connection
from unit.cli.conftest import Served

from tlsidecar.cli.shells import IN_FISH, IN_ZSH, SHELLS

_PATIENCE_S = 60.0
_NAME = "spiffe://prod.example/ns/shop/sa/cart"
_PROGRAM = Path(sys.executable).with_name("tlsidecar")

# What is typed, and what the line is after the tab key: a name, after an option and behind its =, with a comma in it,
# a socket, a command.
TYPED = {
    "tlsidecar deny spiffe:": f"tlsidecar deny {_NAME} ",
    "tlsidecar kill --identity sp": f"tlsidecar kill --identity {_NAME} ",
    "tlsidecar kill --identity=sp": f"tlsidecar kill --identity={_NAME} ",
    "tlsidecar deny CN=": "tlsidecar deny CN=batch,O=Example ",
    "tlsidecar sta": "tlsidecar status ",
}


def _environment(served: Served, home: Path) -> dict[str, str]:
    served.control.records = [
        made_connection(1, identity=_NAME),
        made_connection(2, identity="CN=batch,O=Example"),
    ]
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return kept | {
        "PATH": f"{_PROGRAM.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "TLSIDECAR_ADMIN_SOCKET": str(served.socket),
    }


def _script(shell: str) -> str:
    return subprocess.run([_PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout


@contextmanager
def _terminal(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A terminal with this program in it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], command, environment)
    try:
        yield terminal
    finally:
        os.close(terminal)  # which hangs it up
        os.waitpid(child, 0)


def _lines_after_tab(terminal: int, typed: list[str], written: Path) -> list[str]:
    """Type each and press tab; the shell writes the line that it then has to a file, and empties it."""
    deadline = time.monotonic() + _PATIENCE_S
    for number, line in enumerate(typed, 1):
        os.write(terminal, f"{line}\t".encode())
        while not written.exists() or written.read_text().count("\n") < number:
            assert time.monotonic() < deadline, f"nothing came of {line!r}"
            if select.select([terminal], [], [], 0.02)[0]:
                os.read(terminal, 65536)  # what it draws; a terminal that nobody reads stands still
    return written.read_text().split("\n")[:-1]


_ZSH = """
PS1='> '; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D
after_tab() {{ zle expand-or-complete; print -r -- "$BUFFER" >>{written}; zle kill-buffer }}
zle -N after_tab; bindkey '^I' after_tab
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh(served: Served, tmp_path: Path) -> None:
    written = tmp_path / "written"
    (tmp_path / "_tlsidecar").write_text(_script("zsh"))
    (tmp_path / ".zshrc").write_text(_ZSH.format(folder=tmp_path, written=written))
    environment = _environment(served, tmp_path)
    with _terminal(["zsh", "--no-globalrcs", "-i"], environment) as terminal:
        file = tmp_path / "some.sock"
        file.touch()
        typed = {**TYPED, f"tlsidecar status --socket={tmp_path}/so": f"tlsidecar status --socket={file} "}
        assert _lines_after_tab(terminal, list(typed), written) == list(typed.values())


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish(served: Served, tmp_path: Path) -> None:
    """fish tells by itself what it would offer; a single offer is what the tab key puts in the line."""
    (tmp_path / "tlsidecar.fish").write_text(_script("fish"))
    asked = f"source {tmp_path}/tlsidecar.fish\n" + "".join(f"complete -C '{line}'\necho ====\n" for line in TYPED)
    done = subprocess.run(
        ["fish", "--private", "--no-config", "-c", asked],
        env=_environment(served, tmp_path),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=True,
    )
    offered = [each.strip().partition("\t")[0] for each in done.stdout.split("====\n")[:-1]]
    assert offered == [whole.rpartition(" ")[0].rpartition(" ")[2] for whole in TYPED.values()]
    assert done.stderr == ""


def test_every_shell_has_its_script() -> None:
    for shell, kind in SHELLS.items():
        script = _script(shell)
        assert f"_TLSIDECAR_COMPLETE={shell}_complete" in script
        assert kind.name == shell


@pytest.mark.parametrize(("shell", "changes"), [(ZshComplete, IN_ZSH), (FishComplete, IN_FISH)])
def test_clicks_script_has_each_place_that_is_changed(
    shell: type[ShellComplete], changes: Sequence[tuple[str, str]]
) -> None:
    assert [place for place, _ in changes if shell.source_template.count(place) != 1] == []
