"""``authority = …`` with a short ``ttl``: leaves are renewed in time, live connections go on, and a CA that is away is
an alarm long before anything has expired. Time runs a hundred and twenty times faster here, for the sidecar."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.certs_cli import certs, issued
from support.faketime import faster
from support.mtls import Peer, client_context
from support.pki import Pair
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

FACTOR = 120


def connect(sidecar: Sidecar, trust: Path, pair: Pair) -> Peer:
    """The sidecar's leaf is not valid yet by our slower clock: its chain is not looked at here."""
    context = client_context(trust, pair)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    return Peer(context, socket.create_connection(("127.0.0.1", sidecar.port()), 10)).handshake()


@pytest.mark.needs("faketime")
def test_and_recovers_when_the_ca_was_away(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Dev CA")
    client = issued(ca, tmp_path / "client", "--dns", "client.test")
    trust = tmp_path / "client" / "ca.crt"
    identity = f'[identity]\nauthority = {json.dumps(str(ca))}\ndns = ["localhost"]\nttl = "6m"\n'
    identity += 'source_timeout = "1h"\n'
    # In the sidecar's time: generous in ours.
    limits = configs.limits(handshake_timeout="20m", idle_timeout="20h", close_timeout="1h")
    with serving(echo) as service:
        config = limits + identity + configs.terminate(service.address)
        # One worker: to start several takes longer than the deadline for it lasts in hurried time.
        with running(tmp_path / "sidecar", config, env={**faster(FACTOR), "TLSIDECAR_WORKERS": "1"}) as sidecar:
            old = connect(sidecar, trust, client)
            serials = [sidecar.json("/v1/certificates")["leaf"]["serial"]]
            for number in (2, 3):
                eventually(lambda number=number: sidecar.status()["generation"] >= number, 20)  # type: ignore[misc]
                shown = sidecar.json("/v1/certificates")
                assert shown["leaf"]["serial"] not in serials
                serials.append(shown["leaf"]["serial"])
                new = connect(sidecar, trust, client)
                certificate = new.tls.get_peer_certificate(as_cryptography=True)
                assert certificate is not None
                # On a busy machine the next one may have come meanwhile.
                newest = sidecar.json("/v1/certificates")["leaf"]["serial"]
                assert certificate.serial_number in {int(each, 16) for each in (serials[-1], newest)}
                new.close()
                old.send(b"the first connection goes on")
                assert old.recv_exactly(28) == b"the first connection goes on"
                assert sidecar.status()["state"] == "ready", sidecar.status()["problems"]

            ca.rename(tmp_path / "away")
            eventually(lambda: sidecar.status()["state"] == "degraded", 20)
            status = sidecar.status()
            codes = [problem["code"] for problem in status["problems"]]
            assert "reload_refused" in codes
            assert "certificate_expired" not in codes
            assert status["ready"] is True
            tried = sidecar.metric("tlsidecar_reloads_total", outcome="refused", reason="authority_failed")
            assert 1 <= tried <= 10  # what the last third of its life holds: no storm
            (tmp_path / "away").rename(ca)
            eventually(lambda: sidecar.status()["generation"] > 3, 30)
            eventually(lambda: sidecar.status()["state"] == "ready", 30)
            old.send(b"!")
            assert old.recv_exactly(1) == b"!"
            old.close()


def test_rotate_asks_for_a_new_leaf_now(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Dev CA")
    identity = f'[identity]\nauthority = {json.dumps(str(ca))}\ndns = ["localhost"]\n'
    with running(tmp_path / "sidecar", identity + configs.terminate("127.0.0.1:9")) as sidecar:
        before = sidecar.json("/v1/certificates")["leaf"]["serial"]
        answer = sidecar.call("POST", "/v1/rotate")[1]
        assert answer["outcome"] == "applied"
        assert answer["attempt"]["previous_serial"] == before
        assert sidecar.json("/v1/certificates")["leaf"]["serial"] == answer["attempt"]["serial"] != before
        assert str(ca) not in json.dumps(answer["attempt"]["detail"])
