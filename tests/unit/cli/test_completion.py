"""What a shell completes, asked as click's own scripts ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from unit.admin.fake_control import HOSTILE, made_connection, made_refusal
from unit.cli.conftest import Served

from tlsidecar.cli.root import root

_NAME = "spiffe://prod.example/ns/shop/sa/cart"


def completed(*words: str) -> list[str]:
    """The last word, completed."""
    shell = ShellComplete(root, {}, "tlsidecar", "_TLSIDECAR_COMPLETE")
    return [str(item.value) for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_connections_and_refusals_by_number(served: Served) -> None:
    served.control.records = [made_connection(number) for number in (7, 8, 71)]
    served.control.refusals.record(made_refusal())
    at = ("--socket", str(served.socket))
    assert sorted(completed("kill", *at, "7")) == ["7", "71"]
    assert completed("explain", *at, "r") == ["r1"]
    assert sorted(completed("explain", *at, "c7")) == ["c7", "c71"]


def test_identities_that_are_connected_refused_or_kept_out(served: Served) -> None:
    served.control.records = [made_connection(number, identity=_NAME) for number in (1, 2)]
    served.control.refusals.record(made_refusal(identity="spiffe://prod.example/ns/crm/sa/exporter"))
    at = ("--socket", str(served.socket))
    assert completed("deny", *at, "spiffe:") == [_NAME, "spiffe://prod.example/ns/crm/sa/exporter"]
    assert completed("kill", *at, "--identity", "spiffe://prod.example/ns/s") == [_NAME]
    assert completed("undeny", *at, "") == []


@pytest.mark.parametrize("name", [HOSTILE, "$(reboot)", "a b", "`id`", "caf\u00e9", "x;y"])
def test_what_a_peer_is_called_never_reaches_the_shell_as_code(served: Served, name: str) -> None:
    served.control.records = [made_connection(1, identity=name)]
    assert completed("deny", "--socket", str(served.socket), "") == []


def test_the_sockets_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TLSIDECAR_ADMIN_SOCKET", raising=False)
    (tmp_path / "tlsidecar" / "web").mkdir(parents=True)
    (tmp_path / "tlsidecar" / "not.sock").touch()
    path = tmp_path / "tlsidecar" / "web" / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        for words in (("status", "--socket"), ("ui", "--socket"), ("ui",)):
            assert completed(*words, str(tmp_path)) == [str(path)]
    assert completed("status", "--socket", "./any") == ["./any"]  # left to the shell: a file


def test_nobody_there_completes_nothing(tmp_path: Path) -> None:
    assert completed("kill", "--socket", str(tmp_path / "absent"), "") == []


@pytest.mark.parametrize(
    ("typed", "breaks", "replies"),
    [
        ("deny spiffe:", ":=", ["//prod.example/ns/shop/sa/cart"]),
        ("deny spiffe://prod.example/ns", ":=", ["//prod.example/ns/shop/sa/cart"]),
        ("deny spiffe://prod.example/ns", " ", [_NAME]),
        ("deny spi", ":=", [_NAME]),
        ("deny ", ":=", [_NAME]),
        ("kill --identity=spiffe:", ":=@", ["//prod.example/ns/shop/sa/cart"]),
        ("sta", ":=", ["status"]),
    ],
)
def test_bash_takes_no_name_apart(served: Served, typed: str, breaks: str, replies: list[str]) -> None:
    """Asked by a real bash, whose buffer has what comes before the last break already."""
    served.control.records = [made_connection(1, identity=_NAME)]
    program = Path(sys.executable).with_name("tlsidecar")
    env = {**os.environ, "TLSIDECAR_ADMIN_SOCKET": str(served.socket)}
    script = subprocess.run([program, "completion", "bash"], env=env, capture_output=True, text=True, check=True)
    line = f"tlsidecar {typed}"
    asked = (
        f"{script.stdout}\nCOMP_WORDBREAKS='{breaks}' COMP_LINE='{line}' COMP_POINT={len(line)}\n"
        f"COMPREPLY=(); _tlsidecar_completion {program}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "--norc", "-c", asked], env=env, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (replies, "")
