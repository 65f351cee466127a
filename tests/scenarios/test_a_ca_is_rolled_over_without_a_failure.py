"""The three steps of a rollover with a live sidecar and clients that never stop: no handshake fails, a step that is too
early is refused, and in the end the old CA opens nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support import configs
from support.certs_cli import certs, issued
from support.engine import alert_of_ours
from support.mtls import Alerted, connect, connected
from support.pki import Pair, replace
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


class Client(threading.Thread):
    """Handshakes without end, with what its files hold at the moment."""

    def __init__(self, port: int, out: Path, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port, self._out, self._over = port, out, over
        self._pair = Pair(out / "tls.crt", out / "tls.key")
        self.done = 0
        self.errors: list[BaseException] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_idle = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            if not self.may_go_on.is_set():
                self.is_idle.set()
                self.may_go_on.wait(30)
                self.is_idle.clear()
            try:
                peer = connect(self._port, self._out / "ca.crt", self._pair)
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
                peer.end_writing()
                peer.recv_all()
                peer.close()
                self.done += 1
            except BaseException as error:
                self.errors.append(error)

    def rotate(self) -> None:
        """New files for it; it reads three of them, one after the other, and so must stand still meanwhile."""
        self.may_go_on.clear()
        assert self.is_idle.wait(20)
        certs("rotate", self._out)
        self.may_go_on.set()

    def makes_some(self) -> None:
        so_far = self.done
        eventually(lambda: self.done >= so_far + 5, 20)


def test_three_steps(tmp_path: Path) -> None:
    ca, out = tmp_path / "ca", tmp_path / "server"
    certs("init", ca, "--name", "Dev CA")
    server = issued(ca, out, "--dns", "localhost")
    issued(ca, tmp_path / "client", "--dns", "client.test")
    left_behind = issued(ca, tmp_path / "forgotten", "--dns", "forgotten.test")
    kept = Pair(tmp_path / "kept.crt", tmp_path / "kept.key")
    replace(kept.cert, left_behind.cert.read_bytes())
    replace(kept.key, left_behind.key.read_bytes(), mode=0o600)
    over = threading.Event()
    with serving(echo) as service:
        config = configs.identity(server, out / "ca.crt", poll_interval="1h")
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            at = ("--socket", sidecar.socket_path)
            client = Client(sidecar.port(), tmp_path / "client", over)
            client.start()

            certs("rollover", ca, "start")
            told = certs("rollover", ca, "switch", *at, code=4)
            assert "new CA" in told or "trust" in told, told
            certs("rotate", out, *at)
            client.rotate()
            client.makes_some()

            certs("rollover", ca, "switch", *at)
            certs("rotate", out, *at)
            client.makes_some()  # a client of the old CA, a server of the new one
            client.rotate()
            client.makes_some()

            with connected(sidecar.port(), tmp_path / "client" / "ca.crt", kept) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
                told = certs("rollover", ca, "finish", *at, code=4)
                assert "forgotten.test" in told
            sidecar.json("/v1/status")
            eventually(lambda: certs("rollover", ca, "finish", *at) is not None)
            certs("rotate", out, *at)
            client.makes_some()
            client.rotate()
            client.makes_some()

            over.set()
            client.join(20)
            assert client.errors == []
            alert = alert_of_ours("UNKNOWN_CA").replace("_", " ")  # the CA it shows with its leaf is not trusted
            refused = pytest.raises((Alerted, ConnectionError), match=f"(?i){alert}")
            with refused, connected(sidecar.port(), tmp_path / "client" / "ca.crt", kept) as peer:
                peer.recv()
            assert [refusal["reason"] for refusal in sidecar.refusals()] == ["unknown_ca"]
            assert sidecar.metric("tlsidecar_handshakes_total", outcome="failed") == 1
