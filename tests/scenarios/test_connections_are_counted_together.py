"""Thousands of connections at a glance: counted by who they are with, the busiest first, over all workers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from support import configs
from support.certs_cli import certs, issued
from support.mtls import Peer, connected
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


@pytest.mark.parametrize("workers", ["1", "2"])
def test_groups_and_rates(tmp_path: Path, workers: str) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Group CA")
    server = issued(ca, tmp_path / "server", "--dns", "localhost")
    shop = issued(ca, tmp_path / "shop", "--spiffe", "spiffe://prod.test/ns/shop/sa/web")
    pay = issued(ca, tmp_path / "pay", "--spiffe", "spiffe://prod.test/ns/pay/sa/api")
    trust = tmp_path / "server" / "ca.crt"
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with (
            running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar,
            contextlib.ExitStack() as open_now,
        ):
            peers = [open_now.enter_context(connected(sidecar.port(), trust, who)) for who in (shop, shop, shop, pay)]
            eventually(lambda: sidecar.status()["totals"]["connections_active"] == 4)

            def groups(by: str, **more: str) -> list[dict[str, Any]]:
                query = urlencode({"group": by, **more})
                found: list[dict[str, Any]] = sidecar.json(f"/v1/connections?{query}")["groups"]
                return found

            assert [(row["key"], row["connections"]) for row in groups("namespace")] == [
                ("spiffe://prod.test/ns/shop", 3),
                ("spiffe://prod.test/ns/pay", 1),
            ]
            for by in ("identity", "namespace", "listener", "generation", "tls", "peer"):
                for row in groups(by):
                    page = sidecar.json(f"/v1/connections?filter={quote(row['filter'])}")
                    assert page["matched"] == row["connections"], row

            # The one with the fewest connections talks most.
            stop = threading.Event()
            talking = threading.Thread(target=_talk, args=(peers[3], stop))
            talking.start()
            try:

                def busiest() -> bool:
                    first = groups("identity", sort="bytes_per_s")[0]
                    return first["key"].endswith("/pay/sa/api") and (first["bytes_in_per_s"] or 0) > 1000

                assert eventually(busiest, 15)
                command = [sys.executable, "-m", "tlsidecar", "connections", "--socket", str(sidecar.socket_path)]
                command += ["--group", "identity", "--filter", "ns:pay", "--json"]
                told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                assert [row["connections"] for row in told["groups"]] == [1]
            finally:
                stop.set()
                talking.join()
            open_now.close()
            eventually(lambda: groups("identity") == [], 10)


def _talk(peer: Peer, stop: threading.Event) -> None:
    while not stop.wait(0.01):
        peer.send(b"x" * 1000)
        peer.recv_exactly(1000)
