"""Whoever is woken by it reads which file it is, what is wrong with it and, where there is something, what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from unit.certs import forge
from unit.certs.forge import Files, Made

from certs.errors import MaterialError
from certs.identity import Role
from certs.preflight import preflight
from certs.sources.bundles import TrustFile
from certs.sources.files import FileSource

ROOT = forge.authority("Root")
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE)
STRANGER = Made(LEAF.certificate, forge.new_key())
RSA = Made(LEAF.certificate, forge.rsa_key(2048))
PAST = {"starts": forge.NOW - 2 * forge.DAY, "ends": forge.NOW - forge.DAY}


def _request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(LEAF.key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def _agreement_key() -> bytes:
    return Made(LEAF.certificate, x25519.X25519PrivateKey.generate()).key_pem()


def _public_half() -> bytes:
    return LEAF.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[union-attr]


def _below(issuer: Made, *chain: Made) -> Callable[[Files], object]:
    """A new pair under ``issuer``, shown with ``chain``."""
    made = forge.leaf(issuer)

    def write(files: Files) -> None:
        forge.write(files.cert, b"".join(each.pem for each in (made, *chain)))
        forge.write(files.key, made.key_pem(), 0o600)

    return write


def _cert(content: bytes) -> Callable[[Files], object]:
    return lambda files: forge.write(files.cert, content)


def _key(content: bytes) -> Callable[[Files], object]:
    return lambda files: forge.write(files.key, content, 0o600)


def _trust(content: bytes) -> Callable[[Files], object]:
    return lambda files: forge.write(files.trust, content)


OLD_MIDDLE = forge.authority("Old Middle", ROOT, **PAST)  # type: ignore[arg-type]
NAMESAKE = forge.authority("Middle", ROOT)
BOM = b"\xef\xbb\xbf"

# What is done to a good set, and what is said of it then; CERT, KEY and TRUST stand for the paths.
SAID: dict[str, tuple[Callable[[Files], object], str]] = {
    "a byte order mark": (_cert(BOM + LEAF.pem), "CERT: .*line 1: .*byte order mark"),
    "UTF-16": (_key(LEAF.key_pem().decode().encode("utf-16")), "KEY: .*UTF-16: save it as plain text"),
    "DER": (_trust(ROOT.der), "TRUST: .*looks like DER: convert it"),
    "an error page": (_cert(b"<html>502</html>"), "CERT: .*no PEM block in the file"),
    "half a certificate": (_cert(LEAF.pem[:200]), "CERT: .*cut short.*block that begins in line 1"),
    "half a key": (_key(LEAF.key_pem()[:60]), "KEY: .*cut short.*no END line"),
    "nothing": (_trust(b""), "TRUST: .*the file is empty"),
    "two keys": (_key(LEAF.key_pem() + STRANGER.key_pem()), "KEY: .*2 private keys in one file.*lines 1, 6"),
    "a key that is encrypted": (_key(LEAF.key_pem(b"secret")), "KEY: .*encrypted and no passphrase file is set"),
    "ssh's key": (
        _key(LEAF.key_pem(form=PrivateFormat.OpenSSH)),
        'KEY: .*no private key in the file, which has: openssh private key; "ssh-keygen -p -m PKCS8',
    ),
    "the public half": (_key(_public_half()), "KEY: .*no private key in the file, which has: public key"),
    "a key that signs nothing": (_key(_agreement_key()), "the private key is an X25519 key: .* are taken"),
    "a key of another kind": (_key(RSA.key_pem()), r"KEY \(RSA 2048\) fits no certificate in CERT: web.internal \(EC"),
    "another key": (
        _key(STRANGER.key_pem()),
        r"KEY \(EC P-256\) fits no certificate in CERT: web.internal .*CN=Middle",
    ),
    "the CA's certificate alone": (_cert(MIDDLE.pem), r"KEY .* fits no certificate in CERT: CN=Middle \(EC P-256\)$"),
    "a request": (_cert(_request()), "CERT: .*no certificate in the file, which has: certificate request"),
    "the key in place of the certificate": (
        _cert(LEAF.key_pem()),
        "CERT: .*no certificate in the file, which has: private key",
    ),
    "a key in place of the CAs": (
        _trust(ROOT.key_pem()),
        "TRUST: .*no certificate in the file, which has: private key",
    ),
    "an expired intermediate": (_below(OLD_MIDDLE, OLD_MIDDLE), r"CN=Old Middle \(CERT, certificate 2.* expired at 20"),
    "no intermediate": (_below(MIDDLE), r"web.internal \(CERT, .* by CN=Middle, which is neither .*; put the cert"),
    "its issuer's namesake": (_below(MIDDLE, NAMESAKE), r"web.internal \(CERT, .* by another key of CN=Middle than"),
    "others' CAs": (
        lambda files: (_below(ROOT)(files), forge.write(files.trust, MIDDLE.pem)),
        r"web.internal \(CERT, .* signed by CN=Root, which is neither behind it nor in the trust bundle",
    ),
    "a link to nowhere": (lambda files: _linked(files.key, "gone"), "KEY: .*a link that leads nowhere"),
    "a link to itself": (lambda files: _linked(files.key, files.key.name), "KEY: .*symbolic links"),
    "a device": (lambda files: _linked(files.trust, "/dev/null"), "TRUST: .*it is a device"),
}


def _linked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return forge.write_set(tmp_path, LEAF, MIDDLE, trust=[ROOT])


def judged(files: Files) -> tuple[str, ...]:
    material = FileSource(files.cert, files.key, files.trust).load()
    return preflight(material, [Role.SERVER], forge.NOW)


@pytest.mark.parametrize("what", SAID)
def test_the_file_is_named_and_what_is_wrong_with_it(what: str, files: Files) -> None:
    spoil, said = SAID[what]
    spoil(files)
    with pytest.raises(MaterialError) as refused:
        judged(files)
    text = str(refused.value)
    for name, path in (("CERT", files.cert), ("KEY", files.key), ("TRUST", files.trust)):
        text = text.replace(str(path), name)
    assert re.search(said, text), text
    secret = LEAF.key_pem().split(b"\n")[1].decode()
    assert not any(secret[at : at + 16] in text for at in range(len(secret) - 16))


@pytest.mark.parametrize("ending", [b"\r\n", b"\n\n"], ids=["CRLF", "blank lines"])
def test_how_lines_end_is_no_matter(ending: bytes, files: Files) -> None:
    for path, mode in ((files.cert, 0o644), (files.key, 0o600), (files.trust, 0o644)):
        forge.write(path, path.read_bytes().replace(b"\n", ending), mode)
    assert judged(files) == ()


def test_a_key_among_certificates_that_anybody_may_read_is_warned_of(files: Files) -> None:
    forge.write(files.trust, ROOT.pem + ROOT.key_pem())
    forge.write(files.cert, LEAF.pem + MIDDLE.pem + LEAF.key_pem())
    lines = {files.cert: LEAF.pem.count(b"\n") + MIDDLE.pem.count(b"\n"), files.trust: ROOT.pem.count(b"\n")}
    assert judged(files) == tuple(
        f"{path} holds a private key (line {line + 1}), which is not needed there: take it out"
        for path, line in lines.items()
    )


def test_a_combined_file_is_no_such_case(files: Files) -> None:
    forge.write(files.cert, LEAF.pem + MIDDLE.pem + LEAF.key_pem(), 0o600)
    material = FileSource(files.cert, None, files.trust).load()
    assert preflight(material, [Role.SERVER], forge.NOW) == ()


def test_a_federated_ca_that_lets_nobody_in_is_warned_of_too(files: Files, tmp_path: Path) -> None:
    old = forge.write(tmp_path / "old.crt", forge.authority("Partner", **PAST).pem)  # type: ignore[arg-type]
    odd = forge.write(tmp_path / "odd.crt", forge.leaf(ROOT, subject=[(x509.NameOID.COMMON_NAME, "Odd")]).pem)
    trust = [TrustFile(files.trust), TrustFile(old, "partner.example"), TrustFile(odd, "odd.example")]
    warnings = preflight(FileSource(files.cert, files.key, trust).load(), [Role.SERVER], forge.NOW)
    assert [re.sub(r" \(.*?\)", "", each, count=1)[:60] for each in warnings] == [
        "CN=Partner expired at 2026-11-22T12:00:00Z",
        "CN=Odd, in the trust bundle, can vouch for nobody: it does n",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_not_read_it_is_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.cert.parent.chmod(0o755)
    files.key.chmod(0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(MaterialError, match="Permission denied for uid 65534"):
            FileSource(files.cert, files.key, files.trust).load()
    finally:
        os.seteuid(0)
