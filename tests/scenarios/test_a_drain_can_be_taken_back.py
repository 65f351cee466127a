"""A drained sidecar serves again on the same addresses, with the same counters, and can be drained once more."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.ports import free_port
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def is_served(port: int, pki: Pki, pair: object) -> bool:
    with contextlib.suppress(ConnectionError), connected(port, pki.trust, pair) as peer:  # type: ignore[arg-type]
        peer.send(b"hello")
        return peer.recv_exactly(5) == b"hello"
    return False


def refused(sidecar: Sidecar) -> str:
    status, reply = sidecar.call("POST", "/v1/undrain")
    assert status == 409, reply
    return str(reply["error"]["message"])


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_again(pki: Pki, tmp_path: Path, workers: int) -> None:
    client = pki.issue("client", "client.test")
    path = tmp_path / "app.sock"
    with serving(echo) as service, serving(echo) as remote:
        address = f"127.0.0.1:{free_port()}"
        config = configs.identity(pki.issue("server", "localhost"), pki.trust)
        config += configs.terminate(service.address, listen=address)
        config += configs.originate(remote.address.replace("127.0.0.1", "localhost"), listen=f"unix:{path}")
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": str(workers)}) as sidecar:
            port = sidecar.port("in")
            assert refused(sidecar) == "nothing has been drained"
            served = 0
            for _ in range(2):
                assert is_served(port, pki, client)
                served += 1
                assert sidecar.call("POST", "/v1/drain", {"timeout_s": 5})[1]["outcome"] == "drained"
                assert not is_served(port, pki, client)
                assert sidecar.status()["state"] == "draining"
                assert not path.exists()
                # While somebody else has the address, it goes on being drained.
                with socket.create_server(("127.0.0.1", port)):
                    assert "cannot listen on" in refused(sidecar)
                    assert sidecar.status()["state"] == "draining"
                status, reply = sidecar.call("POST", "/v1/undrain")
                assert (status, reply["outcome"]) == (200, "undrained")
                assert sidecar.status()["state"] == "ready"
                assert sidecar.port("in") == port
                assert path.is_socket()
                sidecar.get("/readyz")
            assert all(is_served(port, pki, client) for _ in range(4))
            eventually(lambda: sidecar.listener("in")["connections_total"] == served + 4 or None)
            assert sidecar.metric("tlsidecar_connections_total", listener="in", outcome="worker_lost") == 0
            assert "worker lost" not in sidecar.log_text


def test_a_drain_that_is_under_way_is_not_taken_back(pki: Pki, tmp_path: Path) -> None:
    client = pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(pki.issue("server", "localhost"), pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"hello")
            assert peer.recv_exactly(5) == b"hello"
            connection = socket.socket(socket.AF_UNIX)
            with connection:
                connection.connect(str(sidecar.socket_path))
                connection.sendall(b"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\n\r\n")
                eventually(lambda: sidecar.status()["state"] == "draining" or None)
                assert refused(sidecar) == "the drain is still under way: undrain when it is over"
                peer.end_writing()
                assert connection.recv(65536)
            assert sidecar.call("POST", "/v1/undrain")[0] == 200
