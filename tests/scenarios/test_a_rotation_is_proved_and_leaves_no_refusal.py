"""``certs rotate --socket`` shakes hands with the listener it has changed, though the listener would not let it in: the
proof is real, and the record of refusals stays that of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import configs
from support.certs_cli import certs, issued
from support.mtls import Alerted, connected
from support.services import echo, http_service, serving
from support.sidecar import running

from certs.served import PROBE_PROTOCOL


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    certs("init", tmp_path / "ca", "--name", "Dev CA")
    return tmp_path / "ca"


@pytest.mark.parametrize(("protocol", "ends"), [("tcp", "--server"), ("http", "--both")])
def test_while_clients_talk(protocol: str, ends: str, ca: Path, tmp_path: Path) -> None:
    server = issued(ca, tmp_path / "out", "--dns", "localhost", ends)
    client = issued(ca, tmp_path / "client", "--dns", "client.test", "--client")
    trust = tmp_path / "out" / "ca.crt"
    with serving(echo) as tcp, http_service() as http:
        config = configs.identity(server, trust, poll_interval="1h")
        config += configs.terminate(
            http if protocol == "http" else tcp.address, protocol=protocol, allow=("dns:client.test",)
        )
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), trust, client) as old:
            answer = certs("rotate", tmp_path / "out", "--socket", sidecar.socket_path)
            proof = answer["sidecars"][0]
            assert proof["listeners"] == [f"127.0.0.1:{sidecar.port()}"]
            assert proof["generation"] == 2
            assert answer["new_serial"] == sidecar.json("/v1/certificates")["leaf"]["serial"] != answer["old_serial"]
            with connected(sidecar.port(), trust, client) as new:
                shown = new.tls.get_peer_certificate(as_cryptography=True)
                assert shown is not None
                assert shown.serial_number == int(str(answer["new_serial"]), 16)
            assert sidecar.refusals() == []
            assert sidecar.metric("tlsidecar_refusals_total") == 0
            assert sidecar.metric("tlsidecar_handshakes_total", outcome="failed") == 0
            sidecar.counts(1, "tlsidecar_connections_total", outcome="probe")
            assert tcp.connections == (2 if protocol == "tcp" else 0)  # the clients', none for the probe
            old.close()


def test_the_identity_that_was_rotated_is_looked_at_among_several(ca: Path, tmp_path: Path) -> None:
    first = issued(ca, tmp_path / "first", "--dns", "localhost")
    second = issued(ca, tmp_path / "second", "--dns", "*.internal.test")
    trust = tmp_path / "first" / "ca.crt"
    with serving(echo) as service:
        config = configs.identities(("first", first, trust), ("second", second, trust))
        config += configs.terminate(service.address, allow=("dns:client.test",), identity=["first", "second"])
        with running(tmp_path / "sidecar", config) as sidecar:
            for out, generations in (("second", [1, 2]), ("first", [2, 2])):
                answer = certs("rotate", tmp_path / out, "--socket", sidecar.socket_path)
                assert answer["sidecars"][0]["listeners"] == [f"127.0.0.1:{sidecar.port()}"]
                assert answer["sidecars"][0]["generation"] == 2
                now = {each["name"]: each for each in sidecar.json("/v1/certificates")["identities"]}
                assert now[out]["leaf"]["serial"] == answer["new_serial"]
                assert [each["generation"] for each in now.values()] == generations
            assert sidecar.refusals() == []
            sidecar.counts(2, "tlsidecar_connections_total", outcome="probe")


def test_the_probes_protocol_opens_nothing(ca: Path, tmp_path: Path) -> None:
    """Who only offers the protocol, or only has our certificate, is judged like anybody else."""
    server = issued(ca, tmp_path / "out", "--dns", "localhost")
    stranger = issued(ca, tmp_path / "stranger", "--dns", "stranger.test")
    trust = tmp_path / "out" / "ca.crt"
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address, allow=("dns:client.test",))
        with running(tmp_path / "sidecar", config) as sidecar:
            for number, (pair, protocols) in enumerate(((stranger, [PROBE_PROTOCOL]), (server, [b"other"])), 1):
                refused = pytest.raises((Alerted, ConnectionError))
                with refused, connected(sidecar.port(), trust, pair, protocols=protocols) as peer:
                    peer.recv()
                assert sidecar.newest_refusal(number)["reason"] == "not_allowed"
            assert service.connections == 0
