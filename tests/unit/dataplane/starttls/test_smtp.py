"""SMTP's scripts as transcripts: bytes shown, and what is taken, answered and done next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripts import played

from tlsidecar.dataplane.starttls.script import Next
from tlsidecar.dataplane.starttls.smtp import SmtpClient, SmtpServer, SmtpService, domain, greeting

HELLO = b"\x16\x03\x01\x02\x00\x01"
EHLO = b"250-us.test\r\n250 STARTTLS\r\n"
GO = b"220 2.0.0 Ready to start TLS\r\n"
FIRST = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
OK = b"250 2.0.0 OK\r\n"


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize(
    ("sent", "end", "answered"),
    [
        (b"EHLO me\r\nSTARTTLS\r\n", Next.TLS, EHLO + GO),
        (b"ehlo me\r\nStartTLS  \r\n", Next.TLS, EHLO + GO),
        (b"STARTTLS\r\n", Next.TLS, GO),
        (b"HELO me\r\nNOOP x\r\nRSET\r\n", Next.MORE, b"250 us.test\r\n" + OK + OK),
        (b"EHLO\r\nHELO \r\n", Next.MORE, b"501 5.5.4 Your name is missing\r\n" * 2),
        (b"STARTTLS now\r\nSTARTTLS\r\n", Next.TLS, b"501 5.5.4 STARTTLS has no argument\r\n" + GO),
        (b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\nVRFY x\r\n\r\n", Next.MORE, FIRST * 4),
        (b"QUIT\r\n", Next.LEFT, b"221 2.0.0 Bye\r\n"),
        (b"EHLO me\r\nQUIT\r\n", Next.LEFT, EHLO + b"221 2.0.0 Bye\r\n"),
        (b"DATA\r\nQUIT\r\n", Next.REFUSED, FIRST + b"221 2.0.0 Bye\r\n"),
        (b"POST / HTTP/1.1\r\n", Next.REFUSED, b""),
        (HELLO, Next.TLS, b""),
        (b"EHLO me", Next.MORE, b""),
    ],
)
def test_a_server_s_side(sent: bytes, end: Next, answered: bytes, piece: int) -> None:
    script = SmtpServer("us.test")
    assert script.opening == b"220 us.test ESMTP\r\n"
    found, answers, left = played(script, sent, piece)
    assert (found, answers) == (end, answered)
    if end is Next.TLS:
        assert HELLO.startswith(left)  # not a byte of TLS was taken


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"STARTTLS\r\nMAIL FROM:<>\r\n", b"503"),
        (b"STARTTLS\r\n" + HELLO, b"503"),
        (b"STARTTLS\n", b"500"),
        (b"NOOP\rSTARTTLS\r\n", b"500"),
        (b"NOOP\0\r\n", b"500"),
        (b"NOOP \r\r\n", b"500"),
        (b"NOOP " + b"x" * 507, b"500"),
        (b"NOOP\r\n" * 21, b"421"),
    ],
)
def test_who_does_not_keep_to_it_is_told_and_turned_away(sent: bytes, code: bytes) -> None:
    end, answers, _ = played(SmtpServer("us.test"), sent)
    assert end is Next.REFUSED
    assert answers.splitlines()[-1].startswith(code)


def test_what_comes_later_than_starttls_is_left_to_fail_as_tls() -> None:
    assert played(SmtpServer("us.test"), b"STARTTLS\r\nRSET\r\n", 10)[::2] == (Next.TLS, b"")


GREETED, OFFERS = b"220 them\r\n", b"250-them\r\n250-SIZE 1\r\n250 STARTTLS\r\n"


@pytest.mark.parametrize("piece", [1, 7])
@pytest.mark.parametrize(
    ("replies", "end", "said"),
    [
        ([GREETED, OFFERS, b"220 go\r\n"], Next.TLS, b"EHLO us.test\r\nSTARTTLS\r\n"),
        ([b"220-a\r\n220 b\r\n", b"250-them\r\n250-starttls \r\n250 X\r\n", b"220\r\n"], Next.TLS, None),
        ([b"554-no\r\n554 really\r\n"], Next.REFUSED, b""),
        ([b"421 busy\r\n"], Next.REFUSED, b""),
        ([GREETED, b"250-them\r\n250 PIPELINING\r\n"], Next.REFUSED, b"EHLO us.test\r\n"),
        ([GREETED, b"250 STARTTLS\r\n"], Next.REFUSED, None),  # that is its name
        ([GREETED, b"500 what\r\n"], Next.REFUSED, None),
        ([GREETED, OFFERS, b"454 later\r\n"], Next.REFUSED, None),
        ([b"220-a\r\n221 b\r\n"], Next.REFUSED, b""),
        ([b"220 no return\n"], Next.REFUSED, b""),
        ([b"SSH-2.0-x\r\n"], Next.REFUSED, b""),
        ([b"220-x\r\n" * 101], Next.REFUSED, b""),
        ([b"220 " + b"x" * 508], Next.REFUSED, b""),
        ([HELLO + b"\n"], Next.REFUSED, b""),
    ],
)
def test_a_client_s_side(replies: list[bytes], end: Next, said: bytes | None, piece: int) -> None:
    script, answers, found = SmtpClient("us.test"), b"", Next.MORE
    for reply in replies:
        found, answered, left = played(script, reply, piece)
        answers += answered
        if found is not Next.MORE:
            break
        assert left == b""
    assert found is end
    assert said is None or answers == said


def test_bytes_behind_an_answer_are_refused() -> None:
    for before in (0, 1, 2):
        script = SmtpClient("us.test")
        replies = [GREETED, OFFERS, b"220 go\r\n"]
        for reply in replies[:before]:
            played(script, reply)
        assert played(script, replies[before] + b"250 injected\r\n")[0] is Next.REFUSED


@pytest.mark.parametrize(
    ("sent", "end"),
    [(b"220-a\r\n220 b\r\n", Next.PLAIN), (b"554-a\r\n554 b\r\n", Next.REFUSED), (b"x\r\n", Next.REFUSED)],
)
def test_a_service_s_greeting(sent: bytes, end: Next) -> None:
    script = SmtpService(b"PROXY")
    assert script.opening == b"PROXY"
    for piece in (1, 1000):
        assert played(SmtpService(), sent, piece)[0] is end


@given(st.binary(max_size=700), st.integers(1, 700))
def test_any_bytes_come_to_an_end_or_wait(sent: bytes, piece: int) -> None:
    for script in (SmtpServer("us.test"), SmtpClient("us.test"), SmtpService()):
        assert played(script, sent, piece)[0] in Next


def test_a_name_fit_to_be_said() -> None:
    assert domain(("*.us.test", "a b", "x\r\nEHLO", "us.test", "later.test")) == "us.test"
    assert domain(()) == "localhost"
    assert greeting("us.test") == b"220 us.test ESMTP\r\n"
