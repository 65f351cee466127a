"""Entering the sandbox. It is for good, and so in processes of their own; what holds in it is in tests/scenarios."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from unit.control.world import SETTINGS

from tlsidecar.sandbox import enter as module
from tlsidecar.sandbox import landlock
from tlsidecar.sandbox.enter import enter
from tlsidecar.sandbox.landlock import LandlockUnavailable
from tlsidecar.sandbox.level import SandboxError
from tlsidecar.settings import IdentitySettings, Settings

try:
    ABI = landlock.abi()
except LandlockUnavailable:
    ABI = 0

CHILD = """
import json, os, sys
from pathlib import Path
from tlsidecar.config import load
from tlsidecar.sandbox.enter import enter
directory = Path(sys.argv[1])
level = enter(load(directory / "etc" / "tlsidecar.toml", {}, {}))
def tried(act):
    try:
        return act() and ""
    except OSError as error:
        return type(error).__name__
print(json.dumps({
    "holds": level.holds,
    "mode": oct((directory / "crls").stat().st_mode & 0o777),
    "keeps": tried(lambda: (directory / "crls" / "a").write_text("a")),
    "reads": tried(lambda: (directory / "pki" / "tls.crt").read_text()),
    "reads elsewhere": tried(lambda: (directory / "other" / "secret").read_text()),
    "writes what it reads": tried(lambda: (directory / "pki" / "tls.crt").write_text("b")),
}))
"""
CONFIGURATION = """
[identity]
cert = "../pki/tls.crt"
trust = "../pki/tls.crt"
crl_urls = ["http://127.0.0.1:9/ca.crl"]
crl_cache = "../crls"
[[listener]]
name = "web"
listen = "127.0.0.1:0"
upstream = "127.0.0.1:1"
allow = ["any"]
"""


@pytest.mark.skipif(ABI < 1, reason="this kernel has no Landlock, or does not let us")
def test_what_is_needed_is_made_and_permitted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("etc", "pki", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "tlsidecar.toml").write_text(CONFIGURATION)
    (tmp_path / "pki" / "tls.crt").write_text("a")
    (tmp_path / "other" / "secret").write_text("secret")
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == {
        "holds": True,
        "mode": "0o700",
        "keeps": "",
        "reads": "",
        "reads elsewhere": "PermissionError",
        "writes what it reads": "PermissionError",
    }


@pytest.fixture
def keeping(tmp_path: Path) -> Settings:
    """Settings with a directory of our own that is not there."""
    identity = replace(SETTINGS.identity, crl_urls=("http://127.0.0.1:9/",), crl_cache=tmp_path / "crls")
    return replace(SETTINGS, identities=(identity,))


def test_switched_off_it_changes_nothing(keeping: Settings, tmp_path: Path) -> None:
    level = enter(replace(keeping, sandbox="off"))
    assert (level.holds, level.reason) == (False, "it is switched off")
    assert not (tmp_path / "crls").exists()


def test_a_kernel_that_refuses_half_way_is_as_one_without(keeping: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's seccomp filter may allow the question and forbid the rest."""

    def forbidden(*_: object) -> object:
        raise LandlockUnavailable("a seccomp filter forbids Landlock")

    monkeypatch.setattr(landlock, "abi", lambda: 7)
    monkeypatch.setattr(module, "Ruleset", forbidden)
    level = enter(keeping)
    assert (level.holds, level.reason) == (False, "a seccomp filter forbids Landlock")
    with pytest.raises(SandboxError, match='"required", and it cannot hold: a seccomp filter'):
        enter(replace(keeping, sandbox="required"))


def test_a_ca_that_cannot_be_awaited_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where others keep their things nothing is allowed for its sake; in a directory of its own it will be let in."""

    def stop(*_: object) -> object:
        raise LandlockUnavailable("far enough")

    monkeypatch.setattr(landlock, "abi", lambda: 7)
    monkeypatch.setattr(module, "Ruleset", stop)
    (tmp_path / "own").mkdir()
    authorities = [Path("/srv/no-such-authority"), tmp_path / "own" / "pki"]
    identities = tuple(
        IdentitySettings(name=f"i{number}", authority=path, dns=("a",)) for number, path in enumerate(authorities)
    )
    with caplog.at_level(logging.WARNING):
        enter(replace(SETTINGS, identities=identities))
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("identity.authority: /srv/no-such-authority is not there, and once it is the sandbox")
