"""Programs that carry the admin protocol: real ones, good and bad, each told of in a line and none left behind."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from ui_sidecar import Sidecar
from ui_world import World, healthy

from tlsidecar.api.errors import AdminError, BadReply, Unreachable
from tui.client import AdminClient
from tui.reach.endpoints import CommandEndpoint
from tui.reach.processes import Processes
from tui.text import SafeText

Serve = Callable[[World], Awaitable[Sidecar]]


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    processes = Processes()
    yield processes
    await processes.close()
    assert processes.count == 0


def client(processes: Processes, *command: str, timeout_s: float = 20.0, login_s: float = 20.0) -> AdminClient:
    return AdminClient(CommandEndpoint(SafeText("it"), SafeText("it"), command, processes, login_s), False, timeout_s)


def pipe(sidecar: Sidecar) -> tuple[str, ...]:
    return (sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(sidecar.socket))


async def failure(processes: Processes, script: str, **options: float) -> AdminError:
    """What is told when ``sh -c script`` is there in place of a sidecar."""
    with pytest.raises(AdminError) as caught:
        await client(processes, "sh", "-c", script, **options).read("/v1/status")
    assert caught.value.message.isprintable()
    return caught.value


async def test_reads_share_a_process_and_a_change_has_its_own(serve: Serve, processes: Processes) -> None:
    sidecar = await serve(healthy())
    over = client(processes, *pipe(sidecar))
    for _ in range(3):
        assert (await over.read("/v1/status"))["node"] == "web-1"
    assert processes.count == 1
    assert (await over.change("PUT", "/v1/log-level", {"level": "debug"}))["level"] == "debug"
    async with asyncio.timeout(20):
        message = await anext(over.events(0))
    assert message.event
    assert sidecar.connections_accepted == 3
    await over.close()


async def test_it_comes_back_when_the_program_was_ended(serve: Serve, processes: Processes) -> None:
    sidecar = await serve(healthy())
    over = client(processes, *pipe(sidecar))
    await over.read("/v1/status")
    processes.kill()
    assert (await over.read("/v1/status"))["node"] == "web-1"
    await over.close()


async def test_what_the_far_side_says_is_told(socket: Path, processes: Processes) -> None:
    over = client(processes, sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(socket))
    with pytest.raises(Unreachable, match=rf"^python[0-9.]*: no socket at {socket}: is tlsidecar running\?$"):
        await over.read("/v1/status")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'Permission denied (publickey).' >&2; exit 255", "sh: Permission denied (publickey)."),
        ("echo 'sh: 1: tlsidecar: not found' >&2; exit 127", "sh: 1: tlsidecar: not found"),
        ("printf 'a\\n\\n  Error: b\\n\\n' >&2; exit 1", "sh: b"),
        ("echo 'Error: no' >&2; echo 'command terminated with exit code 3' >&2; exit 3", "sh: no"),
        ("exit 7", "sh ended with exit code 7, saying nothing"),
        ("kill -9 $$", "sh was ended by signal 9"),
        ("printf '\\033[2J\\233\\n' >&2; exit 1", "sh: \\x1b[2J\N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_a_program_that_fails_is_told_in_one_line(processes: Processes, script: str, told: str) -> None:
    error = await failure(processes, script)
    assert isinstance(error, Unreachable)
    assert error.message == told


async def test_a_program_that_is_missing_or_cannot_be_run(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"^no-such-kubectl: no such program on PATH$"):
        await client(processes, "no-such-kubectl", "exec").read("/v1/status")
    with pytest.raises(Unreachable, match=r"cannot be run: Permission denied$"):
        await client(processes, str(tmp_path)).read("/v1/status")


async def test_garbage_and_gigabytes(processes: Processes) -> None:
    error = await failure(processes, "echo Welcome to web-1; echo 'no tty' >&2; exec sleep 60")
    assert isinstance(error, BadReply)
    assert error.message == "not an admin API: it says 'Welcome to web-1' (sh: no tty)"
    assert isinstance(await failure(processes, "exec yes"), BadReply)
    endless = "printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'; exec cat /dev/zero"
    assert "larger than" in (await failure(processes, endless, timeout_s=60.0)).message


async def test_one_that_hangs_and_one_that_floods_its_stderr(processes: Processes) -> None:
    for script in ("exec sleep 60", "trap '' TERM; sleep 60", "exec yes password: >&2"):
        error = await failure(processes, script, timeout_s=0.2, login_s=0.1)
        assert error.message in ("no answer within 0.3 s", "sh: password:")


async def test_what_it_started_ends_with_it(processes: Processes, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 60 & echo $! >{pid_file}.new; mv {pid_file}.new {pid_file}; wait"
    reading = asyncio.ensure_future(client(processes, "sh", "-c", script).read("/v1/status"))
    deadline = time.monotonic() + 20
    while not pid_file.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await processes.close()
    pid = int(pid_file.read_text())
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_it_has_no_terminal_to_ask_on(processes: Processes) -> None:
    error = await failure(processes, "if true </dev/tty; then echo asked >&2; else echo no terminal >&2; fi; exit 1")
    assert error.message == "sh: no terminal"


async def test_few_are_started_at_once(serve: Serve, tmp_path: Path) -> None:
    sidecar = await serve(healthy())
    processes = Processes(at_once=2)
    gate = tmp_path / "gate"
    command = f"while [ ! -e {gate} ]; do sleep 0.01; done; exec {shlex.join(pipe(sidecar))}"
    clients = [client(processes, "sh", "-c", command) for _ in range(6)]
    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(each.read("/v1/status")) for each in clients]
        async with asyncio.timeout(20):
            while processes.count < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert processes.count == 2
        gate.touch()
    assert all(read.result()["node"] == "web-1" for read in reads)
    assert processes.count == 6
    for each in clients:
        await each.close()
    await processes.close()
    assert processes.count == 0


async def test_one_that_is_given_up_while_it_starts_is_not_left_behind(processes: Processes) -> None:
    """Between its start and its first byte: neither it nor the place it took."""
    one = Processes(at_once=1)
    starting = asyncio.ensure_future(one.channel(("sleep", "60")))
    while not one.count:
        await asyncio.sleep(0)
    assert not starting.done()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(20):
        assert await one.output(("echo", "next"), 20) == b"next\n"
    await one.close()
    assert one.count == 0


@pytest.mark.parametrize("fails", ["pipe", "pidfd_open"])
async def test_one_that_cannot_be_started_leaves_nothing(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(f"tui.reach.processes.os.{fails}", none_left)
        with pytest.raises(Unreachable, match=r"^sleep: cannot be run: Too many open files$"):
            await processes.channel(("sleep", "60"))
    assert len(os.listdir("/proc/self/fd")) == before
    assert processes.count == 0


async def test_output_is_bounded_in_time_and_size(processes: Processes) -> None:
    assert await processes.output(("sh", "-c", "echo a; echo b >&2"), 20) == b"a\n"
    for command, told in (
        (("sh", "-c", "echo half; echo no >&2; exit 1"), "sh: no"),
        (("yes",), "printed more than"),
        (("sleep", "60"), r"sleep: no answer within 0\.2 s"),
    ):
        with pytest.raises(Unreachable, match=told):
            await processes.output(command, 0.2 if command[0] == "sleep" else 20)
