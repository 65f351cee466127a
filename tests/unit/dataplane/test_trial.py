"""The trial of a chain comes to what a real handshake with the same chain comes to, at either end, on both engines."""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import UTC, datetime
from types import ModuleType

import pytest
from OpenSSL import SSL
from unit.certs import forge
from unit.certs.forge import CLIENT, DAY, SERVER, Made

from certs.identity import IdentityCache, Role
from tlsidecar.dataplane import stream_fast, stream_portable, tls, trial
from tlsidecar.dataplane.policy import PeerJudge, Policy
from tlsidecar.dataplane.stream import WANT_READ
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Address, ListenerSettings, Mode, Tls

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
LONG = {"starts": NOW - 10 * DAY, "ends": NOW + 10 * DAY}
HERE = Address("127.0.0.1", 1)

ROOT = forge.authority(**LONG)  # type: ignore[arg-type]
ISSUING = forge.authority("Issuing", ROOT, path_length=0, **LONG)  # type: ignore[arg-type]
STRANGER = forge.authority("Stranger", **LONG)  # type: ignore[arg-type]


def leaf(issuer: Made = ROOT, **changes: object) -> Made:
    return forge.leaf(issuer, **({"starts": NOW - DAY, "ends": NOW + DAY, "dns": ("shop.test",)} | changes))


OURS = forge.material(leaf(dns=("us.test",)), trust=[ROOT])

PEERS: dict[str, list[Made]] = {
    "let in": [leaf()],
    "let in, by an intermediate": [leaf(ISSUING), ISSUING],
    "its intermediate left out": [leaf(ISSUING)],
    "another name": [leaf(dns=("other.test",))],
    "another CA": [leaf(STRANGER), STRANGER],
    "expired": [leaf(ends=NOW - DAY / 2)],
    "not valid yet": [leaf(starts=NOW + DAY / 2)],
    "for neither end": [leaf(usages=())],
    "for servers": [leaf(usages=[SERVER])],
    "for clients": [leaf(usages=[CLIENT])],
    "without a name": [leaf(dns=())],
    "no SVID": [leaf(dns=(), uris=("spiffe://td/../x",))],
    "a CA's": [ROOT],
    "a weak key": [leaf(key=forge.rsa_key(1024))],
    "an RSA key": [leaf(key=forge.rsa_key(2048))],
    "an Ed25519 key": [leaf(key=forge.ed25519_key())],
}


def listener(mode: Mode) -> ListenerSettings:
    rules = ("dns:shop.test",)
    return ListenerSettings("web", mode, HERE, (HERE,), allow=rules, expect=rules)


def shaken(chain: list[Made], role: Role) -> trial.Verdict | None:
    """What a handshake with the key comes to; None where OpenSSL will not show such a certificate."""
    server_side = role is Role.CLIENT
    contexts = tls.Contexts(1, OURS, Tls())
    policy = Policy.of(listener(Mode.TERMINATE if server_side else Mode.ORIGINATE))
    judge = PeerJudge(policy, role, IdentityCache(), contexts.forms, soft_crl=False)
    theirs = SSL.Context(SSL.TLS_METHOD)
    theirs.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    theirs.use_certificate(chain[0].certificate)
    theirs.use_privatekey(chain[0].key)  # type: ignore[arg-type]
    for each in chain[1:]:
        theirs.add_extra_chain_cert(each.certificate)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        context = contexts.server() if server_side else contexts.client()
        stream = trial.Stream(context, near, judge, server_side=server_side)
        remote = SSL.Connection(theirs, far)
        (remote.set_connect_state if server_side else remote.set_accept_state)()
        answer = WANT_READ
        while answer == WANT_READ:
            with contextlib.suppress(SSL.WantReadError):
                try:
                    remote.do_handshake()
                except SSL.Error:
                    return None
            answer = stream.handshake()
        stream.release()
    rule = judge.rule.text if judge.rule is not None else ""
    return trial.Verdict(judge.identity, rule, judge.stage, judge.reason, judge.detail)


@pytest.mark.parametrize("engine", [stream_fast, stream_portable], ids=["fast", "portable"])
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("name", PEERS)
def test_it_comes_to_what_a_handshake_does(
    name: str, role: Role, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "install_verifier", engine.install_verifier)
    stream = engine.FastStream if engine is stream_fast else engine.PortableStream
    monkeypatch.setattr(trial, "Stream", stream)
    chain = PEERS[name]
    policy = Policy.of(listener(Mode.TERMINATE if role is Role.CLIENT else Mode.ORIGINATE))
    verdict = trial.tried([each.der for each in chain], policy, tls.Contexts(1, OURS, Tls("1.3")), role)
    if name.startswith("let in"):
        assert (verdict.reason, verdict.rule) == (None, "dns:shop.test")
    real = shaken(chain, role)
    if real is not None:
        assert verdict == real


def test_what_is_no_certificate_is_refused() -> None:
    contexts = tls.Contexts(1, OURS, Tls())
    policy = Policy.of(listener(Mode.TERMINATE))
    for junk in (b"", b"\x30\x00", os.urandom(300)):
        verdict = trial.tried([junk], policy, contexts, Role.CLIENT)
        assert verdict.identity is None
        assert verdict.reason is not None


def test_nobody_is_refused_for_showing_nothing() -> None:
    verdict = trial.tried([], Policy.of(listener(Mode.TERMINATE)), tls.Contexts(1, OURS, Tls()), Role.CLIENT)
    assert (verdict.reason, verdict.identity) == (Reason.NO_CERTIFICATE, None)


def test_a_chain_of_many_records_is_taken() -> None:
    chain = [leaf(extra=[(forge_comment(40_000), False)])]
    verdict = trial.tried(
        [each.der for each in chain], Policy.of(listener(Mode.TERMINATE)), tls.Contexts(1, OURS, Tls()), Role.CLIENT
    )
    assert (verdict.reason, verdict.stage) == (None, Stage.VERIFY)


def forge_comment(length: int) -> object:
    from cryptography import x509

    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x04\x00" + bytes(length))
