"""The ordinary way and the precise one: whatever either side says, and in whatever pieces, both hear and are told the
same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http.identities import identity
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, TRAILERS, Field, Talk, coded, head

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.session import Session
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits, Route

CLIENT, UPSTREAM = "client", "upstream"
Said = tuple[str, bytes]


class Precise(Session):
    """It takes no short way, and remembers no block."""

    def _ordinary_client_frames(self, data: frames.Buffer, size: int) -> int:
        return 0

    def _ordinary_upstream_frames(self, data: frames.Buffer, size: int) -> int:
        return 0

    def _remember_request(self, *_: object) -> None:
        pass


class Ordinary(Session):
    """It counts how many frames took the short way."""

    taken = 0

    def _ordinary_client_frames(self, data: frames.Buffer, size: int) -> int:
        taken = super()._ordinary_client_frames(data, size)
        Ordinary.taken += taken
        return taken

    def _ordinary_upstream_frames(self, data: frames.Buffer, size: int) -> int:
        taken = super()._ordinary_upstream_frames(data, size)
        Ordinary.taken += taken
        return taken


_POST: Sequence[Field] = ((b":method", b"POST"), *GET[1:])
_REQUESTS = st.sampled_from(
    [
        GET,
        CALL,
        _POST,
        (*_POST, (b"content-length", b"5")),
        (*GET, (b"x-request-id", b"theirs")),
        (*GET, (b"x_low", b"1")),
        ((b":method", b"HEAD"), *GET[1:]),
        (*GET[:3], (b":path", b"/private/./a")),
        (*GET, (b"authorization", b"Bearer x")),
        (*CALL, (b"cookie", b"a=b"), (b"x-tail", b"1"), (b"authorization", b"Bearer y")),
        (*GET, (b"connection", b"close")),
    ]
)
_RESPONSES = st.sampled_from(
    [
        OK,
        TRAILERS,
        ((b":status", b"200"), (b"content-length", b"5")),
        ((b":status", b"103"), (b"link", b"</a>")),
        ((b":status", b"204"),),
        ((b":status", b"200"), (b"grpc-status", b"7")),
        ((b":status", b"200"), (b"set-cookie", b"a=b")),
        ((b"x-odd", b"1"),),
    ]
)
_ROUTES = (Route("/private/**", (), ("cn:nobody",)), Route("/**", (), ("any",)))
_CLIENT = identity(dns=("a.test",))
_ID = st.sampled_from([1, 3, 5, 7, 9])
_FLAG = st.booleans()
_CONTENT = st.sampled_from([b"", b"a", b"hello", b"\0\0\0\0\2hi"])


def _anywhere(side: str) -> st.SearchStrategy[Said]:
    return st.one_of(
        st.builds(lambda number, content, end: frames.data(number, content, end_stream=end), _ID, _CONTENT, _FLAG),
        st.builds(lambda number: frames.frame(frames.DATA, 9, number, b"\2hello\0\0"), _ID),
        st.builds(
            lambda number, content, count, other: (
                frames.data(number, content, end_stream=False) * count + frames.data(number, other, end_stream=False)
            ),
            _ID,
            _CONTENT,
            st.integers(1, 5),
            _CONTENT,
        ),
        st.builds(lambda number: frames.data(number, b"x" * 700, end_stream=False) * 40, _ID),
        st.builds(lambda number: frames.rst_stream(number, 8), _ID),
        st.builds(frames.window_update, st.sampled_from([0, 1, 3]), st.sampled_from([9, 1 << 30, (1 << 31) + 9])),
        st.just(frames.frame(frames.PING, 0, 0, b"12345678")),
        st.just(frames.frame(0x42, 0, 0, b"?")),
        st.just(frames.settings([(frames.INITIAL_WINDOW_SIZE, 3)])),
        st.builds(lambda last: frames.goaway(last, 0), st.sampled_from([1, 3, frames.MAX_WINDOW])),
    ).map(lambda wire: (side, wire))


_SAID = st.one_of(
    st.builds(lambda number, fields, end: (CLIENT, head(number, fields, end=end)), _ID, _REQUESTS, _FLAG),
    st.builds(lambda number, fields, end: (UPSTREAM, head(number, fields, end=end)), _ID, _RESPONSES, _FLAG),
    st.builds(lambda number: (CLIENT, frames.frame(1, 0x25, number, b"\0\0\0\0\1" + coded(GET))), _ID),
    _anywhere(CLIENT),
    _anywhere(UPSTREAM),
)


def _call(number: int) -> list[Said]:
    return [
        (CLIENT, head(number, CALL, end=False) + frames.data(number, b"\0\0\0\0\2hi", end_stream=True)),
        (
            UPSTREAM,
            head(number, OK, end=False)
            + frames.data(number, b"\0\0\0\0\2ho", end_stream=False)
            + head(number, TRAILERS),
        ),
    ]


_LEARNT = [*_call(1), (CLIENT, head(3)), (UPSTREAM, head(3, OK, end=False) + frames.data(3, b"x", end_stream=True))]


def _heard(talk: Talk) -> object:
    without_ids = [
        [
            (each[0], each[1], [field for field in each[2] if field[0] != b"x-request-id"], each[3])  # type: ignore[attr-defined]
            if each[0] == "head"
            else each
            for each in side.heard
        ]
        for side in (talk.at_client, talk.at_upstream)
    ]
    entries = [
        (each.reason, each.status, each.target, each.bytes_in, each.bytes_out, each.upstream, each.rule)
        for each in talk.ledger.entries
    ]
    return without_ids, entries, talk.grpc.codes, talk.end, talk.faults, talk.session.requests


def _told(said: Sequence[Said], cuts: Sequence[int], kind: type[Session], *, routes: bool, limited: bool) -> object:
    settings = replace(listener(), http2="only", limits=Limits(max_body_bytes=4) if limited else Limits())
    talk = Talk(settings, session=kind, routes=_ROUTES if routes else (), client=_CLIENT)
    for side, wire in said:
        (talk.client if side == CLIENT else talk.upstream)(wire, cuts=cuts)
    return _heard(talk)


@given(
    st.lists(st.lists(_SAID, min_size=1, max_size=4), max_size=8),
    st.lists(st.integers(0, 400), max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_both_ways_say_the_same(reads: list[list[Said]], cuts: list[int], routes: bool, limited: bool) -> None:
    """The pieces are one side's of one read."""
    said = list(_LEARNT)
    for pieces in reads:
        said += [
            (side, wire)
            for side in (CLIENT, UPSTREAM)
            if (wire := b"".join(each[1] for each in pieces if each[0] == side))
        ]
    ways = [_told(said, cuts, kind, routes=routes, limited=limited) for kind in (Session, Precise)]
    assert ways[0] == ways[1]


_SIZES = st.sampled_from([0, 1, 2500, 5000, frames.MAX_FRAME_BYTES, frames.MAX_FRAME_BYTES + 1])
_LENGTH = st.sampled_from([(), ((b"content-length", b"5000"),), ((b"content-length", b"%d" % (2 << 14)),)])
_PIECE = st.one_of(
    st.builds(lambda size, end: frames.data(5, b"x" * size, end_stream=end), _SIZES, _FLAG),
    st.builds(lambda size: frames.data(5, b"x" * size, end_stream=False) * 3, _SIZES),
    st.sampled_from(
        [
            frames.frame(frames.DATA, 8, 5, b"\2hello\0\0"),
            frames.data(1, b"late", end_stream=False),
            frames.window_update(5, 9),
            frames.window_update(0, 1 << 16),
            frames.rst_stream(5, 8),
            head(7, CALL, end=False),
            head(7, OK, end=False) + frames.data(7, b"y" * 3000, end_stream=False),
        ]
    ),
)


@given(
    _LENGTH,
    _LENGTH,
    st.lists(st.tuples(st.sampled_from([CLIENT, UPSTREAM]), st.lists(_PIECE, min_size=1, max_size=3)), max_size=6),
    st.lists(st.one_of(st.integers(0, 20), st.integers(0, 20_000)), max_size=3),
    st.booleans(),
)
def test_both_ways_say_the_same_of_bodies(
    asked: Sequence[Field],
    answered: Sequence[Field],
    reads: list[tuple[str, list[bytes]]],
    cuts: list[int],
    limited: bool,
) -> None:
    """Of one exchange, in whatever pieces and against whatever lengths they come."""
    said = [*_LEARNT, (CLIENT, head(5, (*_POST, *asked), end=False)), (UPSTREAM, head(5, (*OK, *answered), end=False))]
    said += [(side, b"".join(pieces)) for side, pieces in reads]
    ways = [_told(said, cuts, kind, routes=False, limited=limited) for kind in (Session, Precise)]
    assert ways[0] == ways[1]


@pytest.mark.parametrize("side", [CLIENT, UPSTREAM])
@pytest.mark.parametrize("column", range(frames.HEAD_BYTES))
@pytest.mark.parametrize("at", [1, 20, 39])
def test_one_head_that_differs_ends_a_run_of_messages(at: int, column: int, side: str) -> None:
    """Forty of one length, and one byte of one of their heads is another."""
    wire = bytearray(frames.data(5, b"\0\0\0\0\2hi", end_stream=False) * 40)
    wire[at * 16 + column] ^= 1
    said = [*_LEARNT, (CLIENT, head(5, CALL, end=False)), (UPSTREAM, head(5, OK, end=False)), (side, bytes(wire))]
    ways = [_told(said, [], kind, routes=False, limited=False) for kind in (Session, Precise)]
    assert ways[0] == ways[1]


@pytest.mark.parametrize("side", [CLIENT, UPSTREAM])
def test_what_follows_the_begin_of_a_head_is_no_frame(side: str) -> None:
    content = b"\0\0\0\0\0\5hello"  # behind the last three bytes of its frame's head: a frame
    wire = frames.data(5, content, end_stream=False)
    said = [*_LEARNT, (CLIENT, head(5, CALL, end=False)), (UPSTREAM, head(5, OK, end=False))]
    said += [(side, wire[:6]), (side, wire[6:])]
    ways = [_told(said, [], kind, routes=False, limited=False) for kind in (Session, Precise)]
    assert ways[0] == ways[1]


@pytest.mark.parametrize("side", [CLIENT, UPSTREAM])
def test_a_frame_over_the_limit_goes_on_behind_a_small_one_neither(side: str) -> None:
    talk = Talk()
    for number in (1, 3):
        talk.client(head(number, CALL, end=False)).upstream(head(number, OK, end=False))
    wire = frames.data(3, b"x", end_stream=False) + frames.data(3, b"y" * 20_000, end_stream=False)
    (talk.client if side == CLIENT else talk.upstream)(wire)
    assert (talk.at_upstream if side == CLIENT else talk.at_client).data(3) == b"x"
    assert talk.session.end is not None


def test_a_window_is_given_back_to_an_upstream_in_time() -> None:
    talk = Talk()
    for number in (1, 3):
        talk.client(head(number, (*_POST, (b"content-length", b"200")), end=False)).upstream(
            head(number, OK, end=False)
        )
    half = frames.data(3, b"x" * 100, end_stream=False)
    talk.client(frames.data(1, b"x" * 201, end_stream=False), half[:50])  # the first is over its length
    talk.upstream(frames.data(1, b"y" * 10, end_stream=False)).client(half[50:])
    assert talk.at_upstream.of("window") == [("window", 0, 10)]


@pytest.mark.parametrize("routes", [False, True])
def test_what_is_ordinary_takes_the_short_way(routes: bool) -> None:
    Ordinary.taken = 0
    calls = [each for number in (5, 7, 9) for each in _call(number)]
    gets: list[Said] = [(CLIENT, head(11) + head(13)), (UPSTREAM, head(13, OK, end=False) + head(11, OK, end=False))]
    more: list[Said] = [
        (UPSTREAM, frames.data(11, b"y", end_stream=False)),
        (UPSTREAM, frames.data(13, b"z", end_stream=True)),
    ]
    said = [*_LEARNT, *calls, *gets, *more]
    heard = _told(said, [], Ordinary, routes=routes, limited=False)
    assert heard == _told(said, [], Precise, routes=routes, limited=False)
    assert Ordinary.taken == sum(len(wire) for _, wire in [*calls, *gets, *more])


def test_a_refusal_on_the_short_way_is_said_at_once() -> None:
    talk = Talk(routes=_ROUTES, client=_CLIENT)
    talk.client(head(1)).upstream(head(1, OK))
    talk.session._downstream.admission = _Full()
    talk.client(head(3) + head(5))
    assert [talk.at_client.heads(number)[0][b":status"] for number in (3, 5)] == [b"429", b"429"]


class _Full:
    def enter(self) -> None:
        raise MessageRefused(429, Reason.RATE_LIMITED)

    def leave(self) -> None:
        raise AssertionError("nobody was let in")
