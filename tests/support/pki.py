"""Certificates for tests. trustme is the independent second opinion: it shares no code with ours."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """A leaf with its chain, and its key, in files."""

    cert: Path
    key: Path

    def curl(self) -> list[str]:
        return ["--cert", str(self.cert), "--key", str(self.key)]


class Pki:
    """One CA and what it has issued, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = trustme.CA()
        self.trust = directory / "ca.crt"
        self.authority.cert_pem.write_to_path(self.trust)

    def issue(self, file_name: str, *names: str, common_name: str | None = None, unit: str | None = None) -> Pair:
        leaf = self.authority.issue_cert(*names, common_name=common_name, organization_unit_name=unit)
        pair = Pair(self.directory / f"{file_name}.crt", self.directory / f"{file_name}.key")
        replace(pair.cert, b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        replace(pair.key, leaf.private_key_pem.bytes(), mode=0o600)
        return pair

    def client_context(self, pair: Pair | None = None, *, max_version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.trust)
        if max_version is not None:
            context.maximum_version = max_version
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    def server_context(self, pair: Pair) -> ssl.SSLContext:
        """For a remote that wants mutual TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        context.load_verify_locations(self.trust)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put ``content`` at ``path`` by one rename, as careful writers do."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.chmod(mode)
    fresh.rename(path)
