"""Which keys and signatures are strong enough to be served or accepted."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from certs.certificate import Certificate

MIN_RSA_BITS = 2048
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
RSA_PSS = "1.2.840.113549.1.1.10"
TAKEN = "RSA from 2048 bits, P-256, P-384, P-521 and Ed25519 are taken"
WEAK_HASHES = frozenset({"md5", "sha1"})


def key_weakness(certificate: Certificate) -> str:
    """Why the certificate's key is too weak or of a kind that is not taken, or an empty string."""
    key = certificate.key
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else f"a key on the curve {key.curve.name}: {TAKEN}"
    if isinstance(key, rsa.RSAPublicKey):
        return "" if key.key_size >= MIN_RSA_BITS else f"RSA {key.key_size}: at least {MIN_RSA_BITS} bits are needed"
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return ""
    return f"{kind_of_key(key) or f'a key of a kind that is not known ({certificate.key_oid})'}: {TAKEN}"


def kind_of_key(key: object) -> str:
    """What kind of key it is, for one that is not taken; empty for none at all."""
    if key is None:
        return ""
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        return f"a key on the curve {key.curve.name}"
    name = type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey")
    article = "an" if name[0] in "AEFHILMNORSX" else "a"  # as it is spoken: an RSA key, a DSA key
    return f"{article} {name.replace('MLDSA', 'ML-DSA-')} key"


def signature_weakness(certificate: Certificate) -> str:
    """Why the signature on ``certificate`` is too weak, or an empty string."""
    algorithm = certificate.signature_hash
    if algorithm is None:
        return f"unknown signature algorithm {certificate.signature_oid}"
    return f"signed with {algorithm.upper()}" if algorithm in WEAK_HASHES else ""
