"""Lines that come again are looked up, and mean what they meant."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import Conversation, listener, rules_of

from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http1.repeats import MOST_BYTES, MOST_KEPT, RESTS_FOR, Repeats
from tlsidecar.dataplane.http1.request_head import RequestHead
from tlsidecar.dataplane.http1.request_scanner import RequestScanner
from tlsidecar.dataplane.http1.response_head import ResponseScanner
from tlsidecar.settings import Limits


def said(head: RequestHead | None) -> list[object] | None:
    """But for ``copied``, which only one that comes again has."""
    if head is None:
        return None
    return [getattr(head, name) for name in {*RequestHead.__slots__, *Request.__slots__} - {"copied"}]


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: a\r\nAccept: */*",
        b"Host: a\r\nConnection: keep-alive\r\nX-Real-IP: 1.2.3.4\r\nContent-Length: 5",
        b"Host: a\r\nConnection: close\r\nTransfer-Encoding: chunked",
        b"Host: a\r\nHost: a",
        b"Accept: */*",
        b"Host: a\r\nContent-Length: 1\r\nContent-Length: 1",
    ],
)
def test_a_request_means_the_same_again(lines: bytes) -> None:
    scanner = RequestScanner(rules_of(listener()).requests.rules)
    for before, target in ((b"", b"/"), (b"xyz", b"/a/b?c"), (b"", b"/" + b"y" * 300), (b"", b"/")):
        data = before + b"GET " + target + b" HTTP/1.1\r\n" + lines + b"\r\n\r\n"
        fresh = RequestScanner(scanner.rules)
        assert said(scanner.fast(data, len(before), len(data))) == said(fresh.fast(data, len(before), len(data)))
        assert said(fresh.fast(data, len(before), len(data))) == said(fresh._judge(data, len(before), len(data)))


def test_a_whole_head_that_comes_again_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
    scanner = RequestScanner(rules_of(listener()).requests.rules)
    first = scanner.fast(data, 0, len(data))
    monkeypatch.setattr(RequestScanner, "_of_lines", None)
    again, once_more = scanner.fast(data, 0, len(data)), scanner.fast(data, 0, len(data))
    assert first is not None
    assert again is not None
    assert again is not once_more  # each is a request of its own
    assert said(first) == said(again) == said(once_more)
    assert (first.copied, again.copied) == (b"", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n")


def test_what_comes_twice_running_is_not_even_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    scanner = RequestScanner(rules_of(listener()).requests.rules)
    for _ in range(2):
        scanner.shared(head, len(head))
    known = scanner.shared(head, len(head))
    scanner._heads.known.clear()
    monkeypatch.setattr(RequestScanner, "_of_lines", lambda *_: None)
    assert scanner.shared(head + b"more", len(head) + 4) is known
    for buffer, end in ((head, len(head) - 1), (b"x" + head, len(head) + 1), (head.upper(), len(head))):
        assert scanner.shared(buffer, end) is None  # what lies behind the end was read before


def test_an_answer_that_comes_twice_running_is_known_by_its_own_bytes_alone() -> None:
    scanner = ResponseScanner(Limits())
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    for _ in range(3):
        assert scanner.whole(head + b"ok", len(head) + 2) == 200
    scanner._repeats.known.clear()
    assert scanner.whole(head + b"ok", len(head) + 2) == 200
    assert scanner.whole(head + b"ok", len(head) + 1) == 0
    assert scanner.whole(head + b"ok", len(head) - 1) == 0
    assert scanner.whole(head.replace(b"200", b"204") + b"ok", len(head) + 2) == 0


def test_requests_that_share_a_head_are_each_their_own() -> None:
    data = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    talk = Conversation()
    for _ in range(4):
        talk.client(data).upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert talk.went_in_one == 8
    sent = [dict(request.headers)[b"x-request-id"] for request in talk.requests()]
    assert [exchange.request.request_id for exchange in talk.records] == sent
    assert len(set(sent)) == 4


def test_a_look_up_that_is_always_in_vain_rests() -> None:
    """Also of heads that are not kept, as those with queries."""
    scanner = RequestScanner(rules_of(listener()).requests.rules)
    for number in range(MOST_KEPT + 1):
        data = b"GET /?key=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
        assert scanner.fast(data, 0, len(data)) is not None
    assert not scanner._heads.is_open


def test_queries_and_credentials_are_not_kept_whole() -> None:
    scanner = RequestScanner(rules_of(listener()).requests.rules)
    for line in (
        b"GET /?key=1 HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: b",
        b"GET /token HTTP/1.1\r\nHost: a",
    ):
        data = line + b"\r\n\r\n"
        assert scanner.fast(data, 0, len(data)) is not None
    assert scanner._heads.known == {}


def test_a_copy_is_whole() -> None:
    head = RequestHead(b"", b"", b"", 0, 0)
    names = {*RequestHead.__slots__, *Request.__slots__}
    for name in names:
        setattr(head, name, object())
    copy = head.copy()
    assert [getattr(copy, name) for name in names] == [getattr(head, name) for name in names]


def test_an_answer_means_the_same_again_whatever_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    scanner = ResponseScanner(Limits())
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert scanner.whole(head + b"ok", len(head) + 2) == 200
    monkeypatch.setattr(ResponseScanner, "_judge", None)  # nothing is matched again
    assert scanner.whole(head + b"no", len(head) + 2) == 200
    assert scanner.whole(head + b"not", len(head) + 3) == 0
    assert scanner.whole(head + b"n", len(head) + 1) == 0


def test_secrets_and_long_lines_are_not_kept() -> None:
    repeats: Repeats[int] = Repeats()
    for lines in (b"Host: a\r\nAuthorization: Bearer x", b"COOKIE: a", b"X-Api-Key: 1", b"a: " + b"x" * MOST_BYTES):
        repeats.missed(lines, 1)
    assert repeats.known == {}


def test_giving_up_forgets_what_came_last_too() -> None:
    repeats: Repeats[int] = Repeats()
    repeats.last, repeats.last_meaning = b"a: 1", 1
    for number in range(MOST_KEPT + 1):
        repeats.missed(b"a: %d" % number, number)
    assert (repeats.last, repeats.last_meaning) == (None, None)


def test_what_does_not_pay_is_given_up_for_a_while_and_bounded() -> None:
    repeats: Repeats[int] = Repeats()
    for number in range(MOST_KEPT):
        repeats.missed(b"a: %d" % number, number)
    assert (repeats.is_open, len(repeats.known)) == (True, MOST_KEPT)
    repeats.missed(b"one more", 1)
    assert (repeats.is_open, repeats.known) == (False, {})
    for _ in range(RESTS_FOR):
        assert not repeats.is_open
        repeats.rest()
    assert repeats.is_open
    repeats.hits = MOST_KEPT
    for number in range(MOST_KEPT + 1):
        repeats.missed(b"a: %d" % number, number)
    assert (repeats.is_open, repeats.known) == (True, {})
