"""Which names a CA may vouch for (name constraints, RFC 5280 section 4.2.1.10): how they are written, and what they
mean for DNS names, e-mail addresses and URIs.

OpenSSL looks at all of them, but not at what a wildcard stands for, nor at each way to write a constraint or a name;
directory names, IP addresses and every other kind are its own to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from certs import der
from certs.certificate import Certificate
from certs.general_names import (
    DNS,
    EMAIL,
    IP,
    URI,
    ascii_text,
    is_host,
    is_mailbox,
    is_uri_host,
    name_problem,
    uri_host,
)

NAME_CONSTRAINTS = "2.5.29.30"

_PERMITTED, _EXCLUDED = 0xA0, 0xA1


class NameConstraints:
    """The constraints of one CA, its bases by kind of name: a name costs its labels, however many bases there are."""

    __slots__ = ("_excluded", "_excluded_parents", "_permitted")

    def __init__(self, certificate: Certificate) -> None:
        """Raises ValueError for what :func:`constraints_defect` tells of."""
        self._permitted: dict[int, set[str]] = {}
        self._excluded: dict[int, set[str]] = {}
        for kind, base in _subtrees(certificate):
            if base.tag in (DNS, EMAIL, URI):
                of_kind = self._permitted if kind == _PERMITTED else self._excluded
                of_kind.setdefault(base.tag, set()).add(_folded(ascii_text(base)))
        self._excluded_parents = {base.partition(".")[2] for base in self._excluded.get(DNS, ())}

    def problem(self, names: Iterable[der.Element]) -> str:
        """The first of ``names`` that the CA may not vouch for, and why; empty when there is none."""
        for name in names:
            permitted, excluded = self._permitted.get(name.tag), self._excluded.get(name.tag)
            if not permitted and not excluded:
                continue
            text = ascii_text(name)
            problem = name_problem(name)
            if problem:
                return f"{problem}, and cannot be compared with the constraints"
            bases = _bases(name.tag, text)
            if not bases:
                return f"{text!a} names no host that could be compared with the constraints"
            if permitted and permitted.isdisjoint(bases):
                return f"{text!a} is not permitted"
            if excluded and not excluded.isdisjoint(bases):
                return f"{text!a} is excluded"
            # A wildcard stands for a name that is excluded.
            if name.tag == DNS and text.startswith("*.") and text[2:].lower() in self._excluded_parents:
                return f"{text!a} is excluded"
        return ""


def constraints_defect(certificate: Certificate) -> str:
    """What is wrong with how its name constraints are written, or an empty string."""
    try:
        for _, base in _subtrees(certificate):
            problem = _base_problem(base)
            if problem:
                return f"its name constraints hold {problem} (RFC 5280 section 4.2.1.10)"
    except ValueError:
        return "its name constraints are malformed (RFC 5280 section 4.2.1.10)"
    return ""


def _subtrees(certificate: Certificate) -> Iterator[tuple[int, der.Element]]:
    """Each subtree: permitted or excluded, and its base. Raises ValueError."""
    extension = certificate.encoded_extensions.get(NAME_CONSTRAINTS)
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


def _base_problem(base: der.Element) -> str:
    if base.tag == IP:
        return "" if _is_network(base.value) else "what is not a range of IP addresses"
    text = ascii_text(base)
    if base.tag == DNS and text and not is_host(text):
        return f"{text!a}, which is not a DNS name"
    if base.tag == EMAIL and not is_mailbox(text) and not is_host(text.removeprefix(".")):
        return f"{text!a}, which is neither an e-mail address nor a host"
    if base.tag == URI and not is_uri_host(text.removeprefix(".")):
        return f"{text!a}, which is not the host or domain of a URI"
    return ""


def _is_network(value: bytes) -> bool:
    """Whether it is an address and a mask that is a prefix."""
    half = len(value) // 2
    if half not in (4, 16) or len(value) != 2 * half:
        return False
    mask = int.from_bytes(value[half:])
    length = 8 * half - (((1 << 8 * half) - 1) ^ mask).bit_length()
    return mask == ((1 << 8 * half) - 1) ^ ((1 << (8 * half - length)) - 1)


def _bases(kind: int, text: str) -> tuple[str, ...]:
    """Every base of a constraint that a well-formed name lies within; none where there is no telling."""
    if kind == DNS:  # itself, each domain above it, and the root, which is written as nothing
        return (text.lower(), *_above(text.lower()), "")
    mailbox, host = "", uri_host(text).lower()
    if kind == EMAIL:
        mailbox = _folded(text)
        host = mailbox.rpartition("@")[2]
    if not host:
        return ()
    # One mailbox, all of a host, or all below a domain, which is written with a dot before it.
    return tuple(filter(None, (mailbox, host, *(f".{domain}" for domain in _above(host)))))


def _above(host: str) -> Iterator[str]:
    _, _, above = host.partition(".")
    while above:
        yield above
        _, _, above = above.partition(".")


def _folded(text: str) -> str:
    """In lower case, but for whose mailbox it is."""
    mailbox, at, host = text.rpartition("@")
    return f"{mailbox}{at}{host.lower()}"
