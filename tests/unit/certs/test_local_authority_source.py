"""Material that a local CA issues to us."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge

from certs.authority import Authority
from certs.authority_state import Plan
from certs.errors import MaterialError, MaterialReason
from certs.handshake import prove_handshake
from certs.identity import Role
from certs.preflight import preflight
from certs.revocation import write_crls
from certs.sources import Source
from certs.sources.local_authority import LocalAuthoritySource

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> forge.ManualClock:
    return forge.ManualClock()


@pytest.fixture
def authority(tmp_path: Path, clock: forge.ManualClock) -> Authority:
    return Authority.create(tmp_path / "pki", Plan("Dev CA"), clock)


@pytest.fixture
def source(authority: Authority, clock: forge.ManualClock) -> LocalAuthoritySource:
    return LocalAuthoritySource(
        authority.directory,
        dns=["web.internal"],
        ip=["127.0.0.1"],
        spiffe="spiffe://td/web",
        common_name="web",
        ttl=12 * HOUR,
        clock=clock,
        random_unit=lambda: 0.5,
    )


def test_it_issues_what_it_was_told_and_says_when_again(source: LocalAuthoritySource, clock: forge.ManualClock) -> None:
    assert isinstance(source, Source)
    assert source.renewal_due is None
    material = source.load()
    assert preflight(material, list(Role), clock.now()) == ()
    for role in Role:
        prove_handshake(material, role, clock.now())
    identity = material.identity
    assert (identity.name, identity.dns, identity.ips) == ("spiffe://td/web", ("web.internal",), ("127.0.0.1",))
    assert identity.common_name == "web"
    assert source.renewal_due == clock.now() + 8 * HOUR
    assert "spiffe://td/web" in material.source
    clock.advance(8 * HOUR)
    again = source.load()
    assert again.key.spki != material.key.spki
    assert again.identity.serial != material.identity.serial
    assert source.renewal_due == clock.now() + 8 * HOUR


def test_its_fingerprint_changes_with_trust_and_lists_but_not_with_issuing(
    source: LocalAuthoritySource, authority: Authority
) -> None:
    source.load()
    before = source.fingerprint()
    source.load()
    assert source.fingerprint() == before
    write_crls(authority)
    assert source.fingerprint() != before


def test_lists_come_along_and_are_kept_fresh(
    source: LocalAuthoritySource, authority: Authority, clock: forge.ManualClock
) -> None:
    assert source.load().crls == ()
    write_crls(authority)
    for _ in range(10):
        clock.advance(timedelta(days=3))
        material = source.load()
        assert len(material.crls) == 2
        assert preflight(material, list(Role), clock.now()) == ()


def test_a_ca_in_disorder_is_a_reason(source: LocalAuthoritySource, authority: Authority) -> None:
    source.load()
    due = source.renewal_due
    (authority.directory / "ca-1" / "intermediate.key").unlink()
    with pytest.raises(MaterialError) as raised:
        source.load()
    assert raised.value.reason is MaterialReason.AUTHORITY_FAILED
    assert "intermediate.key" in raised.value.detail
    assert source.renewal_due == due
    authority.directory.rename(authority.directory.with_name("gone"))
    assert source.fingerprint()
    with pytest.raises(MaterialError):
        source.load()


def test_a_clock_gone_back_is_a_reason(source: LocalAuthoritySource, clock: forge.ManualClock) -> None:
    source.load()
    clock.jump(-HOUR)
    with pytest.raises(MaterialError, match="clock"):
        source.load()
