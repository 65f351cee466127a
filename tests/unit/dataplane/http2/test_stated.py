"""What we state of a client in each request's block."""

from __future__ import annotations

from dataclasses import replace

from unit.dataplane.http1.conversation import ELEMENT, identity_headers, listener
from unit.dataplane.http2.talk import GET, Field

from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http2.heads import Heads, RequestHead
from tlsidecar.dataplane.http2.hpack import Decoder
from tlsidecar.dataplane.http2.stated import Stated
from tlsidecar.settings import ClientCertificateHeader, Http

_KEEPING = Http(client_certificate_header=ClientCertificateHeader.APPEND_FORWARD)


def _stated(http: Http | None = None) -> tuple[Heads, Stated]:
    settings = replace(listener(), http=http or Http())
    heads = Heads(HttpRules.of(settings), terminates=True)
    return heads, Stated(heads, identity_headers(settings))


def _fields(block: bytes) -> dict[bytes, bytes]:
    return dict(Decoder(200, 1 << 20).decode(block))


def _request(heads: Heads, *more: Field, host: bytes = b"a.test") -> RequestHead:
    return heads.request([*[field for field in GET if field[0] != b":authority"], (b":authority", host), *more])


def test_each_request_is_told_the_same_but_for_its_id() -> None:
    heads, stated = _stated()
    told = [_fields(stated.block(_request(heads))) for _ in range(3)]
    ids = [each.pop(b"x-request-id") for each in told]
    assert len(set(ids)) == 3
    assert told[0] == told[1] == told[2]
    assert told[0][b"x-forwarded-client-cert"] == ELEMENT


def test_an_id_of_the_clients_is_not_replaced() -> None:
    heads, stated = _stated()
    head = _request(heads, (b"x-request-id", b"theirs"))
    assert b"x-request-id" not in _fields(stated.block(head))
    assert head.request_id == b"theirs"


def test_ours_is_known_to_the_log() -> None:
    heads, stated = _stated()
    head = _request(heads)
    assert _fields(stated.block(head))[b"x-request-id"] == head.request_id


def test_another_host_is_told_of() -> None:
    heads, stated = _stated()
    for host in (b"a.test", b"b.test", b"b.test", b"a.test"):
        assert _fields(stated.block(_request(heads, host=host)))[b"x-forwarded-host"] == host


def test_what_a_client_brings_along_is_told_anew_each_time() -> None:
    heads, stated = _stated(_KEEPING)
    plain, brought = _request(heads), _request(heads, (b"x-forwarded-client-cert", b"Hash=00"))
    assert stated.repeats(plain)
    assert not stated.repeats(brought)
    assert _fields(stated.block(brought))[b"x-forwarded-client-cert"] == b"Hash=00," + ELEMENT
    assert _fields(stated.block(plain))[b"x-forwarded-client-cert"] == ELEMENT
