"""As much of JSON Schema as the OpenAPI document uses, to hold real replies against it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def mismatches(value: Any, schema: Any, document: Any, place: str = "$") -> list[str]:
    """Where ``value`` is not as ``schema`` says. An undocumented member is a mismatch."""
    if "$ref" in schema:
        return mismatches(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, place)
    if "anyOf" in schema:
        tried = [mismatches(value, one, document, place) for one in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{place}: {value!r} is not {kind}"]
    found: list[str] = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is not one of {schema['enum']}")
    if schema.get("format") == "date-time":
        if not value.endswith("Z") or len(value) != len("2026-11-23T23:15:00.000Z"):
            found.append(f"{place}: {value!r} is not UTC with milliseconds")
        datetime.fromisoformat(value)
    if kind == "array":
        for index, item in enumerate(value):
            found += mismatches(item, schema["items"], document, f"{place}[{index}]")
    if kind == "object":
        properties = schema.get("properties", {})
        found += [f"{place}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, inner in value.items():
            member = properties.get(name) or schema.get("additionalProperties")
            found += mismatches(inner, member, document, f"{place}.{name}") if member else [f"{place}.{name}: unknown"]
    return found
