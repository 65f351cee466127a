"""What the data path need not do it does not: counted, since nothing else would tell when it was lost."""

from __future__ import annotations

import h11
import pytest
from unit.dataplane.http1.conversation import Conversation, listener

from tlsidecar.dataplane.http1 import chunked
from tlsidecar.dataplane.http1.head_reader import HeadReader
from tlsidecar.settings import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        HEAD + b"2\r\nok\r\n0\r\n\r\n",
        HEAD + b"1\r\na\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nDate: x\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_whole_answer_needs_no_commands(answer: bytes) -> None:
    talk = Conversation().client(GET).upstream(answer)
    assert talk.went_in_one == 2
    assert bytes(talk.heard) == answer
    assert talk.upstreams[0].released is True


def test_a_whole_upload_in_chunks_needs_no_commands() -> None:
    upload = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    talk = Conversation().client(upload).upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert talk.went_in_one == 2
    assert talk.requests()[0].body == b"ok"
    bounded = Conversation(listener(limits=Limits(max_body_bytes=1))).client(upload)
    assert (bounded.went_in_one, bounded.statuses) == (0, [413])
    for other in (
        upload.replace(b"POST", b"GET"),
        upload + b"GET",
        upload.replace(b"2\r", b"2;a\r"),
        upload[:-2],
        upload[:-12],
    ):
        assert Conversation().client(other).went_in_one == 0


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"2;x\r\nok\r\n0\r\n\r\n",
        HEAD + b"2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n",
        HEAD + b"2\r\nok\r\n0\r\n\r\nmore",
        HEAD + b"2\r\nok\r\n00\r\n\r\n",
        HEAD + b"1\r\na\r\n" * 20 + b"0\r\n\r\n",
        HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"0\r\n\r\n",
    ],
)
def test_what_is_not_ordinary_is_looked_at(answer: bytes) -> None:
    assert Conversation().client(GET).upstream(answer).went_in_one == 1


def test_an_event_stream_passes_event_by_event() -> None:
    talk = Conversation().client(GET).upstream(HEAD)
    for number in range(100):
        event = b"data: %d\n\n" % number
        talk.upstream(b"%x\r\n%b\r\n" % (len(event), event))
    assert talk.passed_on == 100
    talk.upstream(b"0\r\n\r\n")
    assert (talk.passed_on, talk.upstreams[0].released, talk.records[0].reason) == (100, True, None)
    assert talk.records[0].bytes_out == len(talk.heard)


def test_a_chunk_in_one_read_is_compared_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size line matched for each event cost as much as all else that is done about it."""
    talk = Conversation().client(GET).upstream(HEAD)
    monkeypatch.setattr(chunked, "_SIZE_LINE", None)
    for size in (1, 15, 16, 41, 255, 256, 4095, 4096, 65535):
        talk.upstream(b"%x\r\n%b\r\n" % (size, b"x" * size))
    assert talk.passed_on == 9
    again = Conversation().client(GET).upstream(HEAD + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
    assert again.went_in_one == 2


def test_a_large_body_passes_read_by_read() -> None:
    for framing in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
        body = b"x" * 1_000_000
        if framing.startswith(b"T"):
            body = b"f4240\r\n" + body + b"\r\n0\r\n\r\n"
        reads = range(0, len(body), 16_000)
        talk = Conversation().client(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n").client(body, reads)
        assert talk.passed_on >= len(reads) - 3
        assert talk.sent_up.endswith(body)
        assert talk.records == []
        talk.upstream(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n").upstream(body, reads)
        assert talk.passed_on >= 2 * (len(reads) - 3)
        assert bytes(talk.heard).endswith(body)
        assert talk.records[0].bytes_in == len(body) + len(framing) + len(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", HEAD + b"2\r\nok\r\n0\r\n\r\n"),
        (GET, b"HTTP/1.1 200 OK\r\n\r\nok"),
        (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (GET, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
    ],
)
def test_nothing_but_an_upgrade_is_parsed_twice(
    request_: bytes, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Parsed(Exception):
        pass

    def never(*_: object, **__: object) -> None:
        raise Parsed

    monkeypatch.setattr(h11, "Connection", never)
    talk = Conversation().client(request_).upstream(answer).upstream_ends()
    assert talk.statuses == [200]
    assert b"ok" in talk.heard
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with pytest.raises(Parsed):
        Conversation().client(upgrade)


def test_the_fields_of_a_whole_head_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """98 of them in 600 bytes cost a millisecond otherwise."""
    fields = b"".join(b"x_%d: y\r\nX!%d: z\r\n" % (number, number) for number in range(49))
    head = b"PROPFIND / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
    monkeypatch.setattr(HeadReader, "split_field", None)
    talk = Conversation().client(head)
    assert len([name for name, _ in talk.requests()[0].headers if name.startswith(b"x!")]) == 49
    assert talk.ledger.dropped == 49
    answer = b"HTTP/1.1 204 No Content\r\n" + fields + b"\r\n"
    assert talk.upstream(answer).statuses == [204]


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_a_head_without_a_length_is_judged_whole(close: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read line by line and written anew it cost a third of such an exchange."""
    monkeypatch.setattr(HeadReader, "read", None)
    talk = Conversation().client(GET).upstream(b"HTTP/1.1 200 OK\r\nServer: a\r\n" + close + b"\r\nok").upstream_ends()
    assert bytes(talk.heard) == (
        b"HTTP/1.1 200 OK\r\nServer: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    assert talk.upstreams[0].released is False


def test_an_answer_to_a_client_of_http_1_0_is_judged_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Conversation().client(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    monkeypatch.setattr(HeadReader, "read", None)
    talk.upstream(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
    assert bytes(talk.heard) == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert talk.upstreams[0].released is True


def test_many_small_reads_are_kept_for_a_retry_without_counting_them_all_again() -> None:
    talk = Conversation().client(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    half = talk.machine._request
    for _ in range(3):
        talk.client(b"1\r\na\r\n")
    assert half._replay_bytes == sum(map(len, half.replay or ()))
