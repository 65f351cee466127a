"""Revocation: who is on the list is refused, and cut off where the listener wants it; a list that is missing, old or
damaged never lets anybody in by accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import configs
from support.mtls import Alerted, connected
from support.pki import Pair, Pki, replace
from support.services import echo, http_service, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def _refused(sidecar: Sidecar, pki: Pki, pair: Pair) -> str:
    with pytest.raises((Alerted, ConnectionError)) as told, connected(sidecar.port(), pki.trust, pair) as peer:
        peer.recv()
    return str(told.value)


@pytest.mark.parametrize("closes", [True, False])
def test_live_connections_end_where_the_listener_says_so(closes: bool, pki: Pki, tmp_path: Path) -> None:
    server, kept = pki.issue("server", "localhost"), pki.issue("kept", "kept.test")
    revoked = pki.issue("revoked", "revoked.test")
    crl = pki.revoke()
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, crl=str(crl), poll_interval="1h")
        config += configs.terminate(service.address, close_on_revocation=closes)
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, kept) as good,
            connected(sidecar.port(), pki.trust, revoked) as bad,
        ):
            for peer in (good, bad):
                peer.send(b"before")
                assert peer.recv_exactly(6) == b"before"
            pki.revoke(revoked)
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
            if closes:
                assert bad.recv_all() == b""  # an end, in order: close_notify
                sidecar.last_access(identity="revoked.test", reason="peer_certificate_revoked")
            else:
                bad.send(b"after")
                assert bad.recv_exactly(5) == b"after"
            good.send(b"after")
            assert good.recv_exactly(5) == b"after"
            assert "revoked" in _refused(sidecar, pki, revoked)
            sidecar.refusal(reason="certificate_revoked")


def test_over_http_the_exchange_under_way_is_finished_first(pki: Pki, tmp_path: Path) -> None:
    server, revoked = pki.issue("server", "localhost"), pki.issue("revoked", "revoked.test")
    crl = pki.revoke()
    with http_service() as service:
        config = configs.identity(server, pki.trust, crl=str(crl), poll_interval="1h")
        config += configs.terminate(service, protocol="http", close_on_revocation=True)
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, revoked) as peer,
        ):
            peer.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfirst")
            eventually(lambda: sidecar.listener()["upstreams"][0]["active"] == 1)
            pki.revoke(revoked)
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
            peer.send(b" half")
            answer = peer.recv_all()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"first half")
            sidecar.counts(1, "tlsidecar_connections_total", outcome="peer_certificate_revoked")


@pytest.mark.parametrize("policy", ["strict", "soft"])
def test_a_list_past_its_time(policy: str, pki: Pki, tmp_path: Path) -> None:
    """Strict refuses to begin with one; soft serves, and says so. The revoked are refused in any case."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    revoked = pki.issue("revoked", "revoked.test")
    crl = pki.revoke(revoked, expired=True)
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, crl=str(crl), crl_policy=policy)
        config += configs.terminate(service.address)
        if policy == "strict":
            sidecar = Sidecar(tmp_path / "sidecar", config).start(wait=False)
            assert sidecar.wait() == 2
            eventually(lambda: "(crl_expired)" in sidecar.log_text)
            return
        with running(tmp_path / "sidecar", config) as sidecar:
            assert [problem["code"] for problem in sidecar.problems()] == ["crl_expired"]
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
            assert "revoked" in _refused(sidecar, pki, revoked)


def test_a_damaged_list_changes_only_what_is_shown(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    revoked = pki.issue("revoked", "revoked.test")
    crl = pki.revoke(revoked)
    damaged = {
        "garbage": b"\x00\xff" * 500,
        "empty": b"",
        "another CA's": Pki(tmp_path / "other").revoke().read_bytes(),
        "cut": crl.read_bytes()[:-50],
        "gone": None,
    }
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, crl=str(crl), poll_interval="1h")
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            for damage, content in damaged.items():
                if content is None:
                    crl.unlink()
                else:
                    replace(crl, content)
                status, answer = sidecar.call("POST", "/v1/reload")
                assert (status, answer["outcome"]) == (409, "refused"), (damage, answer)
                assert sidecar.status()["state"] == "degraded", damage
                assert "revoked" in _refused(sidecar, pki, revoked), damage  # the old list goes on
                with connected(sidecar.port(), pki.trust, client) as peer:
                    peer.send(b"!")
                    assert peer.recv_exactly(1) == b"!"
            pki.revoke(client)
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
            assert "revoked" in _refused(sidecar, pki, client)
