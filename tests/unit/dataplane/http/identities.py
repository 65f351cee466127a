"""Identities that say what a test wants, as if read from a certificate."""

from __future__ import annotations

from datetime import UTC, datetime

from certs.identity import Identity


def identity(
    *, subject: str = "CN=client", uris: tuple[str, ...] = (), dns: tuple[str, ...] = (), sha256: str = "00ff"
) -> Identity:
    return Identity(
        subject=subject,
        issuer="CN=ca",
        serial="01",
        uris=uris,
        dns=dns,
        ips=(),
        common_name="client",
        organizational_units=(),
        not_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_after=datetime(2027, 1, 1, tzinfo=UTC),
        sha256=sha256,
        spki_sha256="",
        spiffe=None,
        svid_error="",
        is_ca=False,
        has_subject_alternative_name=True,
        purposes=(),
        key_weakness="",
        serial_is_valid=True,
        name=dns[0] if dns else "client",
    )
