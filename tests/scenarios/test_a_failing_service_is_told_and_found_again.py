"""The service behind is down, resets, hangs or flaps: the peer gets an end and not half an answer, the operator gets
the reason, and the first connection that works is used."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect, connected
from support.pki import Pki
from support.ports import free_port
from support.services import echo, reset, serving
from support.sidecar import running
from support.waiting import eventually


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """A port that answers no SYN any more: its backlog is full and nobody accepts."""
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def test_nobody_listens(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}")
    with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
        assert peer.recv_all() == b""  # close_notify and FIN: nothing was relayed, so nothing can be missing
        failure = sidecar.failure(reason="upstream_refused")
        assert (failure["listener"], failure["upstream"], failure["count"]) == ("in", f"127.0.0.1:{port}", 1)
        assert failure["detail"] == f"127.0.0.1:{port}: Connection refused"
        assert failure["last_identity"] == "client.test"
        assert sidecar.refusals() == []
        sidecar.counts(1, "tlsidecar_failures_total", reason="upstream_refused")
        assert sidecar.metric("tlsidecar_refusals_total") == 0
        sidecar.counts(1, "tlsidecar_upstream_errors_total", reason="upstream_refused")


def test_nobody_answers_the_connection(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with deaf() as port:
        config = configs.limits(upstream_connect_timeout="300ms") + configs.identity(server, pki.trust)
        config += configs.terminate(f"127.0.0.1:{port}")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            assert peer.recv_all() == b""
            assert "0.3 s" in sidecar.failure(reason="upstream_timeout")["detail"]


def test_it_accepts_and_resets(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(reset) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            with pytest.raises(ConnectionError):
                peer.recv_all()
            assert 0 <= sidecar.last_access(reason="upstream_reset")["wait_s"] < 20
            sidecar.counts(1, "tlsidecar_upstream_errors_total", reason="upstream_reset")


def test_it_accepts_and_says_nothing(pki: Pki, tmp_path: Path) -> None:
    """In TCP mode silence may be right, for as long as the idle timeout allows it; then it is an end, not a cut."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(lambda sock: sock.recv(1)) as service:
        config = configs.limits(idle_timeout="300ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            assert peer.recv_all() == b""
            sidecar.last_access(reason="idle_timeout")


def test_it_flaps(pki: Pki, tmp_path: Path) -> None:
    """Twenty times down and up: the first connection after it is back is served, every time."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}")
    with running(tmp_path / "sidecar", config) as sidecar:
        for _ in range(20):
            with connected(sidecar.port(), pki.trust, client) as peer:
                assert peer.recv_all() == b""
            with socket.create_server(("127.0.0.1", port)) as listening:
                listening.settimeout(10)
                peer = connect(sidecar.port(), pki.trust, client)
                sock, _ = listening.accept()
                peer.send(b"back again")
                assert sock.recv(10) == b"back again"
                sock.close()
                peer.close()
        sidecar.settles()
        sidecar.counts(20, "tlsidecar_upstream_errors_total", reason="upstream_refused")
        eventually(lambda: not sidecar.problems())


def test_with_several_addresses_the_next_one_is_taken(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    dead = free_port()
    with serving(echo) as service, deaf() as mute:
        config = configs.limits(upstream_connect_timeout="500ms") + configs.identity(server, pki.trust)
        upstreams = [f"127.0.0.1:{dead}", f"127.0.0.1:{mute}", service.address]
        config += configs.terminate("").replace('upstream = ""', f"upstream = {upstreams}".replace("'", '"'))
        with running(tmp_path / "sidecar", config) as sidecar:
            for _ in range(10):
                with connected(sidecar.port(), pki.trust, client) as peer:
                    peer.send(b"!")
                    assert peer.recv_exactly(1) == b"!"
            assert sidecar.refusals() == []

            def down() -> set[str]:
                return {problem["subject"].split()[-1] for problem in sidecar.problems()}

            eventually(lambda: down() == {f"127.0.0.1:{dead}", f"127.0.0.1:{mute}"})
