"""Which source an identity's settings describe, and what of the disk it needs."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from unit.certs import forge

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


async def test_files_are_read_in_steps(tmp_path: Path) -> None:
    root = forge.authority()
    files = forge.write_set(tmp_path, forge.leaf(root), trust=[root])
    settings = IdentitySettings(cert=files.cert, key=files.key, trust=(TrustFile(files.trust),))
    rests: list[int] = []
    await source_of(settings, SYSTEM_CLOCK, rest=lambda: rests.append(threading.get_ident())).read()
    assert set(rests) - {threading.get_ident()}, "on a thread beside the loop"


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


# Prints what the loop would have to load for a change that names every source and checks, once the thread has.
_ON_THE_LOOP = """
import asyncio, contextlib, sys
from pathlib import Path
from certs.clock import SYSTEM_CLOCK
from tlsidecar.control.sources import Responders, crl_downloads_of, load_sources, source_of
from tlsidecar.dataplane.protocols import health_checks, load_health_checks
from tlsidecar.settings import Acme, Address, HealthCheck, IdentitySettings, ListenerSettings, Mode, TrustFile

def acme(**changes):
    return IdentitySettings(dns=("a.test",), acme=Acme("https://ca.test/dir", Path("/acme"), **changes))

identities = [
    IdentitySettings(cert=Path("/all.pem"), trust=(TrustFile(Path("/ca.crt")),)),
    IdentitySettings(command=("/bin/issue",), crl_urls=("http://ca.test/crl",), crl_cache=Path("/crls")),
    IdentitySettings(authority=Path("/pki"), dns=("a.test",)),
    IdentitySettings(spiffe_socket="unix:///agent.sock"),
    acme(),
    acme(http=Address("127.0.0.1", 80)),
]
nowhere = Address("127.0.0.1", 9)
checked = ListenerSettings("web", Mode.TERMINATE, nowhere, (nowhere,), health_check=HealthCheck(grpc=True))
before = set(sys.modules)
load_sources(identities)
load_health_checks(checked)
loaded = set(sys.modules)

async def main():
    responders = Responders((), SYSTEM_CLOCK, lambda: None)
    for identity in identities:
        source_of(identity, SYSTEM_CLOCK, responders.of(identity))
        crl_downloads_of(identity, SYSTEM_CLOCK)
    with contextlib.suppress(AttributeError):  # it loads what it is made of first, and then wants an outbound
        health_checks(None, checked)

asyncio.run(main())
print(len(loaded - before) > 20, sorted(set(sys.modules) - loaded))
"""


def test_nothing_that_a_change_names_is_left_for_the_loop_to_load() -> None:
    run = subprocess.run([sys.executable, "-c", _ON_THE_LOOP], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "True []\n", run.stdout + run.stderr
