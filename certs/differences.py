"""What is different in new material, for whoever reads how a rotation went."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from certs.durations import duration_text
from certs.errors import CertificateInvalid
from certs.material import Material
from certs.text import key_text, signature_text

# Lifetimes are compared as they were meant: issuers round, and backdate.
_SAME_LIFETIME = timedelta(minutes=1)
_SHOWN_NAMES = 8
_DIGEST_DIGITS = 12


class Difference(NamedTuple):
    """One thing, as it was and as it is. Text from certificates: escape it before it is shown."""

    what: str
    before: str
    after: str


def differences(before: Material, after: Material) -> tuple[Difference, ...]:
    """In the order in which they matter: names, issuer, key, lifetime, and then the rest."""
    pairs = [*zip(_leaf(before), _leaf(after), strict=True), (_trust(before), _trust(after))]
    found = [Difference(what, was, now) for (what, was), (_, now) in pairs if was != now]
    spans = [each.leaf.not_valid_after_utc - each.leaf.not_valid_before_utc for each in (before, after)]
    if abs(spans[1] - spans[0]) > _SAME_LIFETIME:
        found.insert(
            sum(each.what in ("names", "subject", "issuer", "key") for each in found),
            Difference("lifetime", duration_text(spans[0]), duration_text(spans[1])),
        )
    return tuple(found)


def _leaf(material: Material) -> Iterator[tuple[str, str]]:
    leaf = material.leaf
    yield "names", _listed(_names(material))
    yield "subject", leaf.subject.text
    yield "issuer", leaf.issuer.text
    yield "key", f"{key_text(leaf)} {hashlib.sha256(leaf.key_der).hexdigest()[:_DIGEST_DIGITS]}"
    yield "signature", signature_text(leaf)


def _names(material: Material) -> Sequence[str]:
    try:
        identity = material.identity
    except CertificateInvalid:
        return ()
    return (*identity.uris, *identity.dns, *identity.ips, *identity.emails)


def _trust(material: Material) -> tuple[str, str]:
    return "trust", _listed([f"{each.title} {each.sha256[:_DIGEST_DIGITS]}" for each in material.authorities])


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN_NAMES
    return ", ".join(texts[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
