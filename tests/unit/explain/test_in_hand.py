"""Certificates in files, as they lie about, and the trust of a configuration that nothing runs with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from unit.certs import forge
from unit.certs.forge import Made
from unit.control.world import SETTINGS

from certs.authority import Authority
from certs.authority_state import Plan
from certs.clock import SYSTEM_CLOCK
from certs.errors import MaterialError
from tlsidecar.explain.in_hand import chain_in, chain_of, contexts_of
from tlsidecar.settings import IdentitySettings, Settings

ROOT = forge.authority()
ISSUING = forge.authority("Issuing", ROOT, path_length=0)
LEAF = forge.leaf(ISSUING)


def pem(*several: Made) -> bytes:
    return b"".join(each.pem for each in several)


@pytest.mark.parametrize(
    "data",
    [
        pem(LEAF, ISSUING),
        pem(ISSUING, LEAF),
        LEAF.key_pem() + pem(LEAF, ISSUING),
        b"Certificate:\n    Data: as openssl x509 -text prints\n" + pem(LEAF, ISSUING),
    ],
    ids=["in order", "the wrong way round", "with the key", "with text"],
)
def test_the_leaf_comes_first_however_the_file_has_it(data: bytes) -> None:
    assert chain_of(data) == (LEAF.der, ISSUING.der)


def test_der_is_one_certificate_and_a_ca_alone_is_its_own_leaf(tmp_path: Path) -> None:
    (tmp_path / "leaf.der").write_bytes(LEAF.der)
    assert chain_in(tmp_path / "leaf.der") == (LEAF.der,)
    assert chain_of(pem(ROOT)) == (ROOT.der,)


@pytest.mark.parametrize("data", [b"", b"no certificate", LEAF.key_pem()], ids=["empty", "text", "a key alone"])
def test_what_is_no_certificate_is_refused_with_the_files_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "peer.pem").write_bytes(data)
    with pytest.raises(MaterialError) as refused:
        chain_in(tmp_path / "peer.pem")
    assert "peer.pem" in str(refused.value)
    assert b"PRIVATE" not in str(refused.value).encode()


def with_identity(identity: IdentitySettings) -> Settings:
    return replace(SETTINGS, identities=(identity,))


def test_a_local_ca_needs_to_issue_nothing_for_it(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "pki", Plan("Test CA"), SYSTEM_CLOCK)
    before = sorted((tmp_path / "pki").rglob("*"))
    contexts = contexts_of(
        with_identity(IdentitySettings(authority=tmp_path / "pki", dns=("web.internal",))), "default", SYSTEM_CLOCK
    )
    assert contexts.generation == 0
    assert [each.der for each in contexts.material.trust] == [each.der for each in authority.trust()]
    assert contexts.material.identity.dns == ("stand-in.invalid",), "what is shown to nobody"
    assert sorted((tmp_path / "pki").rglob("*")) == before
