"""How OpenSSL is loaded: once, with start-up settings that its Python binding cannot reach. Those have to stand in a
configuration file that OpenSSL reads when it is loaded (config(5), SSL_CONF_cmd(3)).

In TLS 1.3 a server sends two session tickets after each handshake, also when it will never resume a session, as ours
never does (:mod:`tlsidecar.dataplane.tls`): two keys derived, two records encrypted, one more write. That is 6 % of
the CPU of a new connection.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import cast

_VARIABLE = "OPENSSL_CONF"
_FILE = Path(__file__).with_name("openssl.cnf")
_LOAD_THE_SYSTEMS = ("ssl", "_hashlib")


def load_without_session_tickets() -> None:
    """Load OpenSSL so that none of its contexts sends session tickets. To be called before anything imports
    ``cryptography``; afterwards it has no effect.

    Whoever set ``OPENSSL_CONF`` has reasons of their own, and a ``cryptography`` that uses the system's OpenSSL is to
    read the system's policy: both are left alone, and cost the tickets.
    """
    if _VARIABLE in os.environ or not _brings_its_own_openssl():
        return
    os.environ[_VARIABLE] = str(_FILE)
    try:
        import cryptography.hazmat.bindings.openssl.binding  # noqa: F401 - importing it is what loads OpenSSL
    finally:
        del os.environ[_VARIABLE]  # it is meant for this OpenSSL, not for that of ssl, hashlib or a child


def keep_out_the_systems() -> None:
    """Import asyncio and what hashes without the system's OpenSSL, which they load where it is to be had, and nobody
    here uses: what serves uses that of ``cryptography``. It is 2 MiB. To be called before anything imports them.

    Whoever asks for :mod:`ssl` later (HTTPS to an ACME server) gets it.
    """
    if not _hashes_by_itself() or any(name in sys.modules for name in _LOAD_THE_SYSTEMS):
        return
    for name in _LOAD_THE_SYSTEMS:
        sys.modules[name] = cast("ModuleType", None)  # which keeps it from being imported
    try:
        for name in ("hashlib", "hmac", "asyncio"):
            import_module(name)
    finally:
        for name in _LOAD_THE_SYSTEMS:
            del sys.modules[name]


def _hashes_by_itself() -> bool:
    """Whether this Python has hashes of its own: some distributions leave them out."""
    sha2 = ("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")
    return all(find_spec(name) is not None for name in ("_md5", "_sha1", "_sha3", "_blake2", *sha2))


def _brings_its_own_openssl() -> bool:
    """Whether ``cryptography`` is a wheel from PyPI, which has OpenSSL built in and no configuration file.

    Its metadata is read as the file that it is: importlib.metadata takes 25 ms to import.
    """
    found = find_spec("cryptography")
    if found is None or found.origin is None:
        return False
    for wheel in Path(found.origin).parent.parent.glob("cryptography-*.dist-info/WHEEL"):
        tags = wheel.read_text()
        return "manylinux" in tags or "musllinux" in tags
    return False
