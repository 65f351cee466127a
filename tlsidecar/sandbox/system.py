"""What Python, OpenSSL and the C library read of the machine while we serve, whatever the configuration says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import certs
import tlsidecar
from tlsidecar.sandbox.landlock import Files
from tlsidecar.sandbox.needs import READ, Place

# Modules that are imported late, the libraries that they load, and locales, time zones and the system's CAs.
_SHARED = ("/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
# Without the private keys that stand beside some of them.
_CAS = (
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs"),
    *("/etc/pki/tls/openssl.cnf", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust", "/etc/crypto-policies"),
)
_CAS_BY_VARIABLE = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "OPENSSL_MODULES", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"),
    *("OTEL_EXPORTER_OTLP_CLIENT_KEY", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"),
    *("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE"),
)
# Names of hosts, users and groups (nsswitch.conf(5), resolv.conf(5), gai.conf(5)).
_NAMES = (
    *("/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/resolv.conf", "/etc/services"),
    *("/etc/protocols", "/etc/passwd", "/etc/group", "/var/lib/sss/mc", "/var/lib/extrausers"),
)
RESOLVER = Path("/etc/resolv.conf")
_OF_THE_KERNEL = ("/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random")


def places(*, resolves: bool, starts_python: bool) -> Iterator[Place]:
    """``resolves``: names are looked up; ``starts_python``: other processes of ours are."""
    yield from (Place(path, READ, "Python") for path in _python())
    yield from (Place(Path(name), READ, "the system") for name in (*_SHARED, *_CAS, *_NAMES, *_OF_THE_KERNEL))
    yield Place(Path(os.devnull), Files.READ_FILE | Files.WRITE_FILE, "the system")
    for variable in _CAS_BY_VARIABLE:
        for name in os.environ.get(variable, "").split(os.pathsep):
            if name:
                yield Place(Path(name).absolute(), READ, f"${variable}")
    if resolves and (directory := _resolvers_home()) is not None:
        yield Place(directory, READ, str(RESOLVER))
    if starts_python:
        yield from (Place(path, Files.EXECUTE | READ, "Python") for path in (Path(sys.executable), *_loaders()))


def _python() -> Iterator[Path]:
    for name in (sys.prefix, sys.base_prefix, sys.exec_prefix, *_search_path()):
        if name and os.path.realpath(name) != "/":
            yield Path(os.path.realpath(name))
    for package in (certs, tlsidecar):
        assert package.__file__ is not None
        yield Path(package.__file__).parent


def _search_path() -> list[str]:
    """Without the directory that somebody happened to stand in: ``python -m`` puts it first."""
    if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == os.getcwd():
        return sys.path[1:]
    return sys.path


def _resolvers_home() -> Path | None:
    """What manages resolv.conf writes another file and renames it, so its directory has to be allowed; but in a
    container it is mounted, and only written into."""
    real = Path(os.path.realpath(RESOLVER))
    return None if os.path.ismount(real) else real.parent


def _loaders() -> Iterator[Path]:
    """The dynamic loader, which the kernel opens for whatever is executed (ld.so(8)): the one we were loaded by."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            mapped = {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if len(line.split(maxsplit=5)) == 6}
    except OSError:
        return
    for name in mapped:
        if os.path.basename(name).startswith(("ld-", "ld.so", "ld64.so")):
            yield Path(name)
