"""Records as JSON Schema (2020-12, as OpenAPI 3.1 has it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

from tlsidecar.api.declare import Field, fields_of

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}


def reference(name: str) -> Schema:
    """To a record that the OpenAPI document has under its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(records: Iterable[type], vocabularies: Mapping[str, Iterable[str]] | None = None) -> dict[str, Schema]:
    """These records and all within them, by their names. ``vocabularies`` gives the values of text fields
    (``Refusal.reason``) whose words the declaration does not know."""
    words = {} if vocabularies is None else vocabularies
    return {record.__name__: _object(record, words) for record in reachable(records)}


def reachable(records: Iterable[type]) -> Iterator[type]:
    """These records and those within them, each once, in the order met."""
    seen: set[type] = set()
    waiting = list(records)
    while waiting:
        record = waiting.pop(0)
        if record not in seen:
            seen.add(record)
            yield record
            waiting += [field.record for field in fields_of(record) if field.record is not None]


def _object(record: type, vocabularies: Mapping[str, Iterable[str]]) -> Schema:
    """All of its members are always there, and there may be more in a later version."""
    fields = fields_of(record)
    return {
        "type": "object",
        "description": cleandoc(record.__doc__ or ""),
        "properties": {
            field.name: _field(field, vocabularies.get(f"{record.__name__}.{field.name}", ())) for field in fields
        },
        "required": [field.name for field in fields],
    }


def _field(field: Field, words: Iterable[str]) -> Schema:
    schema = _bare(field, [str(word) for word in words] or list(field.vocabulary))
    if field.nullable and not field.doc.always:
        schema = {"anyOf": [schema, {"type": "null"}]}
    meaning = f"{field.doc.meaning} ({field.doc.unit})" if field.doc.unit else field.doc.meaning
    return {**schema, "description": meaning}


def _bare(field: Field, words: list[str]) -> Schema:
    if field.is_counters:
        count: Schema = {"type": "integer"}
        return {
            "type": "object",
            "additionalProperties": {"type": "array", "items": count} if field.is_series else count,
        }
    item: Schema = reference(field.record.__name__) if field.record else _plain(field)
    if field.has_gaps:
        item = {"anyOf": [item, {"type": "null"}]}
    if field.is_tuple:
        return {"type": "array", "items": item}
    return {**item, "enum": words} if words else item


def _plain(field: Field) -> Schema:
    kind = field.item if field.is_tuple else field.kind
    if field.is_time:
        return dict(TIME)
    names = {bool: "boolean", int: "integer", float: "number"}
    return {"type": names.get(kind, "string")}
