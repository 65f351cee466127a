from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http2.reading import pieces_of

from tlsidecar.dataplane.http2 import frames, hpack
from tlsidecar.dataplane.http2.client import CallStatus, GrpcCall, Http2Error


def call(**more: int) -> GrpcCall:
    return GrpcCall("/demo.Echo/Say", "localhost", b"question", [(b"workload.spiffe.io", b"true")], **more)


def server(opening: bytes) -> tuple[H2Connection, list[Event]]:
    connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    return connection, connection.receive_data(opening)


def message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


def answered(*messages: bytes, status: bytes = b"0", text: bytes = b"") -> bytes:
    """What a server says to the call's opening."""
    connection, _ = server(call().opening)
    connection.send_headers(1, [(b":status", b"200"), (b"content-type", b"application/grpc")])
    for each in messages:
        connection.send_data(1, message(each), pad_length=3)
    connection.ping(b"12345678")
    connection.send_headers(1, [(b"grpc-status", status), (b"grpc-message", text)], end_stream=True)
    return connection.data_to_send()


def test_the_request_is_as_grpc_has_it() -> None:
    _, events = server(call().opening)
    (request,) = [event for event in events if isinstance(event, RequestReceived)]
    assert dict(request.headers or []) == {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/demo.Echo/Say",
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"workload.spiffe.io": b"true",
    }
    (body,) = [event for event in events if isinstance(event, DataReceived)]
    assert body.data == message(b"question")
    assert body.stream_ended is not None


@given(
    st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(0, 2**16), max_size=12), st.sampled_from([0, 5])
)
def test_messages_come_whole_in_any_pieces(messages: list[bytes], cuts: list[int], code: int) -> None:
    it = call()
    got: list[bytes] = []
    sent = b""
    for piece in pieces_of(answered(*messages, status=b"%d" % code, text=b"no%20such%20thing"), cuts):
        got += it.receive(piece)
        sent += it.to_send
    assert got == messages
    assert it.status == CallStatus(code, "no such thing", 200)
    assert frames.SETTINGS_ACK in sent
    assert frames.frame(frames.PING, frames.ACK, 0, b"12345678") in sent


def test_the_windows_are_given_back() -> None:
    """A server that watches a stream sends more than any window in the end."""
    it = call()
    connection, _ = server(it.opening)
    connection.send_headers(1, [(b":status", b"200")])
    for _ in range(200):
        connection.send_data(1, message(b"x" * 1000), pad_length=20)
        assert it.receive(connection.data_to_send()) == [b"x" * 1000]
        connection.receive_data(it.to_send)
    assert it.status is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (frames.frame(frames.PING, 0, 0, b"12345678"), "does not begin with SETTINGS"),
        (frames.settings([]) + frames.goaway(0, 2), "ended the connection"),
        (frames.settings([]) + frames.rst_stream(1, 7), "reset the call, code 7"),
        (frames.settings([]) + frames.rst_stream(3, 7), "not opened"),
        (frames.settings([]) + frames.data(1, b"\1\0\0\0\0", end_stream=False), "compressed"),
        (frames.settings([]) + frames.data(1, b"\0\0\1\0\0", end_stream=False), "over 65535 bytes"),
        (frames.settings([]) + frames.frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), "PUSH_PROMISE"),
        (frames.settings([]) + frames.headers(1, b"\x80", end_stream=True), "index 0"),
        (frames.settings([]) + frames.headers(1, b"\x88", end_stream=False) * 2, "a second head"),
    ],
    ids=["no settings", "goaway", "reset", "another stream", "compressed", "too long", "push", "a bad block", "heads"],
)
def test_a_server_that_breaks_the_rules(said: bytes, why: str) -> None:
    with pytest.raises(Http2Error, match=why):
        call(max_message_bytes=65_535).receive(said)


@pytest.mark.parametrize("status", [b"9" * 5000, b"9999", b"-1", b"\xb2", b""])
def test_a_status_that_is_no_number_of_grpc(status: bytes) -> None:
    it = call()
    it.receive(frames.settings([]) + frames.headers(1, hpack.literal(b"grpc-status", status), end_stream=True))
    assert it.status == CallStatus(None, "", 0)


def test_nothing_of_interim_heads_is_kept() -> None:
    it = call()
    early = [hpack.literal(b":status", b"103") + hpack.literal(b"x-%d" % at, b"1") for at in range(300)]
    it.receive(frames.settings([]) + b"".join([frames.headers(1, block, end_stream=False) for block in early]))
    assert len(it._said) == 2
    it.receive(answered(b"yes"))
    assert it.status == CallStatus(0, "", 200)
