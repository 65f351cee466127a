"""Material that a local CA issues to us."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge

from certs.authority import Authority
from certs.authority_state import Plan
from certs.durable import locked
from certs.errors import MaterialError, MaterialReason
from certs.handshake import prove_handshake
from certs.identity import Role
from certs.material import Material
from certs.preflight import preflight
from certs.revocation import write_crls
from certs.rollover import start, switch
from certs.sources import Candidate, Failed, RenewalWanted, Source
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
        poll_s=0.01,
        deadline_s=0.3,
    )


async def test_it_issues_what_it_was_told(source: LocalAuthoritySource, clock: forge.ManualClock) -> None:
    assert isinstance(source, Source)
    assert source.renews
    material = await source.renew()
    assert preflight(material, list(Role), clock.now()) == ()
    for role in Role:
        prove_handshake(material, role, clock.now())
    identity = material.identity
    assert (identity.name, identity.dns, identity.ips) == ("spiffe://td/web", ("web.internal",), ("127.0.0.1",))
    assert identity.common_name == "web"
    assert "spiffe://td/web" in material.source
    again = await source.renew()
    assert again.key.spki != material.key.spki
    assert again.identity.serial != material.identity.serial


def everything_in(directory: Path) -> dict[str, tuple[bytes, int]]:
    """What is in it, with when it was changed."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


async def test_reading_leaves_the_ca_as_it_is(
    source: LocalAuthoritySource, authority: Authority, clock: forge.ManualClock
) -> None:
    before = everything_in(authority.directory)
    assert await source.read() is None
    assert everything_in(authority.directory) == before
    issued = await source.renew()
    write_crls(authority)
    clock.advance(timedelta(days=6))  # lists that a renewal would write anew
    before = everything_in(authority.directory)
    material = await source.read()
    assert material is not None
    assert (material.leaf, len(material.crls)) == (issued.leaf, 2)
    assert everything_in(authority.directory) == before


async def test_its_fingerprint_changes_with_trust_and_lists_but_not_with_issuing(
    source: LocalAuthoritySource, authority: Authority
) -> None:
    await source.renew()
    before = source.fingerprint()
    await source.renew()
    assert source.fingerprint() == before
    write_crls(authority)
    assert source.fingerprint() != before


async def test_lists_come_along_and_are_kept_fresh(
    source: LocalAuthoritySource, authority: Authority, clock: forge.ManualClock
) -> None:
    assert (await source.renew()).crls == ()
    write_crls(authority)
    for _ in range(10):
        clock.advance(timedelta(days=3))
        material = await source.renew()
        assert len(material.crls) == 2
        assert preflight(material, list(Role), clock.now()) == ()


async def test_a_ca_in_disorder_is_a_reason_to_read_and_to_renew(
    source: LocalAuthoritySource, authority: Authority
) -> None:
    (authority.directory / "ca-1" / "intermediate.key").unlink()
    for attempt in (source.read, source.renew):
        with pytest.raises(MaterialError) as raised:
            await attempt()
        assert raised.value.reason is MaterialReason.AUTHORITY_FAILED
        assert "intermediate.key" in raised.value.detail
    authority.directory.rename(authority.directory.with_name("gone"))
    assert source.fingerprint()
    with pytest.raises(MaterialError):
        await source.renew()


async def test_a_clock_gone_back_is_a_reason(source: LocalAuthoritySource, clock: forge.ManualClock) -> None:
    await source.renew()
    clock.jump(-HOUR)
    with pytest.raises(MaterialError, match="clock"):
        await source.renew()


async def test_new_lists_are_followed_and_another_ca_is_a_reason_to_renew(
    source: LocalAuthoritySource, authority: Authority, clock: forge.ManualClock
) -> None:
    issued = await source.renew()
    events = source.follow()
    write_crls(authority)
    event = await anext(events)
    assert isinstance(event, Candidate)
    assert (event.material.leaf, len(event.material.crls)) == (issued.leaf, 2)
    start(authority, "test")
    event = await anext(events)
    assert isinstance(event, Candidate)
    assert len(event.material.trust) == 2
    switch(authority, {}, "test")
    assert isinstance(await anext(events), RenewalWanted)


async def test_a_ca_that_hangs_fails_in_time_and_what_it_issued_late_is_taken_up(
    source: LocalAuthoritySource, authority: Authority
) -> None:
    issued = await _issued(source)
    with locked(authority.directory):
        threads = threading.active_count()
        for _ in range(3):
            with pytest.raises(MaterialError) as raised:
                await source.renew()
            assert raised.value.reason is MaterialReason.SOURCE_TIMEOUT
        assert threading.active_count() <= threads
        events = source.follow()
        assert isinstance(await anext(events), Failed)
    while isinstance(event := await anext(events), Failed):
        assert event.error.reason is MaterialReason.SOURCE_TIMEOUT  # a busy machine: it is taken up all the same
    assert isinstance(event, Candidate)
    assert event.material.leaf != issued.leaf


async def _issued(source: LocalAuthoritySource) -> Material:
    """The first one, within the deadline of this file or after it, as a busy machine has it."""
    for _ in range(50):
        with contextlib.suppress(MaterialError):
            return await source.renew()
    return await source.renew()
