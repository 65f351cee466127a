"""Bodies that are taken and that are not, and replies that strict readers take."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tlsidecar.admin.access import Access
from tlsidecar.admin.messages import JSON_DEPTH, AdminRequest, ApiError, encode, parse_object, whole_number
from tlsidecar.observe.audit import Caller


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"{}", {}),
        (b' {"a": [1, {"b": null}]} ', {"a": [1, {"b": None}]}),
        (b'{"a": "\\\\\\"' + b"[" * 100 + b'"}', {"a": '\\"' + "[" * 100}),  # brackets in a string nest nothing
        (b'{"a":' * (JSON_DEPTH - 1) + b"{}" + b"}" * (JSON_DEPTH - 1), None),
    ],
)
def test_an_object_is_taken(body: bytes, document: object) -> None:
    assert parse_object(body) == (json.loads(body) if document is None else document)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff{}", "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":1,"a":2}', "a name is there twice"),
        (b'{"a":{"b":1,"b":1}}', "a name is there twice"),
        (b'{"a":' * JSON_DEPTH + b"{}" + b"}" * JSON_DEPTH, "nested deeper"),
        (b"[" * 20_000, "nested deeper"),
        (b'{"a":"\\\\","b":' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper"),  # the string ended before them
    ],
)
def test_anything_else_is_a_bad_request(body: bytes, says: str) -> None:
    with pytest.raises(ApiError, match=says) as refused:
        parse_object(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_a_number_is_ascii_digits(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_0", "٣", "²", "9" * 19, "0x1"])
def test_nothing_else_is_a_number(text: str) -> None:
    assert whole_number(text) is None


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", None, "text/plain"])
def test_a_body_has_to_say_that_it_is_json(media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    request = AdminRequest("POST", "/", {}, headers, b'{"a":1}', Caller(), Access.CONTROL)
    if media_type is not None and media_type.lower().startswith("application/json"):
        assert request.json_body() == {"a": 1}
    else:
        with pytest.raises(ApiError) as refused:
            request.json_body()
        assert refused.value.status == 415


def test_a_reply_is_ascii_and_no_lone_surrogate_is_in_it() -> None:
    document = {"ü": ["\u20ac", "raw \udcff byte", {"\udc80": "\U0001f600"}], "at": datetime(2030, 1, 2, tzinfo=UTC)}
    encoded = encode(document)
    assert encoded.isascii()
    assert json.loads(encoded) == {
        "ü": ["\u20ac", "raw \\xff byte", {"\\x80": "\U0001f600"}],
        "at": "2030-01-02T00:00:00.000Z",
    }


def test_what_has_no_place_in_a_reply_is_a_defect() -> None:
    with pytest.raises(TypeError, match="bytes has no place in a reply"):
        encode({"a": b"raw"})
