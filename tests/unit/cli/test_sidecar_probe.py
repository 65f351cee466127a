"""What the certificate commands learn of a sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.cli.conftest import Served, tlsidecar

from certs.probe import ChainLink, Reloaded, SidecarRefused, SidecarUnreachable
from tlsidecar.admin.client import AdminClient
from tlsidecar.cli.sidecar_probe import AdminProbe
from tlsidecar.control.interface import Outcome


def of(socket: Path) -> AdminProbe:
    return AdminProbe(str(socket), AdminClient(socket))


def test_what_it_serves(served: Served) -> None:
    assert served.control.generation is not None
    material = served.control.generation.material
    told = of(served.socket).served()
    assert told.serial == material.identity.serial
    assert told.generation == 3
    assert told.trust == tuple(each.sha256 for each in material.trust)
    assert told.chain == (ChainLink(material.identity.sha256, material.identity.issuer),)
    assert told.listeners == ("0.0.0.0:8443",)


def test_its_peers_with_their_chains(served: Served) -> None:
    assert served.control.generation is not None
    peers = of(served.socket).peers()
    assert [(peer.connection_id, peer.listener) for peer in peers] == [(1, "web"), (2, "web"), (3, "web")]
    assert peers[0].chain[0].sha256 == served.control.generation.material.identity.sha256


def test_a_reload_that_is_applied_and_one_that_is_refused(served: Served) -> None:
    assert of(served.socket).reload() == Reloaded("applied", serials=("",))
    served.control.next_outcome = Outcome.REFUSED
    assert of(served.socket).reload() == Reloaded("refused", "key_mismatch", "tls.key")


def test_nobody_there_and_nothing_served(served: Served, tmp_path: Path) -> None:
    with pytest.raises(SidecarUnreachable):
        of(tmp_path / "absent.sock").served()
    served.control.generation = None
    with pytest.raises(SidecarRefused, match="no certificate yet"):
        of(served.socket).served()


def test_certs_rotate_asks_the_sidecars_it_is_told_of(served: Served, tmp_path: Path) -> None:
    assert tlsidecar("certs", "init", tmp_path / "pki", "--name", "Dev CA").code == 0
    assert tlsidecar("certs", "issue", tmp_path / "pki", "--out", tmp_path / "out", "--dns", "web").code == 0
    done = tlsidecar("certs", "rotate", tmp_path / "out", "--socket", served.socket, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["sidecars"][0]["generation"] == 3
    done = tlsidecar("certs", "rotate", tmp_path / "out", "--socket", tmp_path / "absent.sock")
    assert done.code == 3
