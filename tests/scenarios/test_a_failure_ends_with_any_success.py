"""An address that failed is well again as soon as anything succeeds there, whoever tried; and for nobody else is it
ever ill because one listener expects somebody else."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from support import configs
from support.mtls import connected
from support.pki import Pki
from support.ports import free_port
from support.raw_http import read_answer, request
from support.remotes import remote, talk
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

# Of several workers each knows what it has tried itself, and the latest of them is shown.
ONE_WORKER = {"TLSIDECAR_WORKERS": "1"}


def is_healthy(sidecar: Sidecar, listener: str) -> bool:
    return bool(sidecar.listener(listener)["upstreams"][0]["healthy"])


def test_another_listener_reaches_it(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    address = f"127.0.0.1:{port}"
    config = configs.identity(server, pki.trust)
    config += configs.terminate(address, name="one") + configs.terminate(address, name="other")
    with running(tmp_path / "sidecar", config, env=ONE_WORKER) as sidecar:
        with connected(sidecar.port("one"), pki.trust, client) as peer:
            assert peer.recv_all() == b""
        eventually(lambda: not is_healthy(sidecar, "one"))
        assert not is_healthy(sidecar, "other")
        with serving(echo, port=port), connected(sidecar.port("other"), pki.trust, client) as peer:
            peer.send(b"x")
            assert peer.recv() == b"x"
            assert is_healthy(sidecar, "other")
            assert is_healthy(sidecar, "one")


def test_a_connection_that_is_reused_is_answered(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    listening = socket.create_server(("127.0.0.1", 0))
    go_on = threading.Event()

    def serve() -> None:
        sock, _ = listening.accept()
        listening.close()  # from now on nobody else gets in
        with sock:
            while head := sock.recv(65536):
                if head.startswith(b"GET /slow "):
                    assert go_on.wait(20)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    service = threading.Thread(target=serve, daemon=True)
    service.start()
    config = configs.identity(server, pki.trust)
    config += configs.terminate("{}:{}".format(*listening.getsockname()), protocol="http", name="web")
    with running(tmp_path / "sidecar", config, env=ONE_WORKER) as sidecar:
        port = sidecar.port()
        with connected(port, pki.trust, client) as one, connected(port, pki.trust, client) as other:
            one.send(request())
            assert read_answer(one).status == 200
            one.send(request(target="/slow"))
            eventually(lambda: sidecar.listener("web")["upstreams"][0]["active"] == 1)
            other.send(request())
            assert read_answer(other).status in (502, 503)
            assert not is_healthy(sidecar, "web")
            go_on.set()
            assert read_answer(one).status == 200
            eventually(lambda: is_healthy(sidecar, "web"))
    service.join(10)


def test_who_expects_somebody_else_makes_nobody_ill(pki: Pki, tmp_path: Path) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "localhost")
    with remote(pki.trust, theirs) as service:
        address = f"localhost:{service.port}"
        config = configs.identity(ours, pki.trust)
        config += configs.originate(address, name="wrong", expect=["dns:other.example"])
        config += configs.originate(address, name="right", expect=["dns:localhost"])
        with running(tmp_path / "sidecar", config) as sidecar:
            assert talk(sidecar.port("right"), b"x") == b"x"
            with contextlib.suppress(ConnectionError):
                talk(sidecar.port("wrong"), b"x")
            eventually(lambda: not is_healthy(sidecar, "wrong"))
            assert is_healthy(sidecar, "right")
            assert talk(sidecar.port("right"), b"x") == b"x"
            assert not is_healthy(sidecar, "wrong")
