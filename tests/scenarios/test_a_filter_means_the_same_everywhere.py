"""One filter language for whoever asks: the API, the command line, one worker or several."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from support import configs
from support.certs_cli import certs, issued
from support.mtls import connect, connected
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

SHOP = "spiffe://prod.test/ns/shop/sa/web"
PAY = "spiffe://prod.test/ns/pay/sa/api"


def tlsidecar(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tlsidecar", *arguments, "--socket", str(sidecar.socket_path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_connections_and_refusals(tmp_path: Path, workers: str) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Filter CA")
    server = issued(ca, tmp_path / "server", "--dns", "localhost")
    shop, pay = (issued(ca, tmp_path / name[-3:], "--spiffe", name) for name in (SHOP, PAY))
    stranger = issued(ca, tmp_path / "stranger", "--dns", "stranger.test")
    trust = tmp_path / "server" / "ca.crt"
    with serving(echo) as service:
        allow = ("spiffe://prod.test/ns/**",)
        config = configs.identity(server, trust) + configs.terminate(service.address, allow=allow)
        with (
            running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar,
            contextlib.ExitStack() as open_now,
        ):
            peers = [
                open_now.enter_context(connected(sidecar.port(), trust, who)) for who in (shop, shop, shop, pay, pay)
            ]
            peers[0].send(b"x" * 3000)
            peers[0].recv_exactly(3000)
            connect(sidecar.port(), trust, stranger).close()
            eventually(lambda: sidecar.json("/v1/connections?filter=relaying")["matched"] == 5)
            for text, matched in [
                ("id:*/sa/web", 3),
                ("!id:*/sa/web listener:in", 2),
                ("ns:shop bytes:>5KiB", 1),
                ("ns:shop !bytes:>5KiB", 2),
                ("gen:1 tls:1.3 idle:<1m age:<5m peer:127.0.0.0/8", 5),
                ("gen:>1", 0),
                ("relaying SA/api", 2),
                (f"identity:={PAY}", 2),
            ]:
                assert sidecar.json(f"/v1/connections?filter={quote(text)}")["matched"] == matched, text
            told = json.loads(tlsidecar(sidecar, "connections", "--filter", text, "--json").stdout)
            assert told["matched"] == matched, text  # the command line hands on what it is given

            status, answer = sidecar.call("GET", f"/v1/connections?filter={quote('shop idle:60s')}")
            assert (status, answer["error"]["code"], answer["error"]["position"]) == (400, "bad_request", 10)
            assert answer["error"]["message"].startswith("filter: idle is a duration")
            done = tlsidecar(sidecar, "connections", "--filter", "shop listner:raw")
            assert (done.returncode, done.stdout) == (2, "")
            assert 'there is no field "listner": did you mean listener? (at character 6)' in done.stderr
            assert done.stderr.endswith("\n  shop listner:raw\n       ^^^^^^^\n")

            refusal = eventually(lambda: sidecar.json("/v1/refusals")["refusals"])[0]
            for text, found in [(f"reason:{refusal['reason']} age:<5m", 1), ("reason:other", 0), ("!stranger.test", 0)]:
                reply = sidecar.json(f"/v1/refusals?filter={quote(text)}")
                assert (len(reply["refusals"]), len(reply["groups"]), reply["total"]) == (found, found, 1), text
            done = tlsidecar(sidecar, "refusals", "--filter", "reason:other")
            assert (done.returncode, done.stdout) == (0, "No refusal of 1 matches the filter.\n")
            done = tlsidecar(sidecar, "failures", "--filter", "listener:in")
            assert (done.returncode, done.stdout) == (0, "Nothing failed since the sidecar began.\n")

            told = tlsidecar(sidecar, "events", "--no-follow", "--filter", "kind:opened id:*/sa/api", "--json")
            opened = [json.loads(line) for line in told.stdout.splitlines()]
            assert [(each["event"], each["identity"]) for each in opened] == [("opened", PAY)] * 2
            open_now.close()
