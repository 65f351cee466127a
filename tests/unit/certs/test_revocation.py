"""Revoking, and the lists that say so."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from unit.certs import forge

from certs.authority import Authority
from certs.authority_state import Plan
from certs.errors import AuthorityError, MaterialReason
from certs.identity import Role
from certs.preflight import inspect, preflight
from certs.profiles import LeafRequest
from certs.register import parse_serial
from certs.revocation import CRL_LIFETIME, refresh_crls, revoke, write_crls

REQUEST = LeafRequest(dns=("web.internal",))


@pytest.fixture
def clock() -> forge.ManualClock:
    return forge.ManualClock()


@pytest.fixture
def authority(tmp_path: Path, clock: forge.ManualClock) -> Authority:
    return Authority.create(tmp_path / "pki", Plan("Dev CA"), clock)


@pytest.mark.needs("openssl")
def test_openssl_refuses_the_revoked_and_accepts_the_rest(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "pki", Plan("Dev CA"))
    good, bad = authority.issue(REQUEST, "test"), authority.issue(REQUEST, "test")
    revoke(authority, bad.identity.serial, "test", "stolen")

    def verify(material: object, *flags: str) -> subprocess.CompletedProcess[str]:
        leaf = forge.write(tmp_path / "leaf", forge.Made(material.leaf, None).pem)  # type: ignore[attr-defined, arg-type]
        middle = forge.write(tmp_path / "middle", forge.Made(material.chain[0], None).pem)  # type: ignore[attr-defined, arg-type]
        trust, crl = authority.directory / "ca.crt", authority.directory / "ca.crl"
        command = [
            "openssl",
            "verify",
            "-x509_strict",
            *flags,
            "-CAfile",
            trust,
            "-CRLfile",
            crl,
            "-untrusted",
            middle,
            leaf,
        ]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=30)

    for flags in (["-crl_check"], ["-crl_check_all"], ["-crl_check_all", "-extended_crl"]):
        assert verify(good, *flags).returncode == 0, verify(good, *flags).stderr
        assert "certificate revoked" in verify(bad, *flags).stderr


def test_a_revoked_leaf_is_not_fit_to_serve(authority: Authority, clock: forge.ManualClock) -> None:
    material = authority.issue(REQUEST, "test")
    revoked = revoke(authority, material.identity.serial, "test")
    assert revoked.names == ("web.internal",)
    assert not revoked.was_revoked_before
    lists = authority.crls()
    with_lists = forge.material(
        forge.Made(material.leaf, material.key.reveal()),
        forge.Made(material.chain[0], None),  # type: ignore[arg-type]
        trust=[forge.Made(authority.root("ca-1"), None)],  # type: ignore[arg-type]
        crls=lists,
    )
    found = inspect(with_lists, list(Role), clock.now()).problems
    assert [error.reason for error in found] == [MaterialReason.REVOKED]
    assert preflight(authority.issue(REQUEST, "test"), list(Role), clock.now()) == ()


def test_revoking_twice_keeps_the_first_date(authority: Authority, clock: forge.ManualClock) -> None:
    serial = authority.issue(REQUEST, "test").identity.serial
    first = revoke(authority, serial, "test")
    clock.advance(timedelta(hours=1))
    second = revoke(authority, f"0x{serial.upper()}", "test")
    assert second.was_revoked_before
    assert second.revoked_at == first.revoked_at
    assert [entry["event"] for entry in authority.journal.entries()].count("revoke") == 1


def test_only_leaves_of_this_ca_are_revoked(authority: Authority) -> None:
    with pytest.raises(AuthorityError, match="not issued by this CA"):
        revoke(authority, "abcd", "test")
    with pytest.raises(AuthorityError, match="rollover"):
        revoke(authority, f"{authority.intermediate('ca-1').serial_number:x}", "test")
    with pytest.raises(AuthorityError, match="hexadecimal"):
        revoke(authority, "not hex", "test")
    assert authority.crls() == ()


@pytest.mark.parametrize("text", ["0abc", "ABC", "0x0abc", "0A:BC", " abc "])
def test_serials_as_people_paste_them(text: str) -> None:
    assert parse_serial(text) == "0abc"


def test_lists_are_numbered_upwards_and_complete(authority: Authority, clock: forge.ManualClock) -> None:
    numbers = []
    for _ in range(3):
        lists = write_crls(authority)
        assert {crl.issuer for crl in lists} == {
            authority.root("ca-1").subject,
            authority.intermediate("ca-1").subject,
        }
        read = [x509.load_der_x509_crl(crl.der).extensions for crl in lists]
        numbers += [each.get_extension_for_class(x509.CRLNumber).value.crl_number for each in read]
        assert lists[0].next_update_utc == clock.now() + CRL_LIFETIME
    assert numbers == [1, 1, 2, 2, 3, 3]
    for crl in authority.crls():
        signer = next(
            each for each in (authority.root("ca-1"), authority.intermediate("ca-1")) if each.subject == crl.issuer
        )
        assert crl.is_signed_by(signer)
        assert x509.load_der_x509_crl(crl.der).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)


def test_with_the_root_offline_its_last_list_stays(authority: Authority) -> None:
    (first, root_list) = write_crls(authority)
    (authority.directory / "ca-1" / "root.key").unlink()
    (second, kept) = write_crls(authority)
    assert kept == root_list
    assert second != first


def test_lists_are_signed_anew_before_they_are_due(authority: Authority, clock: forge.ManualClock) -> None:
    refresh_crls(authority)
    assert authority.crls() == ()  # nobody asked for any
    written = write_crls(authority)
    refresh_crls(authority)
    assert authority.crls() == written
    for _ in range(20):
        clock.advance(timedelta(days=2))
        refresh_crls(authority)
        assert all(crl.next_update_utc is not None and crl.next_update_utc > clock.now() for crl in authority.crls())
    assert authority.crls() != written


def test_what_expired_long_ago_leaves_the_list(authority: Authority, clock: forge.ManualClock) -> None:
    revoke(authority, authority.issue(REQUEST, "test").identity.serial, "test")
    assert [len(crl) for crl in authority.crls()] == [1, 0]
    clock.advance(timedelta(days=30))
    assert [len(crl) for crl in write_crls(authority)] == [1, 0]
    clock.advance(timedelta(days=2))
    assert [len(crl) for crl in write_crls(authority)] == [0, 0]
