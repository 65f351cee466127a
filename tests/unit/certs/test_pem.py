"""PEM is read whole or refused."""

from __future__ import annotations

import gc
import subprocess
import weakref
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.pem import certificates_in, crls_in, key_in, read_blocks

ROOT = forge.authority()
LEAF = forge.leaf(ROOT)
CRL = forge.revocations(ROOT, 7).public_bytes(Encoding.PEM)
BUNDLE = LEAF.pem + ROOT.pem


def reason_of(data: bytes) -> MaterialError:
    with pytest.raises(MaterialError) as raised:
        read_blocks(data)
    return raised.value


def test_blocks_come_in_order_with_text_between_them_ignored() -> None:
    data = b"subject=CN = web\r\n" + LEAF.pem.replace(b"\n", b"\r\n") + b"\n# the root\n" + ROOT.pem.rstrip(b"\n")
    assert certificates_in(read_blocks(data)) == [LEAF.read, ROOT.read]
    assert crls_in(read_blocks(CRL + data))[0].issuer == ROOT.read.subject


def test_what_is_read_again_is_the_same_object_while_it_is_in_use() -> None:
    path = Path("bundle.pem")
    leaf, root = certificates_in(read_blocks(BUNDLE), path)
    assert all(a is b for a, b in zip(certificates_in(read_blocks(BUNDLE), path), (leaf, root), strict=True))
    assert root.openssl() is root.openssl(), "one for all contexts"
    elsewhere = certificates_in(read_blocks(ROOT.pem + LEAF.pem), path)
    assert [each.origin for each in elsewhere] != [root.origin, leaf.origin], "what is said of it names the place"
    gone = weakref.ref(leaf)
    del leaf, elsewhere
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("content", [LEAF.pem, LEAF.key_pem(), ROOT.pem, CRL], ids=["cert", "key", "trust", "crl"])
def test_a_cut_at_any_byte_is_an_error_that_says_read_again(content: bytes) -> None:
    whole = content.rstrip(b"\n")
    for cut in range(len(whole)):
        error = reason_of(whole[:cut])
        assert error.retry, cut
        assert error.reason in (MaterialReason.PEM_INCOMPLETE, MaterialReason.PEM_INVALID)


def test_a_cut_bundle_is_never_shorter_but_at_a_block_boundary() -> None:
    boundary = len(LEAF.pem)
    for cut in range(len(BUNDLE.rstrip(b"\n"))):
        if cut in (boundary, boundary - 1):  # between two blocks: a valid file, which the chain check judges
            continue
        assert reason_of(BUNDLE[:cut]).retry, cut


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", MaterialReason.PEM_INCOMPLETE),
        (b" \n\n", MaterialReason.PEM_INCOMPLETE),
        (LEAF.der, MaterialReason.PEM_INVALID),
        (b"just text\n", MaterialReason.PEM_INVALID),
        (b"-----END CERTIFICATE-----\n", MaterialReason.PEM_INVALID),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", MaterialReason.PEM_INVALID),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n", MaterialReason.PEM_INVALID),
        (b"-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n", MaterialReason.PEM_INVALID),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", MaterialReason.PEM_INVALID),
        (LEAF.pem + b"  " + ROOT.pem, MaterialReason.PEM_INVALID),
        (LEAF.pem + b"\t-----BEGIN CERTIFICATE-----\n", MaterialReason.PEM_INVALID),
        (b"\xef\xbb\xbf" + LEAF.pem + ROOT.pem, MaterialReason.PEM_INVALID),
        (LEAF.pem.replace(b"-----END", b" -----END"), MaterialReason.PEM_INVALID),
        (LEAF.pem + b"----BEGIN CERTIFICATE-----\n", MaterialReason.PEM_INCOMPLETE),
        (LEAF.pem + b"-----begin certificate-----\n", MaterialReason.PEM_INCOMPLETE),
        (b"-----BEGIN CERTIFICATE----\nAAAA\n-----END CERTIFICATE-----\n", MaterialReason.PEM_INCOMPLETE),
    ],
)
def test_what_is_not_pem_is_refused(data: bytes, reason: MaterialReason) -> None:
    assert reason_of(data).reason is reason


@pytest.mark.parametrize(
    "text", [b"---\n", b"--- the root\n", b"- a list\n", b"-----\n", b"# -----BEGIN CERTIFICATE-----\n"]
)
def test_text_between_blocks_may_begin_with_dashes(text: bytes) -> None:
    assert len(certificates_in(read_blocks(text + LEAF.pem + text + ROOT.pem + text))) == 2


def test_a_block_that_is_no_certificate_is_refused() -> None:
    blocks = read_blocks(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(MaterialError) as raised:
        certificates_in(blocks)
    assert raised.value.reason is MaterialReason.CERTIFICATE_UNPARSABLE


def test_an_openssl_trusted_certificate_is_not_silently_left_out() -> None:
    data = LEAF.pem + ROOT.pem.replace(b"CERTIFICATE-", b"TRUSTED CERTIFICATE-")
    with pytest.raises(MaterialError, match="TRUSTED CERTIFICATE"):
        certificates_in(read_blocks(data))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_keys_in_every_usual_form(form: PrivateFormat, passphrase: bytes | None) -> None:
    blocks = read_blocks(LEAF.key_pem(passphrase, form))
    key = key_in(blocks, b"secret")
    assert key.public_key() == LEAF.key.public_key()
    if passphrase is None:
        assert key_in(blocks, None).public_key() == LEAF.key.public_key()
        return
    for wrong, reason in ((None, MaterialReason.KEY_ENCRYPTED), (b"wrong", MaterialReason.PASSPHRASE_WRONG)):
        with pytest.raises(MaterialError) as raised:
            key_in(blocks, wrong)
        assert raised.value.reason is reason


@pytest.mark.needs("openssl")
def test_what_openssl_ecparam_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", str(path)], check=True)
    blocks = read_blocks(path.read_bytes())
    assert [block.label for block in blocks] == ["EC PARAMETERS", "EC PRIVATE KEY"]
    assert key_in(blocks, None).public_key() is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LEAF.pem, MaterialReason.KEY_MISSING),
        (LEAF.key_pem() + ROOT.key_pem(), MaterialReason.PEM_INVALID),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", MaterialReason.KEY_UNPARSABLE),
    ],
)
def test_not_exactly_one_good_key(data: bytes, reason: MaterialReason) -> None:
    with pytest.raises(MaterialError) as raised:
        key_in(read_blocks(data), None)
    assert raised.value.reason is reason


def test_nothing_of_a_key_is_in_a_repr_or_a_message() -> None:
    body = LEAF.key_pem().splitlines()[1].decode()
    block = read_blocks(LEAF.key_pem())[0]
    damaged = LEAF.key_pem().replace(b"MIG", b"MIH", 1)
    with pytest.raises(MaterialError) as raised:
        key_in(read_blocks(damaged), None)
    for text in (repr(block), str(raised.value), repr(raised.value)):
        assert body[:16] not in text
    assert raised.value.__cause__ is None


@given(st.lists(st.tuples(st.integers(0, len(BUNDLE) - 1), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_damage_gives_an_error_or_certificates_never_an_empty_list(changes: list[tuple[int, int]]) -> None:
    data = bytearray(BUNDLE)
    for position, value in changes:
        data[position] = value
    try:
        certificates = certificates_in(read_blocks(bytes(data)))
    except MaterialError:
        return
    # A label can be damaged into another valid one; then that block is not a certificate.
    assert len(certificates) == data.count(b"-----BEGIN CERTIFICATE-----")


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(MaterialError):
        read_blocks(noise)
