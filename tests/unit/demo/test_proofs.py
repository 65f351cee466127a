"""The demo's claims before sidecars and services that do not keep them: each is said not to hold, and why."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.services import http_service
from support.waiting import eventually

import tlsidecar.demo
from tlsidecar.demo import main, proofs
from tlsidecar.demo.proofs import (
    Failed,
    a_request_goes_all_the_way,
    the_wrong_identity_is_refused_and_named,
    without_a_certificate_nobody_gets_in,
)
from tlsidecar.demo.stage import SHOP, DemoSetup, Sidecar, StageError
from tlsidecar.demo.traffic import Traffic


class Told(Sidecar):
    """A sidecar that answers as it was told, and listens where it was told."""

    def __init__(self, directory: Path, name: str, at: int, refusals: list[dict[str, Any]]) -> None:
        super().__init__(directory, name, directory, "")
        self._at = at
        self._refusals = refusals

    @property
    def port(self) -> int:
        return self._at

    def ask(self, path: str) -> dict[str, Any]:
        return {"refusals": self._refusals}


def staged(directory: Path, at: int, *refusals: dict[str, Any]) -> DemoSetup:
    stage = DemoSetup(directory)
    stage.sidecars += [Told(directory, name, at, list(refusals)) for name in ("web", "shop")]
    return stage


class _Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200
    answer = ""

    def do_GET(self) -> None:
        body = self.answer.encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[tuple[int, type[_Service]]]:
    handler = type("Handler", (_Service,), {})
    with http_service(handler) as address:
        yield int(address.rpartition(":")[2]), handler


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken, and nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "RECORD_WITHIN_S", 0)


def test_a_request_that_arrives_with_its_caller_is_told(tmp_path: Path, service: tuple[int, type[_Service]]) -> None:
    port, handler = service
    handler.answer = f"hello, you are: URI={SHOP}"
    assert a_request_goes_all_the_way(staged(tmp_path, port))[-1].endswith(f"URI={SHOP}")


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, "hello, you are: nothing"), (200, f"URI={SHOP};URI=spiffe://demo.example/forged"), (502, f"URI={SHOP}")],
)
def test_a_caller_that_is_not_named_or_made_up_is_no_proof(
    tmp_path: Path, service: tuple[int, type[_Service]], status: int, answer: str
) -> None:
    port, handler = service
    handler.status, handler.answer = status, answer
    with pytest.raises(Failed, match=f"^the service answered {status}: "):
        a_request_goes_all_the_way(staged(tmp_path, port))


def test_nobody_on_the_way_is_no_proof(tmp_path: Path, nobody: int) -> None:
    with pytest.raises(Failed, match=r"^no answer through the two sidecars: ConnectionRefusedError"):
        a_request_goes_all_the_way(staged(tmp_path, nobody))


class _Open(DemoSetup):
    """Its clients do without a trust bundle: what they call is no sidecar."""

    def client_context(self, name: str = "") -> Any:
        return None


def _opened(directory: Path, at: int, *refusals: dict[str, Any]) -> DemoSetup:
    stage = _Open(directory)
    stage.sidecars += staged(directory, at, *refusals).sidecars
    return stage


def test_whoever_is_let_in_is_no_proof(
    tmp_path: Path, service: tuple[int, type[_Service]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_tls(host: str, port: int, *, context: object, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(host, port, timeout=timeout)

    monkeypatch.setattr(proofs.http.client, "HTTPSConnection", without_tls)
    stage = _opened(tmp_path, service[0])
    for claim in (without_a_certificate_nobody_gets_in, the_wrong_identity_is_refused_and_named):
        with pytest.raises(Failed, match=r"^it was let in, with status 200$"):
            claim(stage)


def test_a_refusal_has_to_be_recorded_and_of_the_right_one(tmp_path: Path, nobody: int) -> None:
    with pytest.raises(Failed, match=r"^no refusal with the reason no_certificate was recorded$"):
        without_a_certificate_nobody_gets_in(_opened(tmp_path, nobody, {"reason": "plaintext"}))
    other = {"reason": "not_allowed", "identity": SHOP, "sentence": "", "serial": ""}
    with pytest.raises(Failed, match=f"^the refusal names '{SHOP}'$"):
        the_wrong_identity_is_refused_and_named(_opened(tmp_path, nobody, other))


def test_the_callers_count_what_is_answered_and_what_fails(tmp_path: Path, service: tuple[int, type[_Service]]) -> None:
    port, handler = service
    with Traffic(staged(tmp_path, port)) as traffic:
        traffic.wait_for(20)
        assert traffic.answered >= 20
        assert not traffic.failures
        handler.status = 503
        assert eventually(lambda: traffic.failures)[0] == "status 503"
        answered = traffic.answered
        traffic.wait_for(1_000_000)  # ends at once: there is a failure to tell of
    assert traffic.answered <= answered + 4, "those that were under way"


def test_the_callers_say_that_nobody_is_there(tmp_path: Path, nobody: int) -> None:
    with Traffic(staged(tmp_path, nobody)) as traffic:
        traffic.wait_for(1)
    assert "ConnectionRefusedError" in traffic.failures[0]


def test_a_claim_that_does_not_hold_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def holds(stage: DemoSetup) -> list[str]:
        return ["one", "and more of it"]

    def does_not(stage: DemoSetup) -> list[str]:
        raise Failed("it was let in")

    def has_gone(stage: DemoSetup) -> list[str]:
        raise StageError("sidecar web does not answer")

    monkeypatch.setattr(DemoSetup, "_set_up", lambda self: None)
    monkeypatch.setattr(tlsidecar.demo, "PROOFS", (does_not, holds, has_gone))
    assert main(once=True) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  FAILED  it was let in",
        "  ok      one",
        "          and more of it",
        "  FAILED  sidecar web does not answer",
        "",
        "1 of 3 held",
    ]
    monkeypatch.setattr(tlsidecar.demo, "PROOFS", (holds,))
    assert main(once=True) == 0


def test_what_cannot_be_set_up_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(self: DemoSetup) -> None:
        raise StageError("sidecar web is not ready")

    monkeypatch.setattr(DemoSetup, "_set_up", fails)
    assert main(once=True) == 1
    assert capsys.readouterr().out == "the demo could not be set up: sidecar web is not ready\n"


def test_a_sidecar_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, "web", tmp_path, 'name = "web"\n')
    with pytest.raises(StageError, match=r"^sidecar web does not answer: no socket at "):
        sidecar.ask("/v1/status")
    sidecar.stop()  # it was never started
