"""Whether material is fit to serve, before it is served. OpenSSL serves an expired or clientAuth-only certificate
without a word, so these checks are ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import crypto

from certs.certificate import Certificate
from certs.chain import Rejection, is_issuer, rejection, spki
from certs.errors import CertificateInvalid, MaterialError, MaterialReason
from certs.form import authority_defect, chain_defect, unusable
from certs.hostile import PARSE_ERRORS, plain
from certs.identity import Identity, Role
from certs.journal import second_text
from certs.material import Material
from certs.revocation_list import RevocationList
from certs.steps import Steps, at_once
from certs.strength import RSA_PSS, key_weakness, signature_weakness

DEFAULT_SKEW = timedelta(minutes=5)


# From openssl/x509_vfy.h: X509_V_ERR_…
_REASON_OF_VERIFY_ERROR = {
    2: MaterialReason.CHAIN_INCOMPLETE,  # UNABLE_TO_GET_ISSUER_CERT
    9: MaterialReason.NOT_YET_VALID,  # CERT_NOT_YET_VALID
    10: MaterialReason.EXPIRED,  # CERT_HAS_EXPIRED
    18: MaterialReason.CHAIN_INCOMPLETE,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: MaterialReason.CHAIN_INCOMPLETE,  # SELF_SIGNED_CERT_IN_CHAIN
    20: MaterialReason.CHAIN_INCOMPLETE,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: MaterialReason.CHAIN_INCOMPLETE,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
}


class CertificateSet(Protocol):
    """What can be judged of a set: :class:`Material`, or the same without a key, as ``certs verify`` reads it."""

    @property
    def leaf(self) -> Certificate: ...
    @property
    def chain(self) -> tuple[Certificate, ...]: ...
    @property
    def trust(self) -> tuple[Certificate, ...]: ...
    @property
    def crls(self) -> tuple[RevocationList, ...]: ...
    @property
    def federated(self) -> Mapping[str, tuple[Certificate, ...]]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def preflight(
    material: Material,
    roles: Collection[Role],
    now: datetime,
    skew: timedelta = DEFAULT_SKEW,
    *,
    soft_crl: bool = False,
) -> tuple[str, ...]:
    """Warnings about material that may be served. Raises the first :class:`MaterialError` about one that may not.

    ``roles`` are the ends of TLS connections the leaf will speak for; ``skew`` is how far ahead of us the issuer's
    clock may be. ``soft_crl`` lets a CRL past its next update through.
    """
    return at_once(preflight_in_steps(material, roles, now, skew, soft_crl=soft_crl))


def preflight_in_steps(
    material: Material, roles: Collection[Role], now: datetime, skew: timedelta, *, soft_crl: bool = False
) -> Steps[tuple[str, ...]]:
    """:func:`preflight`, for who has other things to do meanwhile."""
    found = Inspection(warnings=list(material.notes))
    yield from _inspected(material, roles, now, skew, soft_crl, True, found)
    if found.problems:
        raise found.problems[0]
    return tuple(found.warnings)


@dataclass(slots=True)
class Inspection:
    """What was found: ``problems`` keep material from being served, ``warnings`` do not."""

    problems: list[MaterialError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, reason: MaterialReason, detail: str = "", *, retry_at: datetime | None = None) -> None:
        self.problems.append(MaterialError(reason, detail, retry_at=retry_at))

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def inspect(
    material: CertificateSet,
    roles: Collection[Role],
    now: datetime,
    skew: timedelta = DEFAULT_SKEW,
    *,
    soft_crl: bool = False,
    own_chain_suffices: bool = True,
) -> Inspection:
    """Every problem and every warning at once. Never raises on hostile certificates.

    ``own_chain_suffices``: the trust bundle is for peers alone, and the leaf may come from another CA, whose
    certificate stands in the chain; otherwise the bundle itself must vouch for the leaf.
    """
    found = Inspection(warnings=list(material.notes))
    at_once(_inspected(material, roles, now, skew, soft_crl, own_chain_suffices, found))
    return found


def _inspected(
    material: CertificateSet,
    roles: Collection[Role],
    now: datetime,
    skew: timedelta,
    soft_crl: bool,
    own_chain_suffices: bool,
    found: Inspection,
) -> Steps[None]:
    """Leaf, bundle, and how one leads to the other: each is a step, of some 0.3 ms."""
    try:
        _inspect_leaf(material, roles, found)
        yield
        _inspect_validity(material, now, skew, found)
        _inspect_strength(material, found)
        _inspect_names(material, found)
        _inspect_trust(material, roles, own_chain_suffices, found)
        if material.trust or material.federated:
            _inspect_crls(material, now, skew, soft_crl, found)
            yield
            _inspect_chain(material, now, material.leaf.not_valid_after_utc > now, own_chain_suffices, found)
        else:
            found.refuse(MaterialReason.TRUST_EMPTY)
    except PARSE_ERRORS as error:  # cryptography reads a revocation list's parts only when asked for them
        found.refuse(MaterialReason.CRL_INVALID, plain(error))


def _inspect_leaf(material: CertificateSet, roles: Collection[Role], found: Inspection) -> None:
    try:
        identity = material.identity if isinstance(material, Material) else Identity.from_certificate(material.leaf)
    except CertificateInvalid as error:
        found.refuse(MaterialReason.CERTIFICATE_UNPARSABLE, str(error))
        return  # whatever else is asked of its extensions would fail, too
    if isinstance(material, Material) and (material.leaf.key is None or material.key.spki != spki(material.leaf.key)):
        found.refuse(MaterialReason.KEY_MISMATCH, material.leaf.which)
    if identity.is_ca:
        found.refuse(MaterialReason.IS_CA, material.leaf.which)
    if identity.form_error:
        found.warn(f"peers that verify strictly, such as another tlsidecar, refuse it: {identity.form_error}")
    if material.leaf.key_oid == RSA_PSS and isinstance(material, Material):
        text = "its key is for RSA-PSS alone (id-RSASSA-PSS); a plain RSA key signs by RSA-PSS in TLS as well"
        detail = f"{material.leaf.which}: {text}"
        found.refuse(MaterialReason.UNSUPPORTED_KEY, detail)
    if not identity.serial_is_valid:
        found.refuse(MaterialReason.INVALID_SERIAL, material.leaf.which)
    if not identity.has_subject_alternative_name:
        found.refuse(MaterialReason.NO_SUBJECT_ALTERNATIVE_NAME, material.leaf.which)
    if identity.svid_error:
        found.refuse(MaterialReason.INVALID_SVID, f"{material.leaf.which}: {identity.svid_error}")
    if not identity.purposes:
        found.warn("the certificate has no extended key usage: strict peers, such as another tlsidecar, refuse it")
    else:
        for role in sorted(roles):
            if role.purpose not in identity.purposes:
                detail = f"{material.leaf.which}: {role.value}Auth is not in its extended key usage"
                found.refuse(MaterialReason.WRONG_PURPOSE, detail)
    usage = material.leaf.extension(x509.KeyUsage)
    if usage is None:
        return  # without the extension every use is allowed
    if not usage.digital_signature:
        detail = f"{material.leaf.which}: its key usage has no digitalSignature, which TLS 1.3 needs"
        found.refuse(MaterialReason.WRONG_PURPOSE, detail)


def _inspect_validity(material: CertificateSet, now: datetime, skew: timedelta, found: Inspection) -> None:
    starts, ends = material.leaf.not_valid_before_utc, material.leaf.not_valid_after_utc
    if ends <= now:
        found.refuse(MaterialReason.EXPIRED, f"{material.leaf.which} expired at {second_text(ends)}")
    elif starts > now + skew:
        found.refuse(
            MaterialReason.NOT_YET_VALID,
            f"{material.leaf.which} is not valid before {second_text(starts)}; our clock says {second_text(now)}",
            retry_at=starts - skew,
        )
    elif starts > now:
        found.warn(
            f"{material.leaf.which} starts at {second_text(starts)}, in our future: within the allowance for clock skew"
        )
    for authority in (*material.chain, *material.trust, *_federated(material)):
        if authority.not_valid_after_utc <= now:
            found.warn(f"{authority.which} expired at {second_text(authority.not_valid_after_utc)}")


def _inspect_trust(material: CertificateSet, roles: Collection[Role], is_for_peers: bool, found: Inspection) -> None:
    """A CA that can vouch for nobody is named when it is loaded, not by a riddle in somebody's handshake. Where that is
    all there is, every handshake would fail: as good as an empty bundle."""
    needed = {f"{role.peer.value}Auth": role.peer.purpose for role in sorted(roles)}

    def obstacle(authority: Certificate) -> str:
        return authority_defect(authority) or unusable(authority, needed)

    everybody = dict.fromkeys((*material.trust, *_federated(material)))
    defects = [
        f"{authority.which}, in the trust bundle, can vouch for nobody: {problem}"
        for authority in everybody
        if (problem := obstacle(authority))
    ]
    for defect in defects:
        found.warn(defect)
    if is_for_peers and defects and len(defects) == len(everybody):
        found.refuse(MaterialReason.TRUST_UNUSABLE, defects[0])


def _federated(material: CertificateSet) -> tuple[Certificate, ...]:
    """The CAs that are good for one SPIFFE trust domain each."""
    return tuple(each for bundle in material.federated.values() for each in bundle)


def _inspect_names(material: CertificateSet, found: Inspection) -> None:
    """OpenSSL compares names as they are encoded, and a signature is a signature: how a name is spelled is no reason
    to turn its clients away, and none to hide it."""
    for authority in material.trust:
        if authority.subject.oddities:
            text = "its name is not text, and is shown escaped; its clients are let in, as with any other CA"
            found.warn(f"{authority.which}: {text}")


def _inspect_strength(material: CertificateSet, found: Inspection) -> None:
    for certificate in (material.leaf, *material.chain):
        name = certificate.which
        weakness = key_weakness(certificate)
        if weakness:
            is_weak = isinstance(certificate.key, rsa.RSAPublicKey)
            reason = MaterialReason.WEAK_KEY if is_weak else MaterialReason.UNSUPPORTED_KEY
            found.refuse(reason, f"{name}: {weakness}")
        if certificate.is_self_issued:
            continue  # a root's own signature proves nothing, whatever it is made with
        weakness = signature_weakness(certificate)
        if weakness:
            found.refuse(MaterialReason.WEAK_SIGNATURE, f"{name}: {weakness}")


class _List(NamedTuple):
    """A revocation list, the CAs that we know by the name of its issuer, and that of them whose key signed it."""

    crl: RevocationList
    namesakes: tuple[Certificate, ...]
    signer: Certificate | None

    def is_for(self, certificate: Certificate) -> bool:
        """Whether it is that of who issued ``certificate``: there may be two CAs of one name."""
        if certificate.issuer != self.crl.issuer:
            return False
        return self.signer is None or self.signer.signed(certificate)


def _inspect_crls(material: CertificateSet, now: datetime, skew: timedelta, soft: bool, found: Inspection) -> None:
    """Each list by its signer. A list of a CA that is neither in the trust bundle nor in our chain can be that of a
    peer's intermediate, whose certificate only the peer has: OpenSSL will judge it then. Where there is no list of a
    CA that we know, it is the wrong file."""
    authorities = (*material.trust, *material.chain, *_federated(material))
    lists: list[_List] = []
    for crl in material.crls:
        namesakes = tuple(each for each in authorities if each.subject == crl.issuer)
        lists.append(_List(crl, namesakes, next((each for each in namesakes if crl.is_signed_by(each)), None)))
    for each in lists:
        crl, name = each.crl, f"the CRL of {each.crl.issuer}"
        if not each.namesakes and any(other.namesakes for other in lists):
            found.warn(f"{name}: no such CA in the trust bundle or our chain, so its signature was not checked")
        elif each.signer is None:
            detail = "its signature is wrong" if each.namesakes else "no such CA in the trust bundle or our chain"
            found.refuse(MaterialReason.CRL_INVALID, f"{name}: {detail}")
            continue
        if unheard := crl.unread or _taken_for_another(each, lists):
            if soft:
                found.warn(f"{name}: {unheard}")
            else:
                found.refuse(MaterialReason.CRL_INVALID, f"{name}: {unheard}")
            continue
        if crl.last_update_utc > now + skew:
            found.refuse(
                MaterialReason.CRL_INVALID, f"{name} was issued in the future, {second_text(crl.last_update_utc)}"
            )
        if crl.next_update_utc is not None and crl.next_update_utc <= now:
            text = f"{name} should have been replaced by {second_text(crl.next_update_utc)}"
            if soft or crl.is_superseded(material.crls, now):
                found.warn(text)
            else:
                found.refuse(MaterialReason.CRL_EXPIRED, text)
        for certificate in (material.leaf, *material.chain):
            if each.is_for(certificate) and crl.revokes(certificate.serial_number):
                found.refuse(MaterialReason.REVOKED, certificate.which)


def _taken_for_another(mine: _List, lists: Iterable[_List]) -> str:
    """Why OpenSSL may take it for the list of another CA of the same name, or empty: it takes the newer one of two,
    finds the signature wrong, and so turns away whoever comes from the other CA."""
    if mine.signer is None or mine.crl.names_its_key:
        return ""
    signers = (each.signer for each in lists if each.crl.issuer == mine.crl.issuer)
    if all(signer is None or signer.key_der == mine.signer.key_der for signer in signers):
        return ""
    return "it does not name its key (RFC 5280 section 5.2.1), and another CA of this name has a list, too"


def _inspect_chain(
    material: CertificateSet, now: datetime, judge_time: bool, own_chain_suffices: bool, found: Inspection
) -> None:
    """Builds the chain with OpenSSL, as our peers will: the strictest of them first, since what passes there passes
    everywhere."""
    partial = crypto.X509StoreFlags.PARTIAL_CHAIN
    strict = partial | crypto.X509StoreFlags.X509_STRICT
    anchors = material.trust
    # The leaf may start a little after our clock's now, within the allowance for skew, judged before.
    moment = max(now, material.leaf.not_valid_before_utc) if judge_time else None
    if _verify(material, anchors, moment, strict) is None:
        _warn_of_form(chain_defect(material.leaf, _upwards(material)), found)
        return
    error = _verify(material, anchors, None, partial)
    own = _top_of_chain(material) if own_chain_suffices else None
    is_incomplete = error is not None and _REASON_OF_VERIFY_ERROR.get(error.number) is MaterialReason.CHAIN_INCOMPLETE
    if is_incomplete and own is not None:
        anchors = (own,)
        error = _verify(material, anchors, None, partial)
        if error is None:
            found.warn(f"our own chain ends in {own.title}, which is not in the trust bundle: peers must trust it")
    if error is None and moment is not None:
        error = _verify(material, anchors, moment, partial)
    if error is not None:
        reason = _REASON_OF_VERIFY_ERROR.get(error.number, MaterialReason.CHAIN_INVALID)
        hint = ""
        if reason is MaterialReason.CHAIN_INCOMPLETE and own is None and own_chain_suffices:
            hint = "; put the certificate of its issuer behind it"
        found.refuse(reason, _in_words(error, reason, material) + hint)
        return
    error = _verify(material, anchors, None, strict)
    _warn_of_form(error.text if error is not None else chain_defect(material.leaf, _upwards(material)), found)


def _in_words(error: Rejection, reason: MaterialReason, material: CertificateSet) -> str:
    """Which certificate it is about, and what there is to be done about it."""
    certificate = error.certificate
    if certificate is None:
        return error.text
    if reason is MaterialReason.EXPIRED:
        return f"{certificate.which} expired at {second_text(certificate.not_valid_after_utc)}"
    if reason is MaterialReason.NOT_YET_VALID:
        return f"{certificate.which} is not valid before {second_text(certificate.not_valid_before_utc)}"
    if reason is not MaterialReason.CHAIN_INCOMPLETE:
        return f"{certificate.which}: {error.text}"
    if certificate.is_self_issued:
        return f"{certificate.which} signed itself, and is not in the trust bundle"
    issuer = certificate.issuer
    if any(each.subject == issuer for each in (*material.chain, *material.trust)):
        return f"{certificate.which} was signed by another key of {issuer} than the one that is there"
    return f"{certificate.which} was signed by {issuer}, which is neither behind it nor in the trust bundle"


def _warn_of_form(problem: str, found: Inspection) -> None:
    if problem:
        found.warn(f"peers that verify strictly (RFC 5280), such as another tlsidecar, refuse the chain: {problem}")


def _upwards(material: CertificateSet) -> tuple[Certificate, ...]:
    """From the leaf's issuer to a CA in the trust bundle."""
    above: list[Certificate] = []
    current = material.leaf
    known = (*material.trust, *material.chain)
    while not above or above[-1] not in material.trust:
        issuer = next((each for each in known if each not in above and is_issuer(each, current)), None)
        if issuer is None:
            break
        above.append(issuer)
        current = issuer
    return tuple(above)


def _top_of_chain(material: CertificateSet) -> Certificate | None:
    """The highest CA of our own chain; ``None`` where not even the leaf's issuer is in it."""
    above: list[Certificate] = []
    current = material.leaf
    while issuer := next((each for each in material.chain if each not in above and is_issuer(each, current)), None):
        above.append(issuer)
        current = issuer
    return above[-1] if above else None


def _verify(
    material: CertificateSet, anchors: Sequence[Certificate], moment: datetime | None, flags: int
) -> Rejection | None:
    return rejection(material.leaf, material.chain, anchors, moment, flags)
