"""Our material: the leaf and its countdown, the chain, what we trust, the last attempt, connections by generation."""

from __future__ import annotations

from collections.abc import Mapping

from tui.amounts import COUNTDOWN_WIDTH, age, duration, grouped, until, utc
from tui.lifetime import LifetimeStage, Validity
from tui.lines import BLANK, Kind, Line, Role, Span, Target, column, gap, heading, line
from tui.model import Snapshot
from tui.pages.arrange import matches
from tui.pages.columns import not_known
from tui.pages.time_line import time_line
from tui.plan import Ask
from tui.records import Attempt, Certificate, Certificates, OwnMaterial, RevocationList
from tui.sheet import Look, Page, field_lines, message_page
from tui.text import SafeText, cell_width, pad, shorten_identity

_STAGE_WIDTH = 10
_NOTE_WIDTH = 10
_MOMENT_WIDTH = 20
_LEAST_NAME_WIDTH, _MOST_NAME_WIDTH = 10, 64

_OUTCOME_ROLES = {"applied": Role.GOOD, "unchanged": Role.GOOD, "refused": Role.CRITICAL}


def certificates_page(snapshot: Snapshot, look: Look, wanted: str = "") -> Page:
    """Each identity with its leaf, chain, trust and lists, then the line of time."""
    certificates = snapshot.certificates
    if certificates is None:
        return not_known(snapshot, Ask.CERTIFICATES, look)
    lines: list[Line] = []
    for name, listeners, own in identities_of(certificates):
        if name:
            shown = f"shown by {', '.join(listeners)}" if listeners else "shown by no listener"
            lines += [*([BLANK] if lines else []), heading(f"Identity {name}", SafeText(shown))]
        lines += _identity(own, look, wanted)
    lines += time_line(certificates, look)
    return Page(lines)


def authorities_of(own: OwnMaterial) -> tuple[Certificate, ...]:
    """Every CA that may vouch for some peer."""
    return (*own.trust, *(each for federated in own.federated for each in federated.trust))


def identities_of(certificates: Certificates) -> list[tuple[SafeText, tuple[SafeText, ...], OwnMaterial]]:
    """Each identity with its name and the listeners that show it; the name is empty where there is one alone."""
    several = certificates.identities
    if len(several) < 2:
        return [(SafeText(""), (), certificates)]
    return [(each.name, each.listeners, each) for each in several]


def _identity(own: OwnMaterial, look: Look, wanted: str) -> list[Line]:
    lines = _material(own, look)
    lines += [BLANK, heading("Our chain")]
    lines += _listed(_own_chain(own), own, look, wanted, "no certificate in use")
    lines += [BLANK, heading("Trusted CAs", SafeText("who may vouch for peers"))]
    lines += _listed(own.trust, own, look, wanted, "none: nobody can be let in")
    for each in own.federated:
        lines += [BLANK, heading(f"CAs of {each.trust_domain}", SafeText("who may vouch for this trust domain alone"))]
        lines += _listed(each.trust, own, look, wanted, "none: nobody of this trust domain can be let in")
    if own.crls:
        lines += [BLANK, heading("Revocation lists")]
        lines += [_crl_line(crl, look) for crl in own.crls if matches((crl.issuer,), wanted)]
    return lines


def _own_chain(certificates: OwnMaterial) -> list[Certificate]:
    leaf = certificates.leaf
    if leaf is None:
        return list(certificates.chain)
    return [leaf, *(each for each in certificates.chain if each.sha256 != leaf.sha256)]


def _material(certificates: OwnMaterial, look: Look) -> list[Line]:
    activated = f", in use since {utc(certificates.activated_at)}" if certificates.activated_at else ""
    lines = [heading("Material", SafeText(f"generation {certificates.generation}{activated}"))]
    lines += field_lines("source", certificates.source, look)
    lines += field_lines("next renewal", _next_renewal(certificates, look), look)
    lines += attempt_lines(certificates.last_attempt, look)
    lines += field_lines("connections", generations(certificates), look)
    return lines


def _next_renewal(certificates: OwnMaterial, look: Look) -> SafeText:
    planned = certificates.next_renewal_at
    if planned is None:
        return SafeText("not planned here: the source's owner renews")
    if planned <= look.now:
        return SafeText(f"was planned for {utc(planned)}, {age(planned, look.now)} ago")
    return SafeText(f"in {until(planned, look.now).strip()}, at {utc(planned)}")


def attempt_lines(attempt: Attempt | None, look: Look) -> list[Line]:
    """The last attempt at new material."""
    if attempt is None:
        return field_lines("last attempt", SafeText("none"), look)
    trigger = attempt.trigger.replace("_", " ")
    what = f"{attempt.outcome}, by {trigger}, {age(attempt.at, look.now)} ago, took {attempt.duration_s:.3f} s"
    lines = field_lines("last attempt", SafeText(what), look, _OUTCOME_ROLES.get(attempt.outcome, Role.WARNING))
    if attempt.reason or attempt.detail:
        why = ": ".join(part for part in (attempt.reason, attempt.detail) if part)
        lines += field_lines("", SafeText(why), look, Role.WARNING)
    if attempt.outcome == "applied" and attempt.previous_serial:
        lines += field_lines("", SafeText(f"serial {attempt.previous_serial} -> {attempt.serial}"), look, Role.MUTED)
    for warning in attempt.warnings:
        lines += field_lines("", SafeText(f"warning: {warning}"), look, Role.WARNING)
    return lines


def generations(certificates: OwnMaterial) -> SafeText:
    """How many connections each generation carries."""
    counts: Mapping[SafeText, int] = certificates.connections_by_generation
    if not counts:
        return SafeText("none open")
    ordered = sorted(counts.items(), key=lambda item: (len(item[0]), item[0]), reverse=True)
    parts = [
        f"{grouped(number)} on {generation}" + (" (current)" if generation == str(certificates.generation) else "")
        for generation, number in ordered
    ]
    return SafeText(", ".join(parts))


def _listed(
    listed: list[Certificate] | tuple[Certificate, ...],
    certificates: OwnMaterial,
    look: Look,
    wanted: str,
    nothing: str,
) -> list[Line]:
    shown = [each for each in listed if matches((each.subject, each.issuer, each.identity, each.serial), wanted)]
    if not shown:
        words = "none matches the filter" if wanted and listed else nothing
        return [line(gap(2), Span(SafeText(words), Role.MUTED))]
    return [_certificate_line(each, certificates, look) for each in shown]


def validity_of(certificate: Certificate, certificates: OwnMaterial) -> Validity:
    """Its validity; for our leaf with the renewal that is planned."""
    is_leaf = certificates.leaf is not None and certificate.sha256 == certificates.leaf.sha256
    if is_leaf:
        return Validity.of_own(certificate, certificates)
    return Validity(certificate.not_before, certificate.not_after)


def _certificate_line(certificate: Certificate, certificates: OwnMaterial, look: Look) -> Line:
    validity = validity_of(certificate, certificates)
    return _expiry_line(
        validity.stage(look.now),
        validity,
        certificate.identity if not certificate.is_ca and certificate.identity else certificate.subject,
        certificate.key,
        look,
        Target(Kind.CERTIFICATE, certificate.sha256),
    )


def _crl_line(crl: RevocationList, look: Look) -> Line:
    validity = Validity(crl.this_update, crl.next_update)
    revoked = SafeText(f"{grouped(crl.revoked)} revoked")
    stage = validity.stage(look.now)
    return _expiry_line(stage, validity, crl.issuer, revoked, look, Target(Kind.CERTIFICATE, f"crl {crl.issuer}"))


def _expiry_line(
    stage: LifetimeStage, validity: Validity, name: SafeText, note: SafeText, look: Look, target: Target
) -> Line:
    before = [
        gap(2),
        column(until(validity.not_after, look.now), COUNTDOWN_WIDTH, stage.role, right=True),
        gap(),
        column(stage.label(look.glyphs), _STAGE_WIDTH, stage.role),
        gap(),
    ]
    after = [
        gap(),
        column(note, _NOTE_WIDTH, Role.MUTED),
        gap(),
        column(utc(validity.not_after), _MOMENT_WIDTH, Role.MUTED),
    ]
    left = look.width - 1 - sum(cell_width(span.text) for span in (*before, *after))
    width = min(_MOST_NAME_WIDTH, max(_LEAST_NAME_WIDTH, left))
    return line(*before, Span(pad(shorten_identity(name, width), width)), *after, target=target)


def certificate_page(snapshot: Snapshot, key: str, look: Look) -> Page:
    """One certificate of ours in full, known by its SHA-256 fingerprint; for the leaf also where it comes from."""
    certificates = snapshot.certificates
    if certificates is None:
        return not_known(snapshot, Ask.CERTIFICATES, look)
    for _, _, own in identities_of(certificates):
        found = _in_full(own, key, look)
        if found is not None:
            return Page(found)
    return message_page([Span(SafeText("this certificate is not in use any more"), Role.NOTICE)], look)


def _in_full(certificates: OwnMaterial, key: str, look: Look) -> list[Line] | None:
    """What is known under ``key`` in one identity's material."""
    for crl in certificates.crls:
        if key == f"crl {crl.issuer}":
            return _crl_lines(crl, look)
    leaf = certificates.leaf
    own = _own_chain(certificates)
    for position, certificate in enumerate(own):
        if certificate.sha256 != key:
            continue
        above = own[position + 1 :]
        lines = [heading("Certificate"), *certificate_lines(certificate, look)]
        if leaf is not None and certificate.sha256 == leaf.sha256:
            lines += [BLANK, *_material(certificates, look)]
        for number, issuer in enumerate(above, 1):
            lines += [BLANK, heading(f"Chain {number}"), *certificate_lines(issuer, look)]
        return lines
    for certificate in certificates.trust:
        if certificate.sha256 == key:
            return [heading("Trusted CA"), *certificate_lines(certificate, look)]
    for each in certificates.federated:
        for certificate in each.trust:
            if certificate.sha256 == key:
                title = f"CA trusted for {each.trust_domain} alone"
                return [heading(title), *certificate_lines(certificate, look)]
    return None


def _crl_lines(crl: RevocationList, look: Look) -> list[Line]:
    validity = Validity(crl.this_update, crl.next_update)
    stage = validity.stage(look.now)
    return [
        heading("Revocation list"),
        *field_lines("issuer", crl.issuer, look, Role.STRONG),
        *field_lines("state", stage.label(look.glyphs), look, stage.role),
        *field_lines("written", utc(crl.this_update), look),
        *field_lines("next one due", utc(crl.next_update), look),
        *field_lines("revoked", grouped(crl.revoked), look),
    ]


def certificate_lines(certificate: Certificate, look: Look) -> list[Line]:
    """Everything a certificate says of itself, and its fingerprints."""
    validity = Validity(certificate.not_before, certificate.not_after)
    stage = validity.stage(look.now)
    is_over = certificate.not_after is not None and certificate.not_after <= look.now
    ends = (
        f" {age(certificate.not_after, look.now)} ago"
        if is_over
        else f", {until(certificate.not_after, look.now).strip()} left"
    )
    lifetime = ""
    if certificate.not_before is not None and certificate.not_after is not None:
        lifetime = f" of {duration((certificate.not_after - certificate.not_before).total_seconds())}"
    lines = field_lines("subject", certificate.subject, look, Role.STRONG)
    lines += field_lines("issuer", certificate.issuer, look)
    lines += field_lines("state", SafeText(f"{stage.label(look.glyphs)}{ends}{lifetime}"), look, stage.role)
    lines += field_lines("valid", SafeText(f"{utc(certificate.not_before)} to {utc(certificate.not_after)}"), look)
    for label, values in (("URI", certificate.uris), ("DNS", certificate.dns), ("IP", certificate.ips)):
        for number, value in enumerate(values):
            lines += field_lines(label if number == 0 else "", value, look)
    lines += field_lines("serial", certificate.serial, look)
    lines += field_lines("key", certificate.key, look)
    lines += field_lines("signature", certificate.signature, look)
    lines += field_lines("CA", SafeText("yes" if certificate.is_ca else "no"), look)
    lines += field_lines("SHA-256", certificate.sha256, look)
    lines += field_lines("SPKI SHA-256", certificate.spki_sha256, look)
    return lines
