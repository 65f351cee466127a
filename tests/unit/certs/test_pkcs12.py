"""A key with its certificates in one PKCS #12 file, read as a source of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.sources.files import FileSource

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
