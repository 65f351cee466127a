"""Whatever is in the file, loading ends in settings or in problems, never in another error."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tlsidecar.config import ConfigError, effective, load_with_origins, render_effective, render_problems
from tlsidecar.config.listener_tables import LISTENER
from tlsidecar.config.overrides import OVERRIDES, Override
from tlsidecar.config.schema import ROOT
from tlsidecar.config.tables import Table

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_WORDS = st.sampled_from(
    [
        "any", "ou:sre", "spiffe://a/b", "dns:*.a", "10s", "5m", "64KiB", "100/s", "127.0.0.1:1", "[::1]:2",
        "0.0.0.0:3", "unix:/a", "unix:b", "tcp", "http", "terminate", "originate", "a.example:4", "1.2", "json",
        "/", "/a/**", "web", "v2", "cert", "soft", "auto", "x-a", "GET", "localhost:5",
    ]
)  # fmt: skip
_UNDECODABLE = st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
_VALUES = st.recursive(
    st.one_of(_WORDS, _TEXT, st.integers(-2, 300), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=2)),
    max_leaves=4,
)


def _tables(table: Table) -> st.SearchStrategy[dict[str, object]]:
    keys: dict[str, st.SearchStrategy[object]] = {entry.key: _VALUES for entry in table}
    for name, nested in table.tables.items():
        keys[name] = st.one_of(_tables(nested), _VALUES) if table is LISTENER else _tables(nested)
    for name, nested in table.arrays.items():
        keys[name] = st.lists(_tables(nested), max_size=3)
    return st.fixed_dictionaries({}, optional=keys)


_RIGHT = {
    "identity": {"cert": "tls.crt", "trust": "ca.crt"},
    "listener": {"name": "web", "listen": "127.0.0.1:8443", "upstream": "127.0.0.1:1", "allow": ["any"]},
}
_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(sorted(OVERRIDES.values(), key=str)),
        st.one_of(_WORDS, st.lists(_WORDS, min_size=1, max_size=2), st.integers(1, 99), st.booleans()),
    ),
    max_size=2,
)


@settings(deadline=None)
@given(document=st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin-1"))))
def test_any_text(document: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    _load_whatever_it_is(document, tmp_path_factory.getbasetemp())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tree=_tables(ROOT))
def test_any_tables_of_known_keys(tree: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    document = "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in tree.items())
    _load_whatever_it_is(document, tmp_path_factory.getbasetemp())


@settings(deadline=None, max_examples=200)
@given(changes=_CHANGES)
def test_any_key_with_a_likely_value(
    changes: list[tuple[Override, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tree: dict[str, Any] = {name: dict(table) for name, table in _RIGHT.items()}
    for override, value in changes:
        table = tree.setdefault(override.section, {}) if override.section else tree
        table[override.key] = value
    tree["listener"] = [tree["listener"]]
    document = "".join(f"{key} = {_toml(value)}\n" for key, value in tree.items())
    _load_whatever_it_is(document, tmp_path_factory.getbasetemp())


@settings(deadline=None)
@given(
    flags=st.dictionaries(st.sampled_from(sorted(OVERRIDES)), st.one_of(_WORDS, _TEXT), max_size=6),
    environ=st.dictionaries(
        st.sampled_from(sorted(OVERRIDES)).map(lambda name: f"TLSIDECAR_{name.upper()}"),
        st.one_of(_WORDS, _UNDECODABLE),
        max_size=6,
    ),
)
def test_any_flags_and_variables(
    flags: dict[str, str], environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _load_whatever_it_is("", tmp_path_factory.getbasetemp(), flags, environ)


def _load_whatever_it_is(
    document: str, directory: Path, flags: dict[str, str] | None = None, environ: dict[str, str] | None = None
) -> None:
    file = directory / "fuzz.toml"
    file.write_bytes(document.encode())
    try:
        loaded = load_with_origins(file, flags or {}, environ or {})
    except ConfigError as error:
        event("problems")
        text = render_problems(error)
        assert text
        assert all(line.isprintable() for line in text.split("\n"))
        return
    event("settings")
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    assert render_effective(effective(loaded)).startswith("workers = ")
    assert all(listener.allow or listener.expect for listener in loaded.settings.listeners)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    return json.dumps(value)
