"""The certificates of a run, by the project's own ``certs``: one CA, one server (twice, to rotate), one client."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TRUST_DOMAIN = "bench.example"
SERVER_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/server"
CLIENT_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/client"
SERVER_NAME = "localhost"


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
    rotating = directory / "rotating"
    rotating.symlink_to(directory / "server")
    return Pki(
        server=_credentials(directory / "server", directory),
        client=_credentials(directory / "client", directory),
        rotating=rotating,
        sets=(directory / "server", directory / "server-2"),
    )


def _credentials(published: Path, directory: Path) -> Credentials:
    certificate, key = published / "tls.crt", published / "tls.key"
    combined = directory / f"{published.name}.pem"
    combined.touch(mode=0o600)
    combined.write_bytes(certificate.read_bytes() + key.read_bytes())
    return Credentials(certificate, key, published / "ca.crt", combined)


def _certs(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "certs", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
