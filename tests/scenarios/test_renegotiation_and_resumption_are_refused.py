"""What old TLS could do and we do not: renegotiation, compression, resumption, and early data with it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, client_context
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


def _peer(port: int, context: SSL.Context) -> Peer:
    return Peer(context, socket.create_connection(("127.0.0.1", port), 10), name="localhost").handshake()


def test_a_renegotiation_is_refused(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    context = client_context(pki.trust, client)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            peer = _peer(sidecar.port(), context)
            assert peer.tls.renegotiate()
            with pytest.raises(Alerted, match="no renegotiation"):
                peer.handshake()
            peer.close()
            sidecar.settles()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nothing_is_resumed_or_compressed(version: ssl.TLSVersion, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    context = pki.client_context(client, max_version=version)
    context.options &= ~ssl.OP_NO_COMPRESSION
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            session: ssl.SSLSession | None = None
            for _ in range(3):
                raw = socket.create_connection(("127.0.0.1", sidecar.port()), 10)
                with raw, context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
                    tls.sendall(b"!")
                    assert tls.recv(1) == b"!"
                    assert tls.compression() is None
                    assert tls.session_reused is False
                    session = tls.session
            assert session is not None
            sidecar.counts(3, "tlsidecar_handshakes_total", outcome="ok")


def test_no_session_ticket_is_sent(pki: Pki, tmp_path: Path) -> None:
    """A ticket that will never be honoured costs both sides; openssl's client tells of each that arrives."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{sidecar.port()}", "-tls1_3", "-ign_eof", "-msg"]
            command += ["-cert", str(client.cert), "-key", str(client.key), "-CAfile", str(pki.trust)]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as asked:
                assert asked.stdin is not None
                asked.stdin.write(b"there and back\n")
                asked.stdin.flush()
                eventually(lambda: sidecar.metric("tlsidecar_bytes_total", direction="out") > 0)
                asked.terminate()
                told = asked.communicate()[0].decode(errors="replace")
            assert "TLSv1.3" in told
            assert "Finished" in told
            assert "NewSessionTicket" not in told
