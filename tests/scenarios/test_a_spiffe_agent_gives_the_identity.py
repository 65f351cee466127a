"""``spiffe_socket``: the SVID that an agent pushes is served, whatever becomes of the agent; each trust domain vouches
for its own workloads and for no others."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.spiffe_agent import Agent, Identity, response
from support.waiting import eventually
from unit.certs import forge
from unit.certs.forge import Made

US = "spiffe://own.example/ns/shop/sa/web"
PEER = "spiffe://own.example/ns/shop/sa/frontend"
NOW = datetime.now(UTC).replace(microsecond=0)
ALLOW = ("spiffe://own.example/**", "spiffe://partner.example/**")


def root(name: str) -> Made:
    return forge.authority(name, starts=NOW - timedelta(days=1), ends=NOW + timedelta(days=9))


def leaf(issuer: Made, uri: str) -> Made:
    return forge.leaf(issuer, dns=(), uris=(uri,), starts=NOW - timedelta(hours=1), ends=NOW + timedelta(hours=2))


OWN, PARTNER = root("Own Root"), root("Partner Root")


def svid(uri: str = US) -> Identity:
    made = leaf(OWN, uri)
    return Identity(uri, [made.certificate], made.key, [OWN.certificate])  # type: ignore[arg-type]


def says(identity: Identity, federated: Sequence[Made] = (), crls: Sequence[bytes] = ()) -> bytes:
    bundles = {"partner.example": [each.certificate for each in federated]} if federated else {}
    return response([identity], bundles, crls)


def revocations(issuer: Made, *revoked: Made) -> bytes:
    serials = [each.certificate.serial_number for each in revoked]
    listed = forge.revocations(issuer, *serials, this_update=NOW - timedelta(hours=1), next_update=NOW + timedelta(1))
    return listed.der


def served(sidecar: Sidecar, client: Made) -> x509.Certificate | None:
    """The leaf shown to a client that is let in; None when it is refused."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(client.certificate)
    context.use_privatekey(client.key)  # type: ignore[arg-type]
    peer = Peer(context, socket.create_connection(("127.0.0.1", sidecar.port()), 10))
    try:
        peer.handshake().send(b"ping")
        assert peer.recv_exactly(4) == b"ping"
        return peer.tls.get_peer_certificate(as_cryptography=True)
    except Alerted:
        return None
    finally:
        peer.close()


def shows(sidecar: Sidecar, identity: Identity) -> bool:
    shown = served(sidecar, leaf(OWN, PEER))
    assert shown is not None
    return shown == identity.chain[0]


def configuration(agent: Agent | None, upstream: str) -> str:
    source = f'spiffe_socket = "{agent.url}"\n' if agent is not None else ""
    return f"[identity]\n{source}" + configs.terminate(upstream, allow=ALLOW)


def test_it_is_followed_through_whatever_becomes_of_the_agent(tmp_path: Path) -> None:
    first, second, third = svid(), svid(), svid()
    agent = Agent(tmp_path / "agent.sock", says(first))
    agent.start()
    try:
        with serving(echo) as service, running(tmp_path / "sidecar", configuration(agent, service.address)) as sidecar:
            assert shows(sidecar, first)
            assert sidecar.json("/v1/certificates")["source"] == f"SPIFFE agent {agent.url}"
            eventually(lambda: agent.followers == 1)
            agent.say(says(second))
            eventually(lambda: shows(sidecar, second))
            agent.stop()
            eventually(lambda: sidecar.status()["state"] == "degraded", 20)
            assert shows(sidecar, second)
            assert _refused_for(sidecar) == ["agent_failed"]
            agent.say(says(third))
            agent.start()
            eventually(lambda: shows(sidecar, third), 40)
            eventually(lambda: sidecar.status()["state"] == "ready")
            agent.say(b"\xff")  # no message of the protocol
            eventually(lambda: sidecar.status()["state"] == "degraded", 20)
            assert shows(sidecar, third)
    finally:
        agent.stop()


def test_each_trust_domain_vouches_for_its_own_workloads(tmp_path: Path) -> None:
    with (
        Agent(tmp_path / "agent.sock", says(svid(), [PARTNER])) as agent,
        serving(echo) as service,
        running(tmp_path / "sidecar", configuration(agent, service.address)) as sidecar,
    ):
        assert served(sidecar, leaf(PARTNER, "spiffe://partner.example/a")) is not None
        assert served(sidecar, leaf(PARTNER, "spiffe://own.example/a")) is None
        assert served(sidecar, leaf(OWN, "spiffe://partner.example/a")) is None
        refusals = eventually(lambda: _two(sidecar.json("/v1/refusals")["refusals"]))
        assert {each["reason"] for each in refusals} == {"unknown_ca"}


def test_its_revocation_lists_keep_out_the_revoked(tmp_path: Path) -> None:
    identity, good, bad, foreign = svid(), leaf(OWN, PEER), leaf(OWN, PEER), leaf(PARTNER, "spiffe://partner.example/a")
    none_yet = [revocations(OWN), revocations(PARTNER)]
    with (
        Agent(tmp_path / "agent.sock", says(identity, [PARTNER], none_yet)) as agent,
        serving(echo) as service,
        running(tmp_path / "sidecar", configuration(agent, service.address)) as sidecar,
    ):
        assert None not in [served(sidecar, each) for each in (good, bad, foreign)]
        eventually(lambda: agent.followers == 1)
        agent.say(says(identity, [PARTNER], [revocations(OWN, bad), revocations(PARTNER, foreign)]))
        eventually(lambda: served(sidecar, bad) is None)
        assert served(sidecar, foreign) is None
        assert served(sidecar, good) is not None
        revoked = [each["revoked"] for each in sidecar.json("/v1/certificates")["crls"]]
        refusals = eventually(lambda: _two(sidecar.json("/v1/refusals")["refusals"]))
        assert ({each["reason"] for each in refusals}, revoked) == ({"certificate_revoked"}, [1, 1])
        for crl, reason in ((revocations(root("Nobody's Root")), "crl_invalid"), (b"0", "agent_failed")):
            agent.say(says(identity, [PARTNER], [crl]))
            eventually(lambda: _refused_for(sidecar) == [reason])  # noqa: B023 - asked before the next turn
            assert served(sidecar, bad) is None  # the lists from before go on
            assert served(sidecar, good) is not None
        agent.say(says(identity, [PARTNER], none_yet))
        eventually(lambda: sidecar.status()["state"] == "ready", 40)
        assert served(sidecar, bad) is not None


def _refused_for(sidecar: Sidecar) -> list[str]:
    return [each["subject"] for each in sidecar.status()["problems"] if each["code"] == "reload_refused"]


def _two(refusals: list[dict[str, str]]) -> list[dict[str, str]]:
    return refusals if len(refusals) == 2 else []


def test_the_environment_names_the_agent(tmp_path: Path) -> None:
    identity = svid()
    with Agent(tmp_path / "agent.sock", says(identity)) as agent, serving(echo) as service:
        env = {"SPIFFE_ENDPOINT_SOCKET": agent.url}
        with running(tmp_path / "sidecar", configuration(None, service.address), env=env) as sidecar:
            assert shows(sidecar, identity)


@pytest.mark.parametrize("what", ["nobody there", "denied"])
def test_without_an_identity_it_does_not_start_and_says_why(tmp_path: Path, what: str) -> None:
    with Agent(tmp_path / "agent.sock", None) as agent, serving(echo) as service:
        if what == "nobody there":
            agent.stop()
        with pytest.raises(RuntimeError) as failure:
            Sidecar(tmp_path / "sidecar", configuration(agent, service.address)).start()
    assert "ended with 2" in str(failure.value)
    assert agent.url in str(failure.value)
    assert ("permission denied" if what == "denied" else "No such file") in str(failure.value)


def test_no_key_is_written_anywhere(tmp_path: Path) -> None:
    identity = svid()
    with Agent(tmp_path / "agent.sock", says(identity)) as agent, serving(echo) as service:
        with running(tmp_path / "sidecar", configuration(agent, service.address)) as sidecar:
            assert shows(sidecar, identity)
        secret = identity.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for file in (tmp_path / "sidecar").rglob("*"):
            assert not file.is_file() or secret not in file.read_bytes()
