"""TERM drains: what is under way finishes, nothing new begins; a second one ends at once."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect, connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


def test_term_waits_for_what_is_under_way(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            port = sidecar.port()
            waiting = socket.create_connection(("127.0.0.1", port), 10)  # in the middle of its handshake
            eventually(lambda: sidecar.listener()["handshakes_active"] == 1)
            sidecar.signal(signal.SIGTERM)
            eventually(lambda: sidecar.status()["state"] == "draining")
            assert sidecar.get("/readyz", expect=None)[0] == 503
            assert sidecar.get("/healthz")[0] == 200
            sidecar.signal(signal.SIGHUP)
            assert waiting.recv(100) == b""
            waiting.close()
            with pytest.raises(ConnectionRefusedError):
                connect(port, pki.trust, client)
            peer.send(b"x" * 1000)
            assert peer.recv_exactly(1000) == b"x" * 1000
            peer.end_writing()
            assert peer.recv_all() == b""
            peer.close()
            assert sidecar.wait() == 0
            assert not sidecar.socket_path.exists()


def test_what_does_not_finish_is_cut_and_told(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.limits(drain_timeout="300ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            assert sidecar.stop() == 1
            with pytest.raises(ConnectionError):
                peer.recv_all()
            sidecar.last_access(reason="drain_forced")


def test_a_second_signal_ends_at_once(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            sidecar.signal(signal.SIGTERM)
            eventually(lambda: sidecar.status()["state"] == "draining")
            sidecar.signal(signal.SIGINT)
            assert sidecar.wait() == 1


def test_a_drain_and_a_shutdown_over_the_admin_socket(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            answers = []
            drain = threading.Thread(target=lambda: answers.append(sidecar.call("POST", "/v1/drain")))
            drain.start()
            eventually(lambda: sidecar.status()["state"] == "draining")
            peer.close()
            drain.join(30)
            assert [(status, body["outcome"]) for status, body in answers] == [(200, "drained")]
            assert sidecar.call("POST", "/v1/shutdown")[0] == 202
            assert sidecar.wait() == 0


def test_one_connection_is_closed_by_its_number(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            for words, matched in (
                ("RELAYING%20client.TEST", 1),
                ("client%20test%20127.0", 1),
                ("client.test%20x.y", 0),
            ):
                assert sidecar.json(f"/v1/connections?filter={words}")["matched"] == matched, words
            row = sidecar.json("/v1/connections?filter=client.test")["connections"][0]
            detail = sidecar.json(f"/v1/connections/{row['id']}")["connection"]
            assert detail["chain"][0]["serial"] == row["serial"]
            assert sidecar.call("DELETE", f"/v1/connections/{row['id']}")[0] == 200
            with pytest.raises(ConnectionError):
                peer.recv_all()
            eventually(lambda: sidecar.call("DELETE", f"/v1/connections/{row['id']}")[0] == 404)
            sidecar.last_access(reason="closed_by_admin")
