"""TERM: not ready at once, deaf only after `shutdown_delay`; what originates goes on while what came in needs it."""

from __future__ import annotations

import contextlib
import http.server
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connected, server_context
from support.pki import Pair, Pki
from support.raw_http import read_answer, request
from support.services import echo, http_service, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_goes_on_accepting_while_endpoints_are_withdrawn(pki: Pki, tmp_path: Path, workers: str) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        env = {"TLSIDECAR_WORKERS": workers, "TLSIDECAR_SHUTDOWN_DELAY": "1500ms"}
        with running(tmp_path / "sidecar", config, env=env) as sidecar:
            port = sidecar.port()
            began = time.monotonic()
            sidecar.signal(signal.SIGTERM)
            eventually(lambda: sidecar.status()["state"] == "draining")
            assert sidecar.get("/readyz", expect=None)[0] == 503
            with connected(port, pki.trust, client) as late:
                late.send(b"late")
                assert late.recv_exactly(4) == b"late"
            assert sidecar.wait() == 0
            assert time.monotonic() - began >= 1.5
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)


def test_a_second_term_does_not_wait_for_the_delay(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    with running(tmp_path / "sidecar", config, env={"TLSIDECAR_SHUTDOWN_DELAY": "20s"}) as sidecar:
        sidecar.signal(signal.SIGTERM)
        eventually(lambda: sidecar.status()["state"] == "draining")
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait(15) == 1  # not 20 s, the delay


@contextlib.contextmanager
def remote(pki: Pki, pair: Pair) -> Iterator[str]:
    """A service elsewhere that wants mutual TLS and answers every line."""

    def answer(sock: socket.socket) -> None:
        peer = Peer(server_context(pki.trust, pair), sock, server_side=True).handshake()
        peer.send(b"from the remote: " + peer.recv())

    with serving(answer) as service:
        yield service.address


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_under_way_may_still_call_others(pki: Pki, tmp_path: Path, workers: str) -> None:
    """The application needs its ambassador for the answer that it owes."""
    asked, may_answer = threading.Event(), threading.Event()
    ambassador: list[int] = []

    class Application(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            assert may_answer.wait(20)
            with socket.create_connection(("127.0.0.1", ambassador[0]), 5) as sock:
                sock.sendall(b"ping")
                body = sock.recv(100)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with remote(pki, pki.issue("remote", "remote.test")) as elsewhere, http_service(Application) as service:
        config = (
            configs.identity(server, pki.trust)
            + configs.terminate(service, protocol="http")
            + configs.originate(elsewhere, expect=["dns:remote.test"])
        )
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar:
            port = sidecar.port("in")
            ambassador.append(sidecar.port("out"))
            with connected(port, pki.trust, client) as peer:
                peer.send(request())
                assert asked.wait(10)
                sidecar.signal(signal.SIGTERM)
                eventually(lambda: sidecar.status()["state"] == "draining")
                eventually(lambda: not _accepts(port))
                assert _accepts(ambassador[0])
                may_answer.set()
                assert read_answer(peer).body == b"from the remote: ping"
            assert sidecar.wait() == 0
            assert not _accepts(ambassador[0])


def test_what_originates_alone_ends_at_once(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.originate("localhost:1")
    with running(tmp_path / "sidecar", config) as sidecar:
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait() == 0


def test_a_delay_that_leaves_no_time_is_refused(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = 'shutdown_delay = "30s"\n' + configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:1")
    sidecar = Sidecar(tmp_path / "sidecar", "")
    sidecar.config_path.write_text(config)
    sidecar.start(wait=False)
    assert sidecar.wait() == 2
    assert "shutdown_delay: leaves nothing of drain_timeout (30s); write a shorter one" in sidecar.log_text


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
