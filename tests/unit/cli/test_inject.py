"""``tlsidecar inject``: text in, text out; problems on stderr with their exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from unit.cli.conftest import COMMAND_S, Done, tlsidecar

POD = """\
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: app # ours
    ports: [{containerPort: 8080}]
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "web.yaml"
    file.write_text(POD)
    return file


def inject(*words: str | Path, text: str | None = None) -> Done:
    command = [sys.executable, "-m", "tlsidecar", "inject", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False, input=text)
    return Done(done.returncode, done.stdout, done.stderr)


def test_in_and_out_again(manifest: Path) -> None:
    put = inject(manifest, "--allow", "any")
    assert (put.code, put.err) == (0, "put into Pod/web\n")
    again = inject("-", "--allow", "any", text=put.out)
    assert (again.out, again.err) == (put.out, "unchanged: Pod/web\n")
    assert inject("-", "--remove", text=put.out).out == POD


def test_a_name_that_a_terminal_would_obey_is_spelled_out(tmp_path: Path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(POD.replace("name: web", 'name: "web\\e]0;owned\\a"'))
    done = tlsidecar("inject", file, "--allow", "any")
    assert (done.code, done.err) == (0, "put into Pod/web\\x1b]0;owned\\x07\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a FILE"),
        (("missing.yaml", "--allow", "any"), "missing.yaml: No such file or directory"),
        (("-",), "say who may connect"),
        (("-", "--allow", "spifffe://x"), "--allow spifffe://x: "),
        (("-", "--allow", "any", "--port", "8080"), "stdin: web: its container 'app' has port 8080"),
        (("-", "--allow", "any", "--serve", "127.0.0.1:1"), "give a FILE"),
        (("--serve", "0.0.0.0:9443", "--allow", "any"), "only on loopback"),
        (("--serve", "here", "--allow", "any"), "not HOST:PORT"),
    ],
)
def test_bad_usage_and_bad_manifests(words: tuple[str, ...], said: str) -> None:
    done = inject(*words, text=POD)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "latin1.yaml"
    file.write_bytes(b"kind: P\xfcd\n")
    assert "not UTF-8 at byte 7" in inject(file, "--remove").err


def test_the_webhook_answers() -> None:
    command = [sys.executable, "-m", "tlsidecar", "inject", "--serve", "127.0.0.1:0", "--allow", "any"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        with urllib.request.urlopen(f"{url}healthz", timeout=COMMAND_S) as answer:
            assert json.load(answer) == {"status": "ok"}
        process.terminate()
        process.communicate(timeout=COMMAND_S)


def test_its_help_has_an_example() -> None:
    assert "tlsidecar inject web.yaml --allow" in tlsidecar("inject", "--help").out


def test_its_example_is_true(tmp_path: Path) -> None:
    from tlsidecar.cli.root import EXAMPLES

    path = tmp_path / "deployment.yaml"
    path.write_text(POD)
    words = EXAMPLES["inject"].partition(" | ")[0].replace("deployment.yaml", str(path)).split()[1:]
    done = tlsidecar(*words)
    assert done.code == 0, done.err
    assert "initContainers" in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--serve", "0.0.0.0:9443"], "in the clear only on loopback"),
        (["--serve", "[::]:9443"], "in the clear only on loopback"),
        (["--serve", "9443"], "not HOST:PORT"),
        (["--serve", "web:9443"], "not HOST:PORT"),
        (["--serve", "127.0.0.1:x"], "not HOST:PORT"),
        (["--serve", "127.0.0.1:1", "--allow", "everyone"], "--allow everyone: "),
        (["--serve", "127.0.0.1:1", "--remove"], "--remove is for a FILE"),
        (["--serve", "127.0.0.1:1", "-"], "give a FILE (- for stdin), or --serve"),
    ],
)
def test_a_webhook_that_cannot_be_meant_is_refused(words: list[str], says: str) -> None:
    allow = [] if "--allow" in words or "--remove" in words else ["--allow", "any"]
    done = tlsidecar("inject", *words, *allow)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_webhook_whose_address_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = tlsidecar("inject", "--serve", f"127.0.0.1:{taken.getsockname()[1]}", "--allow", "any")
    assert (done.code, done.out) == (1, "")
    assert "Address already in use" in done.err
