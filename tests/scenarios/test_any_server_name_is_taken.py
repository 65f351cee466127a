"""One identity is served whatever name is asked for: absent, unknown, an address, over-long or with a NUL in it."""

from __future__ import annotations

import socket
from pathlib import Path

from support import configs
from support.hello import client_hello
from support.mtls import Peer, client_context
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running

ALERT_RECORD, HANDSHAKE_RECORD = 0x15, 0x16


def test_the_default_identity_is_served(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            for name in ("", "elsewhere.example", "127.0.0.1", "a" * 255, "xn--fsq.test", "[/red]"):
                with socket.create_connection(("127.0.0.1", port), 10) as sock:
                    peer = Peer(client_context(pki.trust, client), sock, name=name).handshake()
                    peer.send(b"!")
                    assert peer.recv_exactly(1) == b"!"
                    row = sidecar.json("/v1/connections?sort=id&order=desc")["connections"][0]
                    assert row["sni"] == name


HOSTILE = {
    "a NUL inside": b"loc\0lhost",
    "nothing but NULs": b"\0" * 9,
    "an escape sequence": b"\x1b[2J\x1b[1mx",
    "not ASCII": b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7",
}


def test_a_name_that_is_none_is_no_exception(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    hello = client_hello(pki.trust, client, name=b"localhost")
    assert hello.count(b"localhost") == 1
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert {len(name) for name in HOSTILE.values()} == {9}
            spoilt = {kind: hello.replace(b"localhost", name) for kind, name in HOSTILE.items()}
            at = hello.index(b"localhost")
            # The lengths before the name say 9: one that lies, up and down.
            spoilt["a name that ends outside"] = hello[: at - 1] + b"\xff" + hello[at:]
            spoilt["a name shorter than its list"] = hello[: at - 1] + b"\x01" + hello[at:]
            for kind, sent in spoilt.items():
                with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                    sock.sendall(sent)
                    assert sock.recv(65536)[:1] in (bytes([ALERT_RECORD]), bytes([HANDSHAKE_RECORD])), kind
                sidecar.settles()
            assert {refusal["reason"] for refusal in sidecar.refusals()} <= {"handshake_aborted", "protocol_error"}
            assert len(sidecar.refusals()) == len(spoilt)
            assert service.connections == 0
