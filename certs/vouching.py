"""Which of our own chain's CAs the trust bundle has vouched for already, once and for all."""

from __future__ import annotations

from cryptography import x509
from OpenSSL import crypto

from certs.certificate import Certificate
from certs.chain import is_issuer, rejection
from certs.form import authority_defect, chain_defect
from certs.material import Material
from certs.policies import restricts_policies

# A CA in the bundle with any other extension (name constraints, an extended key usage, policies …) has a say in what
# those under it may issue, which would be lost.
_SAYS_NOTHING_OF_OTHERS = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
    x509.SubjectAlternativeName,
    x509.IssuerAlternativeName,
    x509.CRLDistributionPoints,
    x509.AuthorityInformationAccess,
)


def vouched_issuer(material: Material) -> Certificate | None:
    """The CA that issued our leaf, if it may stand beside the bundle as an anchor of its own; ``None`` if it may not,
    or does already.

    Peers mostly have the same issuer as we, and its signature by the bundle's CA is then verified again in every
    handshake, always with the same result (how strong it is, the preflight has judged). As an anchor it ends their
    chains one step earlier. It may be one only where no chain is accepted for it that would not be without it (RFC 5280
    section 6.1): when it is valid only while a CA of the bundle is that vouches for it under all the rules that peers
    are held to, when that CA says nothing of those under it, when it may not itself have CAs under it, and when no
    revocation list could yet speak against it.
    """
    if not material.chain or material.crls or material.federated:
        return None
    issuer = material.chain[0]
    if issuer in material.trust or not is_issuer(issuer, material.leaf) or not _issues_leaves_only(issuer):
        return None
    return issuer if any(_vouches(authority, issuer) for authority in material.trust) else None


def _issues_leaves_only(authority: Certificate) -> bool:
    constraints = authority.extension(x509.BasicConstraints)
    return constraints is not None and constraints.ca and constraints.path_length == 0


def _vouches(authority: Certificate, issuer: Certificate) -> bool:
    # Neither is looked at again in a peer's chain, which ends at the issuer then.
    if authority.extensions_defect or authority_defect(issuer) or chain_defect(issuer, [authority]):
        return False
    if restricts_policies(issuer):
        return False  # an anchor's say in policies is not heard
    if any(not isinstance(extension.value, _SAYS_NOTHING_OF_OTHERS) for extension in authority.extensions):
        return False
    if authority.not_valid_before_utc > issuer.not_valid_before_utc:
        return False
    if authority.not_valid_after_utc < issuer.not_valid_after_utc:
        return False
    # Time was compared above: the whole validity of the one within that of the other.
    strict = crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.PARTIAL_CHAIN
    return rejection(issuer, (), (authority,), None, strict) is None
