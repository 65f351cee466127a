"""Certificate policies along a path (RFC 5280 section 6.1), as far as they keep a peer out.

OpenSSL takes critical policy extensions for understood and looks at none of them unless it is asked to, and then it
wants to be told the policies that are taken. We take any. What is left to do is to see whether a CA requires that one
be named, and whether one holds from there to the leaf. What is known at each step is a set (RFC 9618 section 5): its
size is that of what the certificates hold, whatever they map to what.
"""

from __future__ import annotations

from collections.abc import Sequence

from certs import der
from certs.certificate import Certificate

CERTIFICATE_POLICIES, POLICY_MAPPINGS = "2.5.29.32", "2.5.29.33"
POLICY_CONSTRAINTS, INHIBIT_ANY_POLICY = "2.5.29.36", "2.5.29.54"
_ANY_POLICY = "2.5.29.32.0"
_RESTRICTIONS = (POLICY_MAPPINGS, POLICY_CONSTRAINTS, INHIBIT_ANY_POLICY)

# The parts of PolicyConstraints.
_REQUIRE_EXPLICIT, _INHIBIT_MAPPING = 0x80, 0x81
_INTEGER = 0x02


def restricts_policies(certificate: Certificate) -> bool:
    """Whether it has a say in the policies of certificates below it."""
    return any(oid in certificate.encoded_extensions for oid in _RESTRICTIONS)


def policies_defect(authority: Certificate) -> str:
    """What is wrong with how its policy extensions are written, or an empty string."""
    for oid, name, section in (
        (POLICY_CONSTRAINTS, "policy constraints", 11),
        (INHIBIT_ANY_POLICY, "inhibitAnyPolicy", 14),
    ):
        extension = authority.encoded_extensions.get(oid)
        if extension is not None and not extension.critical:
            return f"its {name} are not critical (RFC 5280 section 4.2.1.{section})"
    for read, name, section in (
        (_constraints, "policy constraints", 11),
        (_inhibit_any, "inhibitAnyPolicy", 14),
        (_mappings, "policy mappings", 5),
        (_policies, "certificate policies", 4),
    ):
        try:
            read(authority)
        except ValueError:
            return f"its {name} are malformed (RFC 5280 section 4.2.1.{section})"
    return ""


def policy_problem(path: Sequence[Certificate]) -> str:
    """Why the policies in a path let no leaf pass, or an empty string; ``path`` leads from the leaf up to, and without,
    the trust anchor. The CAs are without :func:`policies_defect`."""
    if not any(restricts_policies(each) for each in path):
        return ""
    missing = "a CA in the chain requires a certificate policy, and none holds down to the leaf (RFC 5280 section 6.1)"
    # How many certificates further down a policy must hold, "any" still counts, and mappings still count.
    explicit = counts_any = maps = len(path) + 1
    # The policies that hold, each with those that the next certificate may name it by.
    holding = {_ANY_POLICY: {_ANY_POLICY}}
    for below, certificate in reversed(tuple(enumerate(path))):
        try:
            named = _policies(certificate)
            constraints = _constraints(certificate)
            takes_any = counts_any > 0 or (below > 0 and certificate.is_self_issued)
            holding = _next(holding, named, takes_any=takes_any)
            if not holding and not explicit:
                return missing
            if below:
                _map(holding, _mappings(certificate), maps=maps > 0)
            if below == 0 or not certificate.is_self_issued:
                explicit, counts_any, maps = (max(each - 1, 0) for each in (explicit, counts_any, maps))
            if below == 0 and constraints.get(_REQUIRE_EXPLICIT) != 0:
                constraints = {}  # the leaf's own speak of itself alone (section 6.1.5)
            explicit = min(explicit, constraints.get(_REQUIRE_EXPLICIT, explicit))
            maps = min(maps, constraints.get(_INHIBIT_MAPPING, maps))
            counts_any = min(counts_any, _inhibit_any(certificate, counts_any))
        except ValueError:
            return "its policy extensions are malformed (RFC 5280 sections 4.2.1.4 and 4.2.1.11)"
    return "" if holding or explicit else missing


def _next(holding: dict[str, set[str]], named: set[str], *, takes_any: bool) -> dict[str, set[str]]:
    """What holds with the next certificate, which names these (section 6.1.3, steps d and e)."""
    expected = set().union(*holding.values())
    held = {each for each in named if each != _ANY_POLICY and (each in expected or _ANY_POLICY in holding)}
    if takes_any and _ANY_POLICY in named:
        held |= expected
    return {each: {each} for each in held}


def _map(holding: dict[str, set[str]], mappings: dict[str, set[str]], *, maps: bool) -> None:
    """Section 6.1.4, step b."""
    for policy, others in mappings.items():
        if not maps:
            holding.pop(policy, None)
        elif policy in holding or _ANY_POLICY in holding:
            holding[policy] = others


def _policies(certificate: Certificate) -> set[str]:
    extension = certificate.encoded_extensions.get(CERTIFICATE_POLICIES)
    if extension is None:
        return set()
    return {_identifier(der.read(each.value)) for each in der.elements(der.read(extension.value).value)}


def _mappings(certificate: Certificate) -> dict[str, set[str]]:
    """By the issuer's policy, those of the subject's that are the same to it. Raises ValueError."""
    found: dict[str, set[str]] = {}
    extension = certificate.encoded_extensions.get(POLICY_MAPPINGS)
    if extension is None:
        return found
    for each in der.elements(der.read(extension.value).value):
        issuers, subjects = map(_identifier, der.elements(each.value))
        if _ANY_POLICY in (issuers, subjects):
            raise ValueError("any policy is mapped")
        found.setdefault(issuers, set()).add(subjects)
    return found


def _constraints(certificate: Certificate) -> dict[int, int]:
    """After how many certificates each begins. Raises ValueError."""
    extension = certificate.encoded_extensions.get(POLICY_CONSTRAINTS)
    if extension is None:
        return {}
    found = {each.tag: _count(each) for each in der.elements(der.read(extension.value).value)}
    if not found or not found.keys() <= {_REQUIRE_EXPLICIT, _INHIBIT_MAPPING}:
        raise ValueError("it constrains nothing")
    return found


def _inhibit_any(certificate: Certificate, default: int = 0) -> int:
    extension = certificate.encoded_extensions.get(INHIBIT_ANY_POLICY)
    if extension is None:
        return default
    number = der.read(extension.value)
    if number.tag != _INTEGER:
        raise ValueError("not a number")
    return _count(number)


def _count(number: der.Element) -> int:
    count = int.from_bytes(number.value, signed=True)
    if not number.value or count < 0:
        raise ValueError("not a count")
    return count


def _identifier(element: der.Element) -> str:
    if element.tag != der.OBJECT_IDENTIFIER:
        raise ValueError("not an object identifier")
    return der.dotted(element.value)
