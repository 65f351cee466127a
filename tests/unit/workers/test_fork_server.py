"""The controller's end of the fork server, as far as it goes without one; tests/scenarios has the real one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from support.waiting import eventually
from unit.control.world import SETTINGS

from tlsidecar.settings import Protocol
from tlsidecar.workers import fork_server
from tlsidecar.workers.fork_server import ForkServer, ForkServerError
from tlsidecar.workers.fork_server_main import MAX_DESCRIPTORS


async def test_more_descriptors_than_one_message_carries_are_refused_with_their_number() -> None:
    forks = ForkServer(SETTINGS)
    with pytest.raises(ForkServerError, match=f"^{MAX_DESCRIPTORS + 1} descriptors for one worker; {MAX_DESCRIPTORS} "):
        await forks.fork(0, range(MAX_DESCRIPTORS + 1))
    assert repr(forks) == "<ForkServer pid=0>", "nothing was started for it"


_WITHOUT_FORKS = """
import errno, os, sys
from tlsidecar.workers import fork_server_main

def fork():
    raise OSError(errno.EAGAIN, "no more processes")

os.fork = fork  # as the kernel answers where a cgroup has its last process; root is held to no other limit
fork_server_main.main(sys.argv[1:])
"""


async def test_one_that_may_not_fork_says_so_and_goes_on() -> None:
    forks = ForkServer(SETTINGS)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-c", _WITHOUT_FORKS, str(theirs.fileno()), "-1"]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    ours.setblocking(False)
    forks._process, forks._socket = process, ours
    asyncio.get_running_loop().add_reader(ours.fileno(), forks._heard)
    try:
        for _ in range(2):
            with pytest.raises(ForkServerError, match="it cannot be forked: Resource temporarily unavailable"):
                await forks.fork(0, [])
        assert process.poll() is None
    finally:
        forks.close()


async def test_of_a_worker_that_nobody_tells_of_nothing_is_said_and_nothing_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_server, "TELL_WITHIN_S", 0.01)
    with subprocess.Popen(["/bin/true"]) as orphan:
        eventually(lambda: _is_zombie(orphan.pid), every_s=0.001)
        assert not await ForkServer(SETTINGS).ending(orphan.pid)
        assert not _exists(orphan.pid), "as process 1 of a container it has to be collected by us"
        orphan.returncode = 0


def _exists(pid: int) -> bool:
    return bool(_stat(pid))


def _is_zombie(pid: int) -> bool:
    return _stat(pid).rpartition(")")[2].split()[:1] == ["Z"]


def _stat(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read()
    except OSError:
        return ""


def test_it_imports_beforehand_what_the_workers_will_need() -> None:
    web = SETTINGS.listeners[0]
    assert not fork_server._modules_for(SETTINGS)
    http = replace(SETTINGS, listeners=(web, replace(web, protocol=Protocol.HTTP)), event_loop="uvloop")
    assert fork_server._modules_for(http) == [
        "tlsidecar.dataplane.http1.connection",
        "tlsidecar.dataplane.http.services",
        "uvloop",
    ]
