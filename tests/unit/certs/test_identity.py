"""Who a certificate says it is, from good, odd and hostile certificates."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge

from certs.errors import CertificateInvalid
from certs.identity import Identity, IdentityCache, PeerProblem, Role, peer_problem, serial_text

CN, OU, ORG = NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME
ROOT = forge.authority()
MAILBOX = [(x509.SubjectAlternativeName([x509.RFC822Name("a@b.example")]), False)]


def test_every_field_is_what_the_certificate_says() -> None:
    made = forge.leaf(
        ROOT,
        uris=["spiffe://prod.example/ns/shop/sa/web"],
        dns=["web.internal", "*.web.internal"],
        ips=["10.0.0.1", "2001:db8::1"],
        subject=[(ORG, "Shop, Inc."), (OU, "sre"), (OU, "web"), (CN, "web")],
        serial=0x0ABC,
    )
    identity = made.identity
    assert identity.subject == "CN=web,OU=web,OU=sre,O=Shop\\, Inc."
    assert identity.issuer == "CN=Test Root"
    assert identity.serial == "0abc"
    assert identity.uris == ("spiffe://prod.example/ns/shop/sa/web",)
    assert identity.dns == ("web.internal", "*.web.internal")
    assert identity.ips == ("10.0.0.1", "2001:db8::1")
    assert identity.common_name == "web"
    assert identity.organizational_units == ("sre", "web")
    assert (identity.not_before, identity.not_after) == (forge.NOW - forge.DAY, forge.NOW + forge.DAY)
    assert identity.sha256 == hashlib.sha256(made.der).hexdigest()
    public = made.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert identity.spki_sha256 == hashlib.sha256(public).hexdigest()
    assert str(identity.spiffe) == identity.name == "spiffe://prod.example/ns/shop/sa/web"
    assert identity.svid_error == ""
    assert peer_problem(identity, Role.CLIENT) is None


@pytest.mark.needs("openssl")
def test_serial_and_digest_are_written_as_openssl_writes_them(tmp_path: Path) -> None:
    made = forge.leaf(ROOT)
    path = forge.write(tmp_path / "leaf.pem", made.pem)
    command = ["openssl", "x509", "-in", str(path), "-noout", "-serial", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.lower()
    assert f"serial={made.identity.serial}" in shown
    assert made.identity.sha256 in shown.replace(":", "")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"uris": ["spiffe://a/b"], "dns": ["d"]}, "spiffe://a/b"),
        ({"uris": ["https://a/b"], "dns": ["d", "e"], "subject": [(CN, "c")]}, "https://a/b"),
        ({"dns": ["d", "e"], "ips": ["10.0.0.1"], "subject": [(CN, "c")]}, "d"),
        ({"dns": [], "ips": ["10.0.0.1"], "subject": [(CN, "c")]}, "10.0.0.1"),
        ({"dns": [], "extra": MAILBOX, "subject": [(CN, "c")]}, "a@b.example"),
        ({"dns": [], "subject": [(CN, "c"), (OU, "u")]}, "c"),
        ({"dns": [], "subject": [(OU, "u")]}, "OU=u"),
        ({"dns": [], "subject": [(CN, "one"), (CN, "two")]}, "CN=two,CN=one"),
    ],
)
def test_the_name_to_call_it_by(changes: dict[str, object], name: str) -> None:
    assert forge.leaf(ROOT, **changes).identity.name == name


def test_one_without_any_name_is_called_by_its_digest() -> None:
    identity = forge.leaf(ROOT, dns=[]).identity
    assert identity.name == f"sha256:{identity.sha256}"


def test_two_common_names_are_none() -> None:
    assert forge.leaf(ROOT, subject=[(CN, "admin"), (CN, "guest")]).identity.common_name == ""


@pytest.mark.parametrize(
    ("changes", "part_of_error"),
    [
        ({"uris": ["spiffe://a/b", "spiffe://a/c"]}, "exactly one"),
        ({"uris": ["https://a/b", "spiffe://a/b"]}, "exactly one"),
        ({"uris": ["spiffe://a/b"], "is_ca": True}, "CA"),
        ({"uris": ["spiffe://a/b"], "signs_certificates": True}, "keyCertSign"),
        ({"uris": ["SPIFFE://a/b"]}, "lowercase"),
        ({"uris": ["spiffe:a/b"]}, "lowercase"),
        ({"uris": ["spiffe://"]}, "trust domain is empty"),
        ({"uris": ["spiffe:///b"]}, "trust domain is empty"),
        ({"uris": ["spiffe://A/b"]}, "trust domain"),
        ({"uris": ["spiffe://a:443/b"]}, "port"),
        ({"uris": ["spiffe://user@a/b"]}, "user"),
        ({"uris": ["spiffe://a?b/c"]}, "query"),
        ({"uris": ["spiffe://a"]}, "path is empty"),
        ({"uris": ["spiffe://a/"]}, "path is empty"),
        ({"uris": ["spiffe://a/b/"]}, "trailing slash"),
        ({"uris": ["spiffe://a//b"]}, "empty segment"),
        ({"uris": ["spiffe://a/../b"]}, "'..'"),
        ({"uris": ["spiffe://a/./b"]}, "'.'"),
        ({"uris": ["spiffe://a/b%2fc"]}, "segments"),
        ({"uris": ["spiffe://a/b?c"]}, "segments"),
        ({"uris": ["spiffe://a/b#c"]}, "segments"),
        ({"uris": ["spiffe://a/" + "b" * 2048]}, "longer"),
        ({"uris": ["spiffe://" + "a" * 256 + "/b"]}, "longer"),
    ],
)
def test_what_claims_to_be_an_svid_and_is_not(changes: dict[str, object], part_of_error: str) -> None:
    identity = forge.leaf(ROOT, **changes).identity
    assert identity.spiffe is None
    assert part_of_error in identity.svid_error
    problem = peer_problem(identity, Role.CLIENT)
    assert problem is not None
    assert problem[0] in (PeerProblem.INVALID_SVID, PeerProblem.CERTIFICATE_INVALID)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"dns": [], "subject": [(CN, "c")]}, PeerProblem.NO_SUBJECT_ALTERNATIVE_NAME),
        ({"usages": None}, PeerProblem.WRONG_PURPOSE),
        ({"usages": [forge.SERVER]}, PeerProblem.WRONG_PURPOSE),
        ({"usages": [x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]}, PeerProblem.WRONG_PURPOSE),
        ({"is_ca": True}, PeerProblem.CERTIFICATE_INVALID),
        ({"key": forge.rsa_key(1024)}, PeerProblem.WEAK_KEY),
        ({"key": forge.rsa_key(2048)}, None),
        ({"key": forge.ed25519_key()}, None),
    ],
)
def test_what_is_wrong_with_a_peer(changes: dict[str, object], problem: PeerProblem | None) -> None:
    found = peer_problem(forge.leaf(ROOT, **changes).identity, Role.CLIENT)
    assert (found[0] if found else None) == problem


def _patched_serial(der: bytes, old: bytes, new: bytes) -> bytes:
    assert der.count(old) == 1
    assert len(old) == len(new)
    return der.replace(old, new)


@pytest.mark.filterwarnings("default")  # cryptography warns of such serials where it does not refuse them
@pytest.mark.parametrize("serial", [b"\x02\x04\xff\xbb\xcc\xdd", b"\x02\x04\x00\x00\x00\x00"])
def test_a_serial_that_is_not_positive_is_refused_somewhere(serial: bytes) -> None:
    der = _patched_serial(forge.leaf(ROOT, serial=0x11BBCCDD).der, b"\x02\x04\x11\xbb\xcc\xdd", serial)
    try:
        identity = Identity.from_der(der)
    except CertificateInvalid:
        return
    assert not identity.serial_is_valid


def test_two_sans_are_an_error_and_not_a_choice() -> None:
    """DER put together by hand: no tool makes two extensions of a kind."""
    made = forge.leaf(ROOT, dns=["aaaaaaaa"], extra=[(x509.OCSPNoCheck(), False)])
    # 2.5.29.17 (SAN) in place of the key usage, 2.5.29.15, gives a second one.
    der = made.der.replace(bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d11"))
    with pytest.raises(CertificateInvalid):
        Identity.from_der(der)


def test_a_bit_string_in_a_name_is_shown_in_hex_and_is_no_common_name() -> None:
    der = forge.leaf(ROOT, subject=[(CN, "cccc")]).der
    identity = Identity.from_der(der.replace(b"\x0c\x04cccc", b"\x03\x04\x00ccc"))
    assert (identity.subject, identity.common_name) == ("CN=#030400636363", "")


def test_an_unknown_version_is_an_error() -> None:
    der = forge.leaf(ROOT).der
    with pytest.raises(CertificateInvalid):
        Identity.from_der(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x57", 1))


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_certificate_is_read_or_refused_never_anything_else(data: st.DataObject) -> None:
    der = bytearray(_RICH)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        identity = Identity.from_der(bytes(der))
    except CertificateInvalid:
        return
    assert identity.name is not None
    peer_problem(identity, Role.SERVER)


_RICH = forge.leaf(
    ROOT, uris=["spiffe://a/b"], dns=["a.b", "c"], ips=["10.0.0.1"], subject=[(CN, "c"), (OU, "u")], serial=0x1234
).der


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(CertificateInvalid):
        Identity.from_der(noise)


def test_the_cache_gives_the_same_identity_and_forgets_the_least_recently_seen() -> None:
    cache = IdentityCache(capacity=2)
    asked: list[bytes] = []

    def identify(der: bytes) -> Identity:
        return cache.identify(hashlib.sha256(der).digest(), lambda: asked.append(der) or der)  # type: ignore[func-returns-value]

    first, second, third = (forge.leaf(ROOT).der for _ in range(3))
    kept = identify(first)
    identify(second)
    assert identify(first) is kept
    identify(third)  # pushes out the second
    assert len(cache) == 2
    assert identify(first) is kept
    assert asked == [first, second, third]


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (["web.internal"], "web.internal", True),
        (["web.internal"], "WEB.Internal.", True),
        (["web.internal"], "x.web.internal", False),
        (["*.internal.example"], "web.internal.example", True),
        (["*.internal.example"], "a.web.internal.example", False),
        (["*.internal.example"], "internal.example", False),
        (["w*.internal.example"], "web.internal.example", False),
        (["*.com"], "example.com", False),
        (["*"], "web", False),
        (["10.0.0.1"], "10.0.0.1", False),
        ([], "web.internal", False),
    ],
)
def test_which_hosts_a_certificate_covers(names: list[str], host: str, covered: bool) -> None:
    made = forge.leaf(ROOT, dns=names, ips=["10.0.0.2"], subject=[(CN, "web.internal")])
    assert made.identity.covers_host(host) is covered
    assert made.identity.covers_host("10.0.0.2")


def test_serials_have_whole_octets() -> None:
    assert [serial_text(number) for number in (0, 1, 0x100, -5)] == ["00", "01", "0100", "-05"]


def test_a_huge_certificate_is_read_and_not_kept() -> None:
    cache = IdentityCache()
    for names, kept in (([f"host-{number}.example" for number in range(100)], 1), (["a.example"] * 2000, 1)):
        made = forge.leaf(ROOT, dns=names)
        assert cache.identify(hashlib.sha256(made.der).digest(), lambda made=made: made.der).dns == tuple(names)
        assert len(cache) == kept
