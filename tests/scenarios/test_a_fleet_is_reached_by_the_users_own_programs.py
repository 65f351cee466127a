"""One sidecar, reached in every way there is: its socket, a directory, a command, ssh, kubectl and docker. What stands
in the way is told in one line, and nothing is left running."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs, sshd
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.terminal import terminal
from support.waiting import eventually

PROGRAMS = str(Path(sys.executable).parent)
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@contextlib.contextmanager
def sidecar_of(pki: Pki, folder: Path) -> Iterator[Sidecar]:
    with serving(echo) as service:
        text = configs.identity(pki.issue("server", "localhost"), pki.trust) + configs.terminate(service.address)
        with running(folder / "sidecar", text) as sidecar:
            yield sidecar


def ui(*arguments: str | Path, path: str = "", **env: str) -> tuple[int, str, str]:
    """``tlsidecar ui --once``, with ``path`` before everything else on PATH."""
    run = subprocess.run(
        [sys.executable, "-m", "tlsidecar", "ui", "--once", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "PATH": f"{path}:{PROGRAMS}:{SYSTEM_PATH}", **env},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert all(line.isprintable() for line in (run.stdout + run.stderr).split("\n"))
    return run.returncode, run.stdout, run.stderr


def program(folder: Path, name: str, script: str) -> None:
    """One of the user's programs, written in shell."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_socket_a_directory_and_a_command(pki: Pki, tmp_path: Path) -> None:
    with sidecar_of(pki, tmp_path) as sidecar:
        folder = sidecar.socket_path.parent
        pipe = shlex.join([sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(sidecar.socket_path)])
        code, out, err = ui("--via", pipe)
        assert (code, err) == (0, "")
        assert "nothing is wrong" in out  # one alone is told in full
        code, out, err = ui(folder, "--via", pipe, "-o", "json")
        told = json.loads(out)["sidecars"]
        assert (code, err) == (0, "")
        assert {each["socket"] for each in told} == {str(sidecar.socket_path), pipe}
        assert {each["status"]["pid"] for each in told} == {sidecar.pid}
        watching = shlex.join([sys.executable, "-m", "tlsidecar", "ui", "--watch", str(folder)])
        read = subprocess.run(
            ["sh", "-c", f"{watching} | head -n 2"], capture_output=True, text=True, timeout=90, check=False
        )
        assert (read.stdout.count("\n"), read.stderr) == (2, "")
        code, out, err = ui(folder, "--via", "no-such-program --at-all")
        assert (code, err) == (3, "tlsidecar ui: no-such-program --at-all: no-such-program: no such program on PATH\n")
        assert out.startswith("tlsidecar  2 sidecars  1 no reply  1 ok")


@pytest.mark.needs("ssh", "sshd", "ssh-keygen")
def test_over_ssh(pki: Pki, tmp_path: Path) -> None:
    with sidecar_of(pki, tmp_path) as sidecar, sshd.running(tmp_path / "ssh", f"{PROGRAMS}:{SYSTEM_PATH}") as server:
        code, out, err = ui(f"{server.target}{sidecar.socket_path}", "-o", "json", path=str(server.programs))
        assert (code, err) == (0, "")
        (told,) = json.loads(out)["sidecars"]
        assert told["status"]["pid"] == sidecar.pid
        code, out, err = ui(f"{server.target}/nowhere", path=str(server.programs))
        assert (code, out) == (3, "")
        assert err == "tlsidecar ui: ssh: no socket at /nowhere: is tlsidecar running?\n"


@pytest.mark.needs("ssh", "sshd", "ssh-keygen")
def test_an_ssh_that_would_ask_is_told_in_a_line(tmp_path: Path) -> None:
    with sshd.running(tmp_path / "ssh", SYSTEM_PATH, accepts=False) as server:
        code, out, err = ui(server.target, path=str(server.programs))
        assert (code, out) == (3, "")
        assert err.startswith("tlsidecar ui: ssh: ")
        assert "Permission denied (publickey)" in err
        (tmp_path / "ssh" / "known_hosts").write_text("")
        code, out, err = ui(server.target, path=str(server.programs))
        assert (code, err) == (3, "tlsidecar ui: ssh: Host key verification failed.\n")
    code, out, err = ui(server.target, path=str(server.programs))
    assert code == 3
    assert err.count("\n") == 1
    assert "Connection refused" in err


KUBECTL = """
echo "$*" >>"$0.log"
case " $* " in
*" get pods --selector=app=shop "*) printf 'pod/web-1\\npod/web-2\\n' ;;
*" get pods --selector=app=none "*) ;;
*" get pods "*) echo 'error: the server has asked for the client to provide credentials' >&2; exit 1 ;;
*" exec -i web-1 --container=tlsidecar -- "*) while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;;
*) echo 'Error from server (Forbidden): pods "web-2" is forbidden' >&2; exit 1 ;;
esac
"""


def test_by_kubectl(pki: Pki, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    program(programs, "kubectl", KUBECTL)
    with sidecar_of(pki, tmp_path) as sidecar:
        env = {"TLSIDECAR_ADMIN_SOCKET": str(sidecar.socket_path)}  # as the image's container has it
        code, out, err = ui("kube://prod/shop/web-1", "-o", "json", path=str(programs), **env)
        assert (code, err) == (0, "")
        assert json.loads(out)["sidecars"][0]["status"]["pid"] == sidecar.pid

        code, out, err = ui("kube://prod/shop/?app=shop", path=str(programs), **env)
        assert code == 3
        assert [line.split()[0] for line in out.splitlines()[3:5]] == ["web-2", "web-1"]
        assert err == 'tlsidecar ui: web-2: kubectl: Error from server (Forbidden): pods "web-2" is forbidden\n'
        log = (programs / "kubectl.log").read_text()
        assert log.count("--context=prod --namespace=shop ") == len(log.splitlines())

        code, out, err = ui("kube://shop/?app=none", path=str(programs), **env)
        assert (code, err) == (3, "tlsidecar ui: kube://shop/?app=none: no running pod: kube://shop/?app=none\n")
        code, out, err = ui("kube://shop/?app=other", path=str(programs), **env)
        assert code == 3
        assert "kubectl: error: the server has asked for the client to provide credentials\n" in err


def test_by_docker(pki: Pki, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    program(programs, "docker", 'test "$1 $2 $3" = "exec -i shop-web" || exit 9; shift 3; exec "$@"')
    with sidecar_of(pki, tmp_path) as sidecar:
        env = {"TLSIDECAR_ADMIN_SOCKET": str(sidecar.socket_path)}
        code, out, err = ui("docker://shop-web", "-o", "json", path=str(programs), **env)
        assert (code, err) == (0, "")
        assert json.loads(out)["sidecars"][0]["status"]["pid"] == sidecar.pid


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ssh://-oProxyCommand=id",), "ssh://-oProxyCommand=id: that is not a host"),
        (("kube://shop/-c",), "kube://shop/-c: that is not a pod"),
        (("http://web-1",), "http://web-1: known are ssh://, kube://, docker:// and paths"),
        (("--via", "ssh 'web"), "ssh 'web: no closing quotation"),
        (("--via", " "), "is no command"),
    ],
)
def test_a_target_that_means_nothing_is_bad_usage(arguments: tuple[str, ...], told: str) -> None:
    code, out, err = ui(*arguments)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_running(tmp_path: Path, number: signal.Signals) -> None:
    """A program that never answers, with another below it, and a console that is ended while it waits."""
    programs = tmp_path / "programs"
    program(programs, "docker", f"sleep 1000 & echo $! >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; wait")
    with subprocess.Popen(
        [sys.executable, "-m", "tlsidecar", "ui", "--watch", "docker://web"],
        env={**os.environ, "PATH": f"{programs}:{SYSTEM_PATH}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as console:
        try:
            eventually((tmp_path / "pid").exists)
            pid = int((tmp_path / "pid").read_text())
            console.send_signal(number)
            _, err = console.communicate(timeout=30)
        finally:
            console.kill()
    assert (console.returncode, err) == (128 + number, b"")
    eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes())


@pytest.mark.needs("tmux")
@pytest.mark.parametrize("how", ["q", "TERM"])
def test_on_a_terminal_nobody_asks_over_the_screen(pki: Pki, tmp_path: Path, how: str) -> None:
    """The list with one that answers and an ssh that would ask for a password; both programs end with the console."""
    programs = tmp_path / "programs"
    program(programs, "ssh", "echo 'password: ' >/dev/tty; echo 'ops@web: Permission denied (password).' >&2; exit 255")
    program(programs, "docker", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    with sidecar_of(pki, tmp_path) as sidecar, terminal(100, 24, PATH=f"{programs}:{PROGRAMS}:{SYSTEM_PATH}") as shown:
        pipe = shlex.join([sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(sidecar.socket_path)])
        shown.run(sys.executable, "-m", "tlsidecar", "ui", "ssh://ops@web", "docker://hangs", "--via", pipe)
        shown.shows("3 sidecars", "1 no reply", "1 ok", "1 waiting", "✖ no reply ssh: ops@web: Perm", "● ready")
        assert "password:" not in shown.text
        shown.type("/ready")
        shown.shows("1 of 3", "filter: ready")

        def opened() -> bool:
            """One key leaves the filter, the next opens what it left; which of them comes too early is open."""
            shown.press("Enter")
            return bool(shown.shows("3/3", "ADMIN: connected", within_s=3.0))

        eventually(opened, 60.0)
        console = shown.child_pid
        children = [int(each) for each in Path(f"/proc/{console}/task/{console}/children").read_text().split()]
        assert int((tmp_path / "pid").read_text()) in children
        if how == "q":
            shown.type("q")
        else:
            os.kill(console, signal.SIGTERM)
        eventually(lambda: shown.is_at_rest)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
