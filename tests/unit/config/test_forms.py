"""What a form reads it can write back, and its schema takes what it writes."""

from __future__ import annotations

from typing import Any

import pytest
from unit.config.schema_judge import faults

from tlsidecar.config import forms
from tlsidecar.config.forms import Many, One
from tlsidecar.config.problems import InvalidValue

GOOD: list[tuple[One, list[object]]] = [
    (forms.DURATION, ["10s", "5m", "1h30m", "250ms"]),
    (forms.DURATION_OR_ZERO, ["0s", "10s"]),
    (forms.SIZE, ["512B", "64KiB", "1MiB"]),
    (forms.RATE, ["100/s", "90/m"]),
    (forms.SHARE, ["10%"]),
    (forms.COUNT, [1, 10**6]),
    (forms.COUNT_OR_ZERO, [0]),
    (forms.FLAG, [True, False]),
    (forms.LISTEN_ADDRESS, ["0.0.0.0:8443", "[::1]:9901", "unix:/run/a.sock"]),
    (forms.DNS_NAME, ["web.internal"]),
    (forms.IP_ADDRESS, ["10.0.0.1", "::1"]),
    (forms.SPIFFE_ID, ["spiffe://prod.example/ns/shop"]),
    (forms.NAME, ["web-1"]),
    (forms.HEADER_NAME, ["x-internal"]),
    (forms.METHOD, ["GET", "PROPFIND"]),
    (forms.ROUTE_PATH, ["/", "/admin/**"]),
]
BAD: list[tuple[One, list[object]]] = [
    (forms.DURATION, ["0s", "10", 10, "ten", "-1s", ""]),
    (forms.SIZE, ["64KB", 64, "-1B"]),
    (forms.RATE, [100, "100", "0/s"]),
    (forms.COUNT, [0, -1, True, "1", 1.5]),
    (forms.FLAG, [0, "true"]),
    (forms.NAME, ["", "a b", 7, "a\n"]),
    (forms.METHOD, ["get", "", "GE T"]),
    (forms.ROUTE_PATH, ["", "admin"]),
]


def each(table: list[tuple[One, list[object]]]) -> list[Any]:
    return [(form, value) for form, values in table for value in values]


@pytest.mark.parametrize(("form", "value"), each(GOOD), ids=[f"{value!r}" for _, value in each(GOOD)])
def test_what_is_read_is_written_back_the_same(form: One, value: object) -> None:
    read = form.parse(value)
    shown = form.show(read)
    assert form.parse(shown) == read
    for written in (value, shown):
        assert [*faults(written, form.schema, {})] == []


@pytest.mark.parametrize(("form", "value"), each(BAD), ids=[f"{value!r}" for _, value in each(BAD)])
def test_what_is_wrong_says_so(form: One, value: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        form.parse(value)
    assert refused.value.message


def test_an_array_may_stand_for_one_where_that_is_said() -> None:
    one = One(forms.NAME.parse, forms.NAME.schema)
    assert [*faults("a", Many(one, or_one=True).schema, {})] == []
    assert [*faults(["a", "b"], Many(one, or_one=True).schema, {})] == []
    assert [*faults("a", Many(one).schema, {})]
    assert [*faults([], Many(one, at_least=1).schema, {})]
