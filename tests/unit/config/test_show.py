"""The effective configuration: every key, its value, where it came from."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tlsidecar.config import effective, load_with_origins, render_effective

DOCUMENT = """\
[identity]
cert = "tls.crt"
trust = "ca.crt"
[limits]
idle_timeout = "600s"
close_timeout = "9s"
[[listener]]
name = "web"
protocol = "http"
listen = "0.0.0.0:8443"
upstream = "127.0.0.1:8080"
allow = ["any"]
max_connection_age = "1h"
limits.close_timeout = "8s"
route = [{ path = "/", allow = ["any"] }]
[[listener]]
name = "out"
mode = "originate"
listen = "127.0.0.1:1"
upstream = "a.example:1"
"""


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[object, str]]:
    monkeypatch.chdir(tmp_path)
    Path("tlsidecar.toml").write_text(DOCUMENT)
    loaded = load_with_origins(None, {"workers": 2}, {"TLSIDECAR_LOG_LEVEL": "debug"})
    return {value.key: (value.value, value.origin) for value in effective(loaded)}


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("workers", 2, "flag --workers"),
        ("event_loop", "auto", "default"),
        ("log.level", "debug", "environment TLSIDECAR_LOG_LEVEL"),
        ("log.file", None, "default"),
        ("limits.idle_timeout", "10m", "file tlsidecar.toml:5"),
        ("listener.0.listen", "0.0.0.0:8443", "file tlsidecar.toml:10"),
        ("listener.0.upstream", ["127.0.0.1:8080"], "file tlsidecar.toml:11"),
        ("listener.0.limits.idle_timeout", "10m", "file tlsidecar.toml:5"),
        ("listener.0.limits.close_timeout", "8s", "file tlsidecar.toml:14"),
        ("listener.0.limits.max_connection_age", "1h", "file tlsidecar.toml:13"),
        ("listener.0.limits.drain_timeout", "30s", "default"),
        ("listener.0.limits.max_connections", None, "default"),
        ("listener.0.route.0.path", "/", "file tlsidecar.toml:15"),
        ("listener.0.underscores", "drop", "default"),
        ("listener.1.limits.close_timeout", "9s", "file tlsidecar.toml:6"),
        ("listener.1.expect", ["dns:a.example"], "default"),
        ("tls.min_version", "1.2", "default"),
    ],
)
def test_each_value_is_shown_with_its_origin(
    key: str, value: object, origin: str, shown: dict[str, tuple[object, str]]
) -> None:
    assert shown[key] == (value, origin)


def test_paths_are_shown_as_they_are_used(shown: dict[str, tuple[object, str]], tmp_path: Path) -> None:
    assert shown["identity.cert"] == (str(tmp_path / "tls.crt"), "file tlsidecar.toml:2")


def test_the_text_is_toml_with_the_origin_in_a_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tlsidecar.toml").write_text(DOCUMENT)
    values = effective(load_with_origins(None, {}, {}))
    text = render_effective(values)
    for line, value in zip(text.split("\n"), (value for value in values if value.value is not None), strict=True):
        assert line.startswith(f"{value.label} = ")
        assert line.endswith(f"# {value.origin}")
        assert tomllib.loads(f"value = {line.partition(' = ')[2]}") == {"value": value.value}
    assert json.loads(json.dumps([value.as_dict() for value in values]))
