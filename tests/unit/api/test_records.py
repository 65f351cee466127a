"""Each record is declared once, and a field added there appears everywhere."""

from __future__ import annotations

import json
import runpy
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.admin.schema_check import mismatches

from tlsidecar.admin.openapi import document
from tlsidecar.admin.routes import ROUTES
from tlsidecar.api.declare import Doc, Field, T, fields_of
from tlsidecar.api.decode import decoded, integer, number
from tlsidecar.api.encode import encoded
from tlsidecar.api.schema import reachable, schemas
from tlsidecar.api.text import SafeText
from tlsidecar.api.words import Severity

DOCS = Path(__file__).parents[3] / "docs"
GENERATED = runpy.run_path(str(DOCS / "generate.py"))
RECORDS = list(reachable(route.reply for route in ROUTES if isinstance(route.reply, type)))


@dataclass(frozen=True)
class Inner(Generic[T]):
    """What is within."""

    name: Annotated[T, Doc("its name")]


@dataclass(frozen=True)
class Before(Generic[T]):
    """A record of an older version."""

    name: Annotated[T, Doc("its name")]


@dataclass(frozen=True)
class Added(Before[T], Generic[T]):
    """The same with one field of each kind more."""

    inner: Annotated[Inner[T] | None, Doc("another record")]
    several: Annotated[tuple[Inner[T], ...], Doc("other records")]
    size: Annotated[int, Doc("how large", unit="bytes")]
    late_s: Annotated[float | None, Doc("how late", unit="s")]
    at: Annotated[datetime | None, Doc("when")]
    counts: Annotated[Mapping[T, int], Doc("by name")]
    series: Annotated[Mapping[T, tuple[int, ...]], Doc("several by name")]
    quantiles: Annotated[tuple[float | None, ...], Doc("with gaps")]
    severity: Annotated[Severity, Doc("how much")]


AT = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)
FULL = Added[str](
    name="a",
    inner=Inner("b"),
    several=(Inner("c"), Inner("d")),
    size=7,
    late_s=0.25,
    at=AT,
    counts={"2xx": 3},
    series={"2xx": (3, 0)},
    quantiles=(0.5, None),
    severity=Severity.CRITICAL,
)


def test_a_field_added_to_a_record_appears_in_json_schema_decoding_and_documents() -> None:
    told = json.loads(json.dumps(encoded(FULL)))
    assert list(told) == [field.name for field in fields_of(Added)]
    made = schemas([Added])
    assert set(made) == {"Added", "Inner"}
    assert mismatches(told, made["Added"], {"components": {"schemas": made}}) == []
    assert made["Added"]["properties"]["size"]["description"] == "how large (bytes)"
    assert decoded(Added[SafeText], told) == FULL
    rows = GENERATED["record_rows"](Added)
    assert all(f"| `{field.name}` |" in rows and field.doc.meaning in rows for field in fields_of(Added))


def test_an_older_and_a_newer_sidecar_are_understood() -> None:
    older = decoded(Added[SafeText], encoded(Before("a")))
    assert (older.name, older.inner, older.several, older.size, older.late_s) == ("a", None, (), 0, None)
    assert (older.at, older.counts, older.severity) == (None, {}, Severity.WARNING)
    assert decoded(Before[SafeText], encoded(FULL)) == Before("a")


def test_a_field_without_a_meaning_is_no_field() -> None:
    @dataclass(frozen=True)
    class Mute(Generic[T]):
        name: T

    with pytest.raises(TypeError, match=r"Mute\.name does not say what it means"):
        fields_of(Mute)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_says_what_it_and_its_fields_mean(record: type) -> None:
    assert record.__doc__
    assert not record.__doc__.startswith(f"{record.__name__}(")
    for field in fields_of(record):
        assert field.doc.meaning
        if field.name.endswith("_per_s"):
            assert field.doc.unit.endswith("/s")
        else:
            assert field.doc.unit == "s" or not field.name.endswith("_s")
    assert record.__name__ in document(tuple(ROUTES))["components"]["schemas"]


def _values(field: Field) -> st.SearchStrategy[Any]:
    """What the daemon may say in a field."""
    if field.is_series:
        return st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 2**40), max_size=3).map(tuple), max_size=3)
    if field.is_counters:
        return st.dictionaries(st.text(max_size=5), st.integers(0, 2**40), max_size=3)
    kind = field.item if field.is_tuple else field.kind
    one: st.SearchStrategy[Any]
    if field.record is not None:
        one = _records(field.record)
    elif field.vocabulary:
        one = st.sampled_from(field.vocabulary).map(
            kind if isinstance(kind, type) and issubclass(kind, StrEnum) else str
        )
    elif field.is_time:
        one = st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
    elif isinstance(kind, typing.TypeVar):
        one = st.text(max_size=12)
    else:
        one = {bool: st.booleans(), int: st.integers(0, 2**60), float: st.integers(0, 10**6).map(lambda n: n / 1000)}[
            kind
        ]
    if field.is_tuple:
        one = one | st.none() if field.has_gaps else one
        return st.lists(one, max_size=2).map(tuple)
    return one | st.none() if field.nullable and not field.doc.always else one


def _records(record: type) -> st.SearchStrategy[Any]:
    return st.builds(
        record, **{field.name: st.deferred(lambda field=field: _values(field)) for field in fields_of(record)}
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_what_is_written_is_as_documented_and_read_back(record: Any) -> None:
    # A quarter of the examples: what is tried is one encoder and one decoder, with each record.
    @settings(max_examples=settings.default.max_examples // 4)
    @given(_records(record))
    def round_trip(made: Any) -> None:
        told = json.loads(json.dumps(encoded(made)))
        shown = schemas([record])
        assert mismatches(told, shown[record.__name__], {"components": {"schemas": shown}}) == []
        again = decoded(record, told)
        for field in fields_of(record):
            if field.kind in (int, bool, float, datetime):
                assert getattr(again, field.name) == getattr(made, field.name)

    round_trip()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_NAMES = sorted({field.name for record in RECORDS for field in fields_of(record)})


@given(st.sampled_from(RECORDS), st.dictionaries(st.sampled_from(_NAMES), _json, max_size=12))
def test_any_json_is_read_as_something_safe(record: Any, told: dict[str, Any]) -> None:
    decoded(record, told)


@pytest.mark.parametrize(
    ("said", "whole", "fraction"),
    [
        (1e999, 0, 0.0),
        (10**400, 2**63 - 1, float(2**63 - 1)),
        ("7", 0, 0.0),
        (True, 0, 0.0),
        (None, 0, 0.0),
        (-3, -3, -3.0),
    ],
)
def test_numbers_out_of_range_become_defaults(said: object, whole: int, fraction: float) -> None:
    assert (integer(said), number(said)) == (whole, fraction)


def test_the_committed_page_is_up_to_date() -> None:
    page = (DOCS / "admin-api.md").read_text()
    assert GENERATED["api_text"](page) == page
