"""Rules, routes, limits, upstreams and trust change by a reload, all of it or nothing, and no connection is lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, connect, connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def reload(sidecar: Sidecar) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tlsidecar", "reload", "--socket", str(sidecar.socket_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def edit(sidecar: Sidecar, old: str, new: str) -> dict[str, Any]:
    """Edit the configuration and reload; the attempt."""
    text = sidecar.config_path.read_text()
    assert old in text
    sidecar.config_path.write_text(text.replace(old, new))
    attempt: dict[str, Any] = sidecar.call("POST", "/v1/reload")[1]["attempt"]
    return attempt


def is_let_in(sidecar: Sidecar, pki: Pki, pair: Pair) -> bool:
    try:
        with connected(sidecar.port(), pki.trust, pair) as peer:
            peer.send(b"!")
            return peer.recv_exactly(1) == b"!"
    except (Alerted, SSL.Error, ConnectionError, EOFError):
        return False


def test_rules_and_upstreams_and_what_needs_a_restart(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    one, two = pki.issue("one", "one.test"), pki.issue("two", "two.test")
    with serving(echo) as service, serving(lambda sock: sock.sendall(b"other")) as other:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, allow=("dns:one.test",))
        with running(tmp_path / "sidecar", config) as sidecar:
            assert [is_let_in(sidecar, pki, pair) for pair in (one, two)] == [True, False]
            old = connect(sidecar.port(), pki.trust, one)
            old.send(b"!")
            assert old.recv_exactly(1) == b"!"

            attempt = edit(sidecar, '["dns:one.test"]', '["dns:two.test"]')
            assert (attempt["outcome"], attempt["configuration"]) == ("applied", "applied")
            assert attempt["configuration_changes"] == ["listener[in].allow"]
            assert any("stay open" in warning and "one.test" in warning for warning in attempt["warnings"])
            assert [is_let_in(sidecar, pki, pair) for pair in (one, two)] == [False, True]
            old.send(b"the old connection goes on")
            assert old.recv_exactly(26) == b"the old connection goes on"
            assert sidecar.listener()["allow"] == ["dns:two.test"]

            # A change that needs a restart keeps all others back, and is named.
            sidecar.config_path.write_text(sidecar.config_path.read_text().replace('["dns:two.test"]', '["any"]'))
            attempt = edit(sidecar, "[admin]", 'watchdog_timeout = "11s"\n[admin]')
            assert attempt["configuration"] == "not applied"
            assert any("watchdog_timeout can only change with a restart" in warning for warning in attempt["warnings"])
            assert reload(sidecar).returncode == 4
            assert [is_let_in(sidecar, pki, pair) for pair in (one, two)] == [False, True]

            assert edit(sidecar, 'watchdog_timeout = "11s"\n', "")["configuration"] == "applied"
            assert [is_let_in(sidecar, pki, pair) for pair in (one, two)] == [True, True]

            accepted = sidecar.metric("tlsidecar_connections_total", outcome="accepted")
            edit(sidecar, f'"{service.address}"', f'"{other.address}"')
            with connected(sidecar.port(), pki.trust, two) as peer:
                assert peer.recv_exactly(5) == b"other"
            assert sidecar.metric("tlsidecar_connections_total", outcome="accepted") > accepted

            edit(sidecar, '["any"]', '["dns:two.test"]\nclose_on_policy_change = true')
            assert old.recv_all() == b""
            old.close()
            sidecar.last_access(reason="policy_changed")
            assert reload(sidecar).returncode == 0


def test_a_new_trust_bundle_that_is_bad_keeps_everything_as_it_was(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            (tmp_path / "bad.crt").write_text("nothing")
            sidecar.config_path.write_text(sidecar.config_path.read_text().replace('["any"]', '["ou:nobody"]'))
            text = sidecar.config_path.read_text()
            sidecar.config_path.write_text(text.replace(str(pki.trust), str(tmp_path / "bad.crt")))
            status, answer = sidecar.call("POST", "/v1/reload")
            assert (status, answer["attempt"]["reason"], answer["attempt"]["configuration"]) == (
                409,
                "pem_invalid",
                "not applied",
            )
            assert is_let_in(sidecar, pki, client)
            assert sidecar.listener()["allow"] == ["any"]
            sidecar.config_path.write_text(text)
            assert sidecar.call("POST", "/v1/reload")[1]["attempt"]["configuration"] == "applied"
            assert not is_let_in(sidecar, pki, client)


def test_the_outage_of_an_issuer_holds_no_change_back(pki: Pki, tmp_path: Path) -> None:
    """A reload reads what the source gave last; only who asks for a renewal is told that there is none."""
    server, one, two = pki.issue("server", "localhost"), pki.issue("one", "one.test"), pki.issue("two", "two.test")
    printed, program = tmp_path / "printed.pem", tmp_path / "issuer"
    printed.write_bytes(server.cert.read_bytes() + server.key.read_bytes())
    program.write_text(f"#!/bin/sh\nexec cat {printed}\n")
    program.chmod(0o755)
    with serving(echo) as service:
        config = f'[identity]\ncommand = ["{program}"]\ntrust = "{pki.trust}"\n'
        config += configs.terminate(service.address, allow=("dns:one.test",))
        with running(tmp_path / "sidecar", config) as sidecar:
            printed.unlink()
            status, answer = sidecar.call("POST", "/v1/rotate")
            assert (status, answer["attempt"]["reason"]) == (409, "command_failed"), answer
            attempt = edit(sidecar, '["dns:one.test"]', '["dns:two.test"]')
            assert (attempt["outcome"], attempt["configuration"]) == ("applied", "applied"), attempt
            assert [is_let_in(sidecar, pki, pair) for pair in (one, two)] == [False, True]


def test_an_order_under_way_holds_no_change_back(pki: Pki, tmp_path: Path) -> None:
    """An ACME server takes the connection and says nothing: that may last, and the rules are changed meanwhile."""
    server, one, two = pki.issue("server", "localhost"), pki.issue("one", "one.test"), pki.issue("two", "two.test")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "tls.crt").write_bytes(server.cert.read_bytes())
    (state / "tls.key").write_bytes(server.key.read_bytes())
    (state / "tls.key").chmod(0o600)
    asked, over = threading.Event(), threading.Event()

    def silence(_: socket.socket) -> None:
        asked.set()
        over.wait(60)

    with serving(echo) as service, serving(silence) as issuer:
        config = f'[identity]\ndns = ["localhost"]\ntrust = "{pki.trust}"\n[identity.acme]\nterms_agreed = true\n'
        config += f'directory = "https://{issuer.address}/directory"\nstate = "{state}"\n'
        config += configs.terminate(service.address, allow=("dns:one.test",))
        with running(tmp_path / "sidecar", config) as sidecar:
            rotated: list[Any] = []
            rotation = threading.Thread(target=lambda: rotated.append(sidecar.call("POST", "/v1/rotate")), daemon=True)
            rotation.start()
            assert asked.wait(30)
            attempt = edit(sidecar, '["dns:one.test"]', '["dns:two.test"]')
            assert (attempt["outcome"], attempt["configuration"]) == ("applied", "applied"), attempt
            assert [is_let_in(sidecar, pki, pair) for pair in (one, two)] == [False, True]
            assert rotation.is_alive(), rotated
            over.set()
            rotation.join(60)
            ((status, answer),) = rotated
            assert (status, answer["attempt"]["reason"]) == (409, "acme_failed"), answer


def test_routes_change_under_load_without_a_lost_request(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    over = threading.Event()
    errors: list[str] = []
    counts = {"/": 0}

    def answer(sock: Any) -> None:
        while sock.recv(65536):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def ask(port: int) -> None:
        while not over.is_set():
            try:
                with connected(port, pki.trust, client) as peer:
                    for _ in range(20):
                        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        answered = b""
                        while not answered.endswith(b"\r\n\r\nok"):
                            answered += peer.recv_exactly(1)
                        assert answered.startswith(b"HTTP/1.1 200"), answered
                        counts["/"] += 1
            except BaseException as error:
                errors.append(repr(error))

    with serving(answer) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        config += '[[listener.route]]\npath = "/admin"\nallow = ["ou:nobody"]\n'
        config += '[[listener.route]]\npath = "/**"\nallow = ["any"]\n'
        with running(tmp_path / "sidecar", config) as sidecar:
            threads = [threading.Thread(target=ask, args=(sidecar.port(),), daemon=True) for _ in range(4)]
            for thread in threads:
                thread.start()
            for allowed in (True, False) * 5:
                old, new = ('["ou:nobody"]', '["dns:client.test"]')
                if not allowed:
                    old, new = new, old
                assert edit(sidecar, old, new)["configuration"] == "applied"
                with connected(sidecar.port(), pki.trust, client) as peer:
                    peer.send(b"GET /admin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert peer.recv_all().startswith(b"HTTP/1.1 200" if allowed else b"HTTP/1.1 403")
            eventually(lambda: counts["/"] > 100 or errors)
            over.set()
            for thread in threads:
                thread.join(20)
            assert errors == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_log_changes_form_and_place(pki: Pki, tmp_path: Path, workers: str) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    logs = tmp_path / "logs"
    logs.mkdir()
    first, second = logs / "first.log", logs / "second.log"

    def talk(sidecar: Sidecar) -> None:
        """To its end, which is what is logged, by the rules of that moment."""
        assert is_let_in(sidecar, pki, client)
        eventually(lambda: sidecar.status()["totals"]["connections_active"] == 0)

    def lines(file: Path) -> list[str]:
        return [line for line in file.read_text().splitlines() if "client.test" in line]

    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        config += f'[log]\nfile = "{first}"\naccess = "off"\n'
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar:
            talk(sidecar)
            assert edit(sidecar, 'access = "off"', 'access = "json"')["configuration"] == "applied"
            talk(sidecar)
            (line,) = eventually(lambda: lines(first))
            assert json.loads(line)["identity"] == "client.test"

            attempt = edit(sidecar, f'"{first}"\naccess = "json"', f'"{second}"\naccess = "text"')
            assert attempt["configuration_changes"] == ["log.access", "log.file"]
            talk(sidecar)
            (line,) = eventually(lambda: lines(second))
            assert not line.startswith("{")
            assert len(lines(first)) == 1
            assert "material in use" in eventually(second.read_text)

            attempt = edit(sidecar, f'"{second}"', f'"{logs}/nowhere/third.log"')
            assert attempt["configuration"] in ("invalid", "not applied")  # no directory, or not the sandbox's
            talk(sidecar)
            eventually(lambda: len(lines(second)) == 2)
            edit(sidecar, f'file = "{logs}/nowhere/third.log"\n', "")
            talk(sidecar)
            eventually(lambda: "client.test" in sidecar.log_text)
