"""`tlsidecar exec`: ready before the command, drained after it, and the command none the wiser."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import asked
from support.waiting import eventually

TLSIDECAR = [sys.executable, "-m", "tlsidecar"]
ENDS_WITHIN_S = 60
OF_THE_C_LIBRARY = 0b11 << 31  # signals 32 and 33, as whoever runs the tests left them


class World:
    def __init__(self, directory: Path, pki: Pki, service: str, **limits: str) -> None:
        self.pki = pki
        self.directory = directory
        self.client = pki.issue("client", "client.test")
        self.socket = directory / "run" / "admin.sock"
        self.config = directory / "tlsidecar.toml"
        head = f'[admin]\nsocket = "{self.socket}"\n' + (configs.limits(**limits) if limits else "")
        server = pki.issue("server", "localhost")
        self.config.write_text(head + configs.identity(server, pki.trust) + configs.terminate(service))

    def command(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        return [*TLSIDECAR, "exec", "--config", str(self.config), *options, "--", *command]

    def run(self, *command: str, options: tuple[str, ...] = (), stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*command, options=options),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, *command: str, options: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
        """It has begun; the command's first line has been read."""
        process = subprocess.Popen(
            self.command(*command, options=options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            sidecar = self.sidecar_pid()
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # us and the command
            with contextlib.suppress(OSError):
                os.killpg(sidecar or process.pid, signal.SIGKILL)
            process.communicate()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(asked(self.socket, "GET", "/v1/status")[1])
        return found

    def sidecar_pid(self) -> int:
        try:
            return int(self.status()["pid"])
        except OSError:
            return 0

    @property
    def port(self) -> int:
        return int(self.status()["listeners"][0]["bound"].rpartition(":")[2])


@pytest.fixture
def world(pki: Pki, tmp_path: Path) -> Iterator[World]:
    with serving(echo) as service:
        yield World(tmp_path, pki, service.address)


def test_the_sidecar_is_ready_first_and_ends_after(world: World) -> None:
    done = world.run(*TLSIDECAR, "health", "--ready", "--socket", str(world.socket))
    assert done.returncode == 0, done.stderr
    assert '"drained"' in done.stderr
    assert not world.socket.exists()


def test_input_output_arguments_and_exit_code_are_the_commands_own(world: World) -> None:
    done = world.run("sh", "-c", 'cat; echo "$0 $1 $2"; echo error >&2; exit 37', "a b", "--help", "", stdin="in\n")
    assert (done.returncode, done.stdout) == (37, "in\na b --help \n")
    assert "error\n" in done.stderr


def test_what_it_was_given_is_what_it_gets(world: World) -> None:
    """No signal blocked or ignored, no descriptor of ours."""
    done = world.run("sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd")
    masks, descriptors = done.stdout.split()[:4], done.stdout.split()[4:]
    assert masks[0:4:2] == ["SigBlk:", "SigIgn:"]
    assert int(masks[1], 16) == 0
    assert int(masks[3], 16) & ~OF_THE_C_LIBRARY == 0
    assert descriptors == ["0", "1", "2", "3"]  # the last is of ls itself


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "WINCH", "RTMIN"])
def test_signals_reach_the_command(world: World, name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    script = f"trap 'echo got; exit 9' {name}; echo begun; while :; do sleep 0.05; done"
    with world.running("bash", "-c", script) as process:
        process.send_signal(number)
        out, _ = process.communicate(timeout=ENDS_WITHIN_S)
        assert (process.returncode, out) == (9, "got\n")


def test_a_command_that_dies_by_a_signal(world: World) -> None:
    with world.running("sh", "-c", "echo begun; exec sleep 60") as process:
        process.terminate()
        process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 128 + signal.SIGTERM


def test_a_command_that_ignores_term_goes_on_and_is_served(world: World) -> None:
    with world.running("sh", "-c", "trap '' TERM; echo begun; while :; do sleep 0.05; done") as process:
        process.terminate()
        with connected(world.port, world.pki.trust, world.client) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
        assert process.poll() is None
        assert world.status()["state"] == "ready"


def test_connections_finish_after_the_command(world: World) -> None:
    with world.running("sh", "-c", "echo begun; exec sleep 60") as process:
        with connected(world.port, world.pki.trust, world.client) as peer:
            peer.send(b"before")
            assert peer.recv_exactly(6) == b"before"
            process.terminate()
            eventually(lambda: world.status()["state"] == "draining")
            peer.send(b"after")
            assert peer.recv_exactly(5) == b"after"
            peer.end_writing()
            assert peer.recv_all() == b""
        process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 128 + signal.SIGTERM


def test_a_forced_drain_does_not_change_the_code(pki: Pki, tmp_path: Path) -> None:
    with serving(echo) as service:
        world = World(tmp_path, pki, service.address, drain_timeout="200ms")
        with world.running("sh", "-c", "trap 'exit 0' TERM; echo begun; while :; do sleep 0.05; done") as process:
            with connected(world.port, world.pki.trust, world.client) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
                process.terminate()
                _, err = process.communicate(timeout=ENDS_WITHIN_S)
            assert process.returncode == 0
            assert "tlsidecar exec: the sidecar ended with 1\n" in err


def test_a_sidecar_that_dies_ends_the_command(world: World) -> None:
    script = "trap 'echo ending; exit 0' TERM; echo begun; while :; do sleep 0.05; done"
    with world.running("sh", "-c", script) as process:
        os.kill(world.sidecar_pid(), signal.SIGKILL)
        out, err = process.communicate(timeout=ENDS_WITHIN_S)
        assert (process.returncode, out) == (1, "ending\n")
        assert "tlsidecar exec: the sidecar ended with 137; ending sh\n" in err


def test_and_one_that_ignores_that_is_killed(world: World) -> None:
    script = "trap '' TERM; echo begun; while :; do sleep 0.05; done"
    with world.running("sh", "-c", script, options=("--kill-after", "300ms")) as process:
        os.kill(world.sidecar_pid(), signal.SIGKILL)
        _, err = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 1
        assert "sh is still there 0.3 s after TERM; killing it\n" in err


def test_a_command_may_be_kept(world: World) -> None:
    script = f"echo begun; while [ -S {world.socket} ]; do sleep 0.05; done; exit 5"
    with world.running("sh", "-c", script, options=("--on-sidecar-exit", "keep")) as process:
        os.kill(world.sidecar_pid(), signal.SIGKILL)
        eventually(lambda: not world.sidecar_pid())
        assert process.poll() is None
        world.socket.unlink()
        _, err = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 5
        assert "the sidecar ended with 137; sh goes on without it\n" in err


def test_killing_us_drains_the_sidecar(world: World) -> None:
    with world.running("sh", "-c", "echo begun; exec sleep 5") as process:
        sidecar = world.sidecar_pid()
        process.kill()
        eventually(lambda: not Path(f"/proc/{sidecar}/cmdline").exists() or not world.sidecar_pid())


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["no-such-command"], 127, "no-such-command: no such command; nothing was started"),
        (["/nowhere/command"], 127, "/nowhere/command: no such command; nothing was started"),
        (["/etc"], 126, "/etc is a directory; nothing was started"),
        (["/etc/passwd"], 126, "/etc/passwd may not be executed; nothing was started"),
        ([""], 127, ": no such command; nothing was started"),
        (["\x1b[31m"], 127, r"\x1b[31m: no such command; nothing was started"),
    ],
)
def test_a_command_that_cannot_be_run(world: World, command: list[str], code: int, said: str) -> None:
    done = world.run(*command)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"tlsidecar exec: {said}\n")


def test_a_command_that_the_system_cannot_start(world: World, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    done = world.run(str(script))
    assert done.returncode == 126
    assert f"tlsidecar exec: cannot run {script}: No such file or directory\n" in done.stderr
    assert not world.socket.exists()


def test_a_bad_configuration_starts_nothing(world: World) -> None:
    world.config.write_text("nonsense = 1\n")
    done = world.run("sh", "-c", "echo begun")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nonsense" in done.stderr


def test_a_sidecar_that_cannot_serve_starts_nothing(world: World) -> None:
    world.pki.trust.unlink()
    done = world.run("sh", "-c", "echo begun")
    assert (done.returncode, done.stdout) == (2, "")
    assert "tlsidecar exec: the sidecar ended before it was ready; sh was not started\n" in done.stderr


def test_a_sidecar_that_takes_too_long_starts_nothing(world: World) -> None:
    done = world.run("sh", "-c", "echo begun", options=("--ready-timeout", "0s"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "tlsidecar exec: the sidecar was not ready in 0 s; sh was not started\n" in done.stderr


def test_a_command_that_goes_into_the_background_is_told(world: World) -> None:
    done = world.run("sh", "-c", "sleep 5 >/dev/null 2>&1 & exit 0")
    assert done.returncode == 0
    assert "sh ended and left processes behind (" in done.stderr


def test_without_a_command_it_says_so(world: World) -> None:
    done = world.run()
    assert done.returncode == 2
    assert "Missing argument" in done.stderr


def test_what_is_typed_reaches_the_command_once(world: World) -> None:
    """Ctrl-C goes to everybody in the terminal's foreground; the sidecar is not, and we pass on nothing twice."""
    waits = "for i in $(seq 400); do [ $got ] && break; sleep 0.05; done; sleep 0.5"  # a second one would come by then
    script = f"trap 'echo interrupted; got=1' INT; echo begun; {waits}; echo ended"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, world.command("bash", "-c", script))
    shown = ""
    typed = False
    deadline = time.monotonic() + ENDS_WITHIN_S
    while time.monotonic() < deadline:
        select.select([terminal], [], [], 1)
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            break
        if "begun" in shown and not typed:
            os.write(terminal, b"\x03")
            typed = True
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert shown.count("interrupted") == 1, shown
    assert "ended" in shown
    assert '"drained"' in shown


@pytest.mark.needs("unshare")
def test_as_process_1_it_collects_what_others_left(world: World) -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow namespaces of processes")
    # Twenty orphans end while the command runs; then nothing may be left of them, and it ends with its own code.
    script = """
        echo begun
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (sleep 0.01 &); done
        for i in $(seq 400); do
            left=$(cat /proc/[0-9]*/status 2>/dev/null | grep -cE '^(State:.Z|Name:.sleep)')
            test $left = 0 && break
            sleep 0.05
        done
        echo $left
        test "$(cat /proc/1/comm)" != sh && exit 11
    """
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", *world.command("sh", "-c", script)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (11, "begun\n0\n"), done.stderr


def test_with_several_workers(world: World) -> None:
    world.config.write_text("workers = 2\n" + world.config.read_text())
    done = world.run(*TLSIDECAR, "status", "--json", "--socket", str(world.socket))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["workers"]) == 2


def test_another_sidecar_is_in_the_way(world: World, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        world.config.write_text(world.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        done = world.run("sh", "-c", "echo begun")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert "Address already in use" in done.stderr
