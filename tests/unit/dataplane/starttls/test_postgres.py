"""PostgreSQL's scripts as transcripts: bytes shown, and what is taken, answered and done next."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripts import played

from tlsidecar.dataplane.starttls.postgres import SSL_REQUEST, PostgresClient, PostgresLocal, PostgresServer
from tlsidecar.dataplane.starttls.script import Next

GSSENC_REQUEST = struct.pack(">II", 8, 80877104)
CANCEL = struct.pack(">IIII", 16, 80877102, 4711, 0xDEADBEEF)
STARTUP = struct.pack(">II", 23, 196608) + b"user\0postgres\0\0"
HELLO = b"\x16\x03\x01\x02\x00\x01"


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize(
    ("sent", "end", "answered", "left"),
    [
        (SSL_REQUEST + HELLO, Next.TLS, b"S", HELLO),
        (GSSENC_REQUEST + SSL_REQUEST + HELLO, Next.TLS, b"NS", HELLO),
        (HELLO, Next.TLS, b"", HELLO),
        (CANCEL, Next.CANCEL, b"", CANCEL),
        (SSL_REQUEST[:7], Next.MORE, b"", SSL_REQUEST[:7]),
        (GSSENC_REQUEST, Next.MORE, b"N", b""),
    ],
    ids=["SSLRequest", "GSSENCRequest first", "TLS at once", "cancel", "a beginning", "GSSENCRequest alone"],
)
def test_a_server_s_side(sent: bytes, end: Next, answered: bytes, left: bytes, piece: int) -> None:
    found, answers, rest = played(PostgresServer(), sent, piece)
    assert (found, answers) == (end, answered)
    assert left.startswith(rest)  # not a byte of TLS was taken


@pytest.mark.parametrize(
    "sent",
    [
        STARTUP,
        b"GET / HTTP/1.1\r\n",
        struct.pack(">II", 9, 80877103) + b"x",
        GSSENC_REQUEST * 5,
        b"\0" * 8,
        struct.pack(">II", 4096, 80877102),
    ],
)
def test_who_does_not_ask_for_tls_is_told_so(sent: bytes) -> None:
    script = PostgresServer()
    end, answers, _ = played(script, sent)
    assert end is Next.REFUSED
    if sent == STARTUP:
        assert answers.startswith(b"E")
        assert int.from_bytes(answers[1:5], "big") == len(answers) - 1
        assert b"sslmode=require" in answers


@pytest.mark.parametrize("piece", [1, 1000])
def test_a_local_application_s_side(piece: int) -> None:
    assert played(PostgresLocal(), GSSENC_REQUEST + SSL_REQUEST + STARTUP, piece)[:2] == (Next.PLAIN, b"NN")
    assert played(PostgresLocal(), STARTUP)[2] == STARTUP
    assert played(PostgresLocal(), CANCEL)[0] is Next.PLAIN
    assert played(PostgresLocal(), SSL_REQUEST * 9)[0] is Next.REFUSED


@pytest.mark.parametrize(("answer", "end"), [(b"S", Next.TLS), (b"N", Next.REFUSED), (b"E\0\0", Next.REFUSED)])
def test_a_client_s_side(answer: bytes, end: Next) -> None:
    script = PostgresClient()
    assert script.opening == SSL_REQUEST
    assert played(script, answer)[0] is end
    # What came in the clear behind the S stays where it is, to fail as TLS.
    if end is Next.TLS:
        assert played(PostgresClient(), b"Sinjected")[2] == b"injected"


@given(st.binary(max_size=64), st.integers(1, 64))
def test_any_bytes_come_to_an_end_or_wait(sent: bytes, piece: int) -> None:
    for make in (PostgresServer, PostgresLocal, PostgresClient):
        assert played(make(), sent, piece)[0] in Next
