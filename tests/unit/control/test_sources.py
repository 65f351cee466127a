"""Which source an identity's settings describe, and what of the disk it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from certs.clock import SYSTEM_CLOCK
from certs.sources.command import CommandSource
from certs.sources.files import FileSource
from certs.sources.local_authority import LocalAuthoritySource
from tlsidecar.control.sources import crl_downloads_of, files_of, source_of, state_of
from tlsidecar.control.workload_api import WorkloadApiSource
from tlsidecar.settings import IdentitySettings, TrustFile

TRUST = (TrustFile(Path("/trust.crt")),)


@pytest.mark.parametrize(
    ("settings", "kind", "renews"),
    [
        (IdentitySettings(cert=Path("/tls.crt"), key=Path("/tls.key"), trust=TRUST), FileSource, False),
        (IdentitySettings(cert=Path("/both.pem"), trust=TRUST), FileSource, False),
        (IdentitySettings(command=("/bin/issue",)), CommandSource, True),
        (IdentitySettings(authority=Path("/pki"), dns=("web.internal",)), LocalAuthoritySource, True),
        (IdentitySettings(spiffe_socket="unix:///agent.sock"), WorkloadApiSource, False),
    ],
)
def test_the_source_described(settings: IdentitySettings, kind: type, renews: bool) -> None:
    """None of it has to be there yet: what is missing is said when the source is asked."""
    source = source_of(settings, SYSTEM_CLOCK)
    assert (type(source), source.renews) == (kind, renews)


def test_what_it_reads_and_what_it_writes() -> None:
    settings = IdentitySettings(
        cert=Path("/tls.crt"),
        key=Path("/tls.key"),
        trust=TRUST,
        crl=Path("/ca.crl"),
        crl_urls=("http://crl.internal/ca.crl",),
        crl_cache=Path("/cache"),
    )
    assert [str(path) for path in files_of(settings)] == ["/tls.crt", "/tls.key", "/ca.crl", "/trust.crt"]
    assert state_of(settings) == [Path("/cache")]
    assert crl_downloads_of(settings, SYSTEM_CLOCK) is not None
    assert crl_downloads_of(IdentitySettings(cert=Path("/tls.crt")), SYSTEM_CLOCK) is None
