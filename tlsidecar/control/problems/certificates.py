"""Problems of what we show and whom we trust: lifetimes, renewal, revocation lists, refused material.

Lifetimes are judged by fractions, since certificates may live an hour or a year; and our own certificate, where its
source renews it, by when the source will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from weakref import WeakKeyDictionary

from certs.chain import is_issuer
from certs.identity import serial_text
from certs.journal import second_text
from certs.material import Material
from tlsidecar.api.certificates import CRITICAL_FRACTION, DUE_FRACTION
from tlsidecar.control.interface import IdentityState, Severity
from tlsidecar.control.problems.facts import Facts, Found
from tlsidecar.settings import DEFAULT_IDENTITY


def _of_each(judgement: Callable[[IdentityState, datetime], Iterator[Found]]) -> Callable[[Facts], Iterator[Found]]:
    """A judgement of one identity, made of each; where there are several, a problem says whose it is."""

    @wraps(judgement)
    def judge(facts: Facts) -> Iterator[Found]:
        failed: Exception | None = None
        for own in facts.identities:
            try:
                problems = list(judgement(own, facts.now))
            except Exception as error:  # over a name that cannot be read: it costs no other identity's problems
                failed = error
                continue
            for found in problems:
                if own.name == DEFAULT_IDENTITY and len(facts.identities) == 1:
                    yield found
                else:
                    subject = ": ".join(part for part in (own.name, found.subject) if part)
                    yield found._replace(message=f"identity {own.name}: {found.message}", subject=subject)
        if failed is not None:
            raise failed

    return judge


@_of_each
def own_certificate(own: IdentityState, now: datetime) -> Iterator[Found]:
    """Expired, about to, or not valid yet; in time where its source does not renew it."""
    if own.generation is None:
        return
    leaf = own.generation.material.leaf
    name = own.generation.material.identity.name
    starts, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    left = leaf.fraction_left(now)
    whole = ends - starts
    if left <= 0:
        message = f"our certificate expired at {second_text(ends)}: peers refuse it"
        yield Found(Severity.CRITICAL, "certificate_expired", message, ends, name)
    elif now < starts:
        message = f"our certificate is not valid before {second_text(starts)}: peers refuse it until then"
        yield Found(Severity.WARNING, "certificate_not_yet_valid", message, now, name)
    elif own.renews and own.next_renewal_at is not None:
        if left <= CRITICAL_FRACTION and (_is_late(own, now) or own.renewal_failures):
            message = f"our certificate expires at {second_text(ends)} and its renewal fails"
            yield Found(Severity.CRITICAL, "certificate_expiring", message, ends - whole * CRITICAL_FRACTION, name)
    elif left <= CRITICAL_FRACTION:
        message = f"our certificate expires at {second_text(ends)} and has not been replaced"
        yield Found(Severity.CRITICAL, "certificate_expiring", message, ends - whole * CRITICAL_FRACTION, name)
    elif left <= DUE_FRACTION:
        message = f"our certificate expires at {second_text(ends)}, and {left:.0%} of its life is left"
        yield Found(Severity.WARNING, "certificate_due", message, ends - whole * DUE_FRACTION, name)


@_of_each
def renewal(own: IdentityState, now: datetime) -> Iterator[Found]:
    """A renewal that is overdue, or fails, while there is still time."""
    if own.generation is None or own.next_renewal_at is None:
        return
    name = own.generation.material.identity.name
    if own.renewal_failures:
        times = "once" if own.renewal_failures == 1 else f"{own.renewal_failures} times in a row"
        message = f"renewing our certificate failed {times}; it is tried again at {second_text(own.next_renewal_at)}"
        yield Found(Severity.WARNING, "renewal_failing", message, own.refused_since or now, name)
    elif _is_late(own, now):
        message = f"our certificate should have been renewed at {second_text(own.next_renewal_at)}"
        yield Found(Severity.WARNING, "renewal_overdue", message, own.next_renewal_at, name)


def _is_late(own: IdentityState, now: datetime) -> bool:
    return own.renewal_overdue_at is not None and now > own.renewal_overdue_at


@_of_each
def authorities(own: IdentityState, now: datetime) -> Iterator[Found]:
    """CAs of our chain and of those we trust that have expired, or will."""
    if own.generation is None:
        return
    material = own.generation.material
    federated = (each for bundle in material.federated.values() for each in bundle)
    for authority in dict.fromkeys((*material.chain, *material.trust, *federated)):
        starts, ends = authority.not_valid_before_utc, authority.not_valid_after_utc
        name = authority.title
        left = authority.fraction_left(now)
        if left <= 0:
            yield Found(
                Severity.CRITICAL, "authority_expired", f"the CA {name} expired at {second_text(ends)}", ends, name
            )
        elif left <= CRITICAL_FRACTION:
            since = ends - (ends - starts) * CRITICAL_FRACTION
            message = f"the CA {name} expires at {second_text(ends)}"
            yield Found(Severity.WARNING, "authority_expiring", message, since, name)


@_of_each
def revocation_lists(own: IdentityState, now: datetime) -> Iterator[Found]:
    """Out of date, or about to be. Under the hard policy that refuses each peer that the list covers."""
    if own.generation is None:
        return
    for revocations in own.generation.material.crls:
        starts, ends = revocations.last_update_utc, revocations.next_update_utc
        if ends is None or revocations.is_superseded(own.generation.material.crls, now):
            continue
        issuer = revocations.issuer.text
        left = _left(starts, ends, now)
        if left <= 0:
            what = "is ignored (crl_policy = soft)" if own.soft_crl else "every peer it covers is refused"
            message = f"the revocation list of {issuer} expired at {second_text(ends)}: {what}"
            severity = Severity.WARNING if own.soft_crl else Severity.CRITICAL
            yield Found(severity, "crl_expired", message, ends, issuer)
        elif left <= CRITICAL_FRACTION:
            message = f"the revocation list of {issuer} expires at {second_text(ends)} and has not been replaced"
            since = ends - (ends - starts) * CRITICAL_FRACTION
            yield Found(Severity.WARNING, "crl_expiring", message, since, issuer)


@_of_each
def crl_downloads(own: IdentityState, now: datetime) -> Iterator[Found]:
    """URLs that a list cannot be had from. The list that is kept serves until it expires."""
    for url, failing in own.crls_failing.items():
        message = (
            f"the revocation list at {url} cannot be had: {failing.detail}; the one that is kept goes on being used"
        )
        yield Found(Severity.WARNING, "crl_unreachable", message, failing.since, url)


@_of_each
def refused(own: IdentityState, now: datetime) -> Iterator[Found]:
    """The newest candidate was not taken."""
    refusal = own.refusal
    if refusal is not None:
        message = f"new material was refused, the old one goes on serving: {refusal.detail}"
        yield Found(Severity.CRITICAL, "reload_refused", message, own.refused_since or now, refusal.reason)


@_of_each
def newer_at_hand(own: IdentityState, now: datetime) -> Iterator[Found]:
    """What the source has is newer than what is served: it is as good as renewed, and nobody gets it."""
    rejected = own.rejected
    if own.generation is None or rejected is None or own.refusal is None:
        return
    served = own.generation.material.leaf
    if rejected != served and rejected.not_valid_before_utc > served.not_valid_before_utc:
        message = (
            f"the certificate at hand (serial {serial_text(rejected.serial_number)}, valid until "
            f"{second_text(rejected.not_valid_after_utc)}) is newer than the one that is served, and is refused: "
            f"{own.refusal.detail}"
        )
        since = own.refused_since or now
        yield Found(Severity.WARNING, "newer_at_hand", message, since, own.generation.material.identity.name)


@_of_each
def trust(own: IdentityState, now: datetime) -> Iterator[Found]:
    """Both ends of a mesh mostly share their CAs; where they do not, it had better be on purpose."""
    if own.generation is None or _leads_to_trust(own.generation.material):
        return
    top = (own.generation.material.leaf, *own.generation.material.chain)[-1]
    message = "our own certificate does not lead to a CA in our trust bundle"
    yield Found(Severity.NOTICE, "trust_mismatch", message, own.generation.activated_at, top.issuer.text)


# Asked every second, of the same material; what is no longer served must not be kept for it, with its key.
_leading: WeakKeyDictionary[Material, bool] = WeakKeyDictionary()


def _leads_to_trust(material: Material) -> bool:
    leads = _leading.get(material)
    if leads is None:
        leads = _leading[material] = _is_under_trust(material)
    return leads


def _is_under_trust(material: Material) -> bool:
    trusted = {*material.trust, *(each for found in material.federated.values() for each in found)}
    own = (material.leaf, *material.chain)
    return any(each in trusted or any(is_issuer(anchor, each) for anchor in trusted) for each in own)


def _left(starts: datetime, ends: datetime, now: datetime) -> float:
    """What is left of a life, of 1; nothing of one that ends before it begins."""
    return (ends - now) / (ends - starts) if ends > starts else float(ends > now)
