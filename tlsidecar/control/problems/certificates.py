"""Problems of what we show and whom we trust: lifetimes, renewal, revocation lists, refused material.

Lifetimes are judged by fractions, since certificates may live an hour or a year; and our own certificate, where its
source renews it, by when the source will.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache

from certs.chain import issued
from certs.identity import serial_text
from certs.journal import second_text
from certs.material import Material
from tlsidecar.control.interface import Outcome, Severity
from tlsidecar.control.problems.facts import Facts, Found

# What is left of a lifetime when a certificate that nobody renews by himself is warned of, and when it is an alarm.
DUE_FRACTION = 1 / 3
CRITICAL_FRACTION = 1 / 10
# A renewal may be this late before it is said to be: the clock is looked at every second, an issuer takes its time.
LATE = timedelta(minutes=1)


def own_certificate(facts: Facts) -> Iterator[Found]:
    if facts.generation is None:
        return
    leaf = facts.generation.material.leaf
    name = facts.generation.material.identity.name
    starts, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    left = leaf.fraction_left(facts.now)
    whole = ends - starts
    if left <= 0:
        message = f"our certificate expired at {second_text(ends)}: peers refuse it"
        yield Found(Severity.CRITICAL, "certificate_expired", message, ends, name)
    elif facts.now < starts:
        message = f"our certificate is not valid before {second_text(starts)}: peers refuse it until then"
        yield Found(Severity.WARNING, "certificate_not_yet_valid", message, facts.now, name)
    elif facts.renews and facts.next_renewal_at is not None:
        late = facts.now > facts.next_renewal_at + LATE
        if left <= CRITICAL_FRACTION and (late or facts.renewal_failures):
            message = f"our certificate expires at {second_text(ends)} and its renewal fails"
            yield Found(Severity.CRITICAL, "certificate_expiring", message, ends - whole * CRITICAL_FRACTION, name)
    elif left <= CRITICAL_FRACTION:
        message = f"our certificate expires at {second_text(ends)} and has not been replaced"
        yield Found(Severity.CRITICAL, "certificate_expiring", message, ends - whole * CRITICAL_FRACTION, name)
    elif left <= DUE_FRACTION:
        message = f"our certificate expires at {second_text(ends)}, and {left:.0%} of its life is left"
        yield Found(Severity.WARNING, "certificate_due", message, ends - whole * DUE_FRACTION, name)


def renewal(facts: Facts) -> Iterator[Found]:
    """A renewal that is overdue, or fails, while there is still time."""
    if facts.generation is None or facts.next_renewal_at is None:
        return
    name = facts.generation.material.identity.name
    if facts.renewal_failures:
        times = "once" if facts.renewal_failures == 1 else f"{facts.renewal_failures} times in a row"
        message = f"renewing our certificate failed {times}; it is tried again at {second_text(facts.next_renewal_at)}"
        yield Found(Severity.WARNING, "renewal_failing", message, facts.refused_since or facts.now, name)
    elif facts.now > facts.next_renewal_at + LATE:
        message = f"our certificate should have been renewed at {second_text(facts.next_renewal_at)}"
        yield Found(Severity.WARNING, "renewal_overdue", message, facts.next_renewal_at, name)


def authorities(facts: Facts) -> Iterator[Found]:
    if facts.generation is None:
        return
    material = facts.generation.material
    for authority in dict.fromkeys((*material.chain, *material.trust)):
        starts, ends = authority.not_valid_before_utc, authority.not_valid_after_utc
        name = authority.title
        left = authority.fraction_left(facts.now)
        if left <= 0:
            yield Found(
                Severity.CRITICAL, "authority_expired", f"the CA {name} expired at {second_text(ends)}", ends, name
            )
        elif left <= CRITICAL_FRACTION:
            since = ends - (ends - starts) * CRITICAL_FRACTION
            message = f"the CA {name} expires at {second_text(ends)}"
            yield Found(Severity.WARNING, "authority_expiring", message, since, name)


def revocation_lists(facts: Facts) -> Iterator[Found]:
    if facts.generation is None:
        return
    for revocations in facts.generation.material.crls:
        starts, ends = revocations.last_update_utc, revocations.next_update_utc
        if ends is None:
            continue
        issuer = revocations.issuer.text
        left = _left(starts, ends, facts.now)
        if left <= 0:
            what = "is ignored (crl_policy = soft)" if facts.soft_crl else "every peer it covers is refused"
            message = f"the revocation list of {issuer} expired at {second_text(ends)}: {what}"
            severity = Severity.WARNING if facts.soft_crl else Severity.CRITICAL
            yield Found(severity, "crl_expired", message, ends, issuer)
        elif left <= CRITICAL_FRACTION:
            message = f"the revocation list of {issuer} expires at {second_text(ends)} and has not been replaced"
            since = ends - (ends - starts) * CRITICAL_FRACTION
            yield Found(Severity.WARNING, "crl_expiring", message, since, issuer)


def crl_downloads(facts: Facts) -> Iterator[Found]:
    for url, failing in facts.crls_failing.items():
        message = (
            f"the revocation list at {url} cannot be had: {failing.detail}; the one that is kept goes on being used"
        )
        yield Found(Severity.WARNING, "crl_unreachable", message, failing.since, url)


def last_attempt(facts: Facts) -> Iterator[Found]:
    attempt = facts.last_attempt
    if attempt is not None and attempt.outcome == Outcome.REFUSED:
        message = f"new material was refused, the old one goes on serving: {attempt.detail}"
        since = facts.refused_since or attempt.at or facts.now
        yield Found(Severity.CRITICAL, "reload_refused", message, since, attempt.reason)


def newer_at_hand(facts: Facts) -> Iterator[Found]:
    """What the source has is newer than what is served: it is as good as renewed, and nobody gets it."""
    rejected = facts.rejected
    if facts.generation is None or rejected is None or facts.last_attempt is None:
        return
    served = facts.generation.material.leaf
    if rejected != served and rejected.not_valid_before_utc > served.not_valid_before_utc:
        message = (
            f"the certificate at hand (serial {serial_text(rejected.serial_number)}, valid until "
            f"{second_text(rejected.not_valid_after_utc)}) is newer than the one that is served, and is refused: "
            f"{facts.last_attempt.detail}"
        )
        since = facts.refused_since or facts.now
        yield Found(Severity.WARNING, "newer_at_hand", message, since, facts.generation.material.identity.name)


def trust(facts: Facts) -> Iterator[Found]:
    """Both ends of a mesh mostly share their CAs; where they do not, it had better be on purpose."""
    if facts.generation is None or _leads_to_trust(facts.generation.material):
        return
    top = (facts.generation.material.leaf, *facts.generation.material.chain)[-1]
    message = "our own certificate does not lead to a CA in our trust bundle"
    yield Found(Severity.NOTICE, "trust_mismatch", message, facts.generation.activated_at, top.issuer.text)


@lru_cache(maxsize=1)  # asked every second, of the same material
def _leads_to_trust(material: Material) -> bool:
    trusted = {*material.trust, *(each for found in material.federated.values() for each in found)}
    own = (material.leaf, *material.chain)
    return any(each in trusted or any(issued(anchor, each) for anchor in trusted) for each in own)


def _left(starts: datetime, ends: datetime, now: datetime) -> float:
    """What is left of a life, of 1; nothing of one that ends before it begins."""
    return (ends - now) / (ends - starts) if ends > starts else float(ends > now)
