"""Which keys and signatures are strong enough to be served or accepted."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from certs.certificate import Certificate

MIN_RSA_BITS = 2048
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
WEAK_HASHES = frozenset({"md5", "sha1"})


def key_weakness(key: object) -> str:
    """Why the public key is too weak or of a kind TLS cannot use, or an empty string."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else f"curve {key.curve.name}: P-256, P-384 or P-521 is needed"
    if isinstance(key, rsa.RSAPublicKey):
        return "" if key.key_size >= MIN_RSA_BITS else f"RSA {key.key_size}: at least {MIN_RSA_BITS} bits are needed"
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return ""
    return "neither RSA nor an elliptic curve"


def signature_weakness(certificate: Certificate) -> str:
    """Why the signature on ``certificate`` is too weak, or an empty string."""
    algorithm = certificate.signature_hash
    if algorithm is None:
        return f"unknown signature algorithm {certificate.signature_oid}"
    return f"signed with {algorithm.upper()}" if algorithm in WEAK_HASHES else ""
