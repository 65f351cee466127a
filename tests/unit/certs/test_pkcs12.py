"""A key with its certificates in one PKCS #12 file, read as a source of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.pkcs12 import is_pkcs12, read_pkcs12
from certs.sources.files import FileSource

OTHER = forge.authority("Other")
ROOT = forge.authority("Root")
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE)
SECRET = b"open sesame"


def bundled(passphrase: bytes | None = SECRET, *, key: bool = True) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return serialize_key_and_certificates(
        b"web",
        LEAF.key if key else None,  # type: ignore[arg-type] - a key that can sign
        LEAF.certificate,
        [MIDDLE.certificate],
        encryption,
    )


def source(directory: Path, data: bytes, passphrase: bytes | None = SECRET, mode: int = 0o600) -> FileSource:
    phrase = forge.write(directory / "phrase", passphrase + b"\n", 0o600) if passphrase is not None else None
    trust = forge.write(directory / "ca.crt", ROOT.pem)
    return FileSource(forge.write(directory / "tls.p12", data, mode), None, trust, passphrase_file=phrase)


@pytest.mark.parametrize("passphrase", [SECRET, None])
def test_the_pair_and_its_chain(tmp_path: Path, passphrase: bytes | None) -> None:
    material = source(tmp_path, bundled(passphrase), passphrase).load()
    assert (material.leaf, material.chain, material.trust) == (LEAF.read, (MIDDLE.read,), (ROOT.read,))


@pytest.mark.parametrize(
    ("data", "passphrase", "reason"),
    [
        (bundled(), b"wrong", MaterialReason.PASSPHRASE_WRONG),
        (bundled(), None, MaterialReason.KEY_ENCRYPTED),
        (bundled()[:-100], SECRET, MaterialReason.PEM_INVALID),
        (b"\x30\x82", SECRET, MaterialReason.PEM_INVALID),
        (bundled(key=False), SECRET, MaterialReason.KEY_MISSING),
    ],
)
def test_what_is_wrong_with_it_is_a_reason(
    tmp_path: Path, data: bytes, passphrase: bytes | None, reason: MaterialReason
) -> None:
    with pytest.raises(MaterialError) as raised:
        source(tmp_path, data, passphrase).load()
    assert raised.value.reason is reason
    assert raised.value.path == tmp_path / "tls.p12"


def test_it_is_as_secret_as_a_key(tmp_path: Path) -> None:
    with pytest.raises(MaterialError) as raised:
        source(tmp_path, bundled(), mode=0o644).load()
    assert raised.value.reason is MaterialReason.KEY_PERMISSIONS


def test_a_key_beside_it_is_a_mistake(tmp_path: Path) -> None:
    key = forge.write(tmp_path / "tls.key", LEAF.key_pem(), 0o600)
    beside = FileSource(
        forge.write(tmp_path / "tls.p12", bundled(None), 0o600), key, forge.write(tmp_path / "ca.crt", ROOT.pem)
    )
    with pytest.raises(MaterialError, match="name it as cert alone"):
        beside.load()


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (bundled(), True),
        (bundled(None), True),
        (b"\x30\x80\x02\x01\x03", True),  # of indefinite length, as BER has it
        (b"\x30\x03\x02\x01\x03", True),
        (LEAF.der, False),
        (forge.revocations(ROOT).der, False),
        (LEAF.pem, False),
        (b"0 lines before -----BEGIN CERTIFICATE-----", False),
        (b"", False),
        (b"\x30", False),
        (b"\x30\x84", False),
    ],
)
def test_what_may_be_one(data: bytes, is_one: bool) -> None:
    assert is_pkcs12(data) is is_one


def test_the_certificates_come_as_they_stand_there_the_leaf_first() -> None:
    """Which of the others belong to its chain is found out elsewhere."""
    held = [OTHER.certificate, MIDDLE.certificate]
    data = serialize_key_and_certificates(None, LEAF.key, LEAF.certificate, held, NoEncryption())  # type: ignore[arg-type] - a key that can sign
    key, certificates = read_pkcs12(data, None)
    assert key.spki == LEAF.read.key_der
    assert certificates[0] == LEAF.read
    assert set(certificates[1:]) == {OTHER.read, MIDDLE.read}


def test_a_key_without_a_certificate_is_told() -> None:
    data = serialize_key_and_certificates(b"web", LEAF.key, None, None, NoEncryption())  # type: ignore[arg-type] - the same
    with pytest.raises(MaterialError, match="the PKCS #12 file holds a key, and no certificate"):
        read_pkcs12(data, None)


@pytest.mark.parametrize("data", [bundled()[: len(bundled()) // 2], b"\x30\x03\x02\x01\x03", bundled() + b"x" * 9])
def test_what_is_no_file_of_its_kind_is_told_without_a_word_of_it(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MaterialError) as raised:
        read_pkcs12(data, SECRET, tmp_path / "tls.p12")
    assert raised.value.reason in (MaterialReason.PEM_INVALID, MaterialReason.PASSPHRASE_WRONG)
    assert str(raised.value).startswith(f"{tmp_path}/tls.p12: ")
    assert SECRET.decode() not in str(raised.value)


def test_the_old_ciphers_that_windows_still_writes_are_read() -> None:
    """Triple DES with SHA-1, as before RFC 8018's schemes came into use there."""
    old = PrivateFormat.PKCS12.encryption_builder().key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
    encryption = old.hmac_hash(hashes.SHA1()).build(SECRET)
    data = serialize_key_and_certificates(None, LEAF.key, LEAF.certificate, None, encryption)  # type: ignore[arg-type] - the same
    key, certificates = read_pkcs12(data, SECRET)
    assert (key.spki, certificates) == (LEAF.read.key_der, [LEAF.read])
