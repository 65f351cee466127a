"""An operator keeps an identity out: over all workers, whichever process has their place, until it is undone or its
time is over; it is shown while it lasts."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from support import configs
from support.mtls import Alerted, Peer, connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def is_let_in(sidecar: Sidecar, pki: Pki, pair: Pair) -> bool:
    with contextlib.suppress(Alerted, ConnectionError), connected(sidecar.port(), pki.trust, pair) as peer:
        peer.send(b"hello")
        return peer.recv_exactly(5) == b"hello"
    return False


def connected_for(stack: contextlib.ExitStack, sidecar: Sidecar, pki: Pki, pair: Pair) -> Peer:
    return stack.enter_context(connected(sidecar.port(), pki.trust, pair))


def problems(sidecar: Sidecar) -> list[tuple[str, str]]:
    return [(problem["code"], problem["subject"]) for problem in sidecar.problems()]


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_is_denied_stays_out(pki: Pki, tmp_path: Path, workers: int) -> None:
    shop, dev = pki.issue("shop", "shop.test"), pki.issue("dev", "dev.test")
    with serving(echo) as service:
        config = configs.identity(pki.issue("server", "localhost"), pki.trust) + configs.terminate(service.address)
        with (
            running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": str(workers)}) as sidecar,
            contextlib.ExitStack() as stack,
        ):
            *peers, bystander = [connected_for(stack, sidecar, pki, pair) for pair in (shop, shop, shop, shop, dev)]
            for peer in (*peers, bystander):
                peer.send(b"hello")
                assert peer.recv_exactly(5) == b"hello"

            asked = {"identity": "shop.test", "for_s": 600}
            status, reply = sidecar.call("POST", "/v1/denials", {**asked, "expected": 9})
            assert (status, reply["error"]["code"]) == (409, "refused")
            status, reply = sidecar.call("POST", "/v1/denials", {**asked, "expected": 4})
            assert (status, reply["closed"]) == (200, 4)
            for peer in peers:
                with contextlib.suppress(ConnectionError, Alerted):
                    assert not peer.recv()
            bystander.send(b"still")
            assert bystander.recv_exactly(5) == b"still"

            assert not any(is_let_in(sidecar, pki, shop) for _ in range(4))
            assert is_let_in(sidecar, pki, dev)
            refusal = sidecar.refusal(identity="shop.test")
            assert (refusal["stage"], refusal["reason"]) == ("authorize", "identity_denied")
            assert problems(sidecar) == [("identity_denied", "shop.test")]
            explained = sidecar.json(f"/v1/refusals/{refusal['id']}")["explanation"]
            assert explained["judgements"][0]["reason"] == "identity_denied"
            if workers > 1:
                os.kill(sidecar.status()["workers"][0]["pid"], signal.SIGKILL)
                eventually(lambda: sum(each["restarts"] for each in sidecar.status()["workers"]) == 1 or None)
                eventually(lambda: all(each["pid"] for each in sidecar.status()["workers"]) or None)
                assert not any(is_let_in(sidecar, pki, shop) for _ in range(8))

            assert sidecar.call("DELETE", f"/v1/denials/{reply['denial']['id']}")[0] == 200
            assert all(is_let_in(sidecar, pki, shop) for _ in range(4))
            sidecar.call("POST", "/v1/denials", {"identity": "shop.test", "for_s": 1})
            eventually(lambda: is_let_in(sidecar, pki, shop))
            eventually(lambda: not problems(sidecar))

            def audited() -> list[tuple[str, str]]:
                lines = [line for line in sidecar.log_lines if line.get("verb") == "POST /v1/denials"]
                return [(line["outcome"], line["detail"]) for line in lines]

            eventually(lambda: [outcome for outcome, _ in audited()] == ["refused", "done", "done"])
            assert audited()[1][1] == "shop.test for 600 s, 4 closed"


def test_all_that_match_are_closed_and_no_other(pki: Pki, tmp_path: Path) -> None:
    pairs = [pki.issue("shop", "shop.test"), pki.issue("dev", "dev.test")]
    with serving(echo) as service:
        config = configs.identity(pki.issue("server", "localhost"), pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, contextlib.ExitStack() as stack:
            peers = [connected_for(stack, sidecar, pki, pair) for pair in (*pairs, *pairs)]
            for peer in peers:
                peer.send(b"hello")
                assert peer.recv_exactly(5) == b"hello"
            assert sidecar.call("DELETE", "/v1/connections?identity=shop.test&expected=1")[0] == 409
            status, reply = sidecar.call("DELETE", "/v1/connections?identity=shop.test&expected=2")
            assert (status, reply["ended"]) == (200, 2)

            def left() -> list[tuple[str, int]]:
                rows = sidecar.json("/v1/connections")["connections"]
                return [(each["identity"], each["generation"]) for each in rows]

            eventually(lambda: left() == [("dev.test", 1), ("dev.test", 1)])
            # New material: those accepted before it end, those after it stay.
            pki.issue("server", "localhost")
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
            newest, first = sidecar.json("/v1/certificates")["attempts"]
            assert ([each["what"] for each in newest["differences"]], first["differences"]) == (["subject", "key"], [])
            fresh = connected_for(stack, sidecar, pki, pairs[0])
            fresh.send(b"hello")
            assert fresh.recv_exactly(5) == b"hello"
            status, reply = sidecar.call("POST", "/v1/drain-generations", {"expected": 2})
            assert (status, reply["ended"], reply["left"]) == (200, 2, 0)
            eventually(lambda: left() == [("shop.test", 2)])
            wanted = ["closed_by_admin"] * 2 + ["generation_drained"] * 2
            eventually(lambda: sorted(line["reason"] for line in sidecar.access_lines()) == wanted)
