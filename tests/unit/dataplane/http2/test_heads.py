"""Header blocks judged by themselves: what goes on of them, and what is not to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, Field, without

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http2.heads import Heads, Malformed, RequestHead
from tlsidecar.dataplane.http2.hpack import Decoder
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Http, Limits


def _heads(*, terminates: bool = True, limits: Limits | None = None, **http: object) -> Heads:
    settings = replace(listener(), http=Http(**http), limits=limits or Limits())  # type: ignore[arg-type]
    return Heads(HttpRules.of(settings), terminates=terminates)


def _read(block: bytes) -> tuple[list[Field], list[int]]:
    decoder = Decoder(200, 1 << 20)
    return decoder.decode(block), decoder.never_indexed


def _written(heads: Heads, fields: Sequence[Field], never_indexed: Sequence[int] = ()) -> tuple[list[Field], list[int]]:
    head = heads.request([*fields], never_indexed)
    return _read(head.written(head.path, b""))


def test_a_request_goes_on_as_it_came_but_for_its_scheme() -> None:
    fields, never_indexed = _written(_heads(), CALL)
    names = (b":method", b":scheme", b":authority", b":path")
    assert sorted(fields) == sorted([*without(CALL, b":scheme"), (b":scheme", b"http")])
    assert [name for name, _ in fields[:4]] == [*names]
    assert never_indexed == []
    assert (b":scheme", b"https") in _written(_heads(terminates=False), CALL)[0]


def test_what_was_written_is_not_kept() -> None:
    head = _heads().request([*CALL, (b"authorization", b"Bearer secret")])
    assert b"secret" in head.written(head.path, b"")
    assert (head.before, head.path, head.parts) == (b"", b"", ())


def test_host_stands_in_for_the_authority_and_is_never_said_twice() -> None:
    assert _written(_heads(), [*without(GET, b":authority"), (b"host", b"b.test")])[0].count((b":authority", b"b.test"))
    for host in (b"a.test", b"A.TEST"):
        fields, _ = _written(_heads(), [*GET, (b"host", host)])
        assert [value for name, value in fields if name in (b"host", b":authority")] == [b"a.test"]


@pytest.mark.parametrize("name", [b"x-forwarded-client-cert", b"x_low", b"trailer"])
def test_what_is_forged_or_for_one_hop_does_not_go_on(name: bytes) -> None:
    fields, _ = _written(_heads(), [*GET, (name, b"x"), (b"x-own", b"1")])
    assert [field for field in fields if field[0] not in dict(GET)] == [(b"x-own", b"1")]


def test_an_asterisk_is_for_options_alone() -> None:
    star = [*without(GET, b":path", b":method"), (b":path", b"*")]
    assert _heads().request([(b":method", b"OPTIONS"), *star]).target == b"*"
    with pytest.raises(Malformed):
        _heads().request([(b":method", b"GET"), *star])


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([(b":method", b"CONNECT"), *GET[1:]], 405, Reason.METHOD_REFUSED),
        ([*GET[:3], (b":path", b"/" + b"a" * 100)], 414, Reason.TARGET_TOO_LONG),
        ([*GET, (b"content-length", b"11")], 413, Reason.BODY_TOO_LARGE),
        ([*GET, (b"expect", b"a-miracle")], 417, Reason.EXPECTATION_FAILED),
        ([*GET, (b"content_length", b"1")], 400, Reason.BAD_HEADER),
        ([*GET, (b"x_low", b"1")], 400, Reason.UNDERSCORE_HEADER),
    ],
)
def test_a_request_that_is_not_to_be_had(fields: list[Field], status: int, reason: Reason) -> None:
    heads = _heads(limits=Limits(max_target_bytes=100, max_body_bytes=10), underscores="refuse")
    with pytest.raises(MessageRefused) as refused:
        heads.request(fields)
    assert (refused.value.status, refused.value.reason) == (status, reason)


def test_credentials_and_what_a_client_hides_are_never_indexed() -> None:
    fields, never_indexed = _written(_heads(), [*GET, (b"cookie", b"a=b"), (b"x-odd", b"1"), (b"x-even", b"2")], [5])
    assert sorted(fields[at][0] for at in never_indexed) == [b"cookie", b"x-odd"]
    head = _heads().request([*GET], [3])  # its path
    assert isinstance(head, RequestHead)
    assert head.hides
    assert {name for at, (name, _) in enumerate(_read(head.before + head.path)[0]) if at in (0, 2, 3)} == {
        b":method",
        b":authority",
        b":path",
    }
    assert _read(head.before + head.path)[1] == [0, 2, 3]


@pytest.mark.parametrize(
    "name",
    [b"content-length", b"host", b"te", b"trailer", b"authorization", b"x-forwarded-client-cert", b"content-type"],
)
def test_a_trailer_does_not_say_what_belongs_before_the_content(name: bytes) -> None:
    block = _heads().request_trailers([(b"x-checksum", b"7"), (name, b"1")])
    assert _read(block)[0] == [(b"x-checksum", b"7")]


@pytest.mark.parametrize("field", [(b":path", b"/"), (b"X-A", b"1"), (b"a", b"b\r\nc"), (b"connection", b"close")])
def test_a_trailer_that_is_malformed(field: Field) -> None:
    for judge in (_heads().request_trailers, _heads().response_trailers):
        with pytest.raises(Malformed):
            judge([(b"x-checksum", b"7"), field])


def test_a_response() -> None:
    head = _heads().response([*OK, (b"content-length", b"5"), (b"set-cookie", b"a=b")], b"GET")
    assert (head.status, head.length, head.has_secret) == (200, 5, True)
    fields, never_indexed = _read(head.block)
    assert [fields[at] for at in never_indexed] == [(b"set-cookie", b"a=b")]
    assert _heads().response([*OK, (b"content-length", b"5")], b"HEAD").length == 0
    assert _heads().response([(b":status", b"304"), (b"content-length", b"5")], b"GET").length == 0


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"content-type", b"a"), (b":status", b"200")],
        [(b":status", b"20")],
        [(b":status", b"600")],
        [(b":status", b"101")],
        [*OK, (b":status", b"200")],
        [*OK, (b"content-length", b"1"), (b"content-length", b"1")],
        [*OK, (b"a", b"b\r\nset-cookie: c")],
    ],
)
def test_a_response_that_is_none(fields: list[Field]) -> None:
    with pytest.raises(Malformed):
        _heads().response(fields, b"GET")


def test_a_status_in_the_trailers_is_told() -> None:
    assert _heads().response_trailers([(b"grpc-status", b"5")]).grpc_status == b"5"


def test_no_more_is_remembered_than_there_may_be() -> None:
    heads = _heads()
    for at in range(2100):
        heads.request([*GET, (b"x-%d" % at, b"1")])
        heads.response([*OK, (b"x-%d" % at, b"1")], b"GET")
    known = len(heads._request_fields)
    heads.request([*GET, (b"x-long", b"1" * 1000), (b"authorization", b"secret")])
    assert len(heads._request_fields) == known < 2100 - 2000
    assert len(heads._response_fields) < 2100 - 2000
