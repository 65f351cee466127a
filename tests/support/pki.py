"""Certificates for tests. trustme is the independent second opinion: it shares no code with ours."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key


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

    def issue(
        self,
        file_name: str,
        *names: str,
        common_name: str | None = None,
        unit: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Pair:
        leaf = self.authority.issue_cert(
            *names,
            common_name=common_name,
            organization_unit_name=unit,
            not_before=not_before,
            not_after=not_after,
        )
        pair = Pair(self.directory / f"{file_name}.crt", self.directory / f"{file_name}.key")
        replace(pair.cert, b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        replace(pair.key, leaf.private_key_pem.bytes(), mode=0o600)
        return pair

    def revoke(self, *pairs: Pair, expired: bool = False) -> Path:
        """The CA's revocation list, naming these leaves; one that is past its time when ``expired``."""
        now = datetime.now(UTC)
        issuer = x509.load_pem_x509_certificate(self.authority.cert_pem.bytes())
        key = load_pem_private_key(self.authority.private_key_pem.bytes(), None)
        assert isinstance(key, CertificateIssuerPrivateKeyTypes)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=issuer.subject,
            last_update=now - timedelta(days=2),
            next_update=now - timedelta(days=1) if expired else now + timedelta(days=1),
        ).add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        for pair in pairs:
            leaf = x509.load_pem_x509_certificate(pair.cert.read_bytes())
            entry = x509.RevokedCertificateBuilder().serial_number(leaf.serial_number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        path = self.directory / "ca.crl"
        replace(path, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path

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
