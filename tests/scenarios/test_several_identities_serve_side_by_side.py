"""Several identities in one sidecar: chosen by SNI, each with its own trust, generation and problems, and one's failure
is nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, connected
from support.pki import Pair, Pki
from support.remotes import remote, talk
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

WAYS: list[Mapping[str, str]] = [{}, {"TLSIDECAR_ENGINE": "portable"}, {"TLSIDECAR_WORKERS": "2"}]


@dataclass(frozen=True)
class Site:
    """A public CA for our clients on the web and a private one for the mesh; each vouches for its own clients."""

    public: Pki
    mesh: Pki
    web: Pair
    inner: Pair
    visitor: Pair
    workload: Pair

    def pair(self, name: str) -> Pair:
        return {"public": self.web, "mesh": self.inner}[name]

    @property
    def identities(self) -> str:
        return configs.identities(("public", self.web, self.public.trust), ("mesh", self.inner, self.mesh.trust))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    public, mesh = Pki(tmp_path / "public"), Pki(tmp_path / "mesh")
    return Site(
        public,
        mesh,
        public.issue("web", "www.example.test", "*.apps.example.test"),
        mesh.issue("inner", "inner.mesh.test", "special.apps.example.test"),
        public.issue("visitor", "visitor.test"),
        mesh.issue("workload", "workload.test"),
    )


def command(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "tlsidecar", *arguments, "--socket", str(sidecar.socket_path)]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60)


def shown_to(sidecar: Sidecar, name: str, trust: Path, pair: Pair) -> str:
    """The first DNS name of the leaf that is shown to who asks for ``name`` and is let in."""
    with connected(sidecar.port("in"), trust, pair, name=name) as peer:
        peer.send(b"!")
        assert peer.recv_exactly(1) == b"!"
        return first_name(peer.tls.get_peer_certificate(as_cryptography=True))


def first_name(certificate: x509.Certificate | None) -> str:
    assert certificate is not None
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)[0]


def states(sidecar: Sidecar) -> dict[str, Any]:
    return {each["name"]: each for each in sidecar.json("/v1/certificates")["identities"]}


@pytest.mark.parametrize("way", WAYS, ids=["fast", "portable", "two workers"])
def test_the_server_name_chooses_the_identity_and_who_may_vouch(
    way: Mapping[str, str], site: Site, tmp_path: Path
) -> None:
    seen: list[Any] = []
    with serving(echo) as service, remote(site.mesh.trust, site.mesh.issue("api", "api.test"), seen=seen) as api:
        config = site.identities
        config += configs.terminate(service.address, allow=("any",), identity=["public", "mesh"])
        config += configs.originate(api.address, expect=["dns:api.test"], identity="mesh")
        with running(tmp_path / "sidecar", config, env=way) as sidecar:
            public, mesh = site.public.trust, site.mesh.trust
            for name in ("www.example.test", "WWW.example.test", "a.apps.example.test", "nobody.test", ""):
                assert shown_to(sidecar, name, public, site.visitor) == "www.example.test"
            for name in ("inner.mesh.test", "special.apps.example.test"):  # the very name goes before a wildcard
                assert shown_to(sidecar, name, mesh, site.workload) == "inner.mesh.test"

            # Whoever asks for an identity is judged by its trust and by no other's.
            for name, trust, pair in (
                ("www.example.test", public, site.workload),
                ("inner.mesh.test", mesh, site.visitor),
            ):
                refused = pytest.raises((Alerted, SSL.Error, ConnectionError))
                with refused, connected(sidecar.port("in"), trust, pair, name=name) as peer:
                    peer.recv_exactly(1)
                own = {"www.example.test": "public", "inner.mesh.test": "mesh"}[name]
                assert sidecar.refusal(reason="unknown_ca", own_identity=own)["listener"] == "in"

            told = json.loads(command(sidecar, "explain", "--cert", str(site.workload.cert), "--json").stdout)
            judged = [(each["own_identity"], each["allowed"]) for each in told["explanation"]["judgements"]]
            assert judged == [("public", False), ("mesh", True)]

            assert talk(sidecar.port("out"), b"hello") == b"hello"
            assert first_name(seen[0]) == "inner.mesh.test"

            with connected(sidecar.port("in"), mesh, site.workload, name="inner.mesh.test") as peer:
                peer.send(b"!")
                peer.recv_exactly(1)
                assert sidecar.json("/v1/connections?filter=own_identity:public")["matched"] == 0
                (row,) = sidecar.json("/v1/connections?filter=own_identity:mesh")["connections"]
                assert (row["own_identity"], row["sni"], row["generation"]) == ("mesh", "inner.mesh.test", 1)
                assert states(sidecar)["mesh"]["connections_by_generation"] == {"1": 1}
                assert states(sidecar)["public"]["connections_by_generation"] == {}
            assert sidecar.last_access(identity="workload.test")["own_identity"] == "mesh"


def test_one_that_fails_leaves_the_others_renewing_and_serving(site: Site, tmp_path: Path) -> None:
    with serving(echo) as service:
        config = site.identities + configs.terminate(service.address, identity=["public", "mesh"])
        with running(tmp_path / "sidecar", config) as sidecar:
            before = states(sidecar)
            good = site.web.key.read_bytes()
            site.web.key.write_bytes(site.visitor.key.read_bytes())
            refused = eventually(lambda: _last(sidecar, "public", "refused"))
            assert (refused["reason"], refused["identity"]) == ("key_mismatch", "public")
            (problem,) = [each for each in sidecar.problems() if each["code"] == "reload_refused"]
            assert problem["subject"] == "public: key_mismatch"
            assert "identity public" in problem["message"]
            assert sidecar.get("/readyz")[0] == 200

            site.mesh.issue("inner", "inner.mesh.test")
            rotated = command(sidecar, "rotate", "--identity", "mesh", "--json")
            assert rotated.returncode == 0, rotated.stderr
            attempts = json.loads(rotated.stdout)["attempts"]
            assert [each["identity"] for each in attempts] == ["mesh"]
            now = states(sidecar)
            assert [(name, each["generation"]) for name, each in now.items()] == [("public", 1), ("mesh", 2)]
            assert now["mesh"]["leaf"]["serial"] != before["mesh"]["leaf"]["serial"]
            assert now["public"]["leaf"]["serial"] == before["public"]["leaf"]["serial"]
            name = shown_to(sidecar, "www.example.test", site.public.trust, site.visitor)
            assert name == "www.example.test"
            sidecar.counts(2, "tlsidecar_certificate_generation", identity="mesh")
            assert sidecar.metric("tlsidecar_reloads_total", identity="mesh", outcome="refused") == 0
            assert sidecar.metric("tlsidecar_reloads_total", identity="public", outcome="refused") >= 1

            # All of them, of which one is refused: that is the outcome, and the others are told of, too.
            everyone = command(sidecar, "rotate")
            assert everyone.returncode == 4
            assert "key_mismatch" in everyone.stderr
            assert "mesh: unchanged" in everyone.stdout
            unknown = command(sidecar, "rotate", "--identity", "mash")
            assert (unknown.returncode, unknown.stdout) == (4, "")
            assert "public, mesh" in unknown.stderr

            site.web.key.write_bytes(good)
            eventually(lambda: _last(sidecar, "public", "unchanged"))
            shown = command(sidecar, "certificates").stdout
            assert "identity public" in shown
            assert "identity mesh" in shown
            assert "mesh: inner.mesh.test" in command(sidecar, "status").stdout


def _last(sidecar: Sidecar, name: str, outcome: str) -> dict[str, Any]:
    attempt: dict[str, Any] = states(sidecar)[name]["last_attempt"]
    assert attempt["outcome"] == outcome, attempt
    return attempt


def test_identities_come_and_go_while_it_runs(site: Site, tmp_path: Path) -> None:
    extra = site.public.issue("extra", "extra.test")
    with serving(echo) as service:
        listener = configs.terminate(service.address, identity=["public", "mesh"])
        with running(tmp_path / "sidecar", site.identities + listener) as sidecar:
            head = sidecar.config_path.read_text().partition("[[identity]]")[0]

            def reload(config: str) -> dict[str, Any]:
                sidecar.config_path.write_text(head + config)
                document: dict[str, Any] = sidecar.call("POST", "/v1/reload")[1]
                return document

            three = site.identities + configs.identities(("extra", extra, site.public.trust))
            wider = configs.terminate(service.address, identity=["public", "mesh", "extra"])
            attempt = reload(three + wider)["attempt"]
            assert attempt["configuration"] == "applied"
            assert set(attempt["configuration_changes"]) == {"identity[extra] added", "listener[in].identity"}
            assert shown_to(sidecar, "extra.test", site.public.trust, site.visitor) == "extra.test"
            assert sidecar.listener("in")["identities"] == ["public", "mesh", "extra"]

            # One that cannot serve keeps all of the change back.
            good = extra.cert.read_bytes()
            bad = three.replace(str(extra.cert), str(tmp_path / "nowhere.crt"))
            document = reload(bad + configs.terminate(service.address, identity=["extra"]))
            assert (document["attempt"]["identity"], document["attempt"]["outcome"]) == ("extra", "refused")
            assert document["attempt"]["configuration"] == "not applied"
            assert sidecar.listener("in")["identities"] == ["public", "mesh", "extra"]
            assert extra.cert.read_bytes() == good

            assert reload(site.identities + listener)["attempt"]["configuration"] == "applied"
            assert list(states(sidecar)) == ["public", "mesh"]
            shown = shown_to(sidecar, "extra.test", site.public.trust, site.visitor)
            assert shown == "www.example.test"
            assert command(sidecar, "rotate", "--identity", "extra").returncode == 4
