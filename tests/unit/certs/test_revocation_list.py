"""A revocation list whose issuer's name no parser of names takes: read, verified, and looked at by OpenSSL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto
from support import odd
from unit.certs import forge

from certs.certificate import Certificate
from certs.errors import MaterialError, MaterialReason
from certs.hostile import PARSE_ERRORS
from certs.identity import Role
from certs.material import Material, PrivateKey
from certs.pem import crls_in, parse_crl, read_blocks
from certs.preflight import inspect
from certs.revocation_list import RevocationList

PRINTABLE, T61, BITS = 0x13, 0x14, 0x03
SUBJECTS = {
    "utf8": odd.name((odd.UTF8, b"Plain")),
    "ampersand": odd.name((PRINTABLE, b"A & B")),
    "star": odd.name((PRINTABLE, b"* of A")),
    "t61": odd.name((T61, b"M\xfcller")),
    "bits": odd.name((BITS, b"\x00abc")),
}
REVOKED = 0x1234


def listed(authority: odd.Odd, *, signer: odd.Odd | None = None, issuer: bytes | None = None) -> bytes:
    """``issuer``: the name in it, where that is not spelled as the CA spells it."""
    now = datetime.now(UTC)
    entry = x509.RevokedCertificateBuilder().serial_number(REVOKED).revocation_date(now - timedelta(hours=2)).build()
    nobody = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateRevocationListBuilder().issuer_name(nobody).add_revoked_certificate(entry)
    builder = builder.last_update(now - timedelta(hours=1)).next_update(now + timedelta(days=1))
    made = builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)
    signed, algorithm, _ = odd.parts(odd.inside(made))
    fields = odd.parts(odd.inside(signed))
    fields[2] = issuer or authority.subject
    signed = odd.tlv(0x30, b"".join(fields))
    signature = (signer or authority).key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return odd.tlv(0x30, signed + algorithm + odd.tlv(0x03, b"\0" + signature))


def verdict(authority: odd.Odd, leaf: odd.Odd, crl: RevocationList) -> str:
    store = crypto.X509Store()
    store.add_cert(Certificate(authority.der).openssl())
    crl.add_to(store)
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.X509_STRICT)
    try:
        crypto.X509StoreContext(store, Certificate(leaf.der).openssl()).verify_certificate()
    except crypto.X509StoreContextError as error:
        return str(error.errors[2])
    return ""


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_whatever_its_issuer_is_called(subject: bytes) -> None:
    authority, stranger = odd.authority(subject), odd.authority(subject)
    encoded = listed(authority)
    crl = RevocationList(encoded)
    assert crl.issuer == Certificate(authority.der).subject
    assert list(crl) == [REVOKED]
    assert len(crl) == 1
    assert crl.revokes(REVOKED)
    assert not crl.revokes(REVOKED + 1)
    assert crl.revoked_among({REVOKED: "", REVOKED + 1: ""}) == [REVOKED]
    assert crl.is_signed_by(Certificate(authority.der))
    assert not crl.is_signed_by(Certificate(stranger.der))
    assert not RevocationList(listed(authority, signer=stranger)).is_signed_by(Certificate(authority.der))
    # To the byte what it was, whatever was read in its stead.
    assert crl.public_bytes(Encoding.DER) == encoded
    (again,) = crls_in(read_blocks(crl.public_bytes(Encoding.PEM)))
    assert again == crl
    revoked = odd.leaf(authority, serial=b"\x02\x02\x12\x34")
    assert verdict(authority, revoked, crl) == "certificate revoked"
    assert verdict(authority, odd.leaf(authority), crl) == ""


@pytest.mark.parametrize(
    "issuer", [odd.name((PRINTABLE, b"Some CA")), odd.name((odd.UTF8, b"some  ca"))], ids=["string type", "case"]
)
def test_its_issuer_may_be_spelled_otherwise_than_the_ca(issuer: bytes) -> None:
    """RFC 5280 section 7.1: string types, case and spaces do not count. As OpenSSL has it, so have we."""
    authority = odd.authority()
    crl = RevocationList(listed(authority, issuer=issuer))
    ours, revoked = odd.leaf(authority), odd.leaf(authority, serial=b"\x02\x02\x12\x34")
    assert verdict(authority, revoked, crl) == "certificate revoked"
    assert verdict(authority, ours, crl) == ""
    for leaf, reasons in ((ours, []), (revoked, [MaterialReason.REVOKED])):
        key = PrivateKey(leaf.key)
        material = Material(Certificate(leaf.der), (), key, (Certificate(authority.der),), (crl,))
        assert [each.reason for each in inspect(material, [Role.CLIENT], datetime.now(UTC)).problems] == reasons


def test_one_that_is_in_use_is_not_read_again() -> None:
    """A long one costs tens of milliseconds and of MiB, and a reload mostly brings the same."""
    encoded = listed(odd.authority())
    crl = parse_crl(encoded)
    assert parse_crl(bytes(bytearray(encoded))) is crl
    assert parse_crl(listed(odd.authority())) is not crl


def test_one_that_was_made_here() -> None:
    ca = forge.authority()
    crl = forge.revocations(ca, 5, 7)
    assert sorted(crl) == [5, 7]
    assert RevocationList(crl.der) == crl
    assert repr(crl) == "<RevocationList of 'CN=Test Root'>"


@pytest.mark.parametrize("cut", [0, 1, 5, 40, -1])
def test_damage_is_told_and_nothing_else_raised(cut: int) -> None:
    encoded = listed(odd.authority(SUBJECTS["ampersand"]))
    for damaged in (encoded[:cut], encoded[:cut] + b"\xff" + encoded[cut:]):
        with pytest.raises(PARSE_ERRORS):
            RevocationList(damaged)
        with pytest.raises(MaterialError):
            parse_crl(damaged)
