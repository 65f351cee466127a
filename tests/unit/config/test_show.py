"""The effective configuration: every key, its value, where it came from."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tlsidecar.config.loader import load_with_origins as load
from tlsidecar.config.show import effective, render_effective

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
    loaded = load(None, {"workers": 2}, {"TLSIDECAR_LOG_LEVEL": "debug"}, tmp_path)
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
    values = effective(load(None, {}, {}, tmp_path))
    text = render_effective(values)
    for line, value in zip(text.split("\n"), (value for value in values if value.value is not None), strict=True):
        assert line.startswith(f"{value.label} = ")
        assert line.endswith(f"# {value.origin}")
        assert tomllib.loads(f"value = {line.partition(' = ')[2]}") == {"value": value.value}
    assert json.loads(json.dumps([value.as_dict() for value in values]))


def values_of(directory: Path, document: str, **flags: object) -> dict[str, tuple[object, str, str]]:
    (directory / "tlsidecar.toml").write_text(document, encoding="utf-8")
    loaded = load(directory / "tlsidecar.toml", flags, {}, directory)
    return {each.key: (each.value, each.origin, each.label) for each in effective(loaded)}


def test_names_and_paths_in_any_script_are_toml(tmp_path: Path) -> None:
    document = DOCUMENT.replace('"tls.crt"', '"🦊/tls.crt"')
    (tmp_path / "tlsidecar.toml").write_text(document, encoding="utf-8")
    text = render_effective(effective(load(tmp_path / "tlsidecar.toml", {}, {}, tmp_path)))
    (line,) = (line for line in text.split("\n") if line.startswith("identity.cert = "))
    assert line.split("  #")[0].rstrip() == f'identity.cert = "{tmp_path}/🦊/tls.crt"'
    assert tomllib.loads(line)["identity"]["cert"] == f"{tmp_path}/🦊/tls.crt"


def test_several_identities_are_told_apart_by_name_and_a_single_one_has_none(tmp_path: Path) -> None:
    single = values_of(tmp_path, DOCUMENT)
    assert "identity.name" not in single
    several = DOCUMENT.replace("[identity]", '[[identity]]\nname = "mesh"') + (
        '[[identity]]\nname = "public"\nacme = { directory = "https://ca.test/dir", state = "acme" }\n'
        'dns = ["web.test"]\ntrust = "ca.crt"\n'
    )
    shown = values_of(tmp_path, several)
    assert shown["identity.1.name"] == ("public", "file tlsidecar.toml:23", "identity[public].name")
    assert shown["identity.1.acme.directory"][0] == "https://ca.test/dir"
    assert shown["identity.0.cert"][2] == "identity[mesh].cert"
    assert "identity.0.acme.directory" not in shown


def test_every_key_of_every_listener_is_shown_once(tmp_path: Path) -> None:
    document = DOCUMENT + "health_check = { interval = '3s' }\n"
    (tmp_path / "tlsidecar.toml").write_text(document)
    keys = [each.key for each in effective(load(tmp_path / "tlsidecar.toml", {}, {}, tmp_path))]
    assert len(keys) == len(set(keys))
    assert "listener.1.health_check.interval" in keys
    assert "listener.0.health_check.interval" not in keys


def test_nothing_to_show_is_no_error() -> None:
    assert render_effective(()) == ""
