"""The short way (:mod:`tlsidecar.dataplane.http1.ordinary`): it takes exactly what is ordinary, and of anything else
nothing has happened."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.dataplane.http1.conversation import Conversation, listener

from tlsidecar.dataplane.http1.conversation import Conversation as Machine
from tlsidecar.dataplane.http1.messages import Messages
from tlsidecar.dataplane.http1.states import Standing
from tlsidecar.settings import Http, Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
DOWNLOAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def standing(machine: Machine) -> dict[str, object]:
    """All that it knows."""
    known = {name: getattr(machine, name) for name in (*Messages.__slots__, *Standing.__slots__)}
    return known | {"_held": bytes(machine._held.data), "position": machine._requests_left}


def unchanged(talk: Conversation, ask: Callable[[bytearray, int], object], data: bytes) -> None:
    """It answers no, and has not moved."""
    before = standing(talk.machine)
    assert not ask(bytearray(data), len(data))
    assert standing(talk.machine) == before
    assert talk.ledger.refusals == []


REQUESTS = [
    pytest.param(GET[:-1], id="half a head"),
    pytest.param(GET + GET, id="two at once"),
    pytest.param(GET + b"x", id="a byte more"),
    pytest.param(UPLOAD + b"12345678", id="a body that is not whole"),
    pytest.param(UPLOAD.replace(b"POST", b"GET") + b"123456789", id="a body without meaning"),
    pytest.param(GET[:-2] + b"Authorization: NTLM x\r\n\r\n", id="credentials for the connection"),
    pytest.param(UPGRADE, id="an upgrade"),
    pytest.param(GET.replace(b"1.1", b"1.0"), id="of HTTP/1.0"),
    pytest.param(GET.replace(b"Host: a", b"Host: a\r\nHost: b"), id="refused"),
]


@pytest.mark.parametrize("data", REQUESTS)
def test_a_request_that_is_not_ordinary(data: bytes) -> None:
    talk = Conversation()
    unchanged(talk, talk.machine.request_in_one, data)


def test_a_request_that_is_not_let_through_at_once() -> None:
    for limits, data in (
        (Limits(max_requests_per_connection=1), GET),  # the last one has to be told
        (Limits(max_body_bytes=8), UPLOAD + b"123456789"),
        (Limits(max_body_bytes=8), UPLOAD.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ):
        talk = Conversation(listener(limits=limits))
        unchanged(talk, talk.machine.request_in_one, data)
    talk = Conversation(listener(http=Http(host_rewrite="b.test")))
    unchanged(talk, talk.machine.request_in_one, GET)


def test_a_request_in_the_middle_of_another() -> None:
    talk = Conversation().client(GET)
    unchanged(talk, talk.machine.request_in_one, GET)
    talk.client(GET)  # which waits
    talk.upstream(OK[:-1])
    unchanged(talk, talk.machine.request_in_one, GET)


def test_a_request_behind_a_part_of_one() -> None:
    talk = Conversation().client(b"\r")
    unchanged(talk, talk.machine.request_in_one, GET)


def test_a_connection_that_knows_its_client_is_never_ordinary_again() -> None:
    talk = Conversation().client(GET[:-2] + b"Authorization: NTLM x\r\n\r\n").upstream(OK)
    unchanged(talk, talk.machine.request_in_one, GET)


RESPONSES = [
    pytest.param(OK[:-1], id="not whole"),
    pytest.param(OK + b"x", id="a byte more"),
    pytest.param(OK.replace(b"200 OK", b"401 No"), id="it may ask for credentials"),
    pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n", id="interim"),
    pytest.param(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), id="the connection ends with it"),
    pytest.param(OK.replace(b"1.1", b"1.0"), id="of HTTP/1.0"),
    pytest.param(OK.replace(b"Content-Length: 2", b"Content-Length: +2"), id="refused"),
]


@pytest.mark.parametrize("data", RESPONSES)
def test_a_response_that_is_not_ordinary(data: bytes) -> None:
    talk = Conversation().client(GET)
    unchanged(talk, talk.machine.response_in_one, data)


SITUATIONS = [
    pytest.param(lambda: Conversation(), id="to nothing"),
    pytest.param(lambda: Conversation().client(GET.replace(b"GET", b"HEAD")), id="to HEAD"),
    pytest.param(lambda: Conversation(in_one=False).client(GET), id="to a request that was not ordinary"),
    pytest.param(lambda: Conversation().client(GET).client(GET), id="while another request waits"),
    pytest.param(lambda: Conversation().client(GET).client_ends(), id="to a client that sends no more"),
    pytest.param(lambda: Conversation().client(GET).drain(), id="in a drain"),
    pytest.param(
        lambda: Conversation().client(GET[:-2] + b"Connection: close\r\n\r\n"), id="the last one of its connection"
    ),
]


@pytest.mark.parametrize("talk", SITUATIONS)
def test_a_response_that_is_not_ordinary_there(talk: Callable[[], Conversation]) -> None:
    played = talk()
    unchanged(played, played.machine.response_in_one, OK)


def test_a_body_passes_only_while_it_goes_on_after_what_has_come() -> None:
    talk = Conversation()
    unchanged(talk, talk.machine.request_data_in_one, b"x")
    talk.client(UPLOAD)
    unchanged(talk, talk.machine.request_data_in_one, b"123456789")  # the end of it
    unchanged(talk, talk.machine.request_data_in_one, b"1234567890")
    unchanged(talk, talk.machine.response_data_in_one, b"x")
    assert talk.machine.request_data_in_one(bytearray(b"12345678"), 8)
    exchange = talk.machine.exchange
    assert exchange is not None
    assert exchange.bytes_in == len(UPLOAD) + 8
    talk.client(b"9").upstream(DOWNLOAD)
    unchanged(talk, talk.machine.response_data_in_one, b"123456789")
    assert talk.machine.response_data_in_one(bytearray(b"12345678"), 8)
    assert exchange.bytes_out == len(DOWNLOAD) + 8
    talk = Conversation().client(UPGRADE).upstream(DOWNLOAD)
    unchanged(talk, talk.machine.response_data_in_one, b"1")  # which another parser has to see
