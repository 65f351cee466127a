"""Records as JSON documents."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

from tlsidecar.api.declare import Field, fields_of
from tlsidecar.api.times import timestamp

SECONDS_DIGITS = 6
"""Fractions are told to the millionth."""


def encoded(record: Any) -> dict[str, object]:
    """A record as what ``json`` writes: every field, in the order of the declaration."""
    kind: Any = type(record)
    names, values, conversions = _plan(kind)
    document = dict(zip(names, values(record), strict=True))
    for name, convert in conversions:
        document[name] = convert(document[name])
    return document


@cache
def _plan(kind: type) -> tuple[tuple[str, ...], Callable[[object], tuple[object, ...]], list[tuple[str, Any]]]:
    fields = fields_of(kind)
    names = tuple(field.name for field in fields)
    getter = attrgetter(*names)
    values = getter if len(names) > 1 else lambda record: (getter(record),)
    return names, values, [(field.name, convert) for field in fields if (convert := _conversion(field)) is not None]


def _conversion(field: Field) -> Callable[[Any], object] | None:
    """How a value becomes JSON; None where it is JSON already."""
    if field.is_time:
        return timestamp
    if field.is_series:
        return lambda series: {str(name): list(counts) for name, counts in series.items()}
    if field.is_counters:
        return lambda counters: {str(name): count for name, count in counters.items()}
    if field.is_tuple:
        return (lambda items: [encoded(item) for item in items]) if field.record else list
    if field.record:
        return lambda record: None if record is None else encoded(record)
    if field.kind is float:
        return lambda number: None if number is None else round(number, SECONDS_DIGITS)
    return str if field.vocabulary and not field.is_text else None
