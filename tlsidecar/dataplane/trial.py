"""What a chain of certificates would come to in a handshake, without its key.

A peer shows its certificate before it proves that it holds the key, and it is judged when it is shown. So the trial is
a handshake of TLS 1.2, where certificates travel in the clear, that ends right after the peer's Certificate message:
our end is the stream, the contexts and the judge that serve, and the other end is a few messages made by hand. Whatever
OpenSSL or we ourselves think of a peer in earnest is found here, too, in the same words.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from OpenSSL import SSL

from certs.identity import Identity, IdentityCache, Role
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.policy import PeerJudge, Policy
from tlsidecar.dataplane.stream import FAILED, WANT_READ
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.tls_failure import SENTENCES
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Tls

_RECORD_BYTES = 16 * 1024  # RFC 5246 section 6.2.1
_HANDSHAKE_RECORD = b"\x16\x03\x03"
_SERVER_HELLO, _CERTIFICATE = 2, 11  # RFC 5246 section 7.4
_GREETING_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the chain came to: ``reason`` is None when it was let in, by ``rule``. The identity is None where no
    certificate could be read."""

    identity: Identity | None
    rule: str
    stage: Stage
    reason: Reason | None
    detail: str


def tried(
    chain: Sequence[bytes],
    policy: Policy,
    contexts: Contexts,
    role: Role,
    *,
    denial: Callable[[Identity], str] | None = None,
) -> Verdict:
    """What a peer at the ``role`` end that shows ``chain`` (DER, leaf first) comes to. Raises
    :class:`OpenSSL.SSL.Error` where our own material makes no context."""
    server_side = role is Role.CLIENT
    spoken = Contexts(contexts.generation, contexts.material, Tls(), soft_crl=contexts.soft_crl)
    judge = PeerJudge(
        policy,
        role,
        IdentityCache(),
        spoken.forms,
        soft_crl=spoken.soft_crl,
        may_vouch=spoken.may_vouch if spoken.material.federated else None,
        denial=denial,
    )
    near, far = socket.socketpair()
    with near, far:
        for end in (near, far):
            end.setblocking(False)
        stream = Stream(spoken.server() if server_side else spoken.client(), near, judge, server_side=server_side)
        try:
            answer = _shown(stream, far, chain, server_side=server_side)
            failure = stream.failure
        finally:
            stream.release()
    if judge.reason is not None or answer != FAILED:
        return Verdict(judge.identity, _text(judge), judge.stage, judge.reason, judge.detail)
    assert failure is not None
    reason = failure.handshake_reason()
    return Verdict(judge.identity, "", Stage.HANDSHAKE, reason, SENTENCES.get(failure.text, failure.text))


def _text(judge: PeerJudge) -> str:
    return judge.rule.text if judge.rule is not None else ""


def _shown(stream: Stream, far: socket.socket, chain: Sequence[bytes], *, server_side: bool) -> int:
    """The stream's answer once it has seen the chain."""
    if server_side:
        far.send(_client_hello())
        answer = stream.handshake()
        messages = [_certificate(chain)]
    else:
        answer = stream.handshake()
        with suppress(BlockingIOError):
            messages = [_server_hello(far.recv(_GREETING_BYTES)), _certificate(chain)]
    for record in _records(b"".join(messages)):
        if answer != WANT_READ:
            break
        far.send(record)
        answer = stream.handshake()
    return answer


def _client_hello() -> bytes:
    """OpenSSL's own, for TLS 1.2."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(_GREETING_BYTES)


def _server_hello(client_hello: bytes) -> bytes:
    """An answer to what our client has sent: TLS 1.2, the first suite of that version that it offers, and no resumption
    (RFC 5246 section 7.4.1.3)."""
    at = 5 + 4 + 2 + 32  # the record's and the message's header, the version, the random
    at += 1 + client_hello[at]  # the session id
    length = int.from_bytes(client_hello[at : at + 2], "big")
    suites = client_hello[at + 2 : at + 2 + length]
    offered = (suites[start : start + 2] for start in range(0, length, 2))
    suite = next(suite for suite in offered if suite[0] in (0xC0, 0xCC))  # ECDHE; TLS 1.3 has others
    secure_renegotiation = b"\xff\x01\x00\x01\x00"  # RFC 5746 section 3.6
    extensions = len(secure_renegotiation).to_bytes(2, "big") + secure_renegotiation
    return _message(_SERVER_HELLO, b"\x03\x03" + bytes(32) + b"\x00" + suite + b"\x00" + extensions)


def _certificate(chain: Sequence[bytes]) -> bytes:
    listed = b"".join(len(der).to_bytes(3, "big") + der for der in chain)
    return _message(_CERTIFICATE, len(listed).to_bytes(3, "big") + listed)


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def _records(messages: bytes) -> Iterator[bytes]:
    for start in range(0, len(messages), _RECORD_BYTES):
        piece = messages[start : start + _RECORD_BYTES]
        yield _HANDSHAKE_RECORD + len(piece).to_bytes(2, "big") + piece
