"""Start-up settings of OpenSSL that its Python binding cannot reach: they have to stand in a configuration file that
OpenSSL reads once, when it is loaded (config(5), SSL_CONF_cmd(3)).

In TLS 1.3 a server sends two session tickets after each handshake, also when it will never resume a session, as ours
never does (:mod:`tlsidecar.dataplane.tls`): two keys derived, two records encrypted, one more write. That is 6 % of
the CPU of a new connection.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

_VARIABLE = "OPENSSL_CONF"
_FILE = Path(__file__).with_name("openssl.cnf")


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
