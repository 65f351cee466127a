"""Strict PEM reading (RFC 7468): whole or refused.

A file cut anywhere inside a block, or inside a boundary line, is an error that says "read again soon"; it is never a
shorter list. (A cut exactly between two blocks leaves a valid file; the chain check finds what is missing then.) Text
between blocks is allowed, as tools write it there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.errors import MaterialError, MaterialReason
from certs.hostile import PARSE_ERRORS

MAX_FILE_BYTES = 8 * 1024 * 1024  # a whole system trust store is about 200 KiB; CRLs can be a few MiB

CERTIFICATE = "CERTIFICATE"
CRL = "X509 CRL"
_KEY_LABELS = frozenset({"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"})
_MISREAD_LABELS = frozenset({"TRUSTED CERTIFICATE", "X509 CERTIFICATE", "PKCS7"})

_BOUNDARY = re.compile(rb"-----(BEGIN|END) ([A-Z0-9][A-Z0-9 ]{0,62}[A-Z0-9])-----[ \t]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block: its label, what is encoded, and the whole text, which for a key may be encrypted."""

    label: str
    der: bytes = field(repr=False)
    text: bytes = field(repr=False)

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
    for line in data.splitlines():
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None and line.startswith(b"-"):
            raise MaterialError(MaterialReason.PEM_INCOMPLETE, "a boundary line is cut or damaged", path, retry=True)
        if not label:
            if boundary is not None:
                if boundary[1] == b"END":
                    raise MaterialError(MaterialReason.PEM_INVALID, "an END without its BEGIN", path, retry=True)
                label = boundary[2]
                lines = [line]
            continue
        if boundary is None:
            lines.append(line)
            continue
        if boundary[1] == b"BEGIN" or boundary[2] != label:
            raise MaterialError(MaterialReason.PEM_INVALID, "a block ends before its END line", path, retry=True)
        lines.append(line)
        blocks.append(_block(label.decode("ascii"), lines, path))
        label = b""
    if label:
        raise MaterialError(MaterialReason.PEM_INCOMPLETE, "the last block has no END line", path, retry=True)
    if not blocks:
        raise MaterialError(MaterialReason.PEM_INVALID, "no PEM block in the file (DER?)", path, retry=True)
    return blocks


def certificates_in(blocks: Iterable[Block], path: Path | None = None) -> list[x509.Certificate]:
    """The certificates among ``blocks``, in order. Raises :class:`MaterialError` (``certificate_unparsable``)."""
    certificates = []
    for block in blocks:
        if block.label in _MISREAD_LABELS:
            detail = f"a {block.label} block: only plain CERTIFICATE blocks are read"
            raise MaterialError(MaterialReason.PEM_INVALID, detail, path)
        if block.label == CERTIFICATE:
            certificates.append(parse_certificate(block.der, path))
    return certificates


def parse_certificate(der: bytes, path: Path | None = None) -> x509.Certificate:
    """Raises :class:`MaterialError` (``certificate_unparsable``)."""
    try:
        return x509.load_der_x509_certificate(der)
    except PARSE_ERRORS as error:
        raise MaterialError(MaterialReason.CERTIFICATE_UNPARSABLE, str(error), path) from None


def crls_in(blocks: Iterable[Block], path: Path | None = None) -> list[x509.CertificateRevocationList]:
    """The revocation lists among ``blocks``, in order. Raises :class:`MaterialError` (``crl_invalid``)."""
    return [parse_crl(block.der, path) for block in blocks if block.label == CRL]


def parse_crl(der: bytes, path: Path | None = None) -> x509.CertificateRevocationList:
    """Raises :class:`MaterialError` (``crl_invalid``)."""
    try:
        return x509.load_der_x509_crl(der)
    except PARSE_ERRORS as error:
        raise MaterialError(MaterialReason.CRL_INVALID, str(error), path) from None


def key_in(blocks: Iterable[Block], passphrase: bytes | None, path: Path | None = None) -> PrivateKeyTypes:
    """The one private key among ``blocks``. A passphrase that is not needed is ignored.

    Raises :class:`MaterialError` (``key_missing``, ``pem_invalid``, ``key_encrypted``, ``passphrase_wrong``,
    ``key_unparsable``); never asks on a terminal. No detail carries the parser's own text: it may quote the key.
    """
    keys = [block for block in blocks if block.is_key]
    if not keys:
        raise MaterialError(MaterialReason.KEY_MISSING, "no private key in the file", path)
    if len(keys) > 1:
        raise MaterialError(MaterialReason.PEM_INVALID, f"{len(keys)} private keys in one file", path)
    block = keys[0]
    is_encrypted = block.label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in block.text.split(b"\n", 2)[1]
    if is_encrypted and passphrase is None:
        raise MaterialError(MaterialReason.KEY_ENCRYPTED, "", path)
    try:
        return load_pem_private_key(block.text, passphrase if is_encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = MaterialReason.PASSPHRASE_WRONG if is_encrypted else MaterialReason.KEY_UNPARSABLE
        raise MaterialError(reason, "", path) from None


def _block(label: str, lines: list[bytes], path: Path | None) -> Block:
    body = lines[1:-1]
    if any(b":" in line for line in body):  # RFC 1421 headers of an old encrypted key end with an empty line
        blank = next((index for index, line in enumerate(body) if not line.strip()), len(body))
        body = body[blank + 1 :]
    try:
        der = base64.b64decode(b"".join(line.strip() for line in body), validate=True)
    except (binascii.Error, ValueError):
        raise MaterialError(MaterialReason.PEM_INVALID, f"a {label} block is not base64", path, retry=True) from None
    if not der:
        raise MaterialError(MaterialReason.PEM_INVALID, f"a {label} block is empty", path, retry=True)
    return Block(label, der, b"\n".join(lines) + b"\n")
