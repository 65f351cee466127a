"""Signals, admin calls and file changes all at once, under traffic: runs never overlap, pairs are never mixed."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from support import configs
from support.mtls import connect
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


def test_under_traffic(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    over = threading.Event()
    errors: list[BaseException] = []
    exchanges = [0]

    def talk(port: int) -> None:
        while not over.is_set():
            try:
                peer = connect(port, pki.trust, client)
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
                peer.end_writing()
                peer.recv_all()
                peer.close()
                exchanges[0] += 1
            except BaseException as error:
                errors.append(error)

    with serving(echo) as service:
        config = configs.identity(server, pki.trust, poll_interval="100ms") + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            thread = threading.Thread(target=talk, args=(sidecar.port(),), daemon=True)
            thread.start()
            resting, answers = sidecar.descriptors(), []

            def call() -> None:
                answers.extend(sidecar.call("POST", "/v1/reload")[1] for _ in range(10))

            for _ in range(3):
                callers = [threading.Thread(target=call, daemon=True) for _ in range(3)]
                for caller in callers:
                    caller.start()
                # Written file by file: in between key and certificate do not fit, and that must never be served.
                pki.issue("server", "localhost")
                for _ in range(1000):
                    sidecar.signal(signal.SIGHUP)
                for caller in callers:
                    caller.join(30)
            eventually(lambda: sidecar.status()["state"] == "ready")
            eventually(lambda: exchanges[0] > 10 or errors)
            over.set()
            thread.join(20)
            assert errors == []

            def applied() -> int:
                """Each once. A file that was written last may be read only now."""
                generation: int = sidecar.status()["generation"]
                sidecar_has = sidecar.metric("tlsidecar_reloads_total", outcome="applied")
                assert sidecar_has == generation
                return generation

            assert 2 <= eventually(applied) <= 4
            # Ninety calls and three thousand signals: far fewer runs, each answered.
            assert len(answers) == 90
            assert {answer["outcome"] for answer in answers} <= {"applied", "unchanged", "refused"}
            assert sidecar.metric("tlsidecar_reloads_total") < 110
            sidecar.settles()
            eventually(lambda: sidecar.descriptors() <= resting + 2)
