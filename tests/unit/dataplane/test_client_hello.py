"""A hello as OpenSSL makes it, cut anywhere, changed anywhere."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tlsidecar.dataplane.client_hello import MAX_HELLO_BYTES, ClientHello, HelloIncomplete, read_hello


def hello_of(name: bytes = b"", protocols: tuple[bytes, ...] = ()) -> bytes:
    tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    tls.set_connect_state()
    if name:
        tls.set_tlsext_host_name(name)
    if protocols:
        tls.set_alpn_protos(list(protocols))
    with contextlib.suppress(SSL.WantReadError):
        tls.do_handshake()
    return tls.bio_read(65536)


WHOLE = hello_of(b"Web.Example.Test", (b"acme-tls/1",))


def test_what_is_asked_for() -> None:
    assert read_hello(WHOLE) == ClientHello("web.example.test", (b"acme-tls/1",))
    assert read_hello(WHOLE + b"more") == ClientHello("web.example.test", (b"acme-tls/1",))
    assert read_hello(hello_of(protocols=(b"h2", b"http/1.1"))) == ClientHello("", (b"h2", b"http/1.1"))
    assert read_hello(hello_of()) == ClientHello()


@pytest.mark.parametrize("end", range(0, len(WHOLE), 7))
def test_its_beginning_is_incomplete(end: int) -> None:
    with pytest.raises(HelloIncomplete):
        read_hello(WHOLE[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x80\x2e\x01\x00\x02",
        b"\x16\x03\x01\x00\x00" + bytes(8),
        b"\x16\x03\x01" + (MAX_HELLO_BYTES + 1).to_bytes(2) + bytes(8),
        b"\x16\x04\x01\x00\x04" + bytes(8),
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_what_is_no_hello(data: bytes) -> None:
    assert read_hello(data) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_not(data: bytes) -> None:
    for start in (data, b"\x16\x03\x01" + len(data).to_bytes(2) + data):
        try:
            found = read_hello(start)
        except HelloIncomplete:
            continue
        assert found is None or isinstance(found, ClientHello)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_read_or_not(at: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= flip
    try:
        found = read_hello(bytes(changed))
    except HelloIncomplete:
        return
    assert found is None or isinstance(found, ClientHello)
