"""The admin API's client as bytes in and out: replies in any pieces, events, and what answers in a sidecar's place."""

from __future__ import annotations

import json

import pytest

from tlsidecar.api.client import Conversation, Response
from tlsidecar.api.errors import BadReply, Cut, Refused


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def called() -> Conversation:
    conversation = Conversation("tlsidecar-test")
    conversation.call("GET", "/v1/status", headers={})
    return conversation


def test_a_call_is_one_whole_request() -> None:
    sent = Conversation("tlsidecar-test").call("POST", "/v1/drain", {"timeout_s": 5}, headers={"X-A": "b"})
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/drain HTTP/1.1"
    assert {b"Host: localhost", b"X-A: b", b"Content-Type: application/json"} <= set(head.split(b"\r\n"))
    assert json.loads(body) == {"timeout_s": 5}
    assert b"Content-Length: %d" % len(body) in head


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_replies_in_any_pieces_and_one_call_after_another(step: int) -> None:
    conversation = called()
    for number in range(3):
        whole = reply(b'{"number":%d}' % number)
        said = [conversation.receive(whole[at : at + step]) for at in range(0, len(whole), step)]
        assert said[:-1] == [None] * (len(said) - 1)
        last = said[-1]
        assert last is not None
        assert last.document() == {"number": number}
        assert conversation.is_reusable
        conversation.call("GET", "/v1/status", headers={})
        assert not conversation.is_reusable


def test_a_reply_that_is_cut_is_told_as_that() -> None:
    conversation = called()
    conversation.receive(reply(b"{}")[:-1])
    with pytest.raises(Cut, match="the sidecar closed the connection"):
        conversation.receive(b"")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it says 'SSH-2.0-OpenSSH_9.2'"),
        (b"S", "it says 'S'"),
        (b"\x1b[2J\n", r"it says '\\x1b"),  # made safe to show
        (b"HTTP/1.1 what\r\n\r\n", "not an admin API"),
    ],
)
def test_what_answers_in_its_place_is_quoted(said: bytes, shown: str) -> None:
    with pytest.raises(BadReply, match=shown):
        called().receive(said)


def test_what_takes_its_place_later_is_quoted_as_well() -> None:
    conversation = called()
    conversation.receive(reply(b"{}"))
    conversation.call("GET", "/v1/status", headers={})
    with pytest.raises(BadReply, match="it says 'Connection reset'"):
        conversation.receive(b"Connection reset\n")


def test_a_refusal_keeps_status_code_and_reply() -> None:
    body = {"error": {"code": "refused", "message": "look\x1b again"}, "now": "x"}
    with pytest.raises(Refused) as refused:
        Response(409, json.dumps(body).encode()).document()
    assert (refused.value.status, refused.value.code, refused.value.body) == (409, "refused", body)
    assert "\x1b" not in refused.value.message


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"hello", BadReply),
        (200, b"[1]", BadReply),
        (200, b'{"a":NaN}', BadReply),
        (200, b"[" * 100_000, BadReply),
        (500, b"{}", Refused),
        (500, b'{"error":"words"}', Refused),
        (204, b"", BadReply),
    ],
)
def test_a_document_is_a_json_object(status: int, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"status {status}"):
        Response(status, body).document()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("step", [1, 11, 10_000])
def test_events_come_as_they_are_whole(step: int) -> None:
    stream = HEAD + chunk(b"id: 1\nevent: a\ndata: {}\n\n: still here\n\nid: 2\nev") + chunk(b"ent: b\ndata: 1\n\n")
    conversation = called()
    heard = [
        message for at in range(0, len(stream), step) for message in conversation.receive_events(stream[at : at + step])
    ]
    assert [(message.event, message.data) for message in heard] == [("a", "{}"), ("b", "1")]
    with pytest.raises(Cut):
        conversation.receive_events(b"")


def test_a_stream_that_is_refused_says_why() -> None:
    body = b'{"error":{"code":"bad_request","message":"no such field"}}'
    with pytest.raises(Refused, match="no such field"):
        called().receive_events(reply(body, "400 Bad Request"))


def test_a_stream_that_is_refused_in_two_pieces_says_why() -> None:
    body = b'{"error":{"code":"bad_request","message":"no such field"}}'
    whole = reply(body, "400 Bad Request")
    conversation = called()
    assert conversation.receive_events(whole[:-10]) == []
    with pytest.raises(Refused, match="no such field"):
        conversation.receive_events(whole[-10:])
