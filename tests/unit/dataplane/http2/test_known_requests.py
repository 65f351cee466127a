"""Blocks with credentials: the same block is not judged again, and nothing that tells them is kept for it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
from hpack import Encoder
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, TRAILERS, Field, Talk, coded

from tlsidecar.dataplane.http2 import frames, hpack
from tlsidecar.dataplane.http2.heads import Heads
from tlsidecar.dataplane.http2.known_requests import BLOCKS_REMEMBERED
from tlsidecar.settings import Http

_TOKEN = b"Bearer 0123456789abcdef"
_COOKIE = b"session=fedcba9876543210"
_CREDENTIALS: Sequence[Field] = ((b"authorization", _TOKEN), (b"x-tail", b"1"), (b"cookie", _COOKIE))


def _never(fields: Iterable[Field], names: Iterable[bytes]) -> list[HeaderTuple]:
    return [NeverIndexedHeaderTuple(*field) if field[0] in names else HeaderTuple(*field) for field in fields]


def _in_the_table() -> Callable[[Iterable[Field]], bytes]:
    encoder = Encoder()
    return lambda fields: encoder.encode(_never(fields, ()))


def _never_indexed() -> Callable[[Iterable[Field]], bytes]:
    encoder = Encoder()
    return lambda fields: encoder.encode(_never(fields, (b"authorization", b"cookie")))


ENCODERS = {
    "plain literals": lambda: coded,
    "in the client's table": _in_the_table,
    "never indexed, Huffman": _never_indexed,
}


def _asked(talk: Talk, block: bytes, number: int) -> bytes:
    """The block that goes on for this one."""
    before = len(talk.at_upstream.raw)
    talk.client(frames.headers(number, block, end_stream=True))
    said = talk.at_upstream.raw[before:]
    return said[frames.HEAD_BYTES :]


def _fields(block: bytes) -> tuple[list[Field], list[Field]]:
    """All but the request id, and those that are never to be indexed."""
    decoder = hpack.Decoder(200, 1 << 20)
    fields = decoder.decode(block)
    return [each for each in fields if each[0] != b"x-request-id"], [fields[at] for at in decoder.never_indexed]


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_a_block_with_credentials_is_not_judged_again(
    encoder: Callable[[], Callable[[Iterable[Field]], bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, encode = Talk(), encoder()
    first = _fields(_asked(talk, encode([*CALL, *_CREDENTIALS]), 1))
    blocks = [encode([*CALL, *_CREDENTIALS]) for _ in range(4)]
    assert _fields(_asked(talk, blocks[0], 3)) == first
    assert _fields(_asked(talk, blocks[1], 5)) == first
    monkeypatch.setattr(Heads, "request", None)
    for number, block in ((7, blocks[2]), (9, blocks[3])):
        assert _fields(_asked(talk, block, number)) == first
    assert first[1] == [(b"authorization", _TOKEN), (b"cookie", _COOKIE)]
    assert (b"x-tail", b"1") in first[0]
    assert len(set(talk.session.streams)) == 5


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_nothing_decoded_is_kept(encoder: Callable[[], Callable[[Iterable[Field]], bytes]]) -> None:
    """But in the decoder's own table, where the client wants it."""
    talk, encode = Talk(), encoder()
    for number in (1, 3, 5, 7):
        _asked(talk, encode([*GET, *_CREDENTIALS]), number)
    session = talk.session
    kept = [session._known_requests, session._heads, session._stated, *session.streams.values()]
    secrets = [_TOKEN, _COOKIE, *(encode([field])[-10:] for field in _CREDENTIALS if encode is not coded)]
    found = [each for each in _bytes_within(kept) if any(len(secret) > 9 and secret in each for secret in secrets)]
    assert not found


def _bytes_within(roots: Iterable[object]) -> list[bytes]:
    """Every string that is reached from ``roots``, through objects of ours and containers."""
    seen: set[int] = set()
    waiting = list(roots)
    found = []
    while waiting:
        each = waiting.pop()
        if isinstance(each, (bytes, bytearray)):
            found.append(bytes(each))
        elif id(each) not in seen and (
            isinstance(each, (dict, list, tuple, set)) or type(each).__module__.startswith("tlsidecar.dataplane.http")
        ):
            seen.add(id(each))
            waiting += gc.get_referents(each)
    return found


def test_other_credentials_in_the_same_place_are_those_that_go_on() -> None:
    talk = Talk()
    number = 1
    for _ in range(3):
        for token in (b"Bearer one", b"Bearer two"):
            block = coded([*GET, (b"authorization", token)])
            assert dict(_fields(_asked(talk, block, number))[0])[b"authorization"] == token
            number += 2


def test_an_entry_that_the_table_lost_is_not_taken_from_it() -> None:
    talk, encode = Talk(), _in_the_table()
    number = 1
    for token in (b"Bearer one", b"Bearer two", b"Bearer three"):
        for _ in range(4):
            block = encode([*GET, (b"authorization", token)])
            assert dict(_fields(_asked(talk, block, number))[0])[b"authorization"] == token
            number += 2


def test_what_is_never_to_be_indexed_is_not_by_us_either() -> None:
    """RFC 7541 section 6.2.3, whatever the field is called, in both directions and in trailers."""
    secret = _never([(b"x-ours", b"1")], (b"x-ours",))
    client, upstream, talk = Encoder().encode, Encoder().encode, Talk()
    for number in (1, 3, 5):
        talk.client(frames.headers(number, client([*_never(CALL, ()), *secret]), end_stream=False))
        talk.client(frames.headers(number, client(secret), end_stream=True))
        talk.upstream(frames.headers(number, upstream([*_never(OK, ()), *secret]), end_stream=False))
        talk.upstream(frames.headers(number, upstream([*_never(TRAILERS, ()), *secret]), end_stream=True))
    assert [side.raw.count(b"\x10\x06x-ours") for side in (talk.at_upstream, talk.at_client)] == [6, 6]


@pytest.mark.parametrize("credentials", [[], [(b"authorization", _TOKEN)]], ids=["alone", "beside a token"])
@pytest.mark.parametrize("name", [b":path", b":authority", b"x-request-id", b"host"])
def test_of_what_is_kept_of_every_request_nothing_is_where_it_is_secret(name: bytes, credentials: list[Field]) -> None:
    fields = [*GET, (b"host", b"a.test"), (b"x-request-id", b"theirs"), *credentials]
    encode = Encoder().encode
    talk = Talk()
    for number in (1, 3, 5):
        said, never_indexed = _fields(_asked(talk, encode(_never(fields, (name,))), number))
        assert (b":path", b"/x") in never_indexed
        assert dict(said)[b":authority"] == b"a.test"
    assert repr(talk.session._known_requests) == "<KnownRequests 0 and 1 with credentials>"
    assert list(talk.session._known_requests._sealed.values()) == [None]


def test_what_ours_is_added_to_is_never_indexed_then_either() -> None:
    settings = replace(listener(http=Http(trust_forwarded=True)), http2="only")
    talk, encode = Talk(settings), Encoder().encode
    fields = _never([*GET, (b"x-forwarded-for", b"192.0.2.7")], (b"x-forwarded-for",))
    for number in (1, 3):
        never_indexed = dict(_fields(_asked(talk, encode(fields), number))[1])
        assert b"192.0.2.7" in never_indexed[b"x-forwarded-for"]
    assert b"192.0.2.7" not in repr(talk.session._heads._encoder._known).encode()


def test_how_many_are_prepared_is_bounded() -> None:
    talk = Talk()
    for number in range(1, 61, 2):
        _asked(talk, coded([*GET, (b"authorization", b"%d" % number)]), number)
    assert len(talk.session._known_requests._sealed) <= BLOCKS_REMEMBERED


_ASKED = (b"authorization", b"cookie", b"x-a", b"x-b", b"accept")
_NAMES = st.sampled_from(_ASKED)
_VALUES = st.sampled_from([b"", b"a", b"Bearer x", b"z" * 200])


@given(
    st.lists(st.tuples(_NAMES, _VALUES, st.booleans()), max_size=5),
    st.integers(0, 2),
    st.booleans(),
)
def test_a_prepared_block_says_what_a_judged_one_does(
    fields: list[tuple[bytes, bytes, bool]], table: int, huffman: bool
) -> None:
    encoder = Encoder()
    encoder.header_table_size = table * 100 or 4096
    talk = Talk()
    heard = []
    for number in (1, 3, 5, 7):
        tuples = [
            *_never(GET, ()),
            *(_never([(name, value)], (name,) if never else ())[0] for name, value, never in fields),
        ]
        heard.append(_fields(_asked(talk, encoder.encode(tuples, huffman=huffman), number)))
    assert all(said == heard[0][0] for said, _ in heard)
    went_on = [field for field in heard[0][0] if field[0] in _ASKED]
    assert went_on == [(name, value) for name, value, _ in fields]
