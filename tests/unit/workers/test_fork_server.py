"""The controller's end of the fork server, as far as it goes without one; tests/scenarios has the real one."""

from __future__ import annotations

import subprocess
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
