"""The JSON Schema of ``tlsidecar.toml``, made from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlsidecar.config.identity_tables import IDENTITY, IDENTITY_SOURCES, SOURCES_WITHOUT_TRUST
from tlsidecar.config.listener_tables import LISTENER
from tlsidecar.config.schema import ROOT
from tlsidecar.config.tables import Entry, Table

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """For editors and other tools. What spans several keys is checked by ``tlsidecar check`` alone."""
    definitions = {table.title: _definition(table) for table in _tables_within(ROOT)}
    root = _definition(ROOT)
    root["required"] = ["identity", "listener"]
    definitions[LISTENER.title]["oneOf"] = [
        {"properties": {"mode": {"const": "terminate"}}, "required": ["allow"]},
        {"properties": {"mode": {"const": "originate"}}, "required": ["mode"]},
    ]
    definitions[IDENTITY.title]["oneOf"] = [
        {"required": [source, "trust"] if source in SOURCES_WITHOUT_TRUST else [source]} for source in IDENTITY_SOURCES
    ]
    return {"$schema": DIALECT, "title": ROOT.title, **root, "$defs": definitions}


def _tables_within(table: Table) -> Iterator[Table]:
    for nested in (*table.tables.values(), *table.arrays.values()):
        yield nested
        yield from _tables_within(nested)


def _definition(table: Table) -> dict[str, Any]:
    properties: dict[str, Any] = {entry.key: _property(table, entry) for entry in table}
    for name, nested in table.tables.items():
        one = {"$ref": f"#/$defs/{nested.title}"}
        several = {"type": "array", "minItems": 1, "items": {**one, "required": ["name"]}}
        properties[name] = {"anyOf": [one, several]} if name in table.repeatable else one
    for name, nested in table.arrays.items():
        properties[name] = {"type": "array", "items": {"$ref": f"#/$defs/{nested.title}"}}
    if table is ROOT:
        properties["listener"]["minItems"] = 1
    definition: dict[str, Any] = {
        "description": table.description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    required = [entry.key for entry in table if entry.required]
    return {**definition, "required": required} if required else definition


def _property(table: Table, entry: Entry) -> dict[str, Any]:
    described = {"description": entry.description, **entry.form.schema}
    default = None if entry.worked_out else table.default(entry)
    return described if default is None else {**described, "default": default}
