"""JSON Schema (draft 2020-12) as an editor would judge by it, as far as our schema uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
_KNOWN = frozenset(
    {
        *("$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default", "description", "enum"),
        *("items", "maximum", "minItems", "minLength", "minimum", "oneOf", "pattern", "properties", "required"),
        *("title", "type"),
    }
)


def faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str = "$") -> Iterator[str]:
    """What in ``value`` is not as ``schema`` says. Raises AssertionError for a keyword that is not understood here."""
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    if "$ref" in schema:
        yield from faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, place)
    for keyword, wanted in (("anyOf", None), ("oneOf", 1)):
        if keyword in schema:
            right = sum(not [*faults(value, one, root, place)] for one in schema[keyword])
            if right != wanted and (wanted is not None or not right):
                yield f"{place}: {right} of {keyword} hold"
    if "const" in schema and value != schema["const"]:
        yield f"{place}: not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: not one of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{place}: not {schema['type']}"
        return
    if isinstance(value, str):
        yield from _of_text(value, schema, place)
    elif isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{place}: {value} is out of range"
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{place}: too few"
        for at, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), root, f"{place}[{at}]")
    elif isinstance(value, dict):
        yield from _of_table(value, schema, root, place)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _of_text(value: str, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{place}: too short"
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield f"{place}: {value!r} is not like {schema['pattern']}"


def _of_table(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    yield from (f"{place}.{name} is missing" for name in schema.get("required", ()) if name not in value)
    properties = schema.get("properties", {})
    for name, inner in value.items():
        if name in properties:
            yield from faults(inner, properties[name], root, f"{place}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{place}.{name}: unknown"
