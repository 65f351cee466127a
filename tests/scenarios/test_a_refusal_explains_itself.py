"""Whoever is turned away is explained afterwards, rule by rule; the line that is offered, copied into the
configuration, lets in this peer and no other."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from support import configs
from support.commands import Done, tlsidecar
from support.mtls import Alerted, connected
from support.pki import Pair, Pki
from support.raw_http import read_answer, request
from support.services import echo, serving
from support.sidecar import Sidecar, running

ROUTES = """
[[listener.route]]
path = "/admin/**"
allow = ["ou:sre"]

[[listener.route]]
path = "/orders/*"
methods = ["DELETE", "PUT"]
allow = ["ou:sre", "dns:shop.test"]
"""


def nobody(sock: socket.socket) -> None:
    """A service that no request reaches."""
    assert not sock.recv(1)


def is_let_in(sidecar: Sidecar, pki: Pki, pair: Pair) -> bool:
    with contextlib.suppress(Alerted, ConnectionError), connected(sidecar.port(), pki.trust, pair) as peer:
        peer.send(b"hello")
        return peer.recv_exactly(5) == b"hello"
    return False


def explain(sidecar: Sidecar, *arguments: str | Path) -> Done:
    return tlsidecar("explain", "--socket", sidecar.socket_path, "--json", *arguments)


def judgement(done: Done) -> Any:
    (found,) = done.document["explanation"]["judgements"]
    return found


def test_the_line_lets_in_the_peer_and_no_other(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    shop, dev = pki.issue("shop", "shop.test", unit="Shop"), pki.issue("dev", "dev.test")
    with serving(echo) as service:
        allow = ("ou:sre", "dns:*.shop.test")
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, allow=allow)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert not is_let_in(sidecar, pki, shop)
            refusal = sidecar.refusal(identity="shop.test")
            done = explain(sidecar, refusal["id"])
            assert done.code == 4, done
            assert done.document["refusal"]["seq"] == refusal["seq"]
            told = judgement(done)
            assert (told["reason"], told["stage"], told["verified"]) == ("not_allowed", "authorize", True)
            assert [each["why"] for each in told["rules"]] == [
                "another OU: Shop",
                "the wildcard covers one label before shop.test, not shop.test itself",
            ]
            chain = done.document["explanation"]["chain"]
            assert chain[0]["dns"] == ["shop.test"]
            assert chain[0]["sha256"] == refusal["sha256"]
            (line,) = told["lines"]

            # As text, the line stands by itself, to be copied.
            text = tlsidecar("explain", "--socket", sidecar.socket_path, refusal["id"])
            assert text.code == 4
            assert line["line"] in [each.strip() for each in text.out.splitlines()]
            # Of the certificate in hand the same is said, with the sidecar and without it.
            assert judgement(explain(sidecar, "--cert", shop.cert)) == told
            assert judgement(explain(sidecar, "--cert", shop.cert, "--config", sidecar.config_path)) == told
            assert judgement(explain(sidecar, f"c{refusal['connection_id']}")) == told

            content = sidecar.config_path.read_text()
            sidecar.config_path.write_text(content.replace(f"allow = {json.dumps(list(allow))}", line["line"]))
            assert tlsidecar("reload", "--socket", sidecar.socket_path).code == 0
            assert is_let_in(sidecar, pki, shop)
            assert not is_let_in(sidecar, pki, dev)
            assert explain(sidecar, refusal["id"]).code == 0
            with connected(sidecar.port(), pki.trust, shop) as peer:
                peer.send(b"hello")
                peer.recv_exactly(5)
                (connection,) = sidecar.json("/v1/connections")["connections"]
                done = explain(sidecar, str(connection["id"]))
                assert (done.code, judgement(done)["rule"]) == (0, "dns:shop.test")


def test_the_route_that_decides_is_named(pki: Pki, tmp_path: Path) -> None:
    server, dev = pki.issue("server", "localhost"), pki.issue("dev", "dev.test")
    with serving(nobody) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http") + ROUTES
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port(), pki.trust, dev) as peer:
                for target in ("/orders/7", "/orders/8"):
                    peer.send(request("DELETE", target))
                    assert read_answer(peer).status == 403
            done = explain(sidecar, sidecar.refusal(target="/orders/8")["id"])
            told = judgement(done)
            assert (done.code, told["route"], told["status"]) == (4, "DELETE,PUT /orders/*", 403)
            assert told["lines"][0]["line"] == 'allow = ["ou:sre", "dns:shop.test", "dns:dev.test"]'
            question = ["--cert", dev.cert, "--listener", "in", "--path"]
            assert judgement(explain(sidecar, *question, "/orders/8", "--method", "DELETE")) == told
            assert explain(sidecar, *question, "/orders/8").code == 0
            assert explain(sidecar, *question, "/admin%2fx").code == 4


def test_what_is_wrong_with_a_chain_is_said(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    stranger = Pki(tmp_path / "stranger").issue("client", "shop.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert not is_let_in(sidecar, pki, stranger)
            for question in ([sidecar.refusal(reason="unknown_ca")["id"]], ["--cert", stranger.cert]):
                done = explain(sidecar, *question)
                told = judgement(done)
                assert (done.code, told["reason"], told["verified"], told["lines"]) == (4, "unknown_ca", False, [])
                assert told["note"] == "no rule lets in a certificate that does not verify"
