"""STARTTLS is taken out of what a server says inside TLS, whatever the pieces it comes in."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.starttls.smtp_session import SmtpSession
from tlsidecar.dataplane.starttls.translation import Unfit


def told(said: bytes, piece: int = 1000) -> bytes:
    session = SmtpSession()
    passed = b"".join(session.from_server(said[at : at + piece]) for at in range(0, len(said), piece))
    return passed + session.rest()[1]


@pytest.mark.parametrize("piece", [1, 5, 1000])
@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (b"250-me\r\n250-STARTTLS\r\n250 SIZE\r\n", b"250-me\r\n250 SIZE\r\n"),
        (b"250-me\r\n250-SIZE\r\n250 starttls \r\n", b"250-me\r\n250 SIZE\r\n"),
        (b"250-me\r\n250 STARTTLS\r\n250 OK\r\n", b"250 me\r\n250 OK\r\n"),
        (b"250-me\r\n250-STARTTLS\r\n250 STARTTLS\r\n", b"250 me\r\n"),
        (b"250 STARTTLS\r\n", b"250 STARTTLS\r\n"),
        (b"250-me\r\n250 STARTTLSX\r\n", b"250-me\r\n250 STARTTLSX\r\n"),
        (b"235 2.7.0 Authentication successful\r\n", b"235 2.7.0 Authentication successful\r\n"),
        (b"250-me\r\n25", b"250-me\r\n25"),
    ],
)
def test_the_offer_is_not_passed_on(said: bytes, passed: bytes, piece: int) -> None:
    assert told(said, piece) == passed


@given(st.lists(st.sampled_from([b"250-", b"250 ", b"STARTTLS", b"x", b"\r\n", b"\n", b"354 "])), st.integers(1, 40))
def test_the_pieces_make_no_difference(parts: list[bytes], piece: int) -> None:
    said = b"".join(parts)
    assert told(said, piece) == told(said)
    if b"STARTTLS" not in said:
        assert told(said) == said


@pytest.mark.parametrize("piece", [1, 4, 1000])
@pytest.mark.parametrize(
    ("said", "over"),
    [
        (b"EHLO me\r\nMAIL FROM:<>\r\n", True),
        (b"EHLO me\r\nmail from:<>", True),
        (b"EHLO MAIL FROM\r\nAUTH PLAIN\r\n", False),
        (b"MAILBOX x\r\n", False),
        (b"NOOP", False),
    ],
)
def test_it_lasts_until_mail(said: bytes, over: bool, piece: int) -> None:
    session = SmtpSession()
    assert b"".join(session.from_client(said[at : at + piece]) for at in range(0, len(said), piece)) == said
    assert session.over is over


def test_a_line_without_end_is_not_held_for_ever() -> None:
    session = SmtpSession()
    with pytest.raises(Unfit, match="2048"):
        session.from_server(b"x" * 2049)


def test_empty_lines_without_end_cost_what_they_weigh() -> None:
    def seconds(count: int) -> float:
        session = SmtpSession()
        began = time.process_time()
        assert session.from_server(b"\n" * count) == b"\n" * count
        return time.process_time() - began

    few, many = (min(seconds(count) for _ in range(3)) for count in (16_000, 256_000))
    assert many < 60 * few  # sixteen times as many; were each to copy what came before it, it would be 256 times
