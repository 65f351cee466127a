"""Whatever a ClientHello is like, it is refused or served, costs little, and never disturbs anybody else."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from support import configs
from support.hello import client_hello, in_records_of, message, record, with_extensions
from support.mtls import connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running

ALERT_RECORD, HANDSHAKE_RECORD = 0x15, 0x16


def _records(content: bytes) -> bytes:
    return b"".join(record(content[at : at + 16384]) for at in range(0, len(content), 16384))


HOSTILE = {
    "over 64 KiB": _records(message(b"\x03\x03" + bytes(70_000))),
    "a length of 16 MiB": record(b"\x01\xff\xff\xff\x03\x03" + bytes(1000)),
    "ten thousand extensions": _records(
        with_extensions(b"".join(struct.pack("!HH", 0x4000 + number, 0) for number in range(10_000)))
    ),
    "the same extension twice": record(with_extensions(struct.pack("!HH", 0x4001, 0) * 2)),
    "a record over its limit": b"\x16\x03\x01\x48\x01" + bytes(20_000),
    "an empty record": record(b"") * 100,
    "an SSLv2 hello": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01" * 60,
    "an alert first": b"\x15\x03\x01\x00\x02\x02\x28",
    "application data first": b"\x17\x03\x03\x00\x20" + bytes(32),
    "noise": bytes(number * 73 % 256 for number in range(5000)),
}


@pytest.fixture
def answer(pki: Pki):  # type: ignore[no-untyped-def]
    def ask(port: int, sent: bytes, *, at_once: bool = True) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            received = b""
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if at_once:
                    sock.sendall(sent)
                else:
                    for at in range(len(sent)):
                        sock.sendall(sent[at : at + 1])
                while len(received) < 5 and (more := sock.recv(65536)):
                    received += more
            except ConnectionError:
                pass
            return received

    return ask


def test_every_kind(answer, pki: Pki, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.limits(handshake_timeout="3s") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, client) as bystander,
        ):
            busy_s = sidecar.cpu_s()
            for number, (kind, sent) in enumerate(HOSTILE.items(), 1):
                received = answer(sidecar.port(), sent)
                assert not received or received[0] == ALERT_RECORD, kind
                # Every one is refused on its own account: nothing a peer sends at this point is a fault of ours.
                refusal = sidecar.newest_refusal(number)
                assert refusal["stage"] == "handshake", kind
                assert refusal["reason"] != "internal_error", kind
                bystander.send(b"undisturbed")
                assert bystander.recv_exactly(11) == b"undisturbed"
            assert len(sidecar.refusals()) == len(HOSTILE)
            assert sidecar.cpu_s() - busy_s < 1.0
            assert service.connections == 1


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_fragmented_hello_is_served_or_refused_but_never_costly(
    size: int,
    answer,
    pki: Pki,
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    """Fragments are legal (RFC 8446 section 5.1); OpenSSL puts them together."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    hello = client_hello(pki.trust, client)
    with serving(echo) as service:
        config = configs.limits(handshake_timeout="5s") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            busy_s = sidecar.cpu_s()
            assert answer(sidecar.port(), in_records_of(hello, size))[0] == HANDSHAKE_RECORD
            assert answer(sidecar.port(), hello, at_once=False)[0] == HANDSHAKE_RECORD
            assert sidecar.cpu_s() - busy_s < 0.5
            sidecar.refusal(reason="handshake_aborted")
