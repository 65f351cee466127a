"""Whatever stands in a certificate that OpenSSL reads, everything that is asked of it later has an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import crypto
from support import odd
from unit.certs import forge
from unit.certs.forge import NOW

from certs.certificate import UNREADABLE_TIME, Certificate
from certs.errors import CertificateInvalid, MaterialError
from certs.identity import Identity, PeerProblem, Role, peer_problem
from certs.material import Material, PrivateKey
from certs.names import MAX_TEXT_CHARACTERS, Name
from certs.pem import certificates_in, read_blocks
from certs.preflight import inspect
from certs.text import describe_certificate, describe_der
from certs.vouching import vouched_issuer
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.settings import Tls

UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
LONG_AGO, SOON = (UTC_TIME, b"260101000000Z"), (GENERALIZED_TIME, b"20560101000000Z")

NAMES = {
    "Latin-1 in a T61String": (odd.name((odd.T61, b"M\xfcller")), "CN=M\\FCller"),
    "a BIT STRING": (odd.name((odd.BIT_STRING, b"\0abc")), "CN=#030400616263"),
    "an ampersand in a PrintableString": (odd.name((odd.PRINTABLE, b"AT&T")), "CN=AT&T"),
    "a star in a PrintableString": (odd.name((odd.PRINTABLE, b"*.example")), "CN=*.example"),
    "a PrintableString that is UTF-8": (odd.name((odd.PRINTABLE, "Müller".encode())), "CN=Müller"),
    "a PrintableString that is Latin-1": (odd.name((odd.PRINTABLE, b"M\xfcller")), "CN=M\\FCller"),
    "invalid UTF-8": (odd.name((odd.UTF8, b"\xff,\xfe")), "CN=\\FF\\,\\FE"),
    "an IA5String with the top bit": (odd.name((odd.IA5, b"\x80")), "CN=\\80"),
    "a BMPString": (odd.name((odd.BMP, "Müller".encode("utf-16-be"))), "CN=Müller"),
    "half a character in a BMPString": (odd.name((odd.BMP, b"\0a\0")), "CN=#1e03006100"),
    "a surrogate in a BMPString": (odd.name((odd.BMP, b"\xd8\0")), "CN=#1e02d800"),
    "a UniversalString": (odd.name((odd.UNIVERSAL, "é".encode("utf-32-be"))), "CN=é"),
    "NULs": (odd.name((odd.UTF8, b"a\0b")), "CN=a\\00b"),
    "an escape sequence": (odd.name((odd.UTF8, b"\x1b]0;x\x07")), "CN=\x1b]0\\;x\x07"),
    "nothing in a value": (odd.name((odd.UTF8, b"")), "CN="),
    "a number": (odd.name((0x02, b"\x05")), "CN=#020105"),
    "a sequence": (odd.name((0x30, b"\x02\x01\x05")), "CN=#3003020105"),
    "an attribute unheard of": (odd.name((odd.UTF8, b"x"), kind=odd.UNHEARD_OF), "1.3.6.1.4.1.8072.1=x"),
    "no attribute": (odd.name(), ""),
    "two values of one attribute": (odd.name((odd.UTF8, b"a"), (odd.T61, b"\xe9")), "CN=\\E9,CN=a"),
    "a set of two": (
        odd.tlv(0x30, odd.tlv(0x31, b"".join(odd.tlv(0x30, odd.COMMON_NAME + odd.tlv(12, v)) for v in (b"a", b"b")))),
        "CN=a+CN=b",
    ),
}


@pytest.mark.parametrize(("encoded", "text"), NAMES.values(), ids=NAMES)
def test_a_name_is_shown_whatever_is_in_it(encoded: bytes, text: str) -> None:
    assert Name.from_der(encoded).text == text


SAME = {
    "another string type": (odd.name((odd.UTF8, b"Some CA")), odd.name((odd.PRINTABLE, b"Some CA"))),
    "two octets a character": (odd.name((odd.UTF8, b"Some CA")), odd.name((odd.BMP, "Some CA".encode("utf-16-be")))),
    "four of them": (odd.name((odd.IA5, b"Some CA")), odd.name((odd.UNIVERSAL, "Some CA".encode("utf-32-be")))),
    "Latin-1": (odd.name((odd.T61, b"M\xfcller")), odd.name((odd.UTF8, "Müller".encode()))),
    "case": (odd.name((odd.UTF8, b"SOME ca")), odd.name((odd.UTF8, b"some CA"))),
    "spaces": (odd.name((odd.UTF8, b"  Some\t\n CA ")), odd.name((odd.PRINTABLE, b"Some CA"))),
    "order in a set": tuple(
        odd.tlv(0x30, odd.tlv(0x31, b"".join(odd.tlv(0x30, kind + odd.tlv(tag, b"A")) for kind, tag in pairs)))
        for pairs in (
            ((odd.COMMON_NAME, odd.UTF8), (odd.ORGANIZATION, odd.UTF8)),
            ((odd.ORGANIZATION, odd.PRINTABLE), (odd.COMMON_NAME, odd.UTF8)),
        )
    ),
}
OTHER = {
    "accents": (odd.name((odd.UTF8, "É".encode())), odd.name((odd.UTF8, "é".encode()))),
    "no text": (odd.name((odd.BIT_STRING, b"\x00A")), odd.name((odd.BIT_STRING, b"\x00a"))),
    "a type apart": (odd.name((odd.UTF8, b"1")), odd.name((0x12, b"1"))),
    "another attribute": (odd.name((odd.UTF8, b"A")), odd.name((odd.UTF8, b"A"), kind=odd.ORGANIZATION)),
    "more": (odd.name((odd.UTF8, b"A")), odd.name((odd.UTF8, b"A"), (odd.UTF8, b"A"))),
    "nothing": (odd.name(), odd.name((odd.UTF8, b""))),
}


def _openssl_compares(encoded: bytes) -> int:
    """X509_NAME_hash(3): the beginning of the SHA-1 digest of what X509_NAME_cmp(3) compares."""
    return crypto.load_certificate(crypto.FILETYPE_ASN1, odd.authority(encoded).der).subject_name_hash()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        *(pytest.param(*pair, True, id=what) for what, pair in SAME.items()),
        *(pytest.param(*pair, False, id=what) for what, pair in OTHER.items()),
    ],
)
def test_names_are_one_where_openssl_has_them_for_one(one: bytes, other: bytes, is_same: bool) -> None:
    first, second = Name.from_der(one), Name.from_der(other)
    assert (first == second) is is_same
    assert not is_same or hash(first) == hash(second)
    assert (_openssl_compares(one) == _openssl_compares(other)) is is_same


_VALUES = st.one_of(
    st.tuples(
        st.sampled_from([odd.PRINTABLE, odd.T61, odd.IA5]),
        st.text("aAzZ \t\n\x00é", max_size=5).map(lambda text: text.encode("latin-1")),
    ),
    st.tuples(st.just(odd.UTF8), st.text("aA \x0bÉéÅ", max_size=5).map(str.encode)),
    st.tuples(st.just(odd.BMP), st.text("aA É", max_size=5).map(lambda text: text.encode("utf-16-be"))),
)


@given(st.lists(_VALUES, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_names_are_compared_by_what_openssl_compares(values: list[tuple[int, bytes]]) -> None:
    encoded = odd.name(*values)
    digest = hashlib.sha1(Name.from_der(encoded).compared, usedforsecurity=False).digest()
    assert int.from_bytes(digest[:4], "little") == _openssl_compares(encoded)


def test_a_huge_name_is_shown_cut_and_still_told_apart() -> None:
    one, other = (Name.from_der(odd.name((odd.UTF8, b"a" * 90_000 + end))).text for end in (b"b", b"c"))
    assert one != other
    assert one.startswith("CN=aaa")
    assert len(one) < MAX_TEXT_CHARACTERS + 100


_ATTRIBUTES = st.lists(
    st.builds(
        x509.NameAttribute,
        st.sampled_from(list(vars(x509.NameOID).values())[2:-1]).filter(
            lambda oid: (
                isinstance(oid, x509.ObjectIdentifier)
                and oid not in (x509.NameOID.COUNTRY_NAME, x509.NameOID.JURISDICTION_COUNTRY_NAME)
                and oid != x509.NameOID.X500_UNIQUE_IDENTIFIER
            )
        ),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    ),
    max_size=5,
)


@given(_ATTRIBUTES)
@settings(max_examples=200, deadline=None)
def test_a_good_name_is_written_as_others_write_it(attributes: list[x509.NameAttribute[str]]) -> None:
    name = x509.Name([x509.RelativeDistinguishedName([each]) for each in attributes])
    assert Name.from_der(name.public_bytes()).text == name.rfc4514_string()


@given(st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_no_name_raises(encoded: bytes) -> None:
    for whole in (encoded, odd.tlv(0x30, encoded), odd.tlv(0x30, odd.tlv(0x31, odd.tlv(0x30, encoded)))):
        name = Name.from_der(whole)
        assert isinstance(name.text, str)
        assert isinstance(name.oddities, tuple)
        assert name == Name.from_der(whole)
        assert isinstance(hash(name), int)


def _duplicate() -> bytes:
    return odd.extension("2.5.29.19", bytes.fromhex("30030101ff"), critical=True)


AUTHORITIES: dict[str, Callable[[], odd.Odd]] = {
    **{what: lambda encoded=encoded: odd.authority(encoded) for what, (encoded, _) in NAMES.items()},
    "a huge name": lambda: odd.authority(odd.name((odd.UTF8, b"a" * 20_000))),
    "a negative serial": lambda: odd.authority(serial=bytes.fromhex("020180")),
    "a serial of nothing": lambda: odd.authority(serial=bytes.fromhex("020100")),
    "a serial of 30 octets": lambda: odd.authority(serial=odd.tlv(0x02, b"\x01" * 30)),
    "a date past 9999": lambda: odd.authority(validity=odd.times(LONG_AGO, (GENERALIZED_TIME, b"99991231235959Z"))),
    "the year 1949": lambda: odd.authority(validity=odd.times((GENERALIZED_TIME, b"19490101000000Z"), SOON)),
    "the year 0": lambda: odd.authority(validity=odd.times((GENERALIZED_TIME, b"00000101000000Z"), SOON)),
    "the year 1": lambda: odd.authority(validity=odd.times(LONG_AGO, (GENERALIZED_TIME, b"00010101000000Z"))),
    "no time at all": lambda: odd.authority(validity=odd.times((UTC_TIME, b"xxx"), SOON)),
    "a lifetime of nothing": lambda: odd.authority(validity=odd.times(LONG_AGO, LONG_AGO)),
    "an end before its beginning": lambda: odd.authority(validity=odd.times(SOON, LONG_AGO)),
    "an extension twice": lambda: odd.authority(extensions=(_duplicate(),)),
    "a malformed extension": lambda: odd.authority(extensions=(odd.extension("2.5.29.30", b"\xff\xff"),)),
    "an extension unheard of": lambda: odd.authority(extensions=(odd.extension("1.2.3.4", b"", critical=True),)),
    "no basic constraints": lambda: odd.authority(without=(ExtensionOID.BASIC_CONSTRAINTS,)),
    "a malformed name": lambda: odd.authority(extensions=(odd.extension("2.5.29.17", b"\x30\x02\x82\x05"),)),
}


@pytest.mark.parametrize("what", AUTHORITIES)
def test_a_bundle_with_an_odd_authority_is_judged_shown_and_loaded(what: str) -> None:
    made = AUTHORITIES[what]()
    try:
        crypto.load_certificate(crypto.FILETYPE_ASN1, made.der)
    except crypto.Error:  # OpenSSL cannot read it, so nobody could use it
        with pytest.raises(MaterialError, match=r"certificate 1, line 1: .*OpenSSL cannot read it: "):
            certificates_in(read_blocks(made.pem))
        assert what in UNREADABLE
        return
    assert what not in UNREADABLE
    root = forge.authority()
    (certificate,) = certificates_in(read_blocks(made.pem))
    leaf = forge.leaf(root)
    material = Material(leaf.read, (), PrivateKey(leaf.key), (root.read, certificate))
    assert inspect(material, [Role.SERVER, Role.CLIENT], NOW).problems == []
    assert vouched_issuer(material) is None
    Contexts(1, material, Tls("1.2")).server()
    assert Material.from_bytes(material.to_bytes()).trust == material.trust
    _ask_everything(certificate)


UNREADABLE = {
    "invalid UTF-8",
    "half a character in a BMPString",
    "a surrogate in a BMPString",
    "a number",
    "no time at all",
}

LEAVES: dict[str, Callable[[odd.Odd], odd.Odd]] = {
    **{what: lambda ca, encoded=encoded: odd.leaf(ca, encoded) for what, (encoded, _) in NAMES.items()},
    "no name at all": lambda ca: odd.leaf(ca, odd.name(), names=()),
    "a malformed alternative name": lambda ca: odd.leaf(
        ca, names=(), extensions=(odd.extension("2.5.29.17", b"\x30\x02\x82\x05"),)
    ),
    "an extension twice": lambda ca: odd.leaf(ca, extensions=(odd.extension("2.5.29.17", b"\x30\x00"),)),
    "the year 0": lambda ca: odd.leaf(ca, validity=odd.times((GENERALIZED_TIME, b"00000101000000Z"), SOON)),
}


@pytest.mark.parametrize("what", LEAVES)
def test_an_odd_leaf_is_read_or_refused_in_words(what: str) -> None:
    ca = odd.authority(odd.name((odd.PRINTABLE, b"AT&T")))
    made = LEAVES[what](ca)
    certificate = Certificate(made.der)
    assert Certificate(ca.der).signed(certificate)
    _ask_everything(certificate)
    if what in NAMES or what == "no name at all":
        assert Identity.from_der(made.der).name
        return
    with pytest.raises(CertificateInvalid) as raised:
        Identity.from_der(made.der)
    assert "ParseError" not in str(raised.value)
    assert certificate.title in str(raised.value)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_leaf_with_a_negative_serial_is_told_as_one() -> None:
    made = odd.leaf(odd.authority(), serial=bytes.fromhex("020180"))
    assert peer_problem(Identity.from_der(made.der), Role.CLIENT) == (
        PeerProblem.CERTIFICATE_INVALID,
        "the serial number is not 1 to 20 octets and positive",
    )


def test_what_cannot_be_told_as_text_matches_no_rule() -> None:
    ca = odd.authority()
    identity = Identity.from_der(odd.leaf(ca, odd.name((odd.T61, b"\xfc"))).der)
    assert identity.common_name == ""
    assert identity.subject == "CN=\\FC"


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_certificate_that_openssl_reads_can_be_asked_everything(data: st.DataObject) -> None:
    encoded = bytearray(_DAMAGED)
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    describe_der(bytes(encoded))
    try:
        certificate = Certificate(bytes(encoded))
    except ValueError:
        return
    _ask_everything(certificate)


_DAMAGED = forge.authority(extra=[(x509.NameConstraints([x509.DNSName("a.example")], None), True)]).der


def _ask_everything(certificate: Certificate) -> None:
    described = describe_certificate(certificate)
    assert described["sha256"] == certificate.sha256
    assert described["identity"]
    assert certificate.title
    assert certificate.fraction_left(NOW) <= 1 or certificate.not_valid_before_utc > NOW
    assert certificate.not_valid_after_utc >= UNREADABLE_TIME or certificate.not_valid_after_utc.year < 1970
    assert isinstance(certificate.signature_oid, str)
    assert certificate.signature_hash is None or isinstance(certificate.signature_hash, str)
    assert isinstance(certificate.extensions, tuple)
    assert isinstance(certificate.extensions_defect, str)
    assert certificate.signed(certificate) in (True, False)
    assert repr(certificate).isascii()
    assert hash(certificate) == hash(Certificate(certificate.der))
    certificate.not_valid_after_utc.timestamp()
    certificate.not_valid_after_utc - timedelta(0)


def test_a_block_that_is_none_is_told_by_number_line_and_digest() -> None:
    data = b"# two\n" + forge.authority().pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    line = data.splitlines().index(b"AAAA")
    with pytest.raises(MaterialError, match=rf"certificate 2, line {line}: .*sha256:[0-9a-f]{{64}}"):
        certificates_in(read_blocks(data))
