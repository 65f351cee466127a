"""The sidecars that a certificate command is told of, in each way to name them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.waiting import eventually
from unit.cli.conftest import COMMAND_S, Served, tlsidecar

from certs.cli.at_once import ask_all
from certs.probe import SidecarUnreachable, UnknownTarget
from tlsidecar.cli.reach import sidecars


def pipe_to(socket: Path) -> str:
    return shlex.join([sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(socket)])


def test_each_way_leads_to_the_same_sidecar(served: Served) -> None:
    assert served.control.generation is not None
    serial = served.control.generation.material.identity.serial
    path, folder, pipe = str(served.socket), str(served.socket.parent), pipe_to(served.socket)
    ways: list[tuple[Sequence[str], Sequence[str], str, bool]] = [
        ([path], [], path, True),
        ([f"unix://{path}"], [], path, True),
        ([folder], [], path, True),
        ([], [pipe], pipe, False),
    ]
    for targets, commands, name, is_here in ways:
        with sidecars(targets, commands) as found:
            (sidecar,) = found
            assert (sidecar.name, sidecar.is_here, sidecar.served().serial) == (name, is_here, serial)
            assert [peer.connection_id for peer in sidecar.peers()] == [1, 2, 3]
            assert sidecar.reload().outcome == "applied"


def test_several_are_each_asked_once(served: Served) -> None:
    path = str(served.socket)
    with sidecars([path, str(served.socket.parent), path], [pipe_to(served.socket)]) as found:
        assert [sidecar.is_here for sidecar in found] == [True, False]


def test_what_means_nothing_and_what_does_not_answer(tmp_path: Path) -> None:
    for targets, commands in ((["http://web-1"], []), ([""], []), ([], ["ssh 'web"])):
        with pytest.raises(UnknownTarget), sidecars(targets, commands):
            pass
    with pytest.raises(SidecarUnreachable, match="no socket"), sidecars([str(tmp_path)], []):
        pass
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    with pytest.raises(SidecarUnreachable) as lost, sidecars([str(empty), str(other)], []):
        pass
    assert [str(folder) in line for folder, line in zip((empty, other), str(lost.value).split("\n"), strict=True)]
    with sidecars([], ["no-such-program"]) as found, pytest.raises(SidecarUnreachable, match=r"no such program"):
        found[0].served()


def test_the_commands_end_with_the_codes_of_the_contract(tmp_path: Path) -> None:
    assert tlsidecar("certs", "init", tmp_path / "pki").code == 0
    rollover = ("certs", "rollover", tmp_path / "pki")
    assert tlsidecar(*rollover, "start").code == 0
    bad = tlsidecar(*rollover, "switch", "--socket", "kube://shop/-c")
    assert (bad.code, "kube://shop/-c: that is not a pod" in bad.err) == (2, True)
    absent = tlsidecar(*rollover, "switch", "--via", "no-such-program --at-all")
    assert (absent.code, absent.err.count("\n")) == (3, 1)
    assert "no-such-program: no such program on PATH" in absent.err


def test_pipes_are_asked_at_once(served: Served, tmp_path: Path) -> None:
    """Each speaks only when all the others have begun to."""
    names = ["a", "b", "c"]
    wait = " && ".join(f"until [ -e {tmp_path / name} ]; do sleep 0.02; done" for name in names)
    pipes = [
        shlex.join(["sh", "-c", f"touch {tmp_path / name}; {wait}; exec {pipe_to(served.socket)}"]) for name in names
    ]
    before = threading.active_count()
    with sidecars([], pipes) as found:
        assert [answer.generation for answer in ask_all(found, lambda sidecar: sidecar.served())] == [3, 3, 3]
    assert threading.active_count() == before


def test_an_interrupted_command_leaves_nothing_behind(tmp_path: Path) -> None:
    pki, web, pids = tmp_path / "pki", tmp_path / "web", tmp_path / "pids"
    assert tlsidecar("certs", "init", pki).code == 0
    assert tlsidecar("certs", "issue", pki, "--out", web, "--dns", "localhost").code == 0
    silent = [shlex.join(["sh", "-c", f"echo $$ >>{pids}; exec sleep {seconds}"]) for seconds in (600, 601)]
    arguments = ["certs", "rotate", str(web), "--via", silent[0], "--via", silent[1]]
    command = subprocess.Popen([sys.executable, "-m", "tlsidecar", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, COMMAND_S)
        command.send_signal(signal.SIGINT)
        _, told = command.communicate(timeout=COMMAND_S)
    finally:
        command.kill()
    assert (command.returncode, told.strip()) == (130, "interrupted")
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
