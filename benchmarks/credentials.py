"""The certificates of a run: one CA, one server (twice, to rotate), one client, by the project's own ``certs``; and
what others' CAs issue, by :mod:`benchmarks.foreign_pki`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.foreign_pki import Authority, Key, p256, p384, rsa_2048
from benchmarks.settings import NO_INTERMEDIATE, P384, RSA

TRUST_DOMAIN = "bench.example"
SERVER_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/server"
CLIENT_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/client"
SERVER_NAME = "localhost"

# Whether there is an intermediate, and what key the leaves have.
FOREIGN: dict[str, tuple[bool, Callable[[], Key]]] = {
    NO_INTERMEDIATE: (False, p256),
    RSA: (True, rsa_2048),
    P384: (True, p384),
}


@dataclass(frozen=True)
class Credentials:
    """One published set; ``combined`` is for programs that take leaf, chain and key from one file."""

    certificate: Path
    key: Path
    trust: Path
    combined: Path


@dataclass(frozen=True)
class Pki:
    server: Credentials
    client: Credentials
    rotating: Path  # a link to one of two sets for the same server, exchanged by `rotate`
    sets: tuple[Path, Path]

    def rotate(self) -> None:
        """Publish the other of the two server sets, in one rename."""
        old = self.rotating.resolve()
        new = self.sets[1] if old == self.sets[0] else self.sets[0]
        fresh = self.rotating.with_suffix(".new")
        fresh.symlink_to(new)
        os.replace(fresh, self.rotating)


def make_pki(directory: Path) -> Pki:
    """A root, an intermediate, P-256 leaves: what ``tlsidecar certs`` gives everyone."""
    authority = directory / "ca"
    _certs("init", authority, "--name", "Benchmark CA")
    for name, identity in (("server", SERVER_ID), ("server-2", SERVER_ID), ("client", CLIENT_ID)):
        names = ["--dns", SERVER_NAME, "--ip", "127.0.0.1", "--spiffe", identity, "--cn", name, "--ttl", "48h"]
        _certs("issue", authority, "--out", directory / name, *names)
    return _pki(directory, "server-2")


def issue_clients(directory: Path, count: int) -> list[Path]:
    """More clients of the CA that :func:`make_pki` made in ``directory``, each of its own name."""
    made = [directory / f"client-{number}" for number in range(count)]
    for path in made:
        spiffe = f"{CLIENT_ID}/{path.name}"
        _certs("issue", directory / "ca", "--out", path, "--spiffe", spiffe, "--cn", path.name, "--ttl", "48h")
    return made


def make_foreign_pki(directory: Path, name: str) -> Pki:
    """One of :data:`FOREIGN`. There is no second set to rotate to."""
    has_intermediate, make_key = FOREIGN[name]
    authority = Authority(has_intermediate=has_intermediate)
    for side, identity in (("server", SERVER_ID), ("client", CLIENT_ID)):
        authority.publish(directory / side, make_key(), spiffe_id=identity, name=SERVER_NAME)
    return _pki(directory, "server")


def _pki(directory: Path, second: str) -> Pki:
    rotating = directory / "rotating"
    rotating.symlink_to(directory / "server")
    return Pki(
        server=_credentials(directory / "server", directory),
        client=_credentials(directory / "client", directory),
        rotating=rotating,
        sets=(directory / "server", directory / second),
    )


def _credentials(published: Path, directory: Path) -> Credentials:
    certificate, key = published / "tls.crt", published / "tls.key"
    combined = directory / f"{published.name}.pem"
    combined.touch(mode=0o600)
    combined.write_bytes(certificate.read_bytes() + key.read_bytes())
    return Credentials(certificate, key, published / "ca.crt", combined)


def _certs(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "certs", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
