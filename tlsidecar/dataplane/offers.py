"""Which groups and signature algorithms a context offers and takes (RFC 8446 sections 4.2.3 and 4.2.7).

pyOpenSSL has no public word for either; its binding does. Where that has none any more, OpenSSL's own choice holds, and
a configuration that asks for another is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from certs.certificate import Certificate
from tlsidecar.settings import TLS_GROUPS, Tls

# The keys that certs.strength takes, and no others: a peer with an ML-DSA or brainpool certificate is told before it
# shows it. SHA-1 and SHA-224 are nobody's any more (RFC 9155).
SIGNATURE_ALGORITHMS = (
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "ed25519",
    "ed448",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pss_pss_sha256",
    "rsa_pss_pss_sha384",
    "rsa_pss_pss_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
)


_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def restrict(context: SSL.Context, tls: Tls, leaf: Certificate) -> None:
    """Have ``context`` offer and take ``tls.groups`` and :data:`SIGNATURE_ALGORITHMS`, and the curve of our own
    ``leaf``: in TLS 1.2 the groups are the curves of certificates, too (RFC 8422 section 5.1.1). Raises
    :class:`OpenSSL.SSL.Error`."""
    own = _CURVES.get(leaf.key.curve.name) if isinstance(leaf.key, ec.EllipticCurvePublicKey) else None
    groups = tls.groups if own is None or own in tls.groups or tls.min_version != "1.2" else (*tls.groups, own)
    try:
        from OpenSSL._util import lib

        set_groups, set_algorithms = lib.SSL_CTX_set1_curves_list, lib.SSL_CTX_set1_sigalgs_list
    except (ImportError, AttributeError):
        if tls.groups != Tls().groups:
            raise SSL.Error("this pyOpenSSL cannot choose groups: leave tls.groups out") from None
        return
    if set_groups(context._context, groups_text(groups).encode()) != 1:
        raise SSL.Error(f"OpenSSL does not know one of the groups {', '.join(tls.groups)}")
    if set_algorithms(context._context, ":".join(SIGNATURE_ALGORITHMS).encode()) != 1:
        raise SSL.Error("OpenSSL does not know one of the signature algorithms")


def offer_in_trial(context: SSL.Context, tls: Tls) -> None:
    """Have ``context``, for the other end of trial handshakes, offer groups that we take: those of ``tls.groups``,
    without hybrid ones where there are others, and the curves that certificates are on. In which group keys are agreed
    on says nothing of material, and ML-KEM is a fifth of a handshake. Raises :class:`OpenSSL.SSL.Error`."""
    classic = [group for group in tls.groups if "MLKEM" not in group]
    groups = dict.fromkeys((*(classic or tls.groups), *_CURVES.values()))
    try:
        from OpenSSL._util import lib

        set_groups = lib.SSL_CTX_set1_curves_list
    except (ImportError, AttributeError):
        return
    if set_groups(context._context, groups_text([*groups]).encode()) != 1:
        raise SSL.Error(f"OpenSSL does not know one of the groups {', '.join(groups)}")


def groups_text(groups: Sequence[str]) -> str:
    """The list for SSL_CTX_set1_groups_list(3). As OpenSSL's own default has it, hybrid groups are preferred even at
    the price of a second round trip (``/``), and a client sends the keys of two: the first hybrid one, and X25519, or
    else the first of the others (``*``)."""
    hybrid = [group for group in groups if "MLKEM" in group]
    classic = [group for group in groups if group not in hybrid]
    first = "X25519" if "X25519" in classic else next(iter(classic), "")
    keyed = {*hybrid[:1], first}
    tuples = [":".join(f"{'*' * (group in keyed)}{TLS_GROUPS[group]}" for group in some) for some in (hybrid, classic)]
    return "/".join(filter(None, tuples))
