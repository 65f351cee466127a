"""The contract of a TLS stream, held by both implementations alike."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL, crypto
from support.mtls import client_context
from support.pki import Pair, Pki

from tlsidecar.dataplane import stream, stream_fast, stream_portable
from tlsidecar.dataplane.stream import BUFFER, CLOSED, DONE, FAILED, VERIFIED, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind


class Judge:
    """A verifier that notes what it was asked and answers as it was told."""

    def __init__(self, verdict: int | None = None) -> None:
        self.verdict = verdict
        self.seen: list[tuple[int, int, int]] = []

    def verify(self, error: int, depth: int, leaf: stream.Leaf) -> int:
        assert leaf.sha256() == hashlib.sha256(leaf.der()).digest()
        assert leaf.above_sha256() == b"".join(hashlib.sha256(each).digest() for each in leaf.above())
        self.seen.append((error, depth, len(leaf.der())))
        return error if self.verdict is None else self.verdict


IMPLEMENTATIONS = {
    "fast": (stream_fast, stream_fast.FastStream),
    "portable": (stream_portable, stream_portable.PortableStream),
}


class Ends:
    """A stream under test as the server, and an ordinary pyOpenSSL client, over a socketpair."""

    def __init__(self, module: types.ModuleType, kind: type, pki: Pki, server: Pair, client: Pair | None) -> None:
        self.context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_chain_file(str(server.cert))
        context.use_privatekey_file(str(server.key))
        context.load_verify_locations(str(pki.trust))
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        module.install_verifier(context, SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        module.select_protocol(context, [b"http/1.1"])
        self._kind, self._trust, self._client = kind, pki.trust, client
        self.connect()

    def connect(self) -> None:
        self.judge = Judge()
        self.socket, self.far_socket = socket.socketpair()
        self.socket.setblocking(False)
        self.far_socket.setblocking(False)
        self.near = self._kind(self.context, self.socket, self.judge, server_side=True)
        self.far = SSL.Connection(client_context(self._trust, self._client), self.far_socket)
        self.far.set_connect_state()
        self.far.set_tlsext_host_name(b"localhost")

    def shake(self) -> int:
        """Turn by turn until the near end has an answer other than wanting more."""
        answer = WANT_READ
        for _ in range(20):
            with contextlib.suppress(SSL.WantReadError):
                self.far.do_handshake()
            answer = self.near.handshake()
            if answer not in (WANT_READ, WANT_WRITE):
                with contextlib.suppress(SSL.Error):
                    self.far.do_handshake()
                return answer
        return answer

    def close(self) -> None:
        self.near.release()
        self.socket.close()
        self.far_socket.close()


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request: pytest.FixtureRequest, pki: Pki) -> Iterator[Callable[..., Ends]]:
    module, kind = IMPLEMENTATIONS[request.param]
    server = pki.issue("server", "localhost")
    made: list[Ends] = []

    def build(client: Pair | None) -> Ends:
        made.append(Ends(module, kind, pki, server, client))
        return made[-1]

    yield build
    for ends in made:
        ends.close()


def test_a_handshake_asks_the_verifier_and_tells_what_was_agreed(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.near.handshake() == WANT_READ
    assert ends.shake() == DONE
    assert [(error, depth) for error, depth, _ in ends.judge.seen] == [(VERIFIED, 0)]
    assert ends.near.parameters().version == "TLSv1.3"
    assert ends.near.parameters().server_name == "localhost"
    assert len(ends.near.peer_chain()) in (1, 2)  # OpenSSL's client adds the CA when it knows it


def test_the_digest_of_a_trust_anchor_is_computed_once(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same object of OpenSSL's in every handshake with a context."""
    computed: list[object] = []
    digest = stream_fast._x509_digest
    monkeypatch.setattr(stream_fast, "_anchors", {})
    monkeypatch.setattr(stream_fast, "_x509_digest", lambda *given: (computed.append(given[0]), digest(*given))[1])
    client = pki.issue("client", "client.test")
    ends = Ends(stream_fast, stream_fast.FastStream, pki, pki.issue("server", "localhost"), client)
    for handshakes in range(1, 4):
        assert ends.shake() == DONE
        assert len(computed) == handshakes + 1  # the leaf's, which the peer sends anew, and the anchor's
        ends.close()
        ends.connect()
    ends.close()


def test_few_trust_anchors_are_kept(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_fast, "_anchors", {})
    pems = [pki.issue(f"anchor-{number}", f"{number}.test").cert.read_bytes() for number in range(3)]
    anchors = [crypto.load_certificate(crypto.FILETYPE_PEM, pem) for pem in pems]
    monkeypatch.setattr(stream_fast, "_ANCHORS_KEPT", 2)
    for each in (*anchors, *anchors):
        assert stream_fast._anchor_sha256_of(each._x509) == hashlib.sha256(stream.der_of(each)).digest()
        assert len(stream_fast._anchors) <= 2


def test_a_stranger_is_shown_to_the_verifier_with_the_error(make: Callable[..., Ends], tmp_path: Path) -> None:
    ends = make(Pki(tmp_path / "elsewhere").issue("client", "client.test"))
    assert ends.shake() == FAILED
    (error, depth, length), *_ = ends.judge.seen
    assert error in (20, 21)
    assert depth == 0
    assert length > 100
    with pytest.raises(SSL.Error, match=r"unknown ca|internal error"):
        ends.far.recv(1)


def test_the_verifier_may_refuse_a_good_chain(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    ends.judge.verdict = stream.CERTIFICATE_REJECTED
    assert ends.shake() == FAILED
    with pytest.raises(SSL.Error, match=r"bad certificate|internal error"):
        ends.far.recv(1)


def test_without_a_certificate_there_is_nothing_to_verify(make: Callable[..., Ends]) -> None:
    ends = make(None)
    assert ends.shake() == FAILED
    assert ends.judge.seen == []
    assert ends.near.failure is not None
    assert ends.near.failure.text == "peer did not return a certificate"


def test_reading_fills_the_shared_buffer(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    assert ends.near.read() == WANT_READ
    ends.far.send(b"hello")
    assert ends.near.read() == 5
    assert BUFFER[:5] == b"hello"
    assert ends.near.read() == WANT_READ


def test_reading_goes_on_where_it_stopped(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    ends.far.send(b"x" * stream.RECORD_BYTES)
    ends.far.send(b"the rest")
    ends.far.shutdown()
    assert ends.near.read() == stream.RECORD_BYTES
    assert ends.near.read_more(stream.RECORD_BYTES) == 8
    assert bytes(BUFFER[: stream.RECORD_BYTES + 8]) == b"x" * stream.RECORD_BYTES + b"the rest"
    assert ends.near.read_more(stream.RECORD_BYTES + 8) == CLOSED
    assert ends.near.read() == CLOSED


def test_peeking_takes_nothing_and_leaves_the_buffer_alone(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    BUFFER[:5] = b"kept!"
    assert ends.near.peek() == WANT_READ
    ends.far.send(b"hello")
    assert ends.near.peek() == 1
    assert BUFFER[:5] == b"kept!"
    assert ends.near.read() == 5
    assert BUFFER[:5] == b"hello"
    ends.far.shutdown()
    assert ends.near.peek() == CLOSED


def test_close_notify_ends_one_direction_only(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    ends.far.shutdown()
    assert ends.near.read() == CLOSED
    assert ends.near.write_bytes(b"after their end") == 15
    assert ends.far.recv(100) == b"after their end"
    assert ends.near.close_notify() == DONE
    with pytest.raises(SSL.ZeroReturnError):
        ends.far.recv(1)


def test_an_end_without_close_notify_is_a_truncation(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    with pytest.raises(SSL.WantReadError):
        ends.far.recv(1)  # unread bytes (session tickets) would make the close a reset
    ends.far_socket.close()
    assert ends.near.read() == FAILED
    assert ends.near.failure is not None
    assert ends.near.failure.kind is FailureKind.TRUNCATED


def test_what_would_not_go_goes_later_unchanged(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    block = bytes(range(256)) * 256
    sent = b""
    pending = b""
    while len(sent) < 4_000_000:
        pending = pending or block
        taken = ends.near.write_bytes(pending)
        if taken == WANT_WRITE:
            break
        assert taken > 0
        sent += pending[:taken]
        pending = pending[taken:]
    else:
        pytest.fail("the socket never filled up")
    received = b""
    while True:
        try:
            received += ends.far.recv(65536)
        except SSL.WantReadError:
            if not pending:
                break
            taken = ends.near.write_bytes(pending)
            assert taken > 0
            sent += pending[:taken]
            pending = pending[taken:]
    assert received == sent


def test_a_part_of_the_shared_buffer_is_written(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    BUFFER[:10] = b"0123456789"
    assert ends.near.write(3, 7) == 4
    assert ends.far.recv(100) == b"3456"


def test_garbage_is_a_protocol_failure(make: Callable[..., Ends]) -> None:
    ends = make(None)
    ends.far_socket.send(b"GET / HTTP/1.1\r\n\r\n")
    assert ends.near.handshake() == FAILED
    assert ends.near.failure is not None
    assert ends.near.failure.handshake_reason().value == "plaintext"


@pytest.mark.parametrize("offered", [[b"http/1.1"], [b"h2", b"http/1.1"], [b"http/1.0", b"http/1.1", b"h2"]])
def test_the_protocol_is_chosen_among_those_offered(make: Callable[..., Ends], pki: Pki, offered: list[bytes]) -> None:
    ends = make(pki.issue("client", "client.test"))
    ends.far.set_alpn_protos(offered)
    assert ends.shake() == DONE
    assert ends.near.parameters().alpn == "http/1.1"
    assert ends.far.get_alpn_proto_negotiated() == b"http/1.1"


# The name within a longer one, and across the border of two, is not the name.
@pytest.mark.parametrize(
    "offered", [[b"h2"], [b"xhttp/1.1"], [b"http/1.1x"], [b"\x08http", b"/1.1"], [b"x\x08http/1.1"]]
)
def test_a_client_of_another_protocol_is_not_talked_into_it(
    make: Callable[..., Ends], pki: Pki, offered: list[bytes]
) -> None:
    ends = make(pki.issue("client", "client.test"))
    ends.far.set_alpn_protos(offered)
    assert ends.shake() == DONE
    assert ends.near.parameters().alpn == ""
    assert ends.far.get_alpn_proto_negotiated() == b""


def test_who_offers_no_protocol_is_not_held_to_one(make: Callable[..., Ends], pki: Pki) -> None:
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    assert ends.near.parameters().alpn == ""


def test_a_released_stream_is_known_to_nobody(make: Callable[..., Ends], pki: Pki) -> None:
    before = len(stream_fast._streams)
    ends = make(pki.issue("client", "client.test"))
    assert ends.shake() == DONE
    ends.near.release()
    assert len(stream_fast._streams) == before
    assert ends.near.verifier is None
