"""MySQL's scripts as transcripts: bytes shown, and what is taken, answered and done next."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripts import played

from tlsidecar.dataplane.starttls.mysql import (
    OWN_SSL_REQUEST,
    MysqlGreeting,
    MysqlLocal,
    MysqlServer,
    error,
    packet,
    ssl_request,
    with_tls,
)
from tlsidecar.dataplane.starttls.script import Next

SSL, PROTOCOL_41 = 0x800, 0x200
HELLO = b"\x16\x03\x01\x02\x00\x01"


def greeting(
    capabilities: int = 0xFFFF, *, version: bytes = b"5.5.5-10.11.19-MariaDB-0+deb12u1", number: int = 10
) -> bytes:
    """As MariaDB sends it."""
    fixed = struct.pack("<I8sxHBHHB10x", 7, b"nonce-8b", capabilities, 45, 2, 0x81FF, 21)
    return packet(0, bytes([number]) + version + b"\0" + fixed + b"twelve-more.\0mysql_native_password\0")


def answer(capabilities: int, more: bytes = b"app\0\0", *, sequence: int = 1) -> bytes:
    return packet(sequence, struct.pack("<IIB23x", capabilities, 1 << 24, 45) + more)


@pytest.mark.parametrize("piece", [1, 30, 1000])
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(
    ("said", "end", "end_without"),
    [
        (greeting(), Next.PLAIN, Next.PLAIN),
        (greeting(0xFFFF & ~SSL), Next.REFUSED, Next.PLAIN),
        (greeting(0xFFFF & ~PROTOCOL_41), Next.REFUSED, Next.REFUSED),
        (greeting(number=9), Next.REFUSED, Next.REFUSED),
        (greeting(version=b"x" * 500), Next.REFUSED, Next.REFUSED),
        (packet(0, b"\x0a8.0\0" + b"x" * 20), Next.REFUSED, Next.REFUSED),
        (packet(0, b"\x0a" + b"x" * 90), Next.REFUSED, Next.REFUSED),
        (packet(1, greeting()[4:]), Next.REFUSED, Next.REFUSED),
        (error(0, 1040, "Too many connections"), Next.REFUSED, Next.REFUSED),
        (packet(0, b""), Next.REFUSED, Next.REFUSED),
        (b"220 mail.test ESMTP\r\n", Next.REFUSED, Next.REFUSED),
        (greeting()[:-1], Next.MORE, Next.MORE),
    ],
    ids=range(12),
)
def test_a_greeting(said: bytes, end: Next, end_without: Next, tls: bool, piece: int) -> None:
    found, answers, left = played(MysqlGreeting(tls=tls), said, piece)
    assert found is (end if tls else end_without)
    assert answers == b""
    assert found is not Next.PLAIN or left == b""


def test_an_error_is_taken_to_be_passed_on() -> None:
    said = error(0, 1040, "Too many connections")
    step = MysqlGreeting(tls=False).look(said)
    assert (step.take, step.detail) == (len(said), "it answers with error 1040: '#HY000Too many connections'")


def test_only_the_bit_for_tls_is_changed() -> None:
    assert with_tls(greeting(0xFFFF & ~SSL), offered=True) == greeting()
    assert with_tls(greeting(), offered=False) == greeting(0xFFFF & ~SSL)
    assert MysqlServer(greeting(0xFFFF & ~SSL)).opening == greeting()
    assert MysqlLocal(greeting()).opening == greeting(0xFFFF & ~SSL)


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize(
    ("sent", "end", "code"),
    [
        (OWN_SSL_REQUEST + HELLO, Next.TLS, None),
        (answer(PROTOCOL_41 | SSL, b"") + HELLO, Next.TLS, None),
        (HELLO, Next.TLS, None),
        (answer(PROTOCOL_41), Next.REFUSED, 3159),
        (answer(PROTOCOL_41 | SSL), Next.REFUSED, 3159),  # the whole answer, with its password, in the clear
        (answer(PROTOCOL_41, b""), Next.REFUSED, 3159),
        (answer(SSL, b""), Next.REFUSED, 1043),
        (answer(PROTOCOL_41 | SSL, b"", sequence=0), Next.REFUSED, 1043),
        (packet(1, b"\x00\x0a\x00\x00"), Next.REFUSED, 1043),
        (b"GET / HTTP/1.1\r\n\r\n", Next.REFUSED, 1043),
        (OWN_SSL_REQUEST[:-1], Next.MORE, None),
    ],
    ids=range(11),
)
def test_a_server_s_side(sent: bytes, end: Next, code: int | None, piece: int) -> None:
    found, answers, left = played(MysqlServer(greeting()), sent, piece)
    assert found is end
    if code is None:
        assert answers == b""
    else:
        assert answers[3:5] == b"\x02\xff"
        assert int.from_bytes(answers[5:7], "little") == code
    if end is Next.TLS:
        assert HELLO.startswith(left)  # not a byte of TLS was taken


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (answer(PROTOCOL_41), Next.PLAIN),
        (answer(PROTOCOL_41 | SSL), Next.REFUSED),
        (OWN_SSL_REQUEST, Next.REFUSED),
        (answer(1), Next.REFUSED),
        (answer(PROTOCOL_41, sequence=2), Next.REFUSED),
        (answer(PROTOCOL_41)[:35], Next.MORE),
    ],
)
def test_a_local_application_s_side(sent: bytes, end: Next) -> None:
    for piece in (1, 1000):
        assert played(MysqlLocal(greeting()), sent, piece)[0] is end


def test_a_remote_is_asked_as_the_application_would() -> None:
    head = answer(PROTOCOL_41)[:36]
    assert ssl_request(head) == answer(PROTOCOL_41 | SSL, b"")
    assert played(MysqlServer(greeting()), ssl_request(head))[0] is Next.TLS


@given(st.binary(max_size=700), st.integers(1, 700))
def test_any_bytes_come_to_an_end_or_wait(sent: bytes, piece: int) -> None:
    for script in (MysqlServer(greeting()), MysqlLocal(greeting()), MysqlGreeting(tls=True)):
        assert played(script, sent, piece)[0] in Next
