"""The values of a request: what is taken for one, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from tlsidecar.admin.access import Access
from tlsidecar.admin.messages import AdminRequest, ApiError
from tlsidecar.admin.parameters import (
    choice,
    connection_id_of,
    denial_id_of,
    expected_in_body,
    expected_in_query,
    fields_of,
    filter_of,
    integer,
    number,
    whole,
)
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.observe.audit import Caller


def request(body: object = None, **path_values: str) -> AdminRequest:
    octets = b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    return AdminRequest("POST", "/v1/drain", {}, headers, octets, Caller(), Access.CONTROL, path_values)


def said(ask: Callable[[], object]) -> str:
    """What is said of a value that is none: always 400."""
    with pytest.raises(ApiError) as raised:
        ask()
    assert raised.value.status == 400
    return raised.value.message


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "+1", "٣", "9" * 19])
def test_an_id_in_the_path_is_a_number_of_ours(text: str) -> None:
    assert connection_id_of(request(id="42")) == denial_id_of(request(id="42")) == 42
    assert said(lambda: connection_id_of(request(id=text))) == "a connection's id is a number"
    assert said(lambda: denial_id_of(request(id=text))) == "a denial's id is a number"


def test_a_filter_is_read_and_its_fault_has_a_place() -> None:
    assert str(filter_of({"filter": "id:*/sa/web"}, CONNECTION_FIELDS)) == "identity:*/sa/web"
    assert not filter_of({}, CONNECTION_FIELDS)
    with pytest.raises(ApiError, match=r'^filter: there is no field "lisener": did you mean listener') as raised:
        filter_of({"filter": "web lisener:x"}, CONNECTION_FIELDS)
    assert (raised.value.status, raised.value.position) == (400, 4)


def test_one_of_several_words() -> None:
    assert choice({}, "order", ("asc", "desc"), "asc") == "asc"
    assert choice({"order": "desc"}, "order", ("asc", "desc"), "asc") == "desc"
    assert said(lambda: choice({"order": "DESC"}, "order", ("asc", "desc"), "asc")) == "order is one of asc, desc"


def test_a_number_in_the_query_has_bounds_which_belong_to_it() -> None:
    assert [integer(query, "limit", 100, 1, 1000) for query in ({}, {"limit": "1"}, {"limit": "1000"})] == [
        100,
        1,
        1000,
    ]
    for text in ("0", "1001", "-5", "1e3", "", "9" * 400):
        assert (
            said(lambda text=text: integer({"limit": text}, "limit", 100, 1, 1000))
            == "limit is a number from 1 to 1000"
        )


def test_what_a_change_is_expected_to_touch_is_said_in_the_query() -> None:
    assert expected_in_query({"expected": "0"}) == 0
    for query in ({}, {"expected": "-1"}, {"expected": "many"}):
        assert said(lambda query=query: expected_in_query(query)).startswith(
            "expected is missing: how many connections"
        )


def test_a_body_has_the_fields_that_are_known_and_no_others() -> None:
    assert fields_of(request()) == {}
    assert fields_of(request({"level": "info"}), "level") == {"level": "info"}
    assert said(lambda: fields_of(request({"b": 1, "a": 1}))) == "unknown field 'a'"


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (True, "timeout_s is a number"),
        ("5", "timeout_s is a number"),
        ([5], "timeout_s is a number"),
        (-0.001, "timeout_s is from 0 to 600"),
        (600.001, "timeout_s is from 0 to 600"),
        (float("nan"), "timeout_s is from 0 to 600"),
        (float("inf"), "timeout_s is from 0 to 600"),
        (10**400, "timeout_s is from 0 to 600"),
    ],
)
def test_a_number_in_the_body_that_is_none(value: object, wrong: str) -> None:
    assert said(lambda: number({"timeout_s": value}, "timeout_s", 0, 600)) == wrong


def test_a_number_in_the_body() -> None:
    bodies: list[Mapping[str, object]] = [{}, {"timeout_s": None}, {"timeout_s": 0}, {"timeout_s": 2.5}]
    assert [number(body, "timeout_s", 0, 600) for body in bodies] == [None, None, 0, 2.5]


def test_connections_and_generations_are_counted_in_whole_numbers() -> None:
    assert [whole({"older_than": value}, "older_than", 1, 9) for value in (1, 9.0, None)] == [1, 9, None]
    assert said(lambda: whole({"older_than": 1.5}, "older_than", 1, 9)) == "older_than is a whole number"
    assert (expected_in_body({}), expected_in_body({"expected": 7})) == (None, 7)
    assert said(lambda: expected_in_body({"expected": 2.5})) == "expected is a whole number"
    assert said(lambda: expected_in_body({"expected": -1})).startswith("expected is from 0 to ")
