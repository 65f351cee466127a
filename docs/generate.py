"""Write what is made from the code: ``config.schema.json``, and the tables of ``config.md``, ``admin-api.md`` and
``filters.md`` between their markers.

Run it by ``make docs``. A test fails while it has something to change.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from inspect import cleandoc
from pathlib import Path

from tlsidecar.admin.routes import ROUTES
from tlsidecar.api.declare import Field, fields_of
from tlsidecar.api.filter_fields import VOCABULARIES
from tlsidecar.api.schema import reachable
from tlsidecar.config import json_schema
from tlsidecar.config.identity_tables import ACME, IDENTITY
from tlsidecar.config.listener_tables import LISTENER
from tlsidecar.config.overrides import OVERRIDES
from tlsidecar.config.problems import quoted
from tlsidecar.config.schema import ROOT
from tlsidecar.config.tables import Entry, Table

DOCS = Path(__file__).parent
SCHEMA_FILE = DOCS / "config.schema.json"
REFERENCE_FILE = DOCS / "config.md"
API_FILE = DOCS / "admin-api.md"
FILTERS_FILE = DOCS / "filters.md"

_RECORDS = re.compile(r"(<!-- records -->\n).*?(<!-- end -->)", re.DOTALL)
_FIELDS = re.compile(r"(<!-- fields -->\n).*?(<!-- end -->)", re.DOTALL)
_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write all of them."""
    SCHEMA_FILE.write_text(schema_text())
    REFERENCE_FILE.write_text(reference_text(REFERENCE_FILE.read_text()))
    API_FILE.write_text(api_text(API_FILE.read_text()))
    FILTERS_FILE.write_text(filters_text(FILTERS_FILE.read_text()))


def schema_text() -> str:
    """The JSON Schema as it is committed."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def reference_text(text: str) -> str:
    """The reference with every table between markers made anew."""
    return _BLOCK.sub(lambda block: block[1] + _rows(block[2]) + block[3], text)


def api_text(text: str) -> str:
    """The admin API's page with the records between its markers made anew."""
    records = reachable(route.reply for route in ROUTES if isinstance(route.reply, type))
    sections = "\n".join(
        f"### {record.__name__}\n{cleandoc(record.__doc__ or '')}\n\n{record_rows(record)}" for record in records
    )
    return _RECORDS.sub(lambda block: block[1] + sections + block[2], text)


def filters_text(text: str) -> str:
    """The filter language's page with its tables of fields made anew."""
    sections = "\n".join(
        "\n".join(
            [f"### {name.capitalize()}", "", "| field | also | written | |", "|---|---|---|---|", *_fields_of(name)]
        )
        + "\n"
        for name in VOCABULARIES
    )
    return _FIELDS.sub(lambda block: block[1] + sections + block[2], text)


def _fields_of(name: str) -> list[str]:
    rows = []
    for field in VOCABULARIES[name]:
        aliases = ", ".join(f"`{alias}`" for alias in field.aliases)
        rows.append(f"| `{field.name}` | {aliases} | {field.kind.form} | {field.meaning} |")
    return rows


def record_rows(record: type) -> str:
    """A record's fields as a table."""
    rows = [
        f"| `{field.name}` | {_kind(field)} | {field.doc.unit} | {_escaped(_meaning(field))} |"
        for field in fields_of(record)
    ]
    return "\n".join(["| field | type | unit | |", "|---|---|---|---|", *rows]) + "\n"


def _kind(field: Field) -> str:
    kind = field.item if field.is_tuple else field.kind
    if field.is_series:
        name = "lists of counts by name"
    elif field.is_counters:
        name = "counts by name"
    elif field.record is not None:
        name = f"[{field.record.__name__}](#{field.record.__name__.lower()})"
    else:
        name = {bool: "flag", int: "integer", float: "number", datetime: "time"}.get(kind, "text")
    name = f"{name} or null" if field.has_gaps else name
    name = f"list of {name}" if field.is_tuple else name
    return f"{name} or null" if field.nullable and not field.doc.always else name


def _meaning(field: Field) -> str:
    words = field.vocabulary
    return f"{field.doc.meaning}: {', '.join(f'`{word}`' for word in words)}" if words else field.doc.meaning


def table_names() -> set[str]:
    """The tables that the reference must have."""
    return {"top", "variables", "listener", "identity.acme", *ROOT.tables} | {
        f"listener.{name}" for name in _within_listener()
    }


def _rows(name: str) -> str:
    if name == "variables":
        return _variables()
    table = {"top": ROOT, "identity.acme": ACME, **ROOT.tables, **ROOT.arrays}.get(name) or _within_listener()[
        name.removeprefix("listener.")
    ]
    rows = [f"| `{entry.key}` | {_default(table, entry)} | {_escaped(entry.description)} |" for entry in table]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows]) + "\n"


def _variables() -> str:
    rows = []
    for name, override in OVERRIDES.items():
        key = f"{override.section}.{override.key}" if override.section else override.key
        rows.append(f"| `TLSIDECAR_{name.upper()}` | `{key}` |")
    return "\n".join(["| variable | key |", "|---|---|", *rows]) + "\n"


def _within_listener() -> dict[str, Table]:
    return {name: table for name, table in (*LISTENER.tables.items(), *LISTENER.arrays.items()) if name != "limits"}


def _default(table: Table, entry: Entry) -> str:
    if entry.worked_out:
        return _escaped(entry.worked_out)
    if entry.required or (table is IDENTITY and entry.key in {"cert", "trust"}):
        return "needed" if entry.required else "needed, or `authority`"
    default = table.default(entry)
    return "" if default is None or default == [] else f"`{quoted(default)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
