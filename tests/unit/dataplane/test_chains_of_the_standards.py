"""Whom we take for the server we asked for, in a real handshake: chains that RFC 5280 lets pass and chains it does not,
one rule broken in each, as the public collections of such chains have them.

What only the CA/Browser Forum forbids is in its own table: its rules bind public CAs, and are not ours to enforce on
private ones. There the right value is what we do, said once.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from OpenSSL import SSL
from unit.certs import forge

from certs.certificate import Certificate
from certs.identity import IdentityCache, Role
from certs.material import Material
from tlsidecar.dataplane import tls
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.policy import PeerJudge, Policy
from tlsidecar.dataplane.stream import DONE, WANT_READ
from tlsidecar.settings import Address, ListenerSettings, Mode, Tls

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
YEAR = timedelta(days=365)
HOST = "example.com"
SERVER, CLIENT = x509.OID_SERVER_AUTH, x509.OID_CLIENT_AUTH
PRIVATE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey
Extension = tuple[x509.ExtensionType, bool]


@dataclass
class Made:
    certificate: x509.Certificate
    key: Key


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else [])


def usage(*bits: str) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in bits for bit in every})


def identified(key: Key) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def issue(
    subject: str,
    issuer: Made | None,
    extensions: Iterable[Extension | None],
    *,
    key: Key | None = None,
    issuer_name: x509.Name | None = None,
    serial: int | None = None,
    starts: datetime = NOW - YEAR,
    ends: datetime = NOW + YEAR,
    version: x509.Version = x509.Version.v3,
) -> Made:
    key = key or new_key()
    signer = issuer.certificate.subject if issuer else named(subject)
    if issuer_name is not None:
        signer = issuer_name
    builder = x509.CertificateBuilder(
        subject_name=named(subject),
        issuer_name=signer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number() if serial is None else serial,
        not_valid_before=starts,
        not_valid_after=ends,
    )
    # Into the list itself: the builder's own checks would not let all of these pass.
    builder._extensions = [x509.Extension(each[0].oid, each[1], each[0]) for each in extensions if each]
    builder._version = version
    if version is x509.Version.v1:
        builder._extensions = []
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)  # type: ignore[arg-type]


CA, CA_USAGE = (x509.BasicConstraints(True, None), True), (usage("key_cert_sign"), False)
LEAF_USAGE, FOR_SERVERS = (usage("digital_signature"), False), (x509.ExtendedKeyUsage([SERVER]), False)
_DEFAULT: Extension = (x509.OCSPNoCheck(), False)  # stands for "as it should be"


def authority(
    issuer: Made | None = None,
    subject: str = "",
    *,
    length: int | None = None,
    basic: Extension | None = _DEFAULT,
    key_usage: Extension | None = CA_USAGE,
    ski: Extension | None = _DEFAULT,
    aki: Extension | None = _DEFAULT,
    san: Extension | None = _DEFAULT,
    more: Iterable[Extension] = (),
    key: Key | None = None,
    no_subject: bool = False,
    **rest: object,
) -> Made:
    """A root, or a CA under ``issuer``."""
    key = key or new_key()
    if basic is _DEFAULT:
        basic = (x509.BasicConstraints(True, length), True)
    if ski is _DEFAULT:
        ski = (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if aki is _DEFAULT:
        aki = (identified(issuer.key), False) if issuer else None
    if san is _DEFAULT:
        san = (x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)
    subject = "" if no_subject else subject or (f"Under {issuer.certificate.serial_number}" if issuer else "Root")
    return issue(subject, issuer, (basic, key_usage, san, aki, ski, *more), key=key, **rest)  # type: ignore[arg-type]


def leaf(
    issuer: Made,
    *names: str | x509.GeneralName,
    subject: str = HOST,
    basic: Extension | None = None,
    key_usage: Extension | None = LEAF_USAGE,
    purposes: Extension | None = FOR_SERVERS,
    san: Extension | None = _DEFAULT,
    aki: Extension | None = _DEFAULT,
    more: Iterable[Extension] = (),
    key: Key | None = None,
    **rest: object,
) -> Made:
    key = key or new_key()
    if aki is _DEFAULT:
        aki = (identified(issuer.key), False)
    if san is _DEFAULT:
        san = (alternative(*(names or (HOST,))), False)
    ski = (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    extensions = (ski, basic, aki, key_usage, purposes, san, *more)
    return issue(subject, issuer, extensions, key=key, **rest)  # type: ignore[arg-type]


def general(text: str | x509.GeneralName) -> x509.GeneralName:
    if isinstance(text, x509.GeneralName):
        return text
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ip_address(text))
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ip_network(text))
    if "@" in text:
        return x509.RFC822Name._init_without_validation(text)
    return x509.DNSName._init_without_validation(text)


def alternative(*names: str | x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([general(name) for name in names])


def constraints(
    permitted: Iterable[str | x509.GeneralName] | None = None,
    excluded: Iterable[str | x509.GeneralName] | None = None,
    *,
    critical: bool = True,
) -> Extension:
    made = x509.NameConstraints([x509.DNSName("x")], None)
    made._permitted_subtrees = None if permitted is None else [general(each) for each in permitted]
    made._excluded_subtrees = None if excluded is None else [general(each) for each in excluded]
    return made, critical


def directory(common_name: str) -> x509.DirectoryName:
    return x509.DirectoryName(named(common_name))


@dataclass
class Chain:
    trust: tuple[Made, ...]
    shown: tuple[Made, ...]  # leaf first
    host: str = HOST


def direct(
    names: Iterable[str | x509.GeneralName] = (),
    host: str = HOST,
    *,
    root: dict[str, Any] | None = None,
    **changes: object,
) -> Chain:
    """A root and a leaf under it."""
    ca = authority(**(root or {}))
    return Chain((ca,), (leaf(ca, *names, **changes),), host)  # type: ignore[arg-type]


def below(
    names: Iterable[str | x509.GeneralName] = (),
    host: str = HOST,
    *,
    middle: dict[str, Any] | None = None,
    **changes: object,
) -> Chain:
    """A root, a CA under it, and a leaf under that."""
    root = authority()
    ca = authority(root, **(middle or {}))
    return Chain((root,), (leaf(ca, *names, **changes), ca), host)  # type: ignore[arg-type]


def constrained(
    permitted: Iterable[str | x509.GeneralName] | None,
    excluded: Iterable[str | x509.GeneralName] | None,
    *names: str | x509.GeneralName,
    host: str = "",
    **changes: object,
) -> Chain:
    first = names[0] if names and isinstance(names[0], str) else HOST
    return direct(names, host or first, root={"more": [constraints(permitted, excluded)]}, **changes)


def deep(*lengths: int | None, leaf_is_ca: bool = False) -> Chain:
    root = authority()
    above = [root]
    for length in lengths:
        above.append(authority(above[-1], length=length))
    if leaf_is_ca:
        return Chain((root,), tuple(reversed(above[1:])))
    return Chain((root,), (leaf(above[-1]), *reversed(above[1:])))


def unknown(*, critical: bool) -> Extension:
    return x509.UnrecognizedExtension(PRIVATE_OID, b""), critical


def policy() -> Extension:
    return x509.CertificatePolicies([x509.PolicyInformation(PRIVATE_OID, None)]), False


def access(*, critical: bool) -> Extension:
    issuers = x509.AccessDescription(x509.AuthorityInformationAccessOID.CA_ISSUERS, x509.DNSName(HOST))
    return x509.AuthorityInformationAccess([issuers]), critical


def untrusted_root() -> Chain:
    root = authority()
    middle = authority(root, length=0)
    return Chain((authority(subject="Another root"),), (leaf(middle), middle, root))


def trusted_middle() -> Chain:
    root = authority()
    middle = authority(root)
    return Chain((middle,), (leaf(middle), root))


def cross_signed() -> Chain:
    root = authority(authority(), length=0, aki=None)
    return Chain((root,), (leaf(root),))


def dated(root: tuple[int, int], middle: tuple[int, int], end: tuple[int, int]) -> Chain:
    """Each with when it begins and ends, in years from now."""

    def within(years: tuple[int, int]) -> dict[str, Any]:
        return {"starts": NOW + years[0] * YEAR, "ends": NOW + years[1] * YEAR}

    ca = authority(**within(root))
    under = authority(ca, **within(middle))
    return Chain((ca,), (leaf(under, **within(end)), under))


def self_issued(*, san: str) -> Chain:
    name = "not-example.com"
    names = (alternative(san), False)
    root = authority(subject=name, san=names, more=[constraints([HOST])])
    middle = authority(root, subject=name, san=names)
    return Chain((root,), (leaf(middle), middle))


def self_issued_leaf() -> Chain:
    name = "not-example.com"
    root = authority(more=[constraints([HOST])])
    middle = authority(root, subject=name, san=(alternative(name), False))
    return Chain((root,), (leaf(middle, name, subject=name), middle), name)


def self_issued_lengths() -> Chain:
    root = authority()
    first = authority(root, subject="Itself", length=1)
    second = authority(first, subject="Itself", length=1)
    third = authority(second, length=0)
    return Chain((root,), (leaf(third), third, second, first))


def name_of_a_middle(*, by_root: bool) -> Chain:
    bound = [constraints(["permitted.example.com"], ["forbidden.example.com"])]
    root = authority(more=bound if by_root else ())
    first = authority(root, more=() if by_root else bound)
    second = authority(first, san=(alternative("forbidden.example.com"), False))
    return Chain((root,), (leaf(second, "permitted.example.com"), second, first), "permitted.example.com")


def narrowed(first: list[str], second: list[str]) -> Chain:
    root = authority()
    upper = authority(root, more=[constraints(first)])
    lower = authority(upper, more=[constraints(second)])
    return Chain((root,), (leaf(lower, "foo.example.com"), lower, upper), "foo.example.com")


def other_way_round_a_constraint() -> Chain:
    lost, root = authority(san=None), authority(san=None)
    bound = authority(root, san=None, more=[constraints(["permitted.example.com"], ["forbidden.example.com"])])
    key = new_key()
    bad = authority(lost, subject="A middle", key=key, san=(alternative("forbidden.example.com"), False))
    good = authority(bound, subject="A middle", key=key, san=None)
    return Chain((root,), (leaf(bad, "permitted.example.com"), bound, bad, good), "permitted.example.com")


def other_root_round_a_constraint() -> Chain:
    one, other = authority(san=None), authority(san=None)
    bound = authority(one, san=None, more=[constraints(None, ["forbidden.example.com"])])
    key = new_key()
    bad = authority(bound, subject="A middle", key=key, san=(alternative("forbidden.example.com"), False))
    good = authority(other, subject="A middle", key=key, san=(alternative("free.example.com"), False))
    return Chain((one, other), (leaf(bad, "free.example.com"), bound, bad, good), "free.example.com")


def expired_way() -> Chain:
    root, other = authority(), authority(subject="Another root")
    expired = authority(other, subject="Root", length=1, key=root.key, ends=NOW - YEAR / 2)
    return Chain((root, other), (leaf(root), expired))


def circle(*, key_usage: Extension | None = CA_USAGE, names: tuple[str, str] = ("One", "Two")) -> Chain:
    keys = new_key(), new_key()
    signers = [
        Made(authority(subject=names[1 - each], key=keys[1 - each]).certificate, keys[1 - each]) for each in (0, 1)
    ]
    one, two = (authority(signers[each], subject=names[each], key=keys[each], key_usage=key_usage) for each in (0, 1))
    return Chain((authority(),), (leaf(one), one, two))


def web_of_cross_signatures() -> Chain:
    root = authority(subject="A")
    keys = {"A": root.key, "B": new_key(), "C": new_key()}

    def by(signer: str, subject: str, key: Key | None = None) -> Made:
        as_signer = Made(authority(subject=signer, key=keys[signer]).certificate, keys[signer])
        return authority(as_signer, subject=subject, key=key or keys[subject])

    first = by("A", "A1", new_key())
    web = [by(x, y) for x in "ABC" for y in "ABC" if x != y]
    end = leaf(first, subject="", san=(alternative("cross.example.com"), True))
    return Chain((root,), (end, first, *web), "cross.example.com")


def another_issuer() -> Chain:
    root, namesake = authority(), authority()
    middle = authority(namesake)
    return Chain((root,), (leaf(middle), middle))


def too_big_a_serial() -> int:
    return int.from_bytes(b"\x40" + bytes(21))


RAW_AKI = {
    "without the key's identifier": x509.AuthorityKeyIdentifier(None, None, None),
    "with issuer and serial": x509.AuthorityKeyIdentifier(b"\1" * 20, [directory("my CN")], 1234),
}
DER_NULL = x509.OtherName(PRIVATE_OID, b"\x05\x00")
SKI_CRITICAL = (x509.SubjectKeyIdentifier(b"\1" * 20), True)

PASS: dict[str, Callable[[], Chain]] = {
    "plain": direct,
    "an address": lambda: direct(["127.0.0.1"], "127.0.0.1"),
    "the way to the issuer's certificate": lambda: direct(more=[access(critical=False)]),
    "no key usage in the leaf": lambda: direct(key_usage=None),
    "no basic constraints in the leaf": direct,
    "a root without authority key identifier": lambda: direct(root={"aki": None}),
    "a root that signed itself, in another's name": lambda: direct(root={"issuer_name": named("Another root")}),
    "a CA in the middle that is trusted, and its root shown": trusted_middle,
    "begins this second": lambda: below(starts=NOW),
    "permitted": lambda: constrained([HOST], None, HOST),
    "permitted, two labels down": lambda: constrained([HOST], None, "foo.bar.example.com"),
    "a permitted IPv4 network": lambda: constrained(["192.0.2.0/24"], None, "192.0.2.1"),
    "a permitted IPv6 address": lambda: constrained(["::1/128"], None, "::1"),
    "permitted networks, a name": lambda: constrained(["192.0.2.0/24"], None, HOST),
    "excluded networks, a name": lambda: constrained(None, ["192.0.2.0/24"], HOST),
    "a permitted directory name": lambda: constrained([directory("foo")], None, HOST, directory("foo"), subject="foo"),
    "a self-issued CA in the middle is not bound": lambda: self_issued(san="not-example.com"),
    "a SPIFFE ID below its domain": lambda: constrained(
        [x509.UniformResourceIdentifier("prod_1")], None, HOST, x509.UniformResourceIdentifier("spiffe://prod_1/web")
    ),
    "an explicit policy that is required and there": lambda: below(
        middle={"more": [(x509.PolicyConstraints(0, None), True), policy()]}, more=[policy()]
    ),
    "a kind of name that is excluded and not there": lambda: constrained([HOST], [DER_NULL], HOST),
    "an expired way beside a good one": expired_way,
    "cross signatures in a circle beside a root": web_of_cross_signatures,
    "a middle for leaves only": lambda: deep(0),
    "a middle for one more": lambda: deep(1),
    "a middle for two more": lambda: deep(2),
    "a length that grows below": lambda: deep(1, 2),
    "self-issued CAs are not counted": self_issued_lengths,
    "a wildcard": lambda: direct(["*.example.com"], "foo.example.com"),
    "both purposes": lambda: direct(purposes=(x509.ExtendedKeyUsage([SERVER, CLIENT]), False)),
}

# OpenSSL goes the first way it finds, and does not turn back at a dead end: refused, though there is a good way.
FIRST_WAY_ONLY: dict[str, Callable[[], Chain]] = {
    "another way that no constraint closes": other_way_round_a_constraint,
    "another root that no constraint closes": other_root_round_a_constraint,
}

NOT: dict[str, Callable[[], Chain]] = {
    "no issuer": lambda: direct(issuer_name=named("")),
    "a CA without a subject": lambda: direct(root={"no_subject": True}),
    "an unknown critical extension in the leaf": lambda: direct(more=[unknown(critical=True)]),
    "an unknown critical extension in the root": lambda: direct(root={"more": [unknown(critical=True)]}),
    "an unknown critical extension between": lambda: below(middle={"more": [unknown(critical=True)]}),
    "a root that nobody trusts": untrusted_root,
    "a CA between that says it is none": lambda: below(middle={"basic": (x509.BasicConstraints(False, None), True)}),
    "a CA between that does not say": lambda: below(middle={"basic": None}),
    "a root that does not say": lambda: direct(root={"basic": None}),
    "a root whose basic constraints are not critical": lambda: direct(root={"basic": (CA[0], False)}),
    "a root that may not sign": lambda: direct(root={"key_usage": (usage(), False)}),
    "a CA between that may not sign, with a length": lambda: below(middle={"key_usage": (usage(), False), "length": 0}),
    "a leaf that may sign": lambda: direct(
        basic=(x509.BasicConstraints(False, None), True),
        key_usage=(usage("digital_signature", "key_cert_sign"), False),
    ),
    "the way to the issuer's certificate, critical": lambda: direct(more=[access(critical=True)]),
    "an extension twice": lambda: direct(more=[(alternative(HOST), False)]),
    "a CA as a leaf": lambda: deep(None, leaf_is_ca=True),
    "a CA as a leaf, for lengths": lambda: deep(0, 0, leaf_is_ca=True),
    "a root's authority key identifier, critical": lambda: direct(
        root={"aki": (x509.AuthorityKeyIdentifier(b"\1" * 20, None, None), True)}
    ),
    "a leaf without authority key identifier": lambda: direct(aki=None),
    "a CA between without authority key identifier": lambda: below(middle={"aki": None, "length": 0}),
    "a subject key identifier, critical": lambda: direct(root={"ski": SKI_CRITICAL}),
    "a root without subject key identifier": lambda: direct(root={"ski": None}),
    "a CA between without subject key identifier": lambda: below(middle={"ski": None}),
    "policy constraints that are not critical": lambda: below(
        middle={"more": [(x509.PolicyConstraints(3, None), False)]}
    ),
    "for clients only": lambda: direct(purposes=(x509.ExtendedKeyUsage([CLIENT]), False)),
    "for nothing that is named": lambda: direct(purposes=None),
    "names that are no DER": lambda: direct(
        san=(x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, HOST.encode()), False)
    ),
    "no subject, and names that are not critical": lambda: direct(subject=""),
    "no names": lambda: direct(san=None),
    "a serial of 22 octets": lambda: direct(serial=too_big_a_serial()),
    "a serial of zero": lambda: direct(serial=0),
    "an expired root": lambda: dated((-4, -1), (-3, 2), (-2, 1)),
    "an expired CA between": lambda: dated((-4, 3), (-3, -1), (-2, 1)),
    "an expired leaf": lambda: dated((-4, 3), (-3, 2), (-2, -1)),
    "a leaf of tomorrow": lambda: dated((-4, 3), (-3, 2), (1, 2)),
    "not among the permitted": lambda: constrained([HOST], None, "not-example.com"),
    "excluded between": lambda: below(middle={"more": [constraints(None, [HOST])]}),
    "constraints that are not critical": lambda: direct(root={"more": [constraints([HOST], critical=False)]}),
    "the second name is excluded": lambda: constrained(None, ["no.example.com"], HOST, "no.example.com"),
    "another network": lambda: constrained(["192.0.2.0/24"], None, "192.0.3.1"),
    "an excluded IPv4 network": lambda: constrained(None, ["192.0.2.0/24"], "192.0.2.1"),
    "an excluded IPv6 address": lambda: constrained(None, ["::1/128"], "::1"),
    "another directory name": lambda: constrained([directory("foo")], None, HOST, directory("bar"), subject="bar"),
    "an excluded directory name": lambda: constrained(None, [directory("foo")], HOST, directory("foo"), subject="foo"),
    "another subject": lambda: constrained([directory("foo")], None, HOST, directory("foo"), subject="bar"),
    "an excluded subject": lambda: constrained(None, [directory("foo")], HOST, directory("bar"), subject="foo"),
    "a self-issued leaf is bound": self_issued_leaf,
    "permitted and excluded": lambda: constrained([HOST], [HOST], HOST),
    "a constraint to a wildcard": lambda: constrained(["*.example.com"], None, "foo.example.com"),
    "a constraint with a leading dot": lambda: constrained([".example.com"], None, "foo.example.com"),
    "a constraint to an address without mask": lambda: constrained(["127.0.0.1"], None, "127.0.0.1"),
    "a constraint to an IPv6 address without mask": lambda: constrained(["::1"], None, "::1"),
    "a constraint to two at signs": lambda: constrained(["a@b@example.com"], None, HOST, "me@example.com"),
    "constraints in a leaf": lambda: direct(more=[constraints([HOST], critical=False)]),
    "constraints in a leaf, critical": lambda: direct(more=[constraints([HOST])]),
    "a name of a CA that one between excludes": lambda: name_of_a_middle(by_root=False),
    "a name of a CA that the root excludes": lambda: name_of_a_middle(by_root=True),
    "narrower below": lambda: narrowed(["foo.example.com", "bar.example.com"], ["bar.example.com"]),
    "wider below": lambda: narrowed(["bar.example.com"], ["foo.example.com", "bar.example.com"]),
    "a name with a leading dot": lambda: constrained([HOST], None, "foo.example.com", ".example.com"),
    "a network for an address": lambda: constrained(["192.0.2.0/24"], None, "192.0.2.1", "192.0.2.0/24"),
    "an address with two at signs": lambda: constrained([general("me@example.com")], None, HOST, "a@b@example.com"),
    "a kind of name that is excluded": lambda: constrained([HOST], [DER_NULL], HOST, DER_NULL),
    "constraints of nothing": lambda: below(middle={"more": [constraints()]}),
    "constraints of empty lists": lambda: below(middle={"more": [constraints([], [])]}),
    "CAs in a circle": circle,
    "CAs in a circle, of one name": lambda: circle(names=("One", "One")),
    "CAs in a circle that may not sign": lambda: circle(key_usage=None),
    "a wildcard that stands for an excluded name": lambda: constrained(
        [HOST], ["bar.example.com"], "*.example.com", host="bar.example.com"
    ),
    "a wildcard wider than what is permitted": lambda: constrained(
        ["foo.example.com"], None, "*.example.com", host="foo.example.com"
    ),
    "a CA where the length is used up": lambda: deep(0, 0),
    "a CA where the length is used up, further down": lambda: deep(1, 0, 0),
    "a namesake of the root": another_issuer,
    "another host": lambda: direct([HOST], "example2.com"),
    "another subdomain": lambda: direct(["abc.example.com"], "def.example.com"),
    "the domain above": lambda: direct([HOST], "abc.example.com"),
    "the domain below": lambda: direct(["abc.example.com"], HOST),
    "a wildcard within a label": lambda: direct(["ba*.example.com"], "baz.example.com"),
    "a wildcard that is not the first label": lambda: direct(["foo.*.example.com"], "foo.bar.example.com"),
    "a wildcard for two labels": lambda: direct(["*.example.com"], "foo.bar.example.com"),
    "a wildcard within an A-label": lambda: direct(["xn--*-1b3c148a.example.com"], "xn--bliss-1b3c148a.example.com"),
    "a common name alone": lambda: direct(san=None, subject=HOST),
    "version 1": lambda: direct(version=x509.Version.v1),
    "a leaf that says it is a CA": lambda: direct(basic=(x509.BasicConstraints(True, None), True)),
    "a key of DSA": lambda: direct(key=dsa.generate_private_key(2048)),
    "a key on P-192": lambda: direct(key=ec.generate_private_key(ec.SECP192R1())),
    "a root with a key of DSA": lambda: direct(root={"key": dsa.generate_private_key(2048)}),
    "a root that another signed, without saying so": cross_signed,
    "an e-mail address that is none": lambda: below(
        [general("me@example.com"), general("a@b@example.com")],
        middle={"more": [constraints(["example.com", general("me@example.com")])]},
        san=(alternative(HOST, "me@example.com", "a@b@example.com"), False),
    ),
    "a URI without a host, where hosts are excluded": lambda: constrained(
        None, [x509.UniformResourceIdentifier("x.example")], HOST, x509.UniformResourceIdentifier("http://192.0.2.1/")
    ),
    "a constraint to a URI with a scheme": lambda: constrained(
        None, [x509.UniformResourceIdentifier("http://x.example")], HOST
    ),
    "a URI without a scheme": lambda: direct([HOST, x509.UniformResourceIdentifier("/a/b")]),
    "an explicit policy that is required and not there": lambda: below(
        middle={"more": [(x509.PolicyConstraints(0, None), True)]}
    ),
    "RSA of 1024 bits": lambda: direct(key=forge.rsa_key(1024)),
}

# What only the CA/Browser Forum's Baseline Requirements forbid, and True where we let it pass.
FORUM: dict[str, tuple[Callable[[], Chain], bool]] = {
    "a wildcard for a whole top-level domain": (lambda: direct(["*.com"]), False),
    "a root with purposes": (lambda: direct(root={"more": [(x509.ExtendedKeyUsage([SERVER]), False)]}), True),
    "critical names beside a subject": (lambda: direct(san=(alternative(HOST), True)), True),
    "any purpose among the purposes": (
        lambda: direct(
            purposes=(x509.ExtendedKeyUsage([SERVER, x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)
        ),
        True,
    ),
    "critical purposes": (lambda: direct(purposes=(x509.ExtendedKeyUsage([SERVER]), True)), True),
    "code signing, too": (
        lambda: direct(purposes=(x509.ExtendedKeyUsage([SERVER, x509.ExtendedKeyUsageOID.CODE_SIGNING]), False)),
        True,
    ),
    "a root's key identifier without the key's": (
        lambda: direct(root={"aki": (RAW_AKI["without the key's identifier"], False)}),
        True,
    ),
    "a root's key identifier with issuer and serial": (
        lambda: direct(root={"aki": (RAW_AKI["with issuer and serial"], False)}),
        True,
    ),
    "a malformed way to the issuer's certificate": (
        lambda: direct(
            more=[(x509.UnrecognizedExtension(x509.ExtensionOID.AUTHORITY_INFORMATION_ACCESS, b"malformed"), False)]
        ),
        False,
    ),
    "a common name that is none of the names": (lambda: direct(subject="other.example.com"), True),
    "an RSA key for no use": (lambda: direct(key=forge.rsa_key(2048), key_usage=(usage(), True)), False),
    "constraints that are not critical": (lambda: direct(root={"more": [constraints([HOST], critical=False)]}), False),
}

# Ours: for showing a client certificate of our own.
OWN_ROOT = forge.authority("Own", starts=NOW - YEAR, ends=NOW + YEAR)
OWN = forge.leaf(OWN_ROOT, starts=NOW - YEAR, ends=NOW + YEAR)


def let_in(chain: Chain) -> bool:
    """Whether a handshake with a server that shows this chain is finished."""
    trust = tuple(Certificate.of(each.certificate) for each in chain.trust)
    own = forge.material(OWN, trust=[OWN_ROOT])
    material = Material(own.leaf, own.chain, own.key, trust)
    contexts = tls.Contexts(1, material, Tls("1.2"))
    here = Address("127.0.0.1", 1)
    kind = "ip" if chain.host[0] in ":0123456789" else "dns"
    policy = Policy.of(ListenerSettings("out", Mode.ORIGINATE, here, (here,), expect=(f"{kind}:{chain.host}",)))
    judge = PeerJudge(policy, Role.SERVER, IdentityCache(), contexts.forms, soft_crl=False)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_options(SSL.OP_NO_TICKET)
    context.use_certificate(chain.shown[0].certificate)
    context.use_privatekey(chain.shown[0].key)  # type: ignore[arg-type]
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    for each in chain.shown[1:]:
        context.add_extra_chain_cert(each.certificate)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        stream = Stream(contexts.client(), near, judge, server_side=False)
        remote = SSL.Connection(context, far)
        remote.set_accept_state()
        answer = WANT_READ
        while answer == WANT_READ:
            answer = stream.handshake()
            try:
                remote.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error:
                far.shutdown(socket.SHUT_RDWR)
        stream.release()
    return answer == DONE


@pytest.mark.parametrize("make", PASS.values(), ids=PASS)
def test_what_rfc5280_lets_pass(make: Callable[[], Chain]) -> None:
    assert let_in(make())


@pytest.mark.parametrize("make", NOT.values(), ids=NOT)
@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
def test_what_it_does_not(make: Callable[[], Chain]) -> None:
    assert not let_in(make())


@pytest.mark.parametrize("make", FIRST_WAY_ONLY.values(), ids=FIRST_WAY_ONLY)
def test_a_good_way_that_openssl_does_not_find(make: Callable[[], Chain]) -> None:
    assert not let_in(make())


@pytest.mark.parametrize(("make", "passes"), FORUM.values(), ids=FORUM)
def test_what_only_the_forum_forbids(make: Callable[[], Chain], passes: bool) -> None:
    assert let_in(make()) == passes
