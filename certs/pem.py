"""Strict PEM reading (RFC 7468): whole or refused.

A file cut anywhere inside a block, or inside a boundary line, is an error that says "read again soon"; it is never a
shorter list. (A cut exactly between two blocks leaves a valid file; the chain check finds what is missing then.) Text
between blocks is allowed, as tools write it there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import crypto

from certs.certificate import Certificate, certificate_of
from certs.errors import MaterialError, MaterialReason
from certs.hostile import PARSE_ERRORS, describe_error, plain
from certs.revocation_list import RevocationList, revocation_list_of

MAX_FILE_BYTES = 8 * 1024 * 1024  # a whole system trust store is about 200 KiB; CRLs can be a few MiB

CERTIFICATE = "CERTIFICATE"
CRL = "X509 CRL"
_KEY_LABELS = frozenset({"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"})
# Keys that are not read as they are.
_CONVERTED = {
    "OPENSSH PRIVATE KEY": '; "ssh-keygen -p -m PKCS8 -f FILE" rewrites it',
    "DSA PRIVATE KEY": "; DSA keys are not taken",
}
_MISREAD_LABELS = frozenset({"TRUSTED CERTIFICATE", "X509 CERTIFICATE", "PKCS7"})

_BOUNDARY = re.compile(rb"-----(BEGIN|END) ([A-Z0-9][A-Z0-9 ]{0,62}[A-Z0-9])-----[ \t]*", re.ASCII)
# A line meant as one, which a reader who passes over it would take for text: a shorter list, and nobody would know.
_BEFORE_BOUNDARY = b" \t\v\f\xef\xbb\xbf"
_ALMOST_BOUNDARY = re.compile(rb"[ \t\v\f\xef\xbb\xbf]*--+ ?(BEGIN|END)\b", re.ASCII | re.IGNORECASE)
_BEGIN = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block: its label, what is encoded, and the whole text, which for a key may be encrypted."""

    label: str
    der: bytes = field(repr=False)
    text: bytes = field(repr=False)
    line: int = 0  # where it begins in its file, from 1; 0 where there are no lines

    @property
    def is_key(self) -> bool:
        return self.label in _KEY_LABELS


def read_blocks(data: bytes, path: Path | None = None) -> list[Block]:
    """Every block of ``data``, in order. Raises :class:`MaterialError` (``pem_incomplete``, ``pem_invalid``)."""
    if not data.strip():
        raise MaterialError(MaterialReason.PEM_INCOMPLETE, "the file is empty", path, retry=True)
    blocks: list[Block] = []
    label = b""
    lines: list[bytes] = []
    begin = 0
    for number, line in enumerate(data.splitlines(), 1):
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None and (_ALMOST_BOUNDARY.match(line) or (label and line.startswith(b"-"))):
            raise _damaged(line, number, path)
        if not label:
            if boundary is not None:
                if boundary[1] == b"END":
                    detail = f"line {number}: an END without its BEGIN"
                    raise MaterialError(MaterialReason.PEM_INVALID, detail, path, retry=True)
                label = boundary[2]
                lines = [line]
                begin = number
            continue
        if boundary is None:
            lines.append(line)
            continue
        if boundary[1] == b"BEGIN" or boundary[2] != label:
            detail = f"line {number}: the block that begins in line {begin} ends before its END line"
            raise MaterialError(MaterialReason.PEM_INVALID, detail, path, retry=True)
        lines.append(line)
        blocks.append(_block(label.decode("ascii"), lines, begin, path))
        label = b""
    if label:
        detail = f"the block that begins in line {begin}, the last one, has no END line"
        raise MaterialError(MaterialReason.PEM_INCOMPLETE, detail, path, retry=True)
    if not blocks:
        raise MaterialError(MaterialReason.PEM_INVALID, f"no PEM block in the file{_guess(data)}", path, retry=True)
    if not data.endswith((b"\n", b"\r")) and _BEGIN.startswith(line):  # the next block is being written
        raise _damaged(line, number, path)
    return blocks


def _damaged(line: bytes, number: int, path: Path | None) -> MaterialError:
    if line.lstrip(_BEFORE_BOUNDARY) != line:
        detail = f"line {number}: a boundary line must begin its line; there are blanks or a byte order mark before it"
        return MaterialError(MaterialReason.PEM_INVALID, detail, path, retry=True)
    return MaterialError(
        MaterialReason.PEM_INCOMPLETE, f"line {number}: a boundary line is cut or damaged", path, retry=True
    )


def certificates_in(blocks: Iterable[Block], path: Path | None = None) -> list[Certificate]:
    """The certificates among ``blocks``, in order. Raises :class:`MaterialError` (``certificate_unparsable``)."""
    certificates: list[Certificate] = []
    for block in blocks:
        if block.label in _MISREAD_LABELS:
            detail = f"line {block.line}: a {block.label} block: only plain CERTIFICATE blocks are read"
            raise MaterialError(MaterialReason.PEM_INVALID, detail, path)
        if block.label == CERTIFICATE:
            place = f"certificate {len(certificates) + 1}, line {block.line}" if block.line else ""
            certificates.append(parse_certificate(block.der, path, place))
    return certificates


def parse_certificate(encoded: bytes, path: Path | None = None, place: str = "") -> Certificate:
    """``place``: where in the file. Of what is in use already, read at the same place, the same object. Raises
    :class:`MaterialError` (``certificate_unparsable``) for what OpenSSL cannot read, either."""
    at = f"{place}: " if place else ""
    origin = f"{path}, {place}" if path is not None and place else place
    try:
        certificate = certificate_of(encoded, origin)
    except ValueError:
        digest = hashlib.sha256(encoded).hexdigest()
        detail = f"{at}what is encoded there is no X.509 certificate (sha256:{digest})"
        raise MaterialError(MaterialReason.CERTIFICATE_UNPARSABLE, detail, path) from None
    try:
        certificate.openssl()
    except crypto.Error as error:
        detail = f"{at}{certificate.title}: OpenSSL cannot read it: {describe_error(error)}"
        raise MaterialError(MaterialReason.CERTIFICATE_UNPARSABLE, detail, path) from None
    return certificate


def crls_in(blocks: Iterable[Block], path: Path | None = None) -> list[RevocationList]:
    """The revocation lists among ``blocks``, in order. Raises :class:`MaterialError` (``crl_invalid``)."""
    lists = [block for block in blocks if block.label == CRL]
    return [parse_crl(block.der, path, f"list {number}, line {block.line}: ") for number, block in enumerate(lists, 1)]


def parse_crl(encoded: bytes, path: Path | None = None, place: str = "") -> RevocationList:
    """Raises :class:`MaterialError` (``crl_invalid``)."""
    try:
        found = revocation_list_of(encoded)
    except PARSE_ERRORS as error:
        detail = f"{place}it cannot be read: {plain(error)}"
        raise MaterialError(MaterialReason.CRL_INVALID, detail, path) from None
    found.prepare()
    return found


def missing(wanted: str, blocks: Sequence[Block]) -> str:
    """That a file does not have what is wanted, and what it has, for whoever took one file for another."""
    held = list(dict.fromkeys(each.label.lower() for each in blocks))[:3]
    return f"no {wanted} in the file, which has: {', '.join(held)}"


def stray_key(blocks: Sequence[Block], path: Path) -> tuple[str, ...]:
    """What is to be said of a private key in a file that is read for its certificates, which anybody may read."""
    line = next((each.line for each in blocks if each.is_key), None)
    if line is None:
        return ()
    return (f"{path} holds a private key (line {line}), which is not needed there: take it out",)


def _guess(data: bytes) -> str:
    """What it may be that is not PEM."""
    if data.startswith(b"\x30"):
        return "; it looks like DER: convert it with openssl x509 or pkey, -inform DER"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "; it looks like UTF-16: save it as plain text"
    return ""


def key_in(blocks: Sequence[Block], passphrase: bytes | None, path: Path | None = None) -> PrivateKeyTypes:
    """The one private key among ``blocks``. A passphrase that is not needed is ignored.

    Raises :class:`MaterialError` (``key_missing``, ``pem_invalid``, ``key_encrypted``, ``passphrase_wrong``,
    ``key_unparsable``); never asks on a terminal. No detail carries the parser's own text: it may quote the key.
    """
    keys = [block for block in blocks if block.is_key]
    if not keys:
        hint = next((hint for label, hint in _CONVERTED.items() if any(each.label == label for each in blocks)), "")
        raise MaterialError(MaterialReason.KEY_MISSING, missing("private key", blocks) + hint, path)
    if len(keys) > 1:
        lines = ", ".join(str(each.line) for each in keys[:4])
        detail = f"{len(keys)} private keys in one file, where one belongs (they begin in lines {lines})"
        raise MaterialError(MaterialReason.PEM_INVALID, detail, path)
    block = keys[0]
    is_encrypted = block.label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in block.text.split(b"\n", 2)[1]
    if is_encrypted and passphrase is None:
        raise MaterialError(MaterialReason.KEY_ENCRYPTED, "", path)
    try:
        return load_pem_private_key(block.text, passphrase if is_encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = MaterialReason.PASSPHRASE_WRONG if is_encrypted else MaterialReason.KEY_UNPARSABLE
        raise MaterialError(reason, "", path) from None


def _block(label: str, lines: list[bytes], begin: int, path: Path | None) -> Block:
    body = [line.strip() for line in lines[1:-1]]
    if any(b":" in line for line in body):  # RFC 1421 headers of an old encrypted key end with an empty line
        text = lines
        blank = next((index for index, line in enumerate(body) if not line), len(body))
        body = body[blank + 1 :]
    else:  # blanks are no matter here (RFC 7468 section 3), and to OpenSSL they are
        text = [lines[0], *filter(None, body), lines[-1]]
    try:
        der = base64.b64decode(b"".join(body), validate=True)
    except (binascii.Error, ValueError):
        detail = f"line {begin}: what the {label} block holds is not base64"
        raise MaterialError(MaterialReason.PEM_INVALID, detail, path, retry=True) from None
    if not der:
        raise MaterialError(MaterialReason.PEM_INVALID, f"line {begin}: the {label} block is empty", path, retry=True)
    return Block(label, der, b"\n".join(text) + b"\n", begin)
