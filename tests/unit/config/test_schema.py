"""The declaration covers the settings, and what is made from it is what is committed."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from tlsidecar import settings
from tlsidecar.config import json_schema, load
from tlsidecar.config.identity_tables import ACME, IDENTITY
from tlsidecar.config.listener_tables import HEALTH_CHECK, LIMITS, LISTENER, ROUTE
from tlsidecar.config.schema import ADMIN, LOG, METRICS, ROOT, TLS, TRACING
from tlsidecar.config.tables import Table

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize(
    ("table", "types", "filled_otherwise"),
    [
        (
            ROOT,
            [settings.Settings],
            {"admin", "identities", "listeners", "metrics", "tls", "log", "tracing", "limits", "config_file"},
        ),
        (LISTENER, [settings.ListenerSettings, settings.Http], {"routes", "limits", "http", "health_check"}),
        (ROUTE, [settings.Route], set()),
        (HEALTH_CHECK, [settings.HealthCheck], set()),
        (LIMITS, [settings.Limits], set()),
        (IDENTITY, [settings.IdentitySettings], {"acme"}),
        (ACME, [settings.Acme], set()),
        (ADMIN, [settings.Admin], set()),
        (METRICS, [settings.Metrics], set()),
        (TLS, [settings.Tls], set()),
        (LOG, [settings.Log], set()),
        (TRACING, [settings.Tracing], set()),
    ],
    ids=lambda value: value.title if isinstance(value, Table) else "",
)
def test_every_field_of_the_settings_has_a_key(table: Table, types: list[type], filled_otherwise: set[str]) -> None:
    fields = {field.name for settings_type in types for field in dataclasses.fields(settings_type)}
    own_alias = {"max_connection_age_s"} if table is LISTENER else set()
    assert {entry.field_name for entry in table} - own_alias == fields - filled_otherwise


def test_every_default_is_written_in_a_form_that_reads_back(tmp_path: Path) -> None:
    for table in (ROOT, LIMITS, HEALTH_CHECK, IDENTITY, TLS, LOG, TRACING):
        for entry in table:
            default = table.default(entry)
            if default is not None and not isinstance(default, list):
                assert entry.form.parse(default) == table.defaults[entry.field_name], entry.key  # type: ignore[union-attr]


def test_the_committed_schema_is_the_current_one(generate: dict[str, Any]) -> None:
    assert (DOCS / "config.schema.json").read_text() == generate["schema_text"](), "run: make docs"


def test_the_committed_reference_is_the_current_one(generate: dict[str, Any]) -> None:
    text = (DOCS / "config.md").read_text()
    assert set(re.findall(r"<!-- table: (\S+) -->", text)) == generate["table_names"]()
    assert text == generate["reference_text"](text), "run: make docs"


def test_the_example_in_the_reference_loads(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", (DOCS / "config.md").read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "tlsidecar.toml").write_text(example[1])
    assert [listener.name for listener in load(tmp_path / "tlsidecar.toml", {}, {}).listeners] == ["web", "payments"]


def test_every_reference_in_the_schema_leads_somewhere_and_every_pattern_compiles() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    assert set(re.findall(r'"#/\$defs/(\w+)"', text)) == set(schema["$defs"])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', text):
        re.compile(json.loads(pattern))
    assert schema["properties"]["workers"]["default"] == 1
    assert schema["$defs"]["Limits"]["properties"]["idle_timeout"]["default"] == "1h"
    assert "default" not in schema["$defs"]["Limits"]["properties"]["max_connections"]
    assert schema["$defs"]["Listener"]["required"] == ["name", "listen", "upstream"]
    assert schema["$defs"]["Listener"]["additionalProperties"] is False
