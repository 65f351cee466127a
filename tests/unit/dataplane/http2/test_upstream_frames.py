"""What a service says: what goes on to its client, what is answered 502, and what costs the service its connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import ASKED, CALL, GET, OK, TRAILERS, Talk, coded, head, hears_what_it_may, pong

from tlsidecar.dataplane.http2 import frames
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits

UPLOAD = [(name, b"POST" if name == b":method" else value) for name, value in GET]
HEAD_OF_GET = [(name, b"HEAD" if name == b":method" else value) for name, value in GET]
TOO_LARGE = [(b":status", b"413"), (b"content-length", b"0")]


def test_interim_responses_pass() -> None:
    talk = Talk().client(head(1, [*GET, (b"expect", b"100-continue"), (b"content-length", b"1")], end=False))
    talk.upstream(head(1, [(b":status", b"100")], end=False)).client(frames.data(1, b"x", end_stream=True))
    talk.upstream(head(1, [(b":status", b"204")]))
    assert [each[b":status"] for each in talk.at_client.heads(1)] == [b"100", b"204"]


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ([head(1, [(b":status", b"20")])], [b"502"]),
        ([head(1, [(b"x", b"y")])], [b"502"]),
        ([head(1, [(b":status", b"101")], end=False)], [b"502"]),
        ([head(1, [(b":status", b"103")])], [b"502"]),
        ([head(1, [(b":status", b"200"), (b":status", b"200")])], [b"502"]),
        ([head(1, [(b":status", b"200"), (b":path", b"/")])], [b"502"]),
        ([head(1, [(b"x", b"y"), (b":status", b"200")])], [b"502"]),
        ([head(1, TRAILERS)], [b"502"]),
        ([head(1, TRAILERS, end=False), head(1, OK, end=False)], [b"502"]),
        ([head(1, [(b":status", b"200"), (b"Upper", b"x")])], [b"502"]),
        ([head(1, [(b":status", b"200"), (b"connection", b"close")])], [b"502"]),
        ([head(1, [(b":status", b"200"), (b"a", b"b\r\nc: d")])], [b"502"]),
        ([head(1, [(b":status", b"200"), (b"content-length", b"5")])], [b"502"]),
        ([head(1, [*OK, (b"content-length", b"1"), (b"content-length", b"1")], end=False)], [b"502"]),
        ([head(1, [*OK, (b"content-length", b"-1")], end=False)], [b"502"]),
        ([head(1, [*OK, (b"transfer-encoding", b"chunked")], end=False)], [b"502"]),
        ([frames.data(1, b"early", end_stream=True)], [b"502"]),
        ([head(1, OK, end=False), head(1, OK, end=False)], [b"200"]),
        ([head(1, OK, end=False), head(1, [(b":status", b"200")])], [b"200"]),
        ([head(1, [*OK, (b"content-length", b"5")], end=False), frames.data(1, b"123456", end_stream=False)], [b"200"]),
        ([head(1, [*OK, (b"content-length", b"5")], end=False), frames.data(1, b"1234", end_stream=True)], [b"200"]),
        ([head(1, [*OK, (b"content-length", b"5")], end=False), head(1, TRAILERS)], [b"200"]),
        ([head(1, [(b":status", b"204")], end=False), frames.data(1, b"x", end_stream=True)], [b"204"]),
        ([head(1, [(b":status", b"304")], end=False), frames.data(1, b"x", end_stream=True)], [b"304"]),
        ([head(1, OK, end=False), head(1, [(b":status", b"103")], end=False)], [b"200"]),
    ],
)
def test_a_response_that_cannot_be_relayed(said: list[bytes], answered: list[bytes]) -> None:
    talk = Talk().client(head(1), head(3)).upstream(*said)
    assert [each[b":status"] for each in talk.at_client.heads(1)] == answered
    assert (("reset", 1, "INTERNAL_ERROR") in talk.at_client.heard) is (answered != [b"502"])
    assert ("reset", 1, "CANCEL") in talk.at_upstream.heard
    assert talk.reasons == [Reason.UPSTREAM_BAD_RESPONSE]
    talk.upstream(head(3, OK))  # and its neighbour lives
    assert talk.at_client.heads(3) == [dict(OK)]


def test_a_length_without_a_body_is_right_for_head_and_304() -> None:
    asked = [(name, b"HEAD" if name == b":method" else value) for name, value in GET]
    talk = Talk().client(head(1, asked), head(3))
    talk.upstream(head(1, [*OK, (b"content-length", b"5")]))
    talk.upstream(head(3, [(b":status", b"304"), (b"content-length", b"5")]))
    assert [talk.at_client.heads(number)[0][b"content-length"] for number in (1, 3)] == [b"5", b"5"]
    assert talk.statuses == [200, 304]


def test_a_body_in_answer_to_head() -> None:
    talk = Talk().client(head(1, HEAD_OF_GET), head(3)).upstream(head(1, [*OK, (b"content-length", b"5")], end=False))
    talk.upstream(frames.data(1, b"12345", end_stream=True), head(3, OK))
    assert talk.at_client.data(1) == b""
    assert ("reset", 1, "INTERNAL_ERROR") in talk.at_client.heard
    assert talk.at_client.heads(3) == [dict(OK)]
    empty = Talk().client(head(1, HEAD_OF_GET)).upstream(head(1, OK, end=False))
    assert empty.upstream(frames.data(1, b"", end_stream=True)).reasons == [Reason.COMPLETED]


def test_a_call_that_the_service_resets() -> None:
    talk = Talk().client(head(1, CALL, end=False)).upstream(frames.rst_stream(1, 7))
    assert ("reset", 1, "REFUSED_STREAM") in talk.at_client.heard
    assert talk.reasons == [Reason.UPSTREAM_RESET]
    talk.client(frames.data(1, b"late", end_stream=True))
    assert talk.at_upstream.data(1) == b"late"


def test_an_early_answer_ends_as_the_service_says() -> None:
    talk = Talk().client(head(1, CALL, end=False)).upstream(head(1, [*OK, *TRAILERS]), frames.rst_stream(1, 0))
    assert (talk.reasons, talk.statuses) == ([Reason.COMPLETED], [200])
    assert talk.wait(1).at_client.heard[-1] == ("reset", 1, "NO_ERROR")


FLOODS = [
    pytest.param(frames.settings([]) * 1200, id="SETTINGS"),
    pytest.param(frames.frame(6, 0, 0, b"12345678") * 1200, id="PING"),
    pytest.param(frames.window_update(0, 1) * 1200, id="WINDOW_UPDATE"),
    pytest.param(head(1, OK, end=False) + frames.data(1, b"", end_stream=False) * 1200, id="empty DATA"),
    pytest.param(frames.frame(1, 0, 1, coded(OK)) + frames.frame(9, 0, 1, b"") * 9, id="CONTINUATIONs"),
    pytest.param(head(1, [*OK, *[(b"set-cookie", b"a")] * 100]), id="too many fields"),
]


@pytest.mark.parametrize("said", FLOODS)
def test_a_service_that_floods_costs_its_connection(said: bytes) -> None:
    talk = Talk().client(head(1, CALL, end=False)).upstream(said)
    assert talk.at_upstream.heard[-1] == ("goaway", 0, "ENHANCE_YOUR_CALM")
    talk.wait(1)  # for a client that still sends
    assert talk.at_client.heard[-1] == ("goaway", 1, "NO_ERROR")
    assert talk.reasons == [Reason.UPSTREAM_BAD_RESPONSE]
    assert talk.end is Reason.COMPLETED  # the client's connection, which may come again


def test_a_service_that_answers_only_in_advance() -> None:
    early = head(1, [(b":status", b"103"), (b"link", b"</a>")], end=False)
    talk = Talk().client(head(1), head(3)).upstream(early * 100)
    assert len(talk.at_client.heads(1)) == 100
    talk.upstream(early)
    assert talk.at_client.heads(1)[100][b":status"] == b"502"
    assert talk.reasons == [Reason.UPSTREAM_BAD_RESPONSE]
    assert talk.upstream(head(3, OK)).at_client.heads(3)[0][b":status"] == b"200"


def test_a_service_that_speaks_http1_is_called_so() -> None:
    talk = Talk(reaches=False).client(head(1, CALL)).reached()
    talk.upstream(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert talk.ledger.entries[0].reason is Reason.UPSTREAM_BAD_RESPONSE
    assert "speaks HTTP/1" in talk.session._gone[1]
    assert talk.at_client.heads(1)[0][b"grpc-status"] == b"14"


@pytest.mark.parametrize(
    "bad", [head(3, OK), frames.data(3, b"x", end_stream=True), head(2, OK), frames.rst_stream(9, 8)]
)
def test_a_service_that_invents_streams(bad: bytes) -> None:
    talk = Talk().client(head(1)).upstream(bad)
    assert talk.reasons == [Reason.UPSTREAM_BAD_RESPONSE]
    assert talk.at_client.heads(1)[0][b":status"] == b"502"
    assert talk.at_client.heard[-1] == ("goaway", 1, "NO_ERROR")


BREAKS = [
    pytest.param(frames.frame(5, 4, 1, b"\0\0\0\2" + coded(GET)), "PROTOCOL_ERROR", id="PUSH_PROMISE"),
    pytest.param(frames.frame(0, 0, 2, b"x"), "PROTOCOL_ERROR", id="DATA on an even stream"),
    pytest.param(frames.rst_stream(99, 8), "PROTOCOL_ERROR", id="RST_STREAM of a stream that nobody opened"),
    pytest.param(frames.window_update(99, 8), "PROTOCOL_ERROR", id="WINDOW_UPDATE of it"),
    pytest.param(head(5, OK) * 2, "STREAM_CLOSED", id="END_STREAM twice"),
    pytest.param(head(5, OK) + frames.data(5, b"x", end_stream=True), "STREAM_CLOSED", id="DATA after END_STREAM"),
    pytest.param(head(1, OK) * 2, "STREAM_CLOSED", id="HEADERS after both have ended"),
    pytest.param(frames.rst_stream(1, 8) + head(1, OK), "STREAM_CLOSED", id="HEADERS after its own RST_STREAM"),
    pytest.param(frames.settings([(2, 1)]), "PROTOCOL_ERROR", id="push is enabled"),
    pytest.param(frames.settings([(4, 1 << 31)]), "FLOW_CONTROL_ERROR", id="an initial window over 2^31-1"),
    pytest.param(
        frames.window_update(5, 1000) + frames.settings([(4, frames.MAX_WINDOW)]),
        "FLOW_CONTROL_ERROR",
        id="an initial window that overgrows a stream's",
    ),
    pytest.param(frames.window_update(0, frames.MAX_WINDOW), "FLOW_CONTROL_ERROR", id="a window over 2^31-1"),
    pytest.param(frames.settings([(5, 16_383)]), "PROTOCOL_ERROR", id="frames under 16 KiB"),
    pytest.param(frames.frame(4, 1, 0, b"\0"), "FRAME_SIZE_ERROR", id="ACK with a payload"),
    pytest.param(frames.frame(6, 0, 0, b"1234567"), "FRAME_SIZE_ERROR", id="PING of 7"),
    pytest.param(frames.frame(9, 4, 1, coded(OK)), "PROTOCOL_ERROR", id="CONTINUATION of nothing"),
    pytest.param(frames.frame(1, 0, 1, coded(OK)) + head(3, OK), "PROTOCOL_ERROR", id="HEADERS within a block"),
    pytest.param(frames.headers(1, b"\xff\x7f", end_stream=True), "COMPRESSION_ERROR", id="an index beyond the table"),
    pytest.param(frames.headers(1, b"\x3f\xe2\x1f", end_stream=True), "COMPRESSION_ERROR", id="a table over ours"),
    pytest.param(
        head(1, OK, end=False) + frames.data(1, b"x" * 16_384, end_stream=False) * 4,
        "FLOW_CONTROL_ERROR",
        id="more DATA than the window",
    ),
]


@pytest.mark.parametrize(("said", "code"), BREAKS)
def test_a_service_that_breaks_the_protocol_costs_its_connection(said: bytes, code: str) -> None:
    talk = Talk().client(head(1), head(3, CALL), head(5, UPLOAD, end=False)).upstream(said)
    assert talk.at_upstream.heard[-1] == ("goaway", 0, code)
    talk.wait(1)  # for the client that still sends
    assert talk.at_client.heard[-1] == ("goaway", 5, "NO_ERROR")
    assert talk.at_client.heads(3)[-1][b"grpc-status"] == b"14"
    assert talk.end is Reason.COMPLETED
    assert not talk.faults  # the client has done nothing
    assert Reason.UPSTREAM_BAD_RESPONSE in talk.reasons
    assert not talk.session.streams


def test_settings_that_change_while_calls_are_under_way() -> None:
    """Each is told to the client, but for the table, of which we use nothing, and larger frames."""
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    for number in (1, 3):
        client.send_headers(number, CALL)
    talk = Talk(bare=True).client(client.data_to_send()).reached()
    talk.upstream(frames.settings([(3, 50)]), frames.SETTINGS_ACK)
    for changed in ([(3, 1), (1, 0)], [(3, 0), (1, 4096)], [(4, 0)], [(4, 10), (1, 65_536)], [(4, 1 << 20), (3, 7)]):
        talk.upstream(frames.settings(changed), head(1, OK, end=False) if changed[0] == (4, 0) else b"")
    events = client.receive_data(talk.at_client.raw)
    assert [type(event) for event in events if isinstance(event, ResponseReceived)] == [ResponseReceived]
    told = [each[1] for each in talk.at_client.of("settings")]
    assert told[1:] == [{3: 1}, {3: 0}, {4: 0}, {4: 10}, {4: 1 << 20, 3: 7}]
    assert client.remote_settings.max_concurrent_streams == 7
    talk.client(client.data_to_send())
    assert talk.at_upstream.of("ack") == [("ack",)] * 6
    client.send_data(1, b"q" * 5000, end_stream=True)
    talk.client(client.data_to_send())
    talk.upstream(frames.data(1, b"answer", end_stream=False), head(1, TRAILERS))
    events = client.receive_data(talk.at_client.raw[talk.at_client.raw.index(b"answer") - 9 :])
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"answer"]
    assert talk.at_upstream.data(1) == b"q" * 5000


def test_a_client_with_less_window_than_it_has_used() -> None:
    """SETTINGS that make a window negative are the ends' to keep (RFC 9113 section 6.9.2)."""
    talk = Talk().client(head(1)).upstream(head(1, OK, end=False), frames.data(1, b"x" * 1000, end_stream=False))
    talk.client(frames.settings([(4, 10)]), frames.window_update(1, 1000), frames.window_update(0, 1000))
    talk.upstream(frames.SETTINGS_ACK, frames.data(1, b"y" * 10, end_stream=True))
    assert talk.at_client.data(1) == b"x" * 1000 + b"y" * 10
    assert talk.reasons == [Reason.COMPLETED]


def test_goaway_of_the_upstream() -> None:
    talk = Talk().client(head(1), head(3)).upstream(frames.goaway(1, 0))
    assert ("goaway", 1, "NO_ERROR") in talk.at_client.heard
    assert talk.reasons == [Reason.UPSTREAM_CLOSED]
    talk.client(head(5, end=False), frames.data(5, b"x", end_stream=True))
    assert [each[1] for each in talk.at_upstream.of("head", "data")] == [1, 3]
    talk.upstream(head(1, OK))
    assert talk.at_client.heads(1) == [dict(OK)]


TAKEN_BACK: list[tuple[str, Callable[[Talk], object]]] = [
    ("it ends", lambda talk: talk.gone()),
    ("we drain", lambda talk: talk.shut_down()),
    ("we drain, and hear the pong", lambda talk: talk.shut_down().client(pong(talk))),
    ("we drain, and wait", lambda talk: talk.shut_down().wait(1.5)),
    ("the client breaks the rules", lambda talk: talk.client(frames.data(9, b"x", end_stream=True))),
    ("it says another", lambda talk: talk.upstream(frames.goaway(7, 0))),
    ("it says an error", lambda talk: talk.upstream(frames.goaway(frames.MAX_WINDOW, 11))),
]


@pytest.mark.parametrize("then", [pytest.param(each, id=name) for name, each in TAKEN_BACK])
def test_no_goaway_takes_back_another(then: Callable[[Talk], object]) -> None:
    """Its client may have tried again what an earlier one said was not begun with (RFC 9113 section 6.8), and ends a
    connection on which it is taken back."""
    talk = Talk().client(head(1), head(3)).upstream(frames.goaway(1, 0)).client(head(5))
    then(talk)
    named = [each[1] for each in talk.at_client.of("goaway")]
    assert len(named) > 1
    assert set(named) == {1}


def test_what_a_goaway_says_of_its_reason_goes_on() -> None:
    """gRPC's clients slow down where it is ENHANCE_YOUR_CALM and too_many_pings."""
    said = frames.frame(frames.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\x0btoo_many_pings")
    assert Talk().client(head(1, CALL, end=False)).upstream(said).at_client.raw.endswith(said)
    talk = Talk().client(head(1, CALL, end=False)).upstream(frames.goaway(1, 0), said.replace(b"\1\0\0", b"\7\0\0"))
    assert talk.at_client.raw.endswith(said)


def test_a_goaway_beside_an_answer_to_who_still_sends() -> None:
    """It waits for a moment: curl before 8.0 that reads both in one go loses the answer."""
    talk = Talk().client(head(1, UPLOAD, end=False), head(3, CALL)).upstream(head(1, TOO_LARGE), frames.goaway(1, 0))
    assert talk.at_client.of("goaway") == []
    assert talk.at_client.of("reset") == [("reset", 3, "REFUSED_STREAM")]
    talk.client(head(5), frames.data(1, b"x", end_stream=False))
    assert talk.at_upstream.heads(5) == []
    assert talk.at_upstream.data(1) == b"x"
    talk.wait(1)
    assert talk.at_client.of("goaway") == [("goaway", 1, "NO_ERROR")]
    assert talk.end is None


def test_a_service_that_answers_says_goaway_and_ends() -> None:
    talk = Talk().client(head(1, UPLOAD, end=False)).upstream(head(1, TOO_LARGE), frames.goaway(1, 0))
    talk.gone(Reason.UPSTREAM_RESET)
    assert talk.at_client.of("reset", "goaway") == []
    talk.wait(1)
    assert talk.at_client.heard[-2:] == [("reset", 1, "NO_ERROR"), ("goaway", 1, "NO_ERROR")]
    assert (talk.end, talk.reasons) == (Reason.COMPLETED, [Reason.COMPLETED])


def test_who_stops_by_itself_still_hears_the_goaway() -> None:
    talk = Talk().client(head(1, UPLOAD, end=False)).upstream(head(1, TOO_LARGE), frames.goaway(1, 0))
    talk.gone(Reason.UPSTREAM_RESET).client(frames.rst_stream(1, 0))
    assert talk.at_client.heard[-1] == ("goaway", 1, "NO_ERROR")
    assert talk.end is Reason.COMPLETED


def test_each_side_pays_for_what_is_swallowed_of_its_own() -> None:
    limits = Limits(stream_idle_timeout_s=10)
    talk = Talk(replace(listener(), http2="only", limits=limits)).client(head(1, CALL, end=False))
    talk.upstream(head(1, OK, end=False)).wait(11)  # we have ended it
    for _ in range(90):
        talk.upstream(frames.data(1, b"x", end_stream=False) * 100)
        talk.client(frames.data(1, b"x", end_stream=False) * 100)
    assert talk.end is None
    assert talk.session.state.name == "RELAYING"


def _a_services_bytes() -> bytes:
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    for number, fields in zip((1, 3, 5), ASKED, strict=True):
        client.send_headers(number, fields, end_stream=number != 3)
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(b":status", b"103"), (b"link", b"</a>")])
    server.send_headers(1, [*OK, (b"content-length", b"5"), (b"x-number", b"1")])
    server.send_data(1, b"hello", pad_length=3)
    server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 70_000, SettingCodes.MAX_CONCURRENT_STREAMS: 7})
    server.ping(b"12345678")
    server.send_headers(3, OK)
    server.send_data(3, b"\0\0\0\0\5hello")
    server.increment_flow_control_window(1000)
    server.increment_flow_control_window(1000, stream_id=3)
    server.end_stream(1)
    server.send_headers(5, [*OK, (b"content-length", b"99")], end_stream=True)
    server.send_headers(3, TRAILERS, end_stream=True)
    server.reset_stream(3, 0)
    return server.data_to_send()


_WIRE = _a_services_bytes()


@given(
    st.lists(st.tuples(st.integers(0, len(_WIRE) - 1), st.integers(0, 255)), max_size=4),
    st.lists(st.integers(0, len(_WIRE)), max_size=6),
)
def test_whatever_comes_the_client_hears_what_hyper_h2_takes(changes: list[tuple[int, int]], cuts: list[int]) -> None:
    wire = bytearray(_WIRE)
    for at, value in changes:
        wire[at] = value
    hears_what_it_may(bytes(wire), cuts)
