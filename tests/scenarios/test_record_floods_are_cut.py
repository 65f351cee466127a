"""Records that cost us work and bring nothing are cut; small ones that carry data are a right of the peer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.records import RecordWriter
from support.services import echo, serving
from support.sidecar import running

FLOODS: dict[str, Callable[[RecordWriter], bytes]] = {
    "key updates": lambda writer: writer.key_update(),
    "empty records": lambda writer: writer.seal(b""),
    "empty records with padding": lambda writer: writer.seal(b"", padding=16_000),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_of_nothing_but_overhead(flood: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            writer = RecordWriter(sidecar.port(), pki.trust, client)
            writer.send(writer.seal(b"hello"))
            assert writer.peer.recv_exactly(5) == b"hello"
            busy_s = sidecar.cpu_s()
            with pytest.raises(ConnectionError):
                _send(writer, FLOODS[flood])
            writer.close()
            sidecar.last_access(reason="record_flood")
            assert sidecar.cpu_s() - busy_s < 0.5

            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"others are served")
                assert peer.recv_exactly(17) == b"others are served"


def _send(writer: RecordWriter, make: Callable[[RecordWriter], bytes]) -> None:
    for _ in range(200):
        writer.send(b"".join(make(writer) for _ in range(50)))


def test_a_byte_in_each_record_is_delivered(pki: Pki, tmp_path: Path) -> None:
    """A terminal session looks like this: there is no threshold for it, and reading on is bounded per turn."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    data = bytes(number % 251 for number in range(20_000))
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            writer = RecordWriter(sidecar.port(), pki.trust, client)
            for start in range(0, len(data), 1000):
                writer.send(b"".join(writer.seal(data[at : at + 1]) for at in range(start, start + 1000)))
                assert writer.peer.recv_exactly(1000) == data[start : start + 1000]
            writer.close()
