"""``run``, ``check`` and ``config``: what they make of flags, files and material."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.cli.conftest import Done, tlsidecar


@pytest.fixture
def issued(tmp_path: Path) -> Path:
    """A directory with tls.crt, tls.key and ca.crt of a CA in ``pki``."""
    assert tlsidecar("certs", "init", tmp_path / "pki", "--name", "Dev CA").code == 0
    done = tlsidecar("certs", "issue", tmp_path / "pki", "--out", tmp_path / "out", "--dns", "web.internal")
    assert done.code == 0, done.err
    return tmp_path / "out"


def check(issued: Path, *more: str, **changes: Path) -> Done:
    files = {"cert": issued / "tls.crt", "key": issued / "tls.key", "trust": issued / "ca.crt"} | changes
    flags = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    listener = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--allow", "any")
    return tlsidecar("check", *flags, *listener, *more, cwd=issued.parent)


def test_a_set_up_that_would_serve(issued: Path) -> None:
    done = check(issued)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "ok: default: terminate 127.0.0.1:0 -> 127.0.0.1:9"
    assert done.out.splitlines()[1].startswith("ok: web.internal, serial ")


def test_a_set_up_that_would_serve_as_json(issued: Path) -> None:
    document = json.loads(check(issued, "--json").out)
    assert (document["ok"], document["problems"], document["material"]["identity"]) == (True, [], "web.internal")


def test_every_problem_of_the_configuration_at_once(tmp_path: Path) -> None:
    config = tmp_path / "tlsidecar.toml"
    config.write_text('[identity]\ncret = "x"\n[[listener]]\nname = "web"\nlisten = "nowhere"\n')
    done = tlsidecar("check", "--config", config)
    assert done.code == 2
    assert len(done.out.splitlines()) >= 3
    assert "cret" in done.out
    assert "tlsidecar.toml:2" in done.out
    document = json.loads(tlsidecar("check", "--config", config, "--json").out)
    assert document["ok"] is False
    assert {"key", "message", "suggestion", "where"} <= set(document["problems"][0])


def test_material_that_would_not_serve(issued: Path) -> None:
    assert tlsidecar("certs", "issue", issued.parent / "pki", "--out", issued.parent / "other", "--dns", "b").code == 0
    done = check(issued, key=issued.parent / "other" / "tls.key")
    assert done.code == 2
    assert "material: the private key does not belong to the certificate" in done.out
    document = json.loads(check(issued, "--json", key=issued.parent / "other" / "tls.key").out)
    assert [problem["reason"] for problem in document["material"]["problems"]] == ["key_mismatch"]


def test_material_that_is_not_there(issued: Path) -> None:
    done = check(issued, cert=issued / "absent.crt")
    assert done.code == 2
    assert "absent.crt" in done.out
    assert "Traceback" not in done.err


def test_a_local_authority_is_proved_too(issued: Path) -> None:
    listener = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--allow", "any")
    done = tlsidecar("check", "--authority", issued.parent / "pki", "--dns", "web.internal", *listener)
    assert (done.code, done.err) == (0, "")


def test_run_with_a_bad_configuration_is_exit_code_2_and_serves_nothing(tmp_path: Path) -> None:
    done = tlsidecar("run", "--listen", "127.0.0.1:0", "--upstream", "192.0.2.1:80", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--upstream" in done.err


def test_every_setting_has_a_flag() -> None:
    from tlsidecar.cli.run import run
    from tlsidecar.config.overrides import OVERRIDES

    assert {parameter.name for parameter in run.params} == {"config_file", "take_over", *OVERRIDES}


def test_the_effective_configuration_says_where_each_value_came_from(issued: Path) -> None:
    config = issued.parent / "tlsidecar.toml"
    config.write_text(
        f'[identity]\ncert = "out/tls.crt"\nkey = "out/tls.key"\ntrust = "{issued / "ca.crt"}"\n'
        '[[listener]]\nname = "web"\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:9"\nallow = ["any"]\n'
    )
    done = tlsidecar(
        "config", "show", "--config", config, "--log-level", "debug", env={"TLSIDECAR_TLS_MIN_VERSION": "1.3"}
    )
    assert (done.code, done.err) == (0, "")
    origins = {line.split(" = ")[0]: line.rpartition("# ")[2] for line in done.out.splitlines()}
    assert origins["log.level"] == "flag --log-level"
    assert origins["tls.min_version"] == "environment TLSIDECAR_TLS_MIN_VERSION"
    assert origins["listener[web].listen"].endswith("tlsidecar.toml:7")
    values = json.loads(tlsidecar("config", "show", "--config", config, "--json").out)
    assert {"key": "log.level", "value": "info", "origin": "default"} in values


def test_the_schema_is_a_json_schema() -> None:
    schema = json.loads(tlsidecar("config", "schema").out)
    assert "listener" in schema["properties"]


def test_a_flag_may_turn_a_setting_off(issued: Path) -> None:
    done = check(issued, "--listen", "0.0.0.0:0")
    assert done.code == 0, done.out
