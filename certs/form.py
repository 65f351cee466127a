"""How RFC 5280 wants certificates to be made, as far as OpenSSL lets it pass: each rule with its section.

What is said here of a certificate holds at any time and under any CA, so that a CA is judged once when it is loaded,
and a peer's chain once for each set of certificates. How a chain is built and signed, dates, purposes, lengths of paths
and most name constraints are OpenSSL's to judge, with ``X509_V_FLAG_X509_STRICT``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from cryptography import x509

from certs import der
from certs.certificate import Certificate
from certs.strength import key_weakness

_BASIC_CONSTRAINTS, _KEY_USAGE, _ALTERNATIVE_NAME = "2.5.29.19", "2.5.29.15", "2.5.29.17"
_SUBJECT_KEY, _AUTHORITY_KEY = "2.5.29.14", "2.5.29.35"
_NAME_CONSTRAINTS, _POLICY_CONSTRAINTS, _INHIBIT_ANY_POLICY = "2.5.29.30", "2.5.29.36", "2.5.29.54"

# GeneralName (RFC 5280 section 4.2.1.6), and the parts of NameConstraints and AuthorityKeyIdentifier.
_EMAIL, _DNS, _IP = 0x81, 0x82, 0x87
_PERMITTED, _EXCLUDED = 0xA0, 0xA1
_KEY_IDENTIFIER = 0x80
_BOOLEAN, _INTEGER = 0x01, 0x02

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# Those that OpenSSL deals with where they are critical (crypto/x509/v3_purp.c, X509_supported_extension).
_UNDERSTOOD = frozenset(
    {_BASIC_CONSTRAINTS, _KEY_USAGE, _ALTERNATIVE_NAME, _NAME_CONSTRAINTS, _POLICY_CONSTRAINTS, _INHIBIT_ANY_POLICY}
    | {"2.5.29.37", "2.5.29.32", "2.5.29.33", "2.16.840.1.113730.1.1"}
)
_KEY_CERT_SIGN = 0x04  # bit 5 of the first octet


def authority_defect(certificate: Certificate) -> str:
    """Why nobody is let in whom this CA vouches for, or an empty string."""
    extensions = certificate.encoded_extensions
    if certificate.subject.is_empty:
        return "a CA's subject is empty (RFC 5280 section 4.1.2.6)"
    basic = extensions.get(_BASIC_CONSTRAINTS)
    if basic is None or not _says_ca(basic.value):
        return "it does not say that it is a CA (RFC 5280 section 4.2.1.9)"
    if not basic.critical:
        return "its basic constraints are not critical (RFC 5280 section 4.2.1.9)"
    usage = extensions.get(_KEY_USAGE)
    if usage is None:
        return "it has no key usage (RFC 5280 section 4.2.1.3)"
    if not usage.value[3:4] or not usage.value[3] & _KEY_CERT_SIGN:
        return "its key usage has no keyCertSign (RFC 5280 section 4.2.1.3)"
    if _SUBJECT_KEY not in extensions:
        return "it has no subject key identifier (RFC 5280 section 4.2.1.2)"
    for oid in (_SUBJECT_KEY, _AUTHORITY_KEY):
        if oid in extensions and extensions[oid].critical:
            return "its key identifiers are critical (RFC 5280 sections 4.2.1.1 and 4.2.1.2)"
    for oid, name, section in (
        (_NAME_CONSTRAINTS, "name constraints", "4.2.1.10"),
        (_POLICY_CONSTRAINTS, "policy constraints", "4.2.1.11"),
        (_INHIBIT_ANY_POLICY, "inhibitAnyPolicy", "4.2.1.14"),
    ):
        if oid in extensions and not extensions[oid].critical:
            return f"its {name} are not critical (RFC 5280 section {section})"
    try:
        for _, base in _subtrees(certificate):
            problem = _subtree_problem(base)
            if problem:
                return f"its name constraints hold {problem} (RFC 5280 section 4.2.1.10)"
    except ValueError:
        return "its name constraints are malformed (RFC 5280 section 4.2.1.10)"
    return ""


def unusable(authority: Certificate, needed: Mapping[str, str]) -> str:
    """Why OpenSSL lets in no peer whom this CA vouches for, or an empty string; for one without
    :func:`authority_defect`. ``needed`` are the extended key usages of our peers, by name."""
    weakness = key_weakness(authority)
    if weakness:
        return weakness
    unknown = [oid for oid, each in authority.encoded_extensions.items() if each.critical and oid not in _UNDERSTOOD]
    if unknown:
        return f"its extension {unknown[0]} is critical, and nobody here understands it (RFC 5280 section 4.2)"
    if authority.extensions_defect:
        return authority.extensions_defect
    purposes = authority.extension(x509.ExtendedKeyUsage)
    if purposes is not None:
        named = {oid.dotted_string for oid in purposes}
        if needed and named.isdisjoint(needed.values()):
            return f"its extended key usage has no {next(iter(needed))} (RFC 5280 section 4.2.1.12)"
    return ""


def leaf_defect(certificate: Certificate) -> str:
    """What is wrong with a leaf, whoever issued it, or an empty string."""
    extensions = certificate.encoded_extensions
    basic = extensions.get(_BASIC_CONSTRAINTS)
    if basic is not None and not _says_ca(basic.value) and _has_path_length(basic.value):
        return "it is no CA, and yet has a path length (pathlen) in its basic constraints (RFC 5280 section 4.2.1.9)"
    if _NAME_CONSTRAINTS in extensions:
        return "it is no CA, and yet has name constraints (RFC 5280 section 4.2.1.10)"
    names = extensions.get(_ALTERNATIVE_NAME)
    if names is None:
        return ""
    if certificate.subject.is_empty and not names.critical:
        return "its subject is empty and its subject alternative name not critical (RFC 5280 section 4.2.1.6)"
    try:
        for name in der.elements(der.read(names.value).value):
            if name.tag == _DNS and not _is_host(_ascii(name.value).removeprefix("*.")):
                return f"{_ascii(name.value)!a} is not a DNS name (RFC 5280 section 4.2.1.6)"
    except ValueError:
        return "its subject alternative name is malformed (RFC 5280 section 4.2.1.6)"
    return ""


def chain_defect(leaf: Certificate, above: Sequence[Certificate]) -> str:
    """What is wrong in a chain that OpenSSL has verified, or an empty string; ``above`` leads from the leaf's issuer to
    the trust anchor. The leaf's own form is :func:`leaf_defect`'s."""
    for number, certificate in enumerate((leaf, *above)):
        place = "the certificate" if not number else f"{certificate.title}, {number} above it in the chain"
        problem = (authority_defect(certificate) or key_weakness(certificate)) if number else ""
        if not problem and number < len(above):
            problem = _authority_key_problem(certificate)
        if problem:
            return f"{place}: {problem}"
    for certificate in above:
        problem = _constraint_problem(leaf, certificate)
        if problem:
            return f"{problem}, by {certificate.title} (RFC 5280 section 4.2.1.10)"
    return ""


# So many chains' defects are remembered before the table starts again.
_CHAINS_KEPT = 4096


class ChainForms:
    """What :func:`chain_defect` found in the chains seen last, by the digests of their certificates: it depends on
    nothing else, so that a known chain costs its digests. Owned by one event loop: not safe from several threads."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def defect(self, digests: bytes, leaf: Callable[[], bytes], above: Callable[[], Sequence[bytes]]) -> str:
        """``digests`` are the SHA-256 of the DER of each, leaf first; ``leaf`` and ``above`` are asked for that when
        they are not known."""
        found = self._found.get(digests)
        if found is None:
            try:
                found = chain_defect(Certificate(leaf()), [Certificate(each) for each in above()])
            except ValueError as error:
                found = f"a certificate above it in the chain cannot be read: {error}"
            if len(self._found) >= _CHAINS_KEPT:
                self._found.clear()
            self._found[digests] = found
        return found


def _says_ca(basic: bytes) -> bool:
    return any(each.tag == _BOOLEAN and each.value != b"\0" for each in _parts(basic))


def _has_path_length(basic: bytes) -> bool:
    return any(each.tag == _INTEGER for each in _parts(basic))


def _parts(encoded: bytes) -> list[der.Element]:
    try:
        return list(der.elements(der.read(encoded).value))
    except ValueError:
        return []


def _authority_key_problem(certificate: Certificate) -> str:
    """Which CA's key signed it must be told by every certificate that did not sign itself."""
    if certificate.is_self_issued and certificate.signed(certificate):
        return ""
    extension = certificate.encoded_extensions.get(_AUTHORITY_KEY)
    if extension is None or not any(each.tag == _KEY_IDENTIFIER for each in _parts(extension.value)):
        return "it has no authority key identifier (RFC 5280 section 4.2.1.1)"
    return ""


def _subtrees(certificate: Certificate) -> Iterator[tuple[int, der.Element]]:
    """Each subtree of its name constraints: permitted or excluded, and its base. Raises ValueError."""
    extension = certificate.encoded_extensions.get(_NAME_CONSTRAINTS)
    if extension is None:
        return
    listed = list(der.elements(der.read(extension.value).value))
    if not listed:
        raise ValueError("neither permits nor excludes anything")
    for each in listed:
        if each.tag not in (_PERMITTED, _EXCLUDED) or not each.value:
            raise ValueError("not a list of subtrees")
        for subtree in der.elements(each.value):
            yield each.tag, der.read(subtree.value)


def _subtree_problem(base: der.Element) -> str:
    if base.tag == _DNS:
        text = _ascii(base.value)
        return "" if not text or _is_host(text) else f"{text!a}, which is not a DNS name"
    if base.tag == _EMAIL:
        text = _ascii(base.value)
        mailbox, at, host = text.rpartition("@")
        if _is_host(host if at else host.removeprefix(".")) and (not at or (mailbox and "@" not in mailbox)):
            return ""
        return f"{text!a}, which is neither an e-mail address nor a host"
    if base.tag == _IP:
        half = len(base.value) // 2
        try:
            if half not in (4, 16) or len(base.value) != 2 * half:
                raise ValueError("neither IPv4 nor IPv6")
            mask = int.from_bytes(base.value[half:])
            length = 8 * half - (((1 << 8 * half) - 1) ^ mask).bit_length()
            ip_network((base.value[:half], length), strict=False)
            if mask != ((1 << 8 * half) - 1) ^ ((1 << (8 * half - length)) - 1):
                raise ValueError("not a prefix")
        except ValueError:
            return "what is not a range of IP addresses"
    return ""


def _constraint_problem(leaf: Certificate, authority: Certificate) -> str:
    """A name of the leaf's that ``authority`` may not vouch for: DNS names and e-mail addresses. OpenSSL looks at them,
    too, but not at what a wildcard stands for, nor at each way to write a constraint."""
    if _NAME_CONSTRAINTS not in authority.encoded_extensions:
        return ""
    subtrees = list(_subtrees(authority))
    extension = leaf.encoded_extensions.get(_ALTERNATIVE_NAME)
    for name in _parts(extension.value) if extension is not None else ():
        if name.tag not in (_DNS, _EMAIL):
            continue
        text = _ascii(name.value)
        within = _dns_within if name.tag == _DNS else _email_within
        permitted = [_ascii(base.value) for kind, base in subtrees if kind == _PERMITTED and base.tag == name.tag]
        if permitted and not any(within(text, base) for base in permitted):
            return f"{text!a} is not permitted"
        for kind, base in subtrees:
            if kind != _EXCLUDED or base.tag != name.tag:
                continue
            excluded = _ascii(base.value)
            if within(text, excluded) or (name.tag == _DNS and _wildcard_covers(text, excluded)):
                return f"{text!a} is excluded"
    return ""


def _dns_within(name: str, base: str) -> bool:
    name, base = name.lower(), base.lower()
    return not base or name == base or name.endswith(f".{base}")


def _wildcard_covers(name: str, base: str) -> bool:
    """Whether ``*.example.com`` stands for a name that is excluded."""
    _, _, parent = base.lower().partition(".")
    return name.startswith("*.") and name[2:].lower() == parent


def _email_within(name: str, base: str) -> bool:
    mailbox, _, host = name.rpartition("@")
    if "@" in base:
        wanted, _, wanted_host = base.rpartition("@")
        return mailbox == wanted and host.lower() == wanted_host.lower()
    return host.lower().endswith(base.lower()) if base.startswith(".") else host.lower() == base.lower()


def _is_host(text: str) -> bool:
    return len(text) <= 253 and all(len(label) <= 63 for label in text.split(".")) and bool(_HOST.fullmatch(text))


def _ascii(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")
