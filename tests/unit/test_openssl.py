"""How OpenSSL is loaded: once, as ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tlsidecar import openssl


def said_by(program: str) -> str:
    """What ``program`` prints, in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_what_serves_loads_no_second_openssl_and_whoever_wants_it_gets_it() -> None:
    program = """
import sys
from tlsidecar.openssl import keep_out_the_systems
keep_out_the_systems()
import tlsidecar.daemon
print([name for name in ("_ssl", "_hashlib") if name in sys.modules])
import asyncio, hashlib, hmac, ssl
print(hashlib.sha256(b"").hexdigest()[:8], hmac.new(b"k", b"m", "sha256").hexdigest()[:8])
print(ssl.create_default_context().verify_mode.name)
"""
    assert said_by(program).splitlines() == ["[]", "e3b0c442 b60090e3", "CERT_REQUIRED"]


def test_a_python_without_hashes_of_its_own_keeps_those_of_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "find_spec", lambda name: None)
    before = dict(sys.modules)
    openssl.keep_out_the_systems()
    assert sys.modules == before
