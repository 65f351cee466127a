"""Bad material, and the same bad material, from each kind of source that does not make it itself: refused with its
reason by whoever reads it, or else by the preflight. (A local CA makes its own: tests of its source.)"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from support.spiffe_agent import workload_pb2
from unit.certs import forge
from unit.certs.forge import Made

from certs.errors import MaterialError, MaterialReason
from certs.identity import Role
from certs.material import Material
from certs.preflight import preflight
from certs.sources.acme import AcmeAccount, AcmeSource
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.command import CommandSource
from certs.sources.files import FileSource
from certs.workload_api import SvidResponse

ID = "spiffe://prod.example/web"
NAMES: dict[str, Any] = {"dns": ("web.internal",), "uris": (ID,)}
ROOT = forge.authority("Root")
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE, **NAMES)
DAY = timedelta(days=1)


class Given(NamedTuple):
    """What a source is to give, all of it good at first."""

    leaf: Made = LEAF
    key: Made = LEAF
    chain: tuple[Made, ...] = (MIDDLE,)
    trust: tuple[Made, ...] = (ROOT,)
    passphrase: bytes | None = None
    cut: float = 1.0  # so much of the bytes that hold the leaf


def leaf(**changes: Any) -> Given:
    made = forge.leaf(MIDDLE, **NAMES | changes)
    return Given(leaf=made, key=made)


def _pem(given: Given) -> bytes:
    whole = b"".join(each.pem for each in (given.leaf, *given.chain))
    return whole[: int(len(whole) * given.cut)]


def _trust(directory: Path, given: Given) -> Path:
    return forge.write(directory / "ca.crt", b"".join(each.pem for each in given.trust))


def files(directory: Path, given: Given) -> Material:
    cert = forge.write(directory / "tls.crt", _pem(given))
    key = forge.write(directory / "tls.key", given.key.key_pem(given.passphrase), 0o600)
    return FileSource(cert, key, _trust(directory, given)).load()


def pkcs12_file(directory: Path, given: Given) -> Material:
    chain = [each.certificate for each in given.chain]
    data = pkcs12.serialize_key_and_certificates(None, given.key.key, given.leaf.certificate, chain, NoEncryption())  # type: ignore[arg-type]
    file = forge.write(directory / "tls.p12", data[: int(len(data) * given.cut)], 0o600)
    return FileSource(file, None, _trust(directory, given)).load()


def command(directory: Path, given: Given) -> Material:
    printed = forge.write(directory / "all.pem", given.key.key_pem(given.passphrase) + _pem(given), 0o600)
    program = forge.write(directory / "issue", f"#!/bin/sh\ncat {printed}\n".encode(), 0o755)
    source = CommandSource([str(program)], Bundles([TrustFile(_trust(directory, given))]), clock=forge.ManualClock())
    return asyncio.run(source.renew())


def agent(_directory: Path, given: Given) -> Material:
    message = workload_pb2.X509SVIDResponse(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id=ID,
                x509_svid=b"".join(each.der for each in (given.leaf, *given.chain)),
                x509_svid_key=given.key.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),  # type: ignore[union-attr]
                bundle=b"".join(each.der for each in given.trust),
            )
        ]
    ).SerializeToString()
    response = SvidResponse.parse(message[: int(len(message) * given.cut)])
    return response.material(response.choose("", ""), "an agent")


def acme(directory: Path, given: Given) -> Material:
    """What is kept between runs; a server's answers are in acme/test_walk.py."""
    state = directory / "acme"
    state.mkdir()
    forge.write(state / "tls.crt", _pem(given))
    forge.write(state / "tls.key", given.key.key_pem(given.passphrase), 0o600)
    account = AcmeAccount("https://acme.invalid/dir", state)
    source = AcmeSource(
        account, ("web.internal",), [TrustFile(_trust(directory, given))], None, clock=forge.ManualClock()
    )
    material = asyncio.run(source.read())
    if material is None:
        raise MaterialError(MaterialReason.ACME_FAILED, "another one is to be ordered")
    return material


SOURCES: dict[str, Callable[[Path, Given], Material]] = {
    "files": files,
    "pkcs12": pkcs12_file,
    "command": command,
    "agent": agent,
    "acme": acme,
}
# By the number in docs/faults.md.
FAULTS: dict[str, tuple[Given, set[str]]] = {
    "1 another key": (Given(key=forge.leaf(MIDDLE)), {"key_mismatch"}),
    "2 expired": (leaf(starts=forge.NOW - 2 * DAY, ends=forge.NOW - DAY), {"expired"}),
    "2 not valid yet": (leaf(starts=forge.NOW + DAY, ends=forge.NOW + 2 * DAY), {"not_yet_valid"}),
    "3 nobody to trust": (Given(trust=()), {"trust_empty", "pem_incomplete", "agent_failed"}),
    "6 an encrypted key": (Given(passphrase=b"secret"), {"key_encrypted"}),
    "7 for clients only": (leaf(usages=(forge.CLIENT,)), {"wrong_purpose"}),
    "7 no name": (leaf(dns=(), uris=()), {"no_subject_alternative_name", "agent_failed"}),
    "7 a weak key": (leaf(key=forge.rsa_key(1024)), {"weak_key"}),
    "7 a CA": (leaf(is_ca=True), {"is_ca", "invalid_svid"}),
    "8 no intermediate": (Given(chain=()), {"chain_incomplete"}),
}
# What a kind of source cannot give: no such file can be written, or there is no such thing in its protocol.
IMPOSSIBLE = {("pkcs12", "1 another key"), ("pkcs12", "6 an encrypted key"), ("agent", "6 an encrypted key")}
# A CA that is asked again gives another one: what is damaged or past is not what we go on with.
ORDERED_ANEW = {"1 another key", "2 expired", "7 no name"}


def judged(source: str, directory: Path, given: Given) -> Material:
    material = SOURCES[source](directory, given)
    preflight(material, [Role.SERVER], forge.NOW)
    return material


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", SOURCES)
def test_it_is_refused_with_its_reason(source: str, fault: str, tmp_path: Path) -> None:
    if (source, fault) in IMPOSSIBLE:
        return
    given, reasons = FAULTS[fault]
    with pytest.raises(MaterialError) as refused:
        judged(source, tmp_path, given)
    if source == "acme" and fault in ORDERED_ANEW:
        reasons = {"acme_failed"}
    assert refused.value.reason.value in reasons, refused.value


@pytest.mark.parametrize("source", SOURCES)
def test_the_good_is_taken_and_what_is_cut_anywhere_is_not(source: str, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    good = judged(source, tmp_path / "good", Given())
    for sixteenth in range(16):
        (tmp_path / f"{sixteenth}").mkdir()
        cut = Given(cut=sixteenth / 16)
        try:
            found = judged(source, tmp_path / f"{sixteenth}", cut)
        except MaterialError:
            continue
        raise AssertionError(f"cut after {sixteenth} of 16 parts it was taken: {found}")
    assert (good.leaf, good.chain) == (LEAF.read, (MIDDLE.read,))


@pytest.mark.parametrize("source", SOURCES)
def test_a_chain_in_any_order_is_put_in_order(source: str, tmp_path: Path) -> None:
    if source == "agent":  # the standard has the leaf first, and each above the one before
        return
    second = forge.authority("Second", MIDDLE)
    made = forge.leaf(second, **NAMES)
    found = judged(source, tmp_path, Given(leaf=made, key=made, chain=(MIDDLE, second)))
    assert found.chain == (second.read, MIDDLE.read)
