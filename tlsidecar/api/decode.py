"""JSON documents as records, whoever wrote them.

What is missing, of another type or out of range becomes a default, what is not declared is passed over, and every text
goes through :func:`tlsidecar.api.text.safe_text`. An older, newer or broken sidecar so shows less; it breaks nobody.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from tlsidecar.api.declare import Field, Json, fields_of
from tlsidecar.api.text import CELL_LIMIT, DETAIL_LIMIT, EMPTY, SafeText, safe_text
from tlsidecar.api.times import moment

R = TypeVar("R")

_NOTHING: Json = {}
_LARGEST_INTEGER = 2**63 - 1


def decoded(kind: type[R], document: object) -> R:
    """The record of ``kind`` (of :data:`SafeText`: ``Status[SafeText]``) that ``document`` tells. Raises nothing."""
    record: Any = typing.get_origin(kind) or kind
    held = document if isinstance(document, Mapping) else _NOTHING
    return typing.cast("R", record(*(read(held.get(name)) for name, read in _plan(record))))


def text(value: object, limit: int = CELL_LIMIT) -> SafeText:
    """Any value as safe text; null is empty."""
    return EMPTY if value is None else safe_text(value, limit)


def integer(value: object) -> int:
    """A whole number within 64 bits; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if isinstance(value, float) and not math.isfinite(value):
        return 0
    return max(-_LARGEST_INTEGER, min(_LARGEST_INTEGER, int(value)))


def number(value: object) -> float:
    """A finite number; 0 for what is none."""
    if isinstance(value, float) and math.isfinite(value):
        return value
    return float(integer(value))


@cache
def _plan(record: type) -> tuple[tuple[str, Callable[[object], object]], ...]:
    return tuple((field.name, _reader(field)) for field in fields_of(record))


def _reader(field: Field) -> Callable[[object], object]:
    """How a value is read, whatever it is."""
    if field.is_tuple:
        return _tuple_reader(field)
    if field.is_series:
        return lambda value: (
            {safe_text(name): tuple(map(integer, counts)) for name, counts in value.items() if isinstance(counts, list)}
            if isinstance(value, Mapping)
            else {}
        )
    if field.is_counters:
        return lambda value: (
            {safe_text(name): integer(count) for name, count in value.items()} if isinstance(value, Mapping) else {}
        )
    read = _item_reader(field)
    if not field.nullable or field.is_time:
        return read
    fits = _fits_of(field)
    return lambda value: read(value) if fits(value) else None


def _tuple_reader(field: Field) -> Callable[[object], object]:
    """How a tuple is read. What can be known of its items beforehand is: a history has tens of thousands of them."""
    item = _gap_reader(field) if field.has_gaps else _item_reader(field)
    if field.record is None:
        return lambda value: tuple(map(item, value)) if isinstance(value, list) else ()
    return lambda value: (
        tuple(item(each) for each in value if isinstance(each, Mapping)) if isinstance(value, list) else ()
    )


def _gap_reader(field: Field) -> Callable[[object], object]:
    """How one of a tuple is read that may be null."""
    read = _item_reader(field)
    return lambda value: read(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _item_reader(field: Field) -> Callable[[object], object]:
    kind: Any = field.item if field.is_tuple else field.kind
    if field.record is not None:
        record = field.record
        return lambda value: decoded(record, value)
    if isinstance(kind, TypeVar):
        limit = DETAIL_LIMIT if field.doc.long else CELL_LIMIT
        return lambda value: text(value, limit)
    if field.is_time:
        return moment
    if kind is bool:
        return lambda value: value is True
    if kind is int:
        return integer
    if kind is float:
        return number
    return lambda value: kind(value)


def _fits_of(field: Field) -> Callable[[object], bool]:
    """Whether a value that may be null is of the kind at all."""
    if field.record is not None:
        return lambda value: isinstance(value, Mapping)
    if field.kind is bool:
        return lambda value: isinstance(value, bool)
    if field.kind in (int, float):
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return lambda value: value is not None
