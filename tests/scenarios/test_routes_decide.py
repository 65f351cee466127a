"""Route rules over real TLS: who may do what where, and that no spelling of a path gets round them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.raw_http import read_answer, request
from support.services import Handler, serving
from support.sidecar import running

ROUTES = """
[[listener.route]]
path = "/admin/**"
allow = ["ou:sre"]

[[listener.route]]
path = "/orders/*"
methods = ["DELETE", "PUT"]
allow = ["ou:sre", "dns:shop.test"]
"""


def targets_of(received: list[str]) -> Handler:
    def handle(sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                received.append(head.split(b" ")[1].decode("latin-1"))
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    return handle


def test_each_route_has_its_own_rules(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    pairs = {
        "sre": pki.issue("sre", "sre.test", unit="sre"),
        "shop": pki.issue("shop", "shop.test"),
        "dev": pki.issue("dev", "dev.test"),
    }
    received: list[str] = []
    with serving(targets_of(received)) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http") + ROUTES
        with running(tmp_path / "sidecar", config) as sidecar:

            def ask(who: str, *requests: tuple[str, str]) -> list[int]:
                statuses = []
                with connected(sidecar.port(), pki.trust, pairs[who]) as peer:
                    for method, target in requests:
                        peer.send(request(method, target))
                        answer = read_answer(peer, of_head=method == "HEAD")
                        assert not answer.closes
                        statuses.append(answer.status)
                return statuses

            everything = [
                ("GET", "/"),
                ("GET", "/admin/users?all=1"),
                ("HEAD", "/admin/users"),
                ("DELETE", "/orders/7"),
                ("GET", "/orders/7"),
                ("DELETE", "/orders/7/lines"),
            ]
            assert ask("sre", *everything) == [200] * 6
            assert ask("shop", *everything) == [200, 403, 403, 200, 200, 200]
            assert ask("dev", *everything) == [200, 403, 403, 403, 200, 200]
            refusal = sidecar.refusal(identity="dev.test", method="DELETE")
            assert (refusal["stage"], refusal["reason"], refusal["status"]) == ("authorize", "route_denied", 403)
            assert (refusal["target"], refusal["rule"]) == ("/orders/7", "DELETE,PUT /orders/*")
            sidecar.counts(5, "tlsidecar_refusals_total", stage="authorize", reason="route_denied")
            sidecar.last_access(access="request", identity="dev.test", status=200)
            assert received.count("/orders/7") == 5


# How the wrong client may spell it, and what it may be told: 403, or 400 where two services could read it differently.
SPELLINGS = [
    ("/admin/users", {403}),
    ("/admin", {403}),
    ("/admin/", {403}),
    ("/%61dmin/users", {403}),
    ("/admi%6E/users", {403}),
    ("//admin/users", {403}),
    ("///admin//users", {403}),
    ("/./admin/users", {403}),
    ("/%2e/admin/users", {403}),
    ("/x/../admin/users", {403}),
    ("/x/%2e%2e/admin/users", {403}),
    ("/x/.%2E/admin/users", {403}),
    ("/x/y/../%2e%2e/admin/users", {403}),
    ("/ADMIN/users", {403}),
    ("/Admin;v=1/users", {403}),
    ("/admin;/users", {403}),
    ("/x/..;/admin/users", {403}),
    ("/x/..;a=b/admin/users", {403}),
    ("/ADMIN/..;/x", {403}),
    ("/admin/..;/x", {403}),
    ("/ADMIN/;/users", {403}),
    ("/Admin/users/..;", {403}),
    ("/admin%3Bx/users", {403}),
    ("/admin%3Fx", {403}),
    ("/admin.", {403}),
    ("/admin.json", {403}),
    ("/admin%20/users", {403}),
    ("/%EF%BD%81dmin/users", {403}),
    ("/admin/users?x=/../../public", {403}),
    ("http://localhost/admin/users", {403}),
    ("/admin%2fusers", {400}),
    ("/admin%2Fusers", {400}),
    ("/x%2f..%2fadmin/users", {400}),
    ("/admin%5cusers", {400}),
    ("/x/..\\admin/users", {400}),
    ("/x/..%c0%afadmin/users", {400}),
    ("/x/..%20/admin/users", {400}),
    ("/admin%00/users", {400}),
    ("/admin/users%00.png", {400}),
    ("/admin%0a/users", {400}),
    ("/%2561dmin/users", {400}),
    ("/%25%36%31dmin/users", {400}),
    ("/%256%31dmin/users", {400}),
    ("/x/%252e%252e/admin/users", {400}),
    ("/../admin/users", {400}),
    ("/%2e%2e/admin/users", {400}),
    ("/admin%/users", {400}),
    ("/admin%zz/users", {400}),
    ("/admin/users#top", {400}),
    ("admin/users", {400}),
]


@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
def test_no_spelling_gets_round_them(allowed: bool, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("dev", "dev.test", unit="sre" if allowed else "dev")
    received: list[str] = []
    with serving(targets_of(received)) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http") + ROUTES
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            for target, statuses in SPELLINGS:
                with connected(port, pki.trust, client) as peer:
                    peer.send(request("GET", target))
                    status = read_answer(peer).status
                wanted = {200 if status == 403 else status for status in statuses} if allowed else statuses
                assert status in wanted, target
            if not allowed:
                assert received == []
                assert {refusal["status"] for refusal in sidecar.refusals()} == {400, 403}
            # What passes goes on in the one form that was judged: nothing is left in it to be read in two ways.
            for target in received:
                path = target.partition("?")[0]
                assert "//" not in path
                assert "/./" not in path
                assert "/../" not in path
                assert "%2F" not in path.upper()
            passed = sum(statuses == {403} for _, statuses in SPELLINGS)
            assert len(received) == (passed if allowed else 0)
