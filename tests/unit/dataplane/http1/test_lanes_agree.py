"""The plain lane and the h11 lane, the fast way and the precise one, whole and in any pieces: one and the same message.

h11 is the judge: what reached the upstream is parsed by it, and the lanes are compared by what it read.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.dataplane.http1.conversation import Conversation, parse_responses
from unit.dataplane.http1.lanes import SETTINGS, comparable, passed

_VALUE = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12).map(
    lambda text: text.encode("latin-1").strip(b" \t\xa0\x85")
)
_SPACE = st.sampled_from([b"", b" ", b"\t", b" \t "])
_NAME = st.sampled_from(
    [
        b"X-Other", b"accept", b"COOKIE", b"X.Odd!", b"x_low", b"X-Forwarded-For", b"x-forwarded-client-cert",
        b"X_Forwarded_Client_Cert", b"X-Forwarded-Proto", b"Forwarded", b"Client-Cert", b"SSL-Client-Verify",
        b"X-Real-IP", b"X-Request-Id", b"Keep-Alive", b"TE", b"Trailer", b"Proxy", b"Proxy-Authorization",
        b"HTTP2-Settings", b"Upgrade", b"Content-Type",
    ]
)  # fmt: skip
_FIELD = st.tuples(_NAME, _SPACE, _VALUE, _SPACE).map(lambda p: p[0] + b":" + p[1] + p[2] + p[3])
_CONNECTION = st.sampled_from(
    [
        [], [], [b"Connection: keep-alive"], [b"Connection: x-other"], [b"connection: Keep-Alive, cookie,"],
        [b"Connection: X-Forwarded-Client-Cert, x-forwarded-for"], [b"Connection:"],
        [b"Connection: upgrade, http2-settings"],
    ]
)  # fmt: skip
_TARGET = st.sampled_from(
    [b"/", b"/a?b=c&d", b"/%20%zz", b"//x/../y", b"http://a.example/q", b"HTTP://A.example?z", b"/*"]
)
_METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND", b"M-SEARCH"])
_CHUNK = st.tuples(st.binary(min_size=1, max_size=20), st.sampled_from([b"", b";x=y"]))
_CUTS = st.lists(st.integers(0, 5_000), max_size=6)


@st.composite
def requests(draw: st.DrawFn, *, last: bool = True) -> bytes:
    fields = draw(st.lists(_FIELD, max_size=5)) + draw(_CONNECTION)
    version = b"HTTP/1.1"
    body = b""
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "length":
        body = draw(st.binary(max_size=40))
        fields.append(b"Content-Length:" + draw(_SPACE) + b"%d" % len(body))
    elif framing == "chunked":
        fields.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked "])))
        for data, extension in draw(st.lists(_CHUNK, max_size=3)):
            body += b"%x%b\r\n%b\r\n" % (len(data), extension, data)
        trailers = draw(
            st.lists(st.sampled_from([b"X-Keep: a", b"X-Drop: b", b"X-Forwarded-Client-Cert: c"]), max_size=2)
        )
        body += b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"
    if last and framing != "chunked" and draw(st.booleans()):
        version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
        if version == b"HTTP/1.1":
            fields.append(draw(st.sampled_from([b"Connection: close", b"Expect: 100-continue"])))
    host = b"Host:" + draw(_SPACE) + b"a.example"
    fields.insert(draw(st.integers(0, len(fields))), host)
    return b"".join(
        [draw(_METHOD), b" ", draw(_TARGET), b" ", version, b"\r\n", *(f + b"\r\n" for f in fields), b"\r\n", body]
    )


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    ahead = draw(st.lists(requests(last=False), max_size=2))
    return b"".join(ahead) + draw(requests())


@given(stream=streams(), cuts=_CUTS, other_cuts=_CUTS)
def test_all_ways_pass_a_valid_stream_on_alike(stream: bytes, cuts: list[int], other_cuts: list[int]) -> None:
    whole = passed(stream, [])
    assert not whole.refusals
    assert whole.messages
    pieces = passed(stream, cuts)
    assert pieces.wire == whole.wire, "the pieces it came in can be told from what went on"
    assert passed(stream, other_cuts, in_one=False).wire == whole.wire
    h11_lane = passed(stream, cuts, force_h11=True)
    assert comparable(h11_lane) == comparable(whole)
    for message in whole.messages:
        assert len(message.values("x-forwarded-client-cert")) == 1
        assert len(message.values("x-forwarded-for")) == 1
        assert not message.values("client-cert")
        assert all(name == b"x-keep" for name, _ in message.trailers)


@settings(max_examples=300)
@given(stream=requests(), at=st.integers(0, 5_000), byte=st.integers(0, 255), cuts=_CUTS)
@example(stream=b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1", at=40, byte=ord("1"), cuts=[])
def test_a_changed_byte_is_refused_or_passed_on_alike(stream: bytes, at: int, byte: int, cuts: list[int]) -> None:
    changed = bytearray(stream)
    changed[at % len(changed)] = byte
    data = bytes(changed)
    whole = passed(data, [])
    assert len(whole.messages) <= 1
    pieces = passed(data, cuts)
    assert comparable(pieces) == comparable(whole)
    assert comparable(passed(data, cuts, force_h11=True)) == comparable(whole)


@settings(max_examples=300)
@given(
    stream=requests(),
    edits=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 3), st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\t", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
         b"Host: b\r\n", b"0\r\n\r\n", b"_", b"-", b"/", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\xff", b"1"]
    )), max_size=3),
    cuts=_CUTS,
)  # fmt: skip
def test_any_mutation_is_refused_or_passed_on_alike(
    stream: bytes, edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    for at, removed, inserted in edits:
        at %= len(stream) + 1
        stream = stream[:at] + inserted + stream[at + removed :]
    if not stream:
        return
    whole = passed(stream, [])
    assert comparable(passed(stream, cuts)) == comparable(whole)
    assert comparable(passed(stream, cuts, force_h11=True)) == comparable(whole)


# --- Responses ------------------------------------------------------------------------------------------------------

_RESPONSE_FIELD = st.tuples(
    st.sampled_from([b"Server", b"set-cookie", b"Keep-Alive", b"X_odd", b"Date", b"Trailer", b"Content-Type"]),
    _SPACE,
    _VALUE,
    _SPACE,
).map(lambda p: p[0] + b":" + p[1] + p[2] + p[3])


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """The request's method, a response, and whether it ends with its connection."""
    method = draw(st.sampled_from([b"GET", b"GET", b"HEAD", b"POST"]))
    status = draw(
        st.sampled_from([b"200 OK", b"200 ", b"404 Not Found", b"204 No Content", b"304 Not Modified", b"500 \xe9"])
    )
    fields = draw(st.lists(_RESPONSE_FIELD, max_size=4))
    fields += draw(st.sampled_from([[], [b"Connection: keep-alive"], [b"Connection: close"], [b"Connection: server"]]))
    body = b""
    bodiless = method == b"HEAD" or status[:3] in (b"204", b"304")
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    if status[:3] == b"204":
        pass
    elif framing == "end":
        body = draw(st.binary(max_size=40))
    elif framing == "length":
        body = draw(st.binary(max_size=40))
        fields.insert(draw(st.integers(0, len(fields))), b"Content-Length:" + draw(_SPACE) + b"%d" % len(body))
    else:
        fields.append(b"Transfer-Encoding: chunked")
        for data, extension in draw(st.lists(_CHUNK, max_size=3)):
            body += b"%x%b\r\n%b\r\n" % (len(data), extension, data)
        body += b"0\r\n" + draw(st.sampled_from([b"", b"X-Keep: a\r\n", b"X-Drop: a\r\n"])) + b"\r\n"
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
    )
    head = b"HTTP/1.1 " + status + b"\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n"
    return method, interim + head + (b"" if bodiless else body), framing == "end" and not bodiless


@given(case=responses(), cuts=_CUTS, minor=st.sampled_from([1, 1, 0]))
def test_all_ways_pass_a_response_on_alike(case: tuple[bytes, bytes, bool], cuts: list[int], minor: int) -> None:
    method, response, ends = case
    request = b"%b / HTTP/1.%d\r\nHost: a\r\n\r\n" % (method, minor)
    heard = []
    for pieces, force_h11, in_one in (
        ([], False, True),
        (cuts, False, True),
        (cuts, False, False),
        (cuts, True, False),
    ):
        talk = Conversation(SETTINGS, force_h11=force_h11, in_one=in_one).client(request).upstream(response, pieces)
        if ends:
            talk.upstream_ends()
        assert [record.reason for record in talk.records] == [None]
        heard.append((bytes(talk.heard), talk.closed, talk.upstreams[0].released))
    first, *others = heard
    for wire, closed, reusable in others:
        assert (closed, reusable) == first[1:]
        assert response_of(wire, method, ended=not minor) == response_of(first[0], method, ended=not minor)
    if ends:
        assert heard[1] == heard[2]  # of what comes in other pieces other chunks are made
    elif not response.startswith(b"HTTP/1.1 1"):
        # Without an interim response it is the plain lane, which keeps every byte of a body.
        assert heard[0] == heard[1] == heard[2]


def response_of(wire: bytes, method: bytes, *, ended: bool) -> object:
    (message,) = parse_responses(wire, [method], ended=ended)
    first, headers, *rest = message.comparable()
    # h11 says of an answer to HEAD how the one to GET would be framed; the plain lane leaves that out.
    said = [field for field in headers if method != b"HEAD" or field[0] != b"transfer-encoding"]  # type: ignore[attr-defined]
    return first, said, *rest


@given(body=st.binary(max_size=60), cuts=_CUTS, minor=st.sampled_from([0, 1]), upstream_minor=st.sampled_from([0, 1]))
def test_a_body_that_ends_with_its_connection_is_told_whole(
    body: bytes, cuts: list[int], minor: int, upstream_minor: int
) -> None:
    request = b"GET / HTTP/1.%d\r\nHost: a\r\n\r\n" % minor
    response = b"HTTP/1.%d 200 OK\r\nServer: x\r\n\r\n" % upstream_minor + body
    talk = Conversation(SETTINGS).client(request).upstream(response, cuts).upstream_ends()
    (message,) = parse_responses(bytes(talk.heard), [b"GET"], ended=True)
    assert message.body == body
    assert talk.upstreams[0].released is False
    assert talk.closed == ("close" if minor == 0 else "")


@pytest.mark.parametrize("force_h11", [False, True])
def test_a_thousand_requests_in_one_go(force_h11: bool) -> None:
    stream = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(1000))
    outcome = passed(stream, range(0, len(stream), 997), force_h11=force_h11)  # type: ignore[arg-type]
    assert [message.first[1] for message in outcome.messages] == [b"/%d" % number for number in range(1000)]
