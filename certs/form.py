"""How RFC 5280 wants certificates to be made, as far as OpenSSL lets it pass: each rule with its section.

What is said here of a certificate holds at any time and under any CA, so that a CA is judged once when it is loaded,
and a peer's chain once for each set of certificates. How a chain is built and signed, dates, purposes, lengths of paths
and most name constraints are OpenSSL's to judge, with ``X509_V_FLAG_X509_STRICT``. Policies: :mod:`certs.policies`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cryptography import x509

from certs import der
from certs.certificate import Certificate
from certs.general_names import ALTERNATIVE_NAME, alternative_names, name_problem
from certs.name_constraints import NAME_CONSTRAINTS, NameConstraints, constraints_defect
from certs.policies import INHIBIT_ANY_POLICY, POLICY_CONSTRAINTS, POLICY_MAPPINGS, policies_defect, policy_problem
from certs.strength import key_weakness

_BASIC_CONSTRAINTS, _KEY_USAGE = "2.5.29.19", "2.5.29.15"
_SUBJECT_KEY, _AUTHORITY_KEY = "2.5.29.14", "2.5.29.35"

_KEY_IDENTIFIER = 0x80  # of an AuthorityKeyIdentifier
_BOOLEAN, _INTEGER = 0x01, 0x02

# Those that OpenSSL deals with where they are critical (crypto/x509/v3_purp.c, X509_supported_extension).
_UNDERSTOOD = frozenset(
    {_BASIC_CONSTRAINTS, _KEY_USAGE, ALTERNATIVE_NAME, NAME_CONSTRAINTS, POLICY_CONSTRAINTS, INHIBIT_ANY_POLICY}
    | {POLICY_MAPPINGS, "2.5.29.37", "2.5.29.32", "2.16.840.1.113730.1.1"}
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
    if NAME_CONSTRAINTS in extensions and not extensions[NAME_CONSTRAINTS].critical:
        return "its name constraints are not critical (RFC 5280 section 4.2.1.10)"
    return constraints_defect(certificate) or policies_defect(certificate) or _authority_key_problem(certificate)


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
    if NAME_CONSTRAINTS in extensions:
        return "it is no CA, and yet has name constraints (RFC 5280 section 4.2.1.10)"
    names = extensions.get(ALTERNATIVE_NAME)
    if names is None:
        return ""
    if certificate.subject.is_empty and not names.critical:
        return "its subject is empty and its subject alternative name not critical (RFC 5280 section 4.2.1.6)"
    try:
        problem = next(filter(None, map(name_problem, alternative_names(certificate))), "")
    except ValueError:
        problem = "its subject alternative name is malformed"
    return f"{problem} (RFC 5280 section 4.2.1.6)" if problem else ""


def chain_defect(leaf: Certificate, above: Sequence[Certificate]) -> str:
    """What is wrong in a chain that OpenSSL has verified, or an empty string; ``above`` leads from the leaf's issuer to
    the trust anchor. The leaf's own form is :func:`leaf_defect`'s."""
    for number, certificate in enumerate((leaf, *above)):
        place = "the certificate" if not number else f"{certificate.title}, {number} above it in the chain"
        problem = authority_defect(certificate) or key_weakness(certificate) if number else ""
        if not number and above:
            problem = _authority_key_problem(certificate)
        if problem:
            return f"{place}: {problem}"
    return _constraint_problem(leaf, above) or policy_problem((leaf, *above[:-1]))


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
    extension = certificate.encoded_extensions.get(_AUTHORITY_KEY)
    if extension is not None and any(each.tag == _KEY_IDENTIFIER for each in _parts(extension.value)):
        return ""
    if certificate.signed(certificate):  # whatever issuer it names
        return ""
    return "it has no authority key identifier (RFC 5280 section 4.2.1.1)"


def _constraint_problem(leaf: Certificate, above: Sequence[Certificate]) -> str:
    """A name in the chain that a CA above it may not vouch for. A self-issued CA's names are bound by none, only the
    leaf's are always (RFC 5280 section 6.1.3)."""
    below = [leaf]
    for authority in above:
        if NAME_CONSTRAINTS in authority.encoded_extensions:
            constraints = NameConstraints(authority)
            for certificate in below:
                if certificate is not leaf and certificate.is_self_issued:
                    continue
                problem = _names_problem(constraints, certificate)
                if problem:
                    return f"{problem}, by {authority.title} (RFC 5280 section 4.2.1.10)"
        below.append(authority)
    return ""


def _names_problem(constraints: NameConstraints, certificate: Certificate) -> str:
    try:
        return constraints.problem(alternative_names(certificate))
    except ValueError:
        return f"the subject alternative name of {certificate.title} is malformed, and bound"
