"""What is said of services that should speak HTTP/2 in the clear."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from support.services import Handler, echo, reset, serving
from unit.dataplane.http1.conversation import listener

from tlsidecar.cli.h2_probe import services_without_http2
from tlsidecar.dataplane.http2 import frames
from tlsidecar.settings import Address, Admin, IdentitySettings, Settings


def settings(address: Address, http2: str) -> Settings:
    made = replace(listener(), upstreams=(address,), http2=http2)
    return Settings(admin=Admin(Path("unused")), identities=(IdentitySettings(),), listeners=(made,))


def http1(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def http2(sock: socket.socket) -> None:
    said = frames.settings([(frames.MAX_CONCURRENT_STREAMS, 100)])
    sock.sendall(said[:5])
    sock.recv(65536)
    sock.sendall(said[5:])


def silent(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


@pytest.mark.parametrize(
    ("service", "speaks"),
    [(http2, True), (http1, False), (silent, False), (reset, False), (echo, False)],
    ids=["http2", "http1", "silent", "reset", "echo"],
)
def test_a_service_is_asked(service: Handler, speaks: bool) -> None:
    with serving(service) as there:
        for mode in ("only", "also"):
            found = list(services_without_http2(settings(Address("127.0.0.1", there.port), mode)))
            assert len(found) == (not speaks)
            assert all(there.address in sentence and "listener[web].upstream" in sentence for sentence in found)
        assert list(services_without_http2(settings(Address("127.0.0.1", there.port), "off"))) == []


def test_of_a_service_that_is_not_there_nothing_is_known(tmp_path: Path) -> None:
    for address in (Address("127.0.0.1", 1), Address(path=str(tmp_path / "none"))):
        assert list(services_without_http2(settings(address, "only"))) == []
