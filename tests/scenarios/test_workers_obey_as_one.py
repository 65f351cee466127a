"""Reload, drain and signals reach every worker; without their controller workers end by themselves."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from support import configs
from support.mtls import connect
from support.pki import Pki
from support.reloading import shown_to
from support.services import echo, serving
from support.several import fork_server_of, is_gone, kill, pids_of, replaced, several_workers
from support.waiting import eventually


def test_a_reload_is_done_when_every_worker_has_it(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, poll_interval="1h") + configs.terminate(service.address)
        with several_workers(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            old = connect(port, pki.trust, client)
            for generation in range(2, 8):
                pki.issue("server", "localhost")
                answer = sidecar.call("POST", "/v1/reload", {})[1]["attempt"]
                assert (answer["outcome"], answer["generation"]) == ("applied", generation)
                serial = int(answer["serial"], 16)
                assert [shown_to(port, pki, client) for _ in range(4)] == [serial] * 4
            # One that comes later begins with what is in use.
            pid = pids_of(sidecar)[1]
            kill(pid)
            eventually(lambda: replaced(sidecar, 1, pid))
            assert [shown_to(port, pki, client) for _ in range(4)] == [serial] * 4
            old.close()


def test_no_key_in_arguments_or_environment(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    key = server.key.read_text().splitlines()[1][:40]
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    with several_workers(tmp_path / "sidecar", config) as sidecar:
        for pid in pids_of(sidecar):
            for name in ("cmdline", "environ"):
                assert key.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_term_to_the_whole_group_drains_once(pki: Pki, tmp_path: Path) -> None:
    """As a terminal or a service manager does it: every process gets the signal."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with several_workers(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            peers = [connect(port, pki.trust, client) for _ in range(4)]
            workers = pids_of(sidecar)
            for pid in (*workers, sidecar.pid):
                os.kill(pid, signal.SIGTERM)
            eventually(lambda: sidecar.status()["state"] == "draining")
            eventually(lambda: _is_free(port))  # each worker lets go of it in its own time
            for peer in peers:
                peer.send(b"finish")
                assert peer.recv_exactly(6) == b"finish"
                peer.end_writing()
                assert peer.recv_all() == b""
                peer.close()
            assert sidecar.wait() == 0
            assert all(map(is_gone, workers))


def test_what_does_not_finish_is_cut_in_every_worker(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.limits(drain_timeout="300ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with several_workers(tmp_path / "sidecar", config) as sidecar:
            peers = [connect(sidecar.port(), pki.trust, client) for _ in range(4)]
            workers = pids_of(sidecar)
            sidecar.signal(signal.SIGTERM)
            assert sidecar.wait() == 1
            assert [line["reason"] for line in sidecar.access_lines()] == ["drain_forced"] * 4
            assert all(map(is_gone, workers))
            for peer in peers:
                peer.close()


def test_without_the_controller_they_let_go_of_the_port_and_finish(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with several_workers(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            peers = [connect(port, pki.trust, client) for _ in range(2)]
            workers = pids_of(sidecar)
            sidecar.kill()
            eventually(lambda: _is_free(port))
            for peer in peers:
                peer.send(b"finish")
                assert peer.recv_exactly(6) == b"finish"
            assert not any(map(is_gone, workers))
            for peer in peers:
                peer.end_writing()
                assert peer.recv_all() == b""
                peer.close()
            eventually(lambda: all(map(is_gone, workers)))


def test_without_the_controller_the_stubborn_are_cut(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.limits(drain_timeout="300ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with several_workers(tmp_path / "sidecar", config) as sidecar:
            peer = connect(sidecar.port(), pki.trust, client)
            workers = pids_of(sidecar)
            sidecar.kill()
            eventually(lambda: all(map(is_gone, workers)))
            peer.close()


def test_a_controller_that_is_killed_with_news_unread_leaves_no_traceback(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    with several_workers(tmp_path / "sidecar", config) as sidecar:
        first, second = pids_of(sidecar)
        fork_server = fork_server_of(sidecar)
        os.kill(sidecar.pid, signal.SIGSTOP)
        kill(first)
        eventually(lambda: not Path(f"/proc/{first}").exists())  # the fork server knows, and tells
        sidecar.kill()
        eventually(lambda: is_gone(fork_server))
        eventually(lambda: is_gone(second))


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return sock.connect_ex(("127.0.0.1", port)) != 0
