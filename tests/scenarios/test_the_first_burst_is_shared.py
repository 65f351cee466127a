"""Clients that wait for a sidecar to come up are shared by its workers: not all are taken by the one that is up
first."""

from __future__ import annotations

import socket
from pathlib import Path

from support import configs
from support.pki import Pki
from support.several import workers_of
from support.sidecar import Sidecar
from support.waiting import eventually

CLIENTS = 60
NOWHERE = "127.0.0.1:9"


def test_those_who_came_before_the_workers(pki: Pki, tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    config = configs.identity(pki.issue("server", "localhost"), pki.trust)
    config += configs.terminate(NOWHERE, listen=f"unix:{path}")
    sidecar = Sidecar(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": "2"}).start(wait=False)
    clients: list[socket.socket] = []
    try:
        for _ in range(CLIENTS):
            client = socket.socket(socket.AF_UNIX)
            eventually(lambda client=client: client.connect_ex(str(path)) == 0)  # type: ignore[misc]
            clients.append(client)
        sidecar.answers()
        eventually(lambda: sidecar.status()["totals"]["connections_active"] == CLIENTS)
        shares = [worker["connections"] for worker in workers_of(sidecar)]
        assert min(shares) >= CLIENTS // 3, shares
    finally:
        for client in clients:
            client.close()
        sidecar.kill()
