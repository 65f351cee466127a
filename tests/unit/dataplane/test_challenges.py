"""While something is presented: a validation is answered, and everybody else is none the wiser."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from OpenSSL import SSL

from certs.acme.challenges import ALPN_PROTOCOL, Challenge, ChallengeType
from tlsidecar.dataplane import challenges as module
from tlsidecar.dataplane.challenges import Challenges
from tlsidecar.dataplane.linger import Lingerer
from tlsidecar.dataplane.reactor import Reactor

CHALLENGE = Challenge(ChallengeType.TLS_ALPN_01, "Web.Example.test", "tok", "tok.thumb")
NOW = 1_795_000_000.0
WAIT_S = 30.0


@dataclass
class Door:
    """One connection handed to the challenges, and what became of it."""

    challenges: Challenges
    far: socket.socket
    near: socket.socket
    told: list[str] = field(default_factory=list)

    def look(self) -> None:
        self.challenges.look(self.near, lambda: self.told.append("ordinary"), lambda: self.told.append("answered"))

    async def becomes(self, what: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while not self.told:
                await asyncio.sleep(0.005)
        assert self.told == [what]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    reactor = Reactor(asyncio.get_running_loop())
    lingerer = Lingerer(reactor)
    challenges = Challenges(reactor, lingerer)
    challenges.present([CHALLENGE], NOW)
    far, near = socket.socketpair()
    far.setblocking(False)
    near.setblocking(False)
    with far, near:
        yield Door(challenges, far, near)
        challenges.close()
        assert len(challenges) == 0
        lingerer.close_all()
        reactor.close()


def client(sock: socket.socket, *protocols: bytes, name: bytes = b"web.example.test") -> SSL.Connection:
    tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), sock)
    tls.set_connect_state()
    tls.set_tlsext_host_name(name)
    if protocols:
        tls.set_alpn_protos(list(protocols))
    return tls


async def handshake(tls: SSL.Connection) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                await asyncio.sleep(0.005)
            else:
                return


async def test_a_validation_sees_the_certificate_of_rfc_8737(door: Door) -> None:
    door.look()
    tls = client(door.far, ALPN_PROTOCOL)
    await handshake(tls)
    await door.becomes("answered")
    assert tls.get_alpn_proto_negotiated() == ALPN_PROTOCOL
    certificate = tls.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    digest = hashlib.sha256(b"tok.thumb").digest()
    assert any(digest in each.value.public_bytes() for each in certificate.extensions)


@pytest.mark.parametrize(
    ("protocols", "name"),
    [
        ((), b"web.example.test"),
        ((b"h2", b"http/1.1"), b"web.example.test"),
        ((ALPN_PROTOCOL, b"http/1.1"), b"web.example.test"),
        ((ALPN_PROTOCOL,), b"other.example.test"),
    ],
    ids=["no protocol", "others", "one among others", "another name"],
)
async def test_everybody_else_goes_on(door: Door, protocols: tuple[bytes, ...], name: bytes) -> None:
    door.look()
    with contextlib.suppress(SSL.WantReadError):
        client(door.far, *protocols, name=name).do_handshake()
    await door.becomes("ordinary")
    assert door.near.recv(1, socket.MSG_PEEK) == b"\x16"  # what was looked at is still there


async def test_a_hello_in_pieces_is_waited_for(door: Door) -> None:
    tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    tls.set_connect_state()
    tls.set_tlsext_host_name(b"web.example.test")
    tls.set_alpn_protos([ALPN_PROTOCOL])
    with contextlib.suppress(SSL.WantReadError):
        tls.do_handshake()
    hello = tls.bio_read(65536)
    door.look()
    for at in range(0, len(hello), 50):
        assert door.told == []
        door.far.send(hello[at : at + 50])
        await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        while not _readable(door.far):
            await asyncio.sleep(0.005)
    assert door.told == []
    door.far.close()
    await door.becomes("answered")


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"], ids=["plaintext", "half a hello"])
async def test_what_is_no_hello_goes_on(door: Door, first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    door.far.send(first)
    door.look()
    await door.becomes("ordinary")


async def test_nothing_is_presented_any_more(door: Door) -> None:
    door.challenges.present([], NOW)
    assert not door.challenges
    door.look()
    with contextlib.suppress(SSL.WantReadError):
        client(door.far, ALPN_PROTOCOL).do_handshake()
    await door.becomes("ordinary")
