"""PKCS #12 files (RFC 7292): a key with its certificates in one encrypted file, as Java, Windows and AWS hand out."""

from __future__ import annotations

from pathlib import Path

from certs.certificate import Certificate
from certs.errors import MaterialError, MaterialReason
from certs.hostile import PARSE_ERRORS
from certs.material import PrivateKey

_SEQUENCE, _INTEGER = 0x30, 0x02  # a PKCS #12 file is a sequence that begins with its version, a certificate's does not


def is_pkcs12(data: bytes) -> bool:
    """Whether it may be one, and is neither PEM nor a certificate in DER."""
    if len(data) < 2 or data[0] != _SEQUENCE or b"-----BEGIN" in data:
        return False
    length_bytes = data[1] & 0x7F if data[1] & 0x80 else 0
    return data[2 + length_bytes : 3 + length_bytes] == bytes((_INTEGER,))


def read_pkcs12(
    data: bytes, passphrase: bytes | None, path: Path | None = None
) -> tuple[PrivateKey, list[Certificate]]:
    """Its key, and its certificates in the order in which they stand there. Raises :class:`MaterialError`
    (``passphrase_wrong``, ``key_encrypted``, ``key_missing``, ``pem_invalid``). No detail quotes the file."""
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12  # for those who have such a file

    try:
        found = load_pkcs12(data, passphrase)
    except ValueError as error:
        if "password" in str(error).lower() or "mac" in str(error).lower():
            reason = MaterialReason.KEY_ENCRYPTED if passphrase is None else MaterialReason.PASSPHRASE_WRONG
            raise MaterialError(reason, "a PKCS #12 file", path) from None
        raise MaterialError(MaterialReason.PEM_INVALID, "neither PEM nor PKCS #12", path, retry=True) from None
    except PARSE_ERRORS:
        raise MaterialError(MaterialReason.PEM_INVALID, "neither PEM nor PKCS #12", path, retry=True) from None
    if found.key is None:
        raise MaterialError(MaterialReason.KEY_MISSING, "the PKCS #12 file holds none", path)
    if found.cert is None and not found.additional_certs:
        raise MaterialError(MaterialReason.PEM_INVALID, "the PKCS #12 file holds a key, and no certificate", path)
    held = [*([found.cert] if found.cert is not None else []), *found.additional_certs]
    return PrivateKey(found.key), [Certificate.of(each.certificate) for each in held]
