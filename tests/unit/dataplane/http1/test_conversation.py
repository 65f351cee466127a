"""A conversation, as transcripts: who says what, and what the other end has heard by then."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import Conversation, listener

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1.halves import MAX_INTERIM_RESPONSES
from tlsidecar.dataplane.http1.states import ConversationState, Event, IllegalMove, Standing
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Http, Limits

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_an_ordinary_exchange_goes_in_two_calls() -> None:
    talk = Conversation().client(GET).upstream(OK)
    assert talk.went_in_one == 2
    assert talk.heard == OK
    assert (talk.statuses, talk.upstreams[0].released, talk.closed) == ([200], True, "")
    talk.client(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).upstream(OK)
    assert (talk.statuses, talk.closed) == ([200, 200], "close")
    assert talk.heard.endswith(b"Connection: close\r\n\r\nok")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1),
        b"220 smtp.example ESMTP\r\n",
    ],
)
def test_a_response_that_is_refused_gives_502_and_its_connection_up(response: bytes) -> None:
    talk = Conversation().client(GET).upstream(response)
    assert talk.heard.rpartition(b"HTTP/1.1 ")[2].startswith(b"502 ")
    assert (talk.reason, talk.records[0].stage) == (Reason.UPSTREAM_BAD_RESPONSE, Stage.UPSTREAM)
    assert talk.upstreams[0].released is False
    assert talk.closed == "close"


def test_the_interim_responses_there_may_be_are_passed_on() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    talk = Conversation().client(GET).upstream(hint * MAX_INTERIM_RESPONSES + OK)
    assert talk.heard.count(b"HTTP/1.1 103 ") == MAX_INTERIM_RESPONSES
    assert (talk.statuses, talk.upstreams[0].released) == ([200], True)


def test_a_100_that_was_not_asked_for_is_kept_from_the_client() -> None:
    talk = Conversation().client(GET).upstream(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert b"100 Continue" not in talk.heard
    assert talk.statuses == [200]


def test_an_expectation_is_passed_on_and_its_answer_too() -> None:
    talk = Conversation().client(EXPECT)
    assert b"expect: 100-continue\r\n" in talk.sent_up.lower()
    talk.upstream(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert talk.heard.startswith(b"HTTP/1.1 100 ")
    talk.client(b"abc").upstream(OK)
    assert talk.sent_up.endswith(b"abc")
    assert (talk.statuses, talk.closed) == ([200], "")


@pytest.mark.parametrize(
    ("method", "head", "status", "reused"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 200, False),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, False),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", 200, False),
        (b"GET", b"HTTP/1.1 204 No\r\n\r\n", 204, True),
        (b"GET", b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n", 204, False),
        (b"GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", 204, False),
        (b"GET", b"HTTP/1.1 304 No\r\n\r\n", 304, True),
        (b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n", 304, False),
    ],
)
@pytest.mark.parametrize("body", [b"", b"body"], ids=["no body", "a body all the same"])
def test_what_has_no_body_ends_with_its_head(
    method: bytes, head: bytes, status: int, reused: bool, body: bytes
) -> None:
    """The same answer whatever follows, and no connection on which something may follow is used again."""
    talk = Conversation().client(GET.replace(b"GET", method)).upstream(head + body)
    assert (talk.statuses, talk.closed, talk.upstreams[0].released) == ([status], "", reused and not body)
    assert talk.heard.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("framing", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
@pytest.mark.parametrize("lane", [b"", b"Expect: 100-continue\r\n"], ids=["plain", "h11"])
def test_a_body_that_a_service_may_ignore_is_the_last_it_gets_on_that_connection(
    method: bytes, framing: bytes, lane: bytes
) -> None:
    talk = Conversation().client(method + b" /a HTTP/1.1\r\nHost: a\r\n" + lane + framing)
    (message,) = talk.requests()
    assert message.values("connection") == [b"close"]
    talk.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (talk.statuses, talk.closed, talk.upstreams[0].released) == ([200], "", False)


@pytest.mark.parametrize("head", [b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", POST + b"abc"])
def test_a_body_that_means_something_or_is_empty_leaves_the_connection(head: bytes) -> None:
    talk = Conversation().client(head).upstream(OK)
    assert (talk.requests()[0].values("connection"), talk.upstreams[0].released) == ([], True)


def test_bytes_beyond_the_response_end_its_connection() -> None:
    talk = Conversation().client(GET).upstream(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert talk.heard == OK
    assert talk.upstreams[0].released is False


@pytest.mark.parametrize("body", [POST, CHUNKED])
def test_an_early_response_ends_both_connections(body: bytes) -> None:
    talk = Conversation().client(body).upstream(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    assert (talk.statuses, talk.upstreams[0].released, talk.closed) == ([403], False, "close")
    assert b"Connection: close" in talk.heard


def test_an_early_response_and_the_rest_of_the_body_cross() -> None:
    talk = Conversation().client(POST + b"a").upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe")
    assert talk.machine.state is ConversationState.CROSSING
    talk.client(b"bc")
    assert talk.sent_up.endswith(b"abc")
    talk.upstream(b"re")
    assert (talk.statuses, talk.closed) == ([200], "close")


def test_a_refusal_in_the_body_takes_the_request_back() -> None:
    talk = Conversation().client(CHUNKED + b"1\r\nabc")
    assert (talk.statuses, talk.reason, talk.upstreams) == ([400], Reason.BAD_CHUNK, [])
    talk = Conversation().client(CHUNKED).client(b"zz\r\n")
    assert (talk.statuses, talk.upstreams[0].released, talk.closed) == ([400], False, "close")
    assert talk.sent_up.endswith(b"\r\n\r\n"), "half a chunk went on"


def test_a_body_over_its_limit() -> None:
    settings = listener(limits=Limits(max_body_bytes=2))
    for request in (POST + b"abc", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"):
        talk = Conversation(settings).client(request)
        assert (talk.statuses, talk.reason, talk.upstreams) == ([413], Reason.BODY_TOO_LARGE, [])
        assert talk.closed == "close"


def test_pipelined_requests_wait_for_their_turn() -> None:
    talk = Conversation().client(GET + GET.replace(b"/a", b"/b") + POST + b"abc")
    assert len(talk.requests()) == 1
    talk.upstream(OK).upstream(OK)
    assert [message.first for message in talk.requests()] == [(b"GET", b"/a"), (b"GET", b"/b"), (b"POST", b"/a")]
    talk.upstream(OK)
    assert (talk.statuses, talk.closed) == ([200, 200, 200], "")


def test_a_refused_request_in_a_pipeline_is_answered_in_its_turn() -> None:
    talk = Conversation().client(GET + b"GET / HTTP/1.1\r\n\r\n" + GET)
    assert not talk.heard
    talk.upstream(OK)
    assert talk.heard.startswith(OK + b"HTTP/1.1 400 ")
    assert (talk.statuses, talk.closed, len(talk.requests())) == ([200, 400], "close", 1)


def test_who_sends_ahead_is_not_read_for_ever() -> None:
    talk = Conversation(listener(limits=Limits(buffer_bytes=4096))).client(GET)
    assert talk.machine.wants_downstream
    talk.client(GET * 150)
    assert not talk.machine.wants_downstream
    for _ in range(151):
        talk.upstream(OK)
    assert talk.machine.wants_downstream
    assert talk.statuses == [200] * 151


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.UPSTREAM_REFUSED, 502),
        (Reason.UPSTREAM_TIMEOUT, 504),
        (Reason.UPSTREAM_EJECTED, 503),
        (Reason.UPSTREAM_TLS, 502),
    ],
)
def test_an_upstream_that_cannot_be_had_does_not_cost_the_connection(reason: Reason, status: int) -> None:
    talk = Conversation().client(GET).upstream_fails(reason)
    assert (talk.statuses, talk.reason, talk.closed) == ([status], reason, "")
    assert (b"Retry-After" in talk.heard) is (status == 503)
    assert talk.client(GET).upstream(OK).statuses == [status, 200]
    talk = Conversation().client(POST).upstream_fails(reason)
    assert (talk.statuses, talk.closed) == ([status], "close"), "where the next request starts is not certain"


@pytest.mark.parametrize("in_one", [True, False])
@pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"PUT", True), (b"POST", False), (b"PATCH", False)])
def test_only_the_idempotent_is_sent_again_and_only_once(method: bytes, again: bool, in_one: bool) -> None:
    talk = Conversation(in_one=in_one).client(POST.replace(b"POST", method) + b"abc")
    talk.upstream_fails(Reason.UPSTREAM_CLOSED, reused=True)
    if not again:
        assert (talk.statuses, len(talk.upstreams)) == ([502], 1)
        return
    assert len(talk.upstreams) == 2
    assert talk.upstreams[1].received == talk.upstreams[0].received
    talk.upstream_fails(Reason.UPSTREAM_CLOSED, reused=True)
    assert talk.statuses == [502]
    assert talk.records[0].is_retried


def test_a_connection_of_its_own_is_no_reason_to_send_again() -> None:
    assert Conversation().client(GET).upstream_fails(Reason.UPSTREAM_RESET, reused=False).statuses == [502]


def test_a_tunnel_starts_after_what_was_said_ahead_of_it() -> None:
    talk = Conversation().client(UPGRADE).client(b"early bytes")
    assert not talk.tunnel
    assert b"early bytes" not in talk.sent_up
    talk.upstream(SWITCH + b"first")
    assert talk.tunnel
    assert talk.sent_up.endswith(b"early bytes")
    assert talk.heard.startswith(b"HTTP/1.1 101 ")
    assert talk.heard.endswith(b"first")
    record = talk.machine.tunnel_ended(10, 20)
    assert record.status == 101
    assert talk.machine.state is ConversationState.CLOSING


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Go\r\n\r\n",
        b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    ],
)
def test_a_switch_to_something_else_is_none(answer: bytes) -> None:
    talk = Conversation().client(UPGRADE).upstream(answer)
    assert (talk.statuses, talk.tunnel, talk.closed) == ([502], False, "close")


def test_a_refused_upgrade_leaves_http_and_what_came_ahead_is_judged_as_such() -> None:
    talk = Conversation().client(UPGRADE + b"\x81\x05hello").upstream(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert (talk.statuses, talk.tunnel, talk.closed) == ([403, 400], False, "close")


@pytest.mark.parametrize(
    ("said", "stalled", "status", "reason"),
    [
        (GET[:10], False, 408, Reason.HEAD_TIMEOUT),
        (POST + b"a", False, 408, Reason.BODY_TIMEOUT),
        (POST + b"a", True, 504, Reason.UPSTREAM_TIMEOUT),
        (GET, False, 504, Reason.UPSTREAM_TIMEOUT),
    ],
)
def test_time_runs_out(said: bytes, stalled: bool, status: int, reason: Reason) -> None:
    talk = Conversation().client(said).time_is_up(upstream_stalled=stalled)
    assert (talk.statuses, talk.reason) == ([status], reason)


def test_time_runs_out_where_no_answer_is_possible() -> None:
    talk = Conversation().time_is_up()
    assert (talk.closed, talk.records) == ("close", [])
    talk = Conversation().client(GET).upstream(OK[:-1]).time_is_up()
    assert (talk.closed, talk.reason) == ("abort", Reason.UPSTREAM_TIMEOUT)


def test_the_client_leaves() -> None:
    talk = Conversation().client_ends()
    assert (talk.closed, talk.records) == ("close", [])
    talk = Conversation().client(GET[:10]).client_ends()
    assert (talk.statuses, talk.reason) == ([400], Reason.INCOMPLETE_REQUEST)
    talk = Conversation().client(POST + b"a").client_ends(clean=False)
    assert (talk.closed, talk.reason, talk.upstreams[0].released) == ("abort", Reason.INCOMPLETE_REQUEST, False)
    talk = Conversation().client(GET).client_ends().upstream(OK)
    assert (talk.statuses, talk.closed) == ([200], "close"), "who only stopped sending still gets the answer"
    talk = Conversation().client(GET).client_ends(clean=False)
    assert (talk.closed, talk.reason) == ("abort", Reason.PEER_RESET)


def test_the_upstream_leaves() -> None:
    talk = Conversation().client(GET).upstream_ends()
    assert (talk.statuses, talk.reason) == ([502], Reason.UPSTREAM_CLOSED)
    talk = Conversation().client(GET).upstream(b"HTTP/1.1 20").upstream_ends()
    assert (talk.statuses, talk.records[0].detail) == ([502], "in the middle of its response's head")
    talk = Conversation().client(GET).upstream(OK[:-1]).upstream_ends()
    assert (talk.closed, talk.reason) == ("abort", Reason.UPSTREAM_CLOSED)
    talk = Conversation().client(GET).upstream(b"HTTP/1.1 200 OK\r\n\r\nhalf").upstream_ends(clean=False)
    assert (talk.closed, talk.reason) == ("abort", Reason.UPSTREAM_CLOSED), "a cut is not an end"
    assert (talk.ledger.broken, talk.ledger.upstream_errors) == (1, [Reason.UPSTREAM_CLOSED])


def test_a_drain_lets_the_exchange_finish() -> None:
    assert Conversation().drain().closed == "close"
    talk = Conversation().client(GET).drain().upstream(OK)
    assert (talk.statuses, talk.closed) == ([200], "close")
    assert b"Connection: close" in talk.heard
    talk = Conversation().client(GET).upstream(OK[:-1]).drain().upstream(OK[-1:])
    assert (talk.statuses, talk.closed) == ([200], "close")


def test_requests_per_connection_are_bounded() -> None:
    talk = Conversation(listener(limits=Limits(max_requests_per_connection=2)))
    talk.client(GET).upstream(OK).client(GET).upstream(OK)
    assert (talk.statuses, talk.closed) == ([200, 200], "close")
    assert talk.heard.count(b"Connection: close") == 1


class Doorman:
    """Lets in until he does not; counts who is inside."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.inside = 0

    def enter(self) -> None:
        if not self.left:
            raise MessageRefused(429, Reason.RATE_LIMITED, stage=Stage.AUTHORIZE, retry_after_s=7)
        self.left -= 1
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1


@pytest.mark.parametrize("in_one", [True, False])
def test_who_is_let_in_is_asked_for_once_and_leaves_once(in_one: bool) -> None:
    doorman = Doorman(most=1)
    talk = Conversation(admission=doorman, in_one=in_one).client(GET)
    assert doorman.inside == 1
    talk.upstream(OK)
    assert (doorman.inside, doorman.left) == (0, 0)
    talk.client(GET.replace(b"/a", b"/b"))
    assert (talk.statuses, doorman.inside) == ([200, 429], 0)


def test_a_refusal_by_policy_keeps_the_connection_unless_a_body_follows() -> None:
    talk = Conversation(admission=Doorman(most=0)).client(GET).client(GET)
    assert (talk.statuses, talk.closed, talk.upstreams) == ([429, 429], "", [])
    assert talk.heard.count(b"Retry-After: 7\r\n") == 2
    talk = Conversation(admission=Doorman(most=0)).client(POST)
    assert (talk.statuses, talk.closed) == ([429], "close")


def test_what_is_cut_off_is_told_once() -> None:
    assert Conversation().machine.abandon(Reason.CLOSED_BY_ADMIN) is None
    talk = Conversation().client(GET)
    record = talk.machine.abandon(Reason.CLOSED_BY_ADMIN)
    assert record is not None
    assert (record.request.target, record.reason) == (b"/a", Reason.CLOSED_BY_ADMIN)
    assert talk.machine.abandon(Reason.CLOSED_BY_ADMIN) is None


@pytest.mark.parametrize("cuts", [[], range(1, 200)])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_empty_lines_between_requests_are_ignored(count: int, cuts: list[int]) -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    talk = Conversation()
    for _ in range(2):
        talk.client(b"\r\n" * count + request, cuts)
        talk.upstream(answer)
    assert talk.machine.is_idle
    # Those after the last body leave it idle, with no head begun that could time out.
    talk.client(b"\r\n" * count, cuts)
    assert talk.machine.is_idle
    assert (talk.statuses, talk.closed) == ([200, 200], "")
    assert [peer.received.count(b"POST") for peer in talk.upstreams] == [1, 1]


@pytest.mark.parametrize("cuts", [[], range(1, 200)])
@pytest.mark.parametrize("start", [b"\r\n" * 9, b"\n", b"\r\r\n", b"\rG", b"\r\n\n"])
def test_other_beginnings_are_refused(start: bytes, cuts: list[int]) -> None:
    talk = Conversation().client(start + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", cuts)
    assert (talk.statuses, talk.closed, talk.upstreams) == ([400], "close", [])


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
def test_an_upgrade_by_post_with_a_body(framing: bytes) -> None:
    """As docker exec does."""
    talk = Conversation(listener(http=Http(upgrades=("tcp",))))
    talk.client(b"POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" + framing)
    (message,) = talk.requests()
    assert (message.first, message.body) == ((b"POST", b"/exec"), b"{}")
    assert message.values("upgrade") == [b"tcp"]
    talk.upstream(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello")
    assert talk.tunnel
    assert talk.heard.endswith(b"hello")


def test_a_hundred_interim_answers_pass() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for count, status in ((100, 200), (101, 502)):
        talk = Conversation().client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").upstream(interim * count + final)
        assert talk.statuses == [status]


def test_a_client_of_http_1_0() -> None:
    talk = Conversation().client(b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    assert talk.sent_up.startswith(b"GET /a HTTP/1.1\r\n")
    talk.upstream(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert (talk.statuses, talk.closed) == ([200], "close")
    assert talk.heard.endswith(b"\r\n\r\nok"), "it does not know chunks"


def test_a_chunked_response_to_http_1_0_goes_without_chunks_and_host_can_be_rewritten() -> None:
    settings = listener(http=Http(host_rewrite="inside.example"))
    talk = Conversation(settings).client(GET)
    assert [message.values("host") for message in talk.requests()] == [[b"inside.example"]]


@pytest.mark.parametrize("value", [b"NTLM TlRM", b"negotiate YII=", b"Negotiate"])
@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION"])
@pytest.mark.parametrize("in_one", [True, False])
def test_credentials_for_a_connection_bind_it(name: bytes, value: bytes, in_one: bool) -> None:
    request = GET[:-2] + name + b": " + value + b"\r\n\r\n"
    talk = Conversation(in_one=in_one).client(request).upstream(OK).client(GET).upstream(OK)
    assert [peer.released for peer in talk.upstreams] == ["bound", "bound"]
    assert b"\r\n" + name + b": " + value + b"\r\n" in talk.sent_up


@pytest.mark.parametrize("line", [b"WWW-Authenticate: NTLM", b"www-authenticate: Basic realm=x, Negotiate"])
def test_a_service_that_asks_for_them_binds_it(line: bytes) -> None:
    answer = b"HTTP/1.1 401 No\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n"
    talk = Conversation().client(GET).upstream(answer).client(GET).upstream(OK)
    assert [peer.released for peer in talk.upstreams] == ["bound", "bound"]


@pytest.mark.parametrize("value", [b"Bearer NTLM", b"Basic TlRMTQ==", b"NTLMv3 x", b"Digest username=Negotiate"])
def test_credentials_for_a_request_do_not(value: bytes) -> None:
    request = GET[:-2] + b"Authorization: " + value + b"\r\n\r\n"
    answer = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
    talk = Conversation().client(request).upstream(answer)
    assert talk.upstreams[0].released is True


# Times, with the clock in hand: each account tells of its own request alone.


def test_a_refused_request_after_a_served_one_tells_of_itself() -> None:
    talk = Conversation(admission=Doorman(most=1)).client(GET)
    talk.clock.now = 2.0
    talk.upstream(OK)
    talk.clock.now = 4.0
    talk.client(GET.replace(b"/a", b"/b"))
    served, refused = talk.ledger.entries
    assert (served.wait_s, served.upstream_s, served.total_s, served.upstream) == (0, 2, 2, "upstream.test")
    assert (refused.wait_s, refused.upstream_s, refused.total_s, refused.upstream) == (0, 0, 0, "")
    assert talk.ledger.durations == [(200, 2.0), (429, 0.0)]
    assert [refusal.target for refusal in talk.ledger.refusals] == ["/b"]


@pytest.mark.parametrize("in_one", [True, False])
@pytest.mark.parametrize("head", [GET, GET[:-2] + b"X-Long: " + b"x" * 500 + b"\r\n\r\n"], ids=["short", "long"])
def test_a_slow_head_is_not_part_of_its_request(head: bytes, in_one: bool) -> None:
    talk = Conversation(in_one=in_one)
    for at in range(len(head)):
        talk.clock.now = 3.0 * at / (len(head) - 1)
        talk.client(head[at : at + 1])
    assert talk.machine.head_begun_at == 0
    talk.clock.now = 3.5
    talk.upstream(OK)
    (entry,) = talk.ledger.entries
    assert (entry.wait_s, entry.upstream_s, entry.total_s) == (0, 0.5, 0.5)
    assert talk.ledger.durations == [(200, 0.5)]


def test_a_pipelined_request_waits_from_its_own_arrival() -> None:
    second = GET.replace(b"/a", b"/b")
    talk = Conversation().client(GET)
    talk.clock.now = 1.0
    talk.client(second[:5])
    talk.clock.now = 2.0
    talk.client(second[5:] + GET)  # the third comes with the end of the second
    talk.clock.now = 5.0
    talk.upstream(OK)
    talk.clock.now = 6.0
    talk.upstream(OK)
    talk.clock.now = 8.0
    talk.upstream(OK)
    assert [(entry.wait_s, entry.upstream_s, entry.total_s) for entry in talk.ledger.entries] == [
        (0, 5, 5),
        (3, 1, 4),
        (4, 2, 6),
    ]


@pytest.mark.parametrize("in_one", [True, False])
def test_a_retried_request_waited_until_it_was_sent_again(in_one: bool) -> None:
    talk = Conversation(in_one=in_one).client(GET)
    talk.clock.now = 1.5
    talk.upstream_fails(Reason.UPSTREAM_CLOSED, reused=True)
    talk.clock.now = 2.0
    talk.upstream(OK)
    (entry,) = talk.ledger.entries
    assert (entry.wait_s, entry.upstream_s, entry.total_s) == (1.5, 0.5, 2)


def test_who_waited_in_vain_waited_all_the_time() -> None:
    talk = Conversation()
    talk.reaches_nobody = True
    talk.client(GET)
    talk.clock.now = 5.0
    talk.upstream_fails(Reason.UPSTREAM_TIMEOUT)
    (entry,) = talk.ledger.entries
    assert (entry.status, entry.wait_s, entry.upstream_s, entry.total_s, entry.upstream) == (504, 5, 0, 5, "")


def test_a_refused_head_is_told_of_as_far_as_it_was_read_and_with_nothing_of_another() -> None:
    talk = Conversation().client(GET).upstream(OK)
    talk.clock.now = 7.0
    talk.client(b"PUT /secret HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n")
    entry, (refusal,) = talk.ledger.entries[-1], talk.ledger.refusals
    assert (entry.method, entry.target, entry.status, entry.upstream) == ("PUT", "/secret", 400, "")
    assert (entry.total_s, entry.upstream_s, entry.bytes_in) == (0, 0, 43)
    assert (refusal.method, refusal.target) == ("PUT", "/secret")


def test_a_head_that_is_not_finished_in_time_is_told_of_as_far_as_it_came() -> None:
    talk = Conversation().client(b"GET /slow HTTP/1.1\r\nHo").time_is_up()
    (entry,) = talk.ledger.entries
    assert (entry.method, entry.target, entry.status, entry.bytes_in) == ("GET", "/slow", 408, 22)


def test_an_illegal_move_names_itself() -> None:
    with pytest.raises(IllegalMove, match="SWITCHED in IDLE"):
        Standing().move(Event.SWITCHED)
