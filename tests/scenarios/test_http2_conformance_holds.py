"""The cases of the public conformance suite for HTTP/2 servers (h2spec), by its sections, over mutual TLS.

146, one of its strict ones and one that it got later: "generic" is what every server must take, the rest are the
sections of RFC 7540 and, with an H, of RFC 7541. They were compared with the suite's source case for case: what is
said, in which writes, and what has to come is the suite's; the words are ours. The suite's client gives up after two
seconds of silence, and takes only a clean end (close_notify, FIN) for one. The services behind the sidecar differ in
when they answer, in how much, in what they find wrong themselves, and in what they do with requests that go on.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from OpenSSL import SSL
from support import configs
from support.h2_services import BODY, H2Service, nghttpd, nginx
from support.h2_suite import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MOST,
    PADDED,
    PING,
    POST,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    Client,
    Step,
    connection_error,
    continuation,
    data,
    dummies,
    ends,
    frame,
    head,
    hears,
    hears_first,
    pong,
    priority,
    rst_stream,
    say,
    settings,
    split,
    stream_ends,
    stream_error,
    told,
    window_update,
)
from support.mtls import Peer, client_context
from support.pki import Pki
from support.services import serving
from support.sidecar import running

_NOTHING = bytes(8)
_NAME = b"h2spec\0\0"
_UNKNOWN = split(frame(0x16, 0, 0, _NOTHING))
_OPEN = head(end=False)
_OPEN_POST = head(POST, end=False)
_TRAILER = head([("x-test", "ok")])
_DEPENDENT = struct.pack(">IB", 1, 255)  # on stream 1
_NO_WINDOW = say(settings((INITIAL_WINDOW_SIZE, 0)))
_AGENT, _AGENT_HUFFMAN = b"\x0auser-agent\x06h2spec", b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"
_TEST, _TEST_HUFFMAN = b"\x06x-test\x06h2spec", b"\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"
_ANSWER = hears(HEADERS, stream=1)


def _ping(payload: bytes = _NOTHING, flags: int = 0, stream: int = 0) -> Step:
    return say(frame(PING, flags, stream, payload))


def _raw_ping(payload: bytes = _NOTHING, flags: int = 0, stream: int = 0) -> Step:
    return say(*split(frame(PING, flags, stream, payload)))


def _without(name: str) -> list[tuple[str, str]]:
    return [field for field in GET if field[0] != name]


def _pad_too_long(client: Client) -> None:
    block = client.block(GET)
    payload = bytes((len(block) + 2,)) + block
    begun, rest = split(frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, payload))
    for each in (begun, rest[:1], rest[1:]):
        client.say(each)


def _promise(client: Client) -> None:
    client.say(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 3) + client.block(GET)))


def _a_hundred_and_one(client: Client) -> None:
    block = client.block(GET)
    for number in range(101):
        client.say(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, block))


def _idle_continuation(client: Client) -> None:
    client.say(frame(CONTINUATION, END_HEADERS, 1, client.block(GET)))


def _in_pieces(*ends: int) -> Step:
    """A request whose block is cut at these bytes, in the middle of what is encoded."""

    def step(client: Client) -> None:
        block = client.block(GET)
        client.say(frame(HEADERS, END_STREAM, 1, block[: ends[0]]))
        for begin, end in pairwise((*ends, len(block))):
            client.say(frame(CONTINUATION, END_HEADERS if end == len(block) else 0, 1, block[begin:end]))

    return step


class Case(NamedTuple):
    name: str
    steps: tuple[Step, ...]
    begins: bool = True  # with the handshake


def case(name: str, *steps: Step) -> Case:
    return Case(name, steps)


GENERIC = [
    Case("generic 1/1 preface", (say(PREFACE, settings((INITIAL_WINDOW_SIZE, 65535))), hears_first(SETTINGS)), False),
    case("generic 2/1 PRIORITY idle", say(priority(1)), _ping(), pong(_NOTHING)),
    case("generic 2/2 WINDOW_UPDATE half-closed", _NO_WINDOW, head(), say(window_update(1, 1)), hears(DATA)),
    case("generic 2/3 PRIORITY half-closed", _NO_WINDOW, head(), say(priority(1), window_update(1, 1)), hears(DATA)),
    case("generic 2/4 RST_STREAM half-closed", head(), say(rst_stream(1)), _ping(), pong(_NOTHING)),
    case("generic 2/5 PRIORITY closed", head(), stream_ends, say(priority(1)), _ping(), pong(_NOTHING)),
    case("generic 3.1/1 DATA", _OPEN_POST, say(data(1)), _ANSWER),
    case("generic 3.1/2 DATA twice", _OPEN_POST, say(data(1, end=False), data(1)), _ANSWER),
    case("generic 3.1/3 DATA padded", _OPEN_POST, say(frame(DATA, PADDED | 1, 1, b"\6testpadded")), _ANSWER),
    case("generic 3.2/1 HEADERS", head(), _ANSWER),
    case("generic 3.2/2 HEADERS padded", head(padding=8), _ANSWER),
    case("generic 3.2/3 HEADERS with priority", head(priority=b"\0\0\0\0\xff"), _ANSWER),
    case("generic 3.3/1 priority 1", say(priority(1, weight=0)), head(), _ANSWER),
    case("generic 3.3/2 priority 256", say(priority(1, weight=255)), head(), _ANSWER),
    case("generic 3.3/3 dependency", say(priority(3, on=1, weight=0)), head(), _ANSWER),
    case("generic 3.3/4 exclusive", say(priority(1, on=1 << 31, weight=0)), head(), _ANSWER),
    case("generic 3.3/5 idle, then a lower id", say(priority(3)), head(), _ANSWER),
    case("generic 3.4/1 RST_STREAM", _OPEN, say(rst_stream(1)), _ping(), pong(_NOTHING)),
    case(
        "generic 3.5/1 SETTINGS",
        say(settings((1, 4096), (2, 1), (3, 100), (4, 65535), (5, 16384), (6, 100))),
        hears(SETTINGS, ack=True),
    ),
    case("generic 3.7/1 PING", _ping(_NAME), pong(_NAME)),
    case(
        "generic 3.8/1 GOAWAY", say(frame(GOAWAY, 0, 0, _NOTHING + b"h2spec")), _ping(_NAME), pong(_NAME, or_end=True)
    ),
    case("generic 3.9/1 WINDOW_UPDATE 0", say(window_update(0, 1)), _ping(), hears(PING)),
    case("generic 3.9/2 WINDOW_UPDATE 1", head(), say(window_update(1, 1)), hears(HEADERS)),
    case("generic 3.10/1 CONTINUATION", _in_pieces(5), _ANSWER),
    case("generic 3.10/2 CONTINUATION twice", _in_pieces(5, 10), _ANSWER),
    case("generic 4/1 GET", head(), _ANSWER),
    case("generic 4/2 HEAD", head([(":method", "HEAD"), *GET[1:]]), _ANSWER),
    case("generic 4/3 POST", _OPEN_POST, say(data(1)), _ANSWER),
    case(
        "generic 4/4 trailers",
        head([*POST, ("trailer", "x-test")], end=False),
        say(data(1, end=False)),
        _TRAILER,
        _ANSWER,
    ),
    case("generic 5/1 indexed", head(after=b"\xba"), _ANSWER),
    case("generic 5/2 incremental, indexed name", head(after=b"\x40" + _AGENT_HUFFMAN), _ANSWER),
    case("generic 5/3 incremental, indexed name plain", head(after=b"\x40" + _AGENT), _ANSWER),
    case("generic 5/4 incremental, new name", head(after=b"\x40" + _TEST), _ANSWER),
    case("generic 5/5 incremental, new name Huffman", head(after=b"\x40" + _TEST_HUFFMAN), _ANSWER),
    case("generic 5/6 not indexed, indexed name", head(after=b"\x00" + _AGENT), _ANSWER),
    case("generic 5/7 not indexed, indexed name Huffman", head(after=b"\x00" + _AGENT_HUFFMAN), _ANSWER),
    case("generic 5/8 not indexed, new name", head(after=b"\x00" + _TEST), _ANSWER),
    case("generic 5/9 not indexed, new name Huffman", head(after=b"\x00" + _TEST_HUFFMAN), _ANSWER),
    case("generic 5/10 never indexed, indexed name", head(after=b"\x10" + _AGENT), _ANSWER),
    case("generic 5/11 never indexed, indexed name Huffman", head(after=b"\x10" + _AGENT_HUFFMAN), _ANSWER),
    case("generic 5/12 never indexed, new name", head(after=b"\x10" + _TEST), _ANSWER),
    case("generic 5/13 never indexed, new name Huffman", head(after=b"\x10" + _TEST_HUFFMAN), _ANSWER),
    case("generic 5/14 table size", head(before=b"\x20"), _ANSWER),
    case("generic 5/15 table size twice", head(before=b"\x20\x3f\xe1\x1f"), _ANSWER),
]

RFC_7540 = [
    Case("3.5/1 preface", (say(PREFACE, settings((INITIAL_WINDOW_SIZE, 65535))), hears_first(SETTINGS)), False),
    Case(
        "3.5/2 no preface",
        (say(b"INVALID CONNECTION PREFACE\r\n\r\n"), connection_error("PROTOCOL_ERROR"), ends),
        False,
    ),
    case("4.1/1 unknown type", say(*_UNKNOWN), _ping(), hears(PING)),
    case("4.1/2 undefined flags", _raw_ping(flags=0x16), hears(PING)),
    case("4.1/3 reserved bit", _raw_ping(flags=0x16, stream=1 << 31), hears(PING)),
    case("4.2/1 DATA of 2^14", _OPEN_POST, say(data(1, b"x" * 16384)), hears(HEADERS)),
    case("4.2/2 DATA too large", _OPEN_POST, say(data(1, b"x" * 16385)), stream_error("FRAME_SIZE_ERROR")),
    case("4.2/3 HEADERS too large", head([*GET, *dummies(5)]), connection_error("FRAME_SIZE_ERROR")),
    case("4.3/1 broken block", say(frame(HEADERS, 5, 1, b"\x40")), connection_error("COMPRESSION_ERROR")),
    case(
        "4.3/2 PRIORITY within a block",
        head(end=False, whole=False),
        say(priority(1)),
        continuation(dummies(1)),
        connection_error("PROTOCOL_ERROR"),
    ),
    case(
        "4.3/3 HEADERS within a block",
        head(end=False, whole=False),
        head(stream=3),
        continuation(dummies(1)),
        connection_error("PROTOCOL_ERROR"),
    ),
    case("5.1/1 idle: DATA", say(data(1)), connection_error("PROTOCOL_ERROR")),
    case("5.1/2 idle: RST_STREAM", say(rst_stream(1)), connection_error("PROTOCOL_ERROR")),
    case("5.1/3 idle: WINDOW_UPDATE", say(window_update(1, 100)), connection_error("PROTOCOL_ERROR")),
    case("5.1/4 idle: CONTINUATION", _idle_continuation, connection_error("PROTOCOL_ERROR")),
    case("5.1/5 half-closed: DATA", head(), say(data(1)), stream_error("STREAM_CLOSED")),
    case("5.1/6 half-closed: HEADERS", head(), head(), stream_error("STREAM_CLOSED")),
    case(
        "5.1/7 half-closed: CONTINUATION",
        head(),
        continuation(GET),
        stream_error("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    case("5.1/8 reset: DATA", _OPEN, say(rst_stream(1), data(1)), stream_error("STREAM_CLOSED")),
    case("5.1/9 reset: HEADERS", _OPEN, say(rst_stream(1)), head(), stream_error("STREAM_CLOSED")),
    case(
        "5.1/10 reset: CONTINUATION",
        _OPEN,
        say(rst_stream(1)),
        continuation(dummies(1)),
        stream_error("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    case("5.1/11 closed: DATA", head(), stream_ends, say(data(1)), stream_error("STREAM_CLOSED")),
    case("5.1/12 closed: HEADERS", head(), stream_ends, head(), connection_error("STREAM_CLOSED")),
    case(
        "5.1/13 closed: CONTINUATION",
        head(),
        stream_ends,
        continuation(dummies(1)),
        connection_error("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    case("5.1.1/1 even id", head(stream=2), connection_error("PROTOCOL_ERROR")),
    case("5.1.1/2 smaller id", head(stream=5), head(stream=3), connection_error("PROTOCOL_ERROR")),
    case("5.1.1/3 half-closed: HEADERS", head(stream=5), head(stream=5), stream_error("STREAM_CLOSED")),
    case(
        "5.1.2/1 too many streams",
        _NO_WINDOW,
        _a_hundred_and_one,
        stream_error("PROTOCOL_ERROR", "REFUSED_STREAM"),
    ),
    case("5.3.1/1 HEADERS on itself", head(priority=_DEPENDENT), stream_error("PROTOCOL_ERROR")),
    case("5.3.1/2 PRIORITY on itself", say(priority(1, on=1)), stream_error("PROTOCOL_ERROR")),
    case("5.4.1/1 the connection ends", _raw_ping(stream=3), ends),
    case("5.4.1/2 GOAWAY before it", _raw_ping(stream=3), told(GOAWAY, "PROTOCOL_ERROR")),
    case("5.5/1 unknown frame", say(*_UNKNOWN), _ping(), hears(PING)),
    case("5.5/2 unknown frame within a block", head(whole=False), say(*_UNKNOWN), connection_error("PROTOCOL_ERROR")),
    case("6.1/1 DATA on 0", say(data(0)), connection_error("PROTOCOL_ERROR")),
    case("6.1/2 DATA half-closed", head(POST), say(data(1)), stream_error("STREAM_CLOSED")),
    case(
        "6.1/3 DATA padded too far",
        head([*POST, ("content-length", "4")], end=False),
        say(*split(frame(DATA, PADDED | END_STREAM, 1, b"\x06Test"))),
        connection_error("PROTOCOL_ERROR"),
    ),
    case(
        "6.2/1 PRIORITY within a block",
        head(end=False, whole=False),
        say(priority(1)),
        continuation(dummies(1)),
        connection_error("PROTOCOL_ERROR"),
    ),
    case(
        "6.2/2 HEADERS within a block",
        head(end=False, whole=False),
        head(stream=3),
        continuation(dummies(1)),
        connection_error("PROTOCOL_ERROR"),
    ),
    case("6.2/3 HEADERS on 0", head(stream=0), connection_error("PROTOCOL_ERROR")),
    case("6.2/4 HEADERS padded too far", _pad_too_long, stream_error("PROTOCOL_ERROR")),
    case("6.3/1 PRIORITY on 0", say(priority(0)), connection_error("PROTOCOL_ERROR")),
    case("6.3/2 PRIORITY of 4", head(), say(*split(frame(2, 0, 1, b"\x80\0\0\1"))), stream_error("FRAME_SIZE_ERROR")),
    case("6.4/1 RST_STREAM on 0", say(rst_stream(0)), connection_error("PROTOCOL_ERROR")),
    case("6.4/2 RST_STREAM idle", say(rst_stream(1)), connection_error("PROTOCOL_ERROR")),
    case("6.4/3 RST_STREAM of 3", head(), say(*split(frame(3, 0, 1, bytes(3)))), stream_error("FRAME_SIZE_ERROR")),
    case("6.5/1 ACK with payload", say(*split(frame(SETTINGS, 1, 0, b"\0"))), connection_error("FRAME_SIZE_ERROR")),
    case(
        "6.5/2 SETTINGS on 1", say(*split(frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"))), connection_error("PROTOCOL_ERROR")
    ),
    case(
        "6.5/3 SETTINGS of 9, and one byte never comes",
        say(b"\0\0\x09\4\0\0\0\0\0", b"\0\3\0\0\0\x64\0\2"),
        stream_error("PROTOCOL_ERROR", "FRAME_SIZE_ERROR"),
    ),
    case("6.5.2/1 ENABLE_PUSH 2", say(settings((2, 2))), connection_error("PROTOCOL_ERROR")),
    case("6.5.2/2 INITIAL_WINDOW_SIZE 2^31", say(settings((4, 1 << 31))), connection_error("FLOW_CONTROL_ERROR")),
    case("6.5.2/3 MAX_FRAME_SIZE too small", say(settings((5, 16383))), connection_error("PROTOCOL_ERROR")),
    case("6.5.2/4 MAX_FRAME_SIZE too large", say(settings((5, 1 << 24))), connection_error("PROTOCOL_ERROR")),
    case("6.5.2/5 unknown setting", say(settings((0xFF, 1))), _ping(), hears(PING)),
    case(
        "6.5.3/1 in order",
        say(settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1))),
        hears(SETTINGS, ack=True),
        head(),
        hears(DATA, length=1),
    ),
    case("6.5.3/2 acknowledged", say(settings((2, 0))), hears(SETTINGS, ack=True)),
    case("6.7/1 PING", _ping(_NAME), pong(_NAME)),
    case("6.7/2 PING with ACK", _ping(b"invalid\0", flags=1), _ping(_NAME), pong(_NAME)),
    case("6.7/3 PING on 1", _raw_ping(stream=1), connection_error("PROTOCOL_ERROR")),
    case("6.7/4 PING of 6", _raw_ping(bytes(6)), connection_error("FRAME_SIZE_ERROR")),
    case("6.8/1 GOAWAY on 1", say(*split(frame(GOAWAY, 0, 1, _NOTHING))), connection_error("PROTOCOL_ERROR")),
    case("6.9/1 by nothing", say(window_update(0, 0)), connection_error("PROTOCOL_ERROR")),
    case("6.9/2 by nothing on a stream", _OPEN, say(window_update(1, 0)), stream_error("PROTOCOL_ERROR")),
    case("6.9/3 of 3", say(*split(frame(8, 0, 0, b"\0\0\1"))), connection_error("FRAME_SIZE_ERROR")),
    case(
        "6.9.1/1 a window of 1",
        say(settings((INITIAL_WINDOW_SIZE, 1))),
        hears(SETTINGS, ack=True),
        head(),
        hears(DATA, length=1),
    ),
    case(
        "6.9.1/2 the connection's window over 2^31-1",
        say(window_update(0, MOST), window_update(0, MOST)),
        told(GOAWAY, "FLOW_CONTROL_ERROR"),
    ),
    case(
        "6.9.1/3 a stream's window over 2^31-1",
        _OPEN,
        say(window_update(1, MOST), window_update(1, MOST)),
        told(RST_STREAM, "FLOW_CONTROL_ERROR"),
    ),
    case(
        "6.9.2/1 changed after HEADERS",
        _NO_WINDOW,
        hears(SETTINGS, ack=True),
        head(),
        say(settings((INITIAL_WINDOW_SIZE, 1))),
        hears(SETTINGS, ack=True),
        hears(DATA, length=1),
    ),
    case(
        "6.9.2/2 a negative window",
        say(settings((INITIAL_WINDOW_SIZE, 3))),
        hears(SETTINGS, ack=True),
        head(),
        hears(DATA),
        say(settings((INITIAL_WINDOW_SIZE, 2))),
        hears(SETTINGS, ack=True),
        say(window_update(1, 2)),
        hears(DATA, length=1),
    ),
    case("6.9.2/3 over 2^31-1", say(*split(settings((4, 1 << 31)))), connection_error("FLOW_CONTROL_ERROR")),
    case(
        "6.10/1 CONTINUATION twice",
        head(whole=False),
        continuation(dummies(1), whole=False),
        continuation(dummies(1)),
        hears(HEADERS),
    ),
    case(
        "6.10/2 DATA after it",
        head(POST, end=False, whole=False),
        continuation(dummies(1), whole=False),
        say(data(1)),
        connection_error("PROTOCOL_ERROR"),
    ),
    case(
        "6.10/3 on 0",
        head(whole=False),
        continuation(dummies(1), stream=0),
        connection_error("PROTOCOL_ERROR"),
    ),
    case("6.10/4 after END_HEADERS", head(), continuation(dummies(1)), connection_error("PROTOCOL_ERROR")),
    case(
        "6.10/5 after a last CONTINUATION",
        head(whole=False),
        continuation(dummies(1)),
        continuation(dummies(1)),
        connection_error("PROTOCOL_ERROR"),
    ),
    case(
        "6.10/6 after DATA",
        head(POST, end=False, whole=False),
        say(data(1)),
        continuation(dummies(1), whole=False),
        continuation(dummies(1), stream=0),
        connection_error("PROTOCOL_ERROR"),
    ),
    case(
        "7/1 GOAWAY of an unknown code",
        say(frame(GOAWAY, 0, 0, bytes(7) + b"\xff")),
        _ping(_NAME),
        pong(_NAME, or_end=True),
    ),
    case("7/2 RST_STREAM of an unknown code", _OPEN_POST, say(rst_stream(1, 0xFF)), _ping(), pong(_NOTHING)),
    case(
        "8.1/1 a second HEADERS",
        _OPEN_POST,
        say(data(1, end=False)),
        head([("x-test", "ok")], end=False),
        stream_error("PROTOCOL_ERROR"),
    ),
    case("8.1.2/1 upper case", head(GET, after=b"\x00\x06X-TEST\x02ok"), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.1/1 unknown pseudo-header", head([*GET, (":test", "ok")]), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.1/2 :status", head([*GET, (":status", "200")]), stream_error("PROTOCOL_ERROR")),
    case(
        "8.1.2.1/3 pseudo-header in trailers",
        _OPEN_POST,
        say(data(1, end=False)),
        head([(":method", "POST")], end=False),
        stream_error("PROTOCOL_ERROR"),
    ),
    case("8.1.2.1/4 late pseudo-headers", head([("x-test", "ok"), *GET]), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.2/1 connection", head([*GET, ("connection", "keep-alive")]), stream_error("PROTOCOL_ERROR")),
    case(
        "8.1.2.2/2 te",
        head([*GET, ("trailers", "test"), ("te", "trailers, deflate")]),
        stream_error("PROTOCOL_ERROR"),
    ),
    case("8.1.2.3/1 empty path", head([*_without(":path"), (":path", "")]), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.3/2 no method, and no scheme", head(_without(":method")[1:]), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.3/3 no scheme", head(_without(":scheme")), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.3/4 no path", head(_without(":path")), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.3/5 two methods", head([*GET, (":method", "GET")]), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.3/6 two schemes", head([*GET, (":scheme", "https")]), stream_error("PROTOCOL_ERROR")),
    case("8.1.2.3/7 two paths", head([*GET, (":path", "/")]), stream_error("PROTOCOL_ERROR")),
    case(
        "8.1.2.6/1 content-length of one DATA",
        head([*POST, ("content-length", "1")], end=False),
        say(data(1)),
        stream_error("PROTOCOL_ERROR"),
    ),
    case(
        "8.1.2.6/2 content-length of two",
        head([*POST, ("content-length", "1")], end=False),
        say(data(1, end=False), data(1)),
        stream_error("PROTOCOL_ERROR"),
    ),
    case("8.2/1 PUSH_PROMISE", _promise, connection_error("PROTOCOL_ERROR")),
]

RFC_7541 = [
    case("H2.3.3/1 index 70", head(after=b"\xc6"), connection_error("COMPRESSION_ERROR")),
    case("H2.3.3/2 name index 70", head(after=b"\x7f\x07\x00"), connection_error("COMPRESSION_ERROR")),
    case("H4.2/1 a late table size", head(after=b"\x21"), connection_error("COMPRESSION_ERROR")),
    case(
        "H5.2/1 padding over 7 bits",
        head(after=b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        connection_error("COMPRESSION_ERROR"),
    ),
    case(
        "H5.2/2 padding of zeros",
        head(after=b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        connection_error("COMPRESSION_ERROR"),
    ),
    case(
        "H5.2/3 EOS",
        head(after=b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xfd\x25\x42\x7f"),
        connection_error("COMPRESSION_ERROR"),
    ),
    case("H6.1/1 index 0", head(after=b"\x80"), connection_error("COMPRESSION_ERROR")),
    case("H6.3/1 a table of 4097", head(before=b"\x3f\xe2\x1f"), connection_error("COMPRESSION_ERROR")),
]

CASES = [*GENERIC, *RFC_7540, *RFC_7541]


class World(NamedTuple):
    context: SSL.Context
    port: int

    def client(self) -> Client:
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(self.context, sock, name="localhost").handshake()
        assert peer.tls.get_alpn_proto_negotiated() == b"h2"
        return Client(peer)


_PROGRAMS = {"nghttpd": nghttpd, "nginx": nginx}


@contextlib.contextmanager
def _service(kind: str, directory: Path) -> Iterator[str]:
    if kind in _PROGRAMS:
        with _PROGRAMS[kind](directory) as address:
            yield address
        return
    service = H2Service() if kind == "patient" else H2Service(b"none.", status=404, prompt=True)
    with serving(service) as served:
        yield served.address


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.xdist_group(f"h2_{name}"), *needed])
        for name, needed in (
            ("patient", []),
            ("prompt", []),
            *((name, [pytest.mark.needs(name)]) for name in _PROGRAMS),
        )
    ],
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("conformance")
    pki = Pki(directory / "pki")
    server, pair = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    context = client_context(pki.trust, pair)
    context.set_alpn_protos([b"h2"])
    with _service(request.param, directory) as address:
        config = configs.identity(server, pki.trust) + configs.terminate(address, protocol="http", http2="only")
        with running(directory / "sidecar", config) as sidecar:
            yield World(context, sidecar.port())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_conformance(world: World, case: Case) -> None:
    client = world.client()
    try:
        if case.begins:
            client.shake_hands()
        for step in case.steps:
            step(client)
    finally:
        client.peer.close()


def test_the_suite_is_whole() -> None:
    assert (len(GENERIC), len(RFC_7540), len(RFC_7541)) == (44, 96, 8)
    assert len({case.name for case in CASES}) == 148
    assert len(BODY) >= 5  # of a smaller one the cases about windows say nothing
