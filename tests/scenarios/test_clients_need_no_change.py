"""Clients as people have them: each speaks mutual TLS to a terminating sidecar, or plain HTTP to an ambassador in front
of one, and none is told anything but where to go and which certificate to show."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import requests
from support import configs
from support.pki import Pair, Pki
from support.services import http_service
from support.sidecar import Sidecar, running
from websockets.sync.client import connect as connect_websocket
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

BODY = b"0123456789abcdef" * 20_000


@dataclass(frozen=True)
class Chain:
    """A terminating sidecar before a service, and an ambassador before that sidecar."""

    pki: Pki
    pair: Pair
    inside: Sidecar
    outside: Sidecar
    https: str  # for clients with a certificate
    http: str  # for clients without


@contextlib.contextmanager
def chain(pki: Pki, directory: Path, service: str) -> Iterator[Chain]:
    server, ambassador = pki.issue("server", "localhost"), pki.issue("ambassador", "ambassador.test")
    inner = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
    with running(directory / "inner", inner) as inside:
        outer = configs.identity(ambassador, pki.trust)
        outer += configs.originate(f"localhost:{inside.port()}", protocol="http")
        with running(directory / "outer", outer) as outside:
            yield Chain(
                pki,
                pki.issue("client", "client.test"),
                inside,
                outside,
                f"https://localhost:{inside.port()}",
                f"http://127.0.0.1:{outside.port()}",
            )


@pytest.fixture
def links(pki: Pki, tmp_path: Path) -> Iterator[Chain]:
    with http_service() as service, chain(pki, tmp_path, service) as links:
        yield links


def run(*command: object, env: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}
    )
    assert finished.returncode == 0, (finished.stdout[-2000:], finished.stderr[-2000:])
    return finished.stdout


@pytest.mark.needs("curl")
def test_curl(links: Chain, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(BODY)
    base = ["curl", "-sS", "--fail", "--max-time", "30"]
    mutual = ["--cacert", links.pki.trust, *links.pair.curl()]
    for options, url in ((mutual, links.https), ([], links.http)):
        assert run(*base, *options, f"{url}/a?b=c").startswith("GET /a?b=c\n")
        assert run(*base, *options, "--data-binary", f"@{body}", f"{url}/").endswith(BODY.decode())
        # HTTP/2 is offered, and not taken; an upgrade to it in the clear is not, either.
        assert run(*base, *options, "--http2", "-o", "/dev/null", "-w", "%{http_version}", f"{url}/") == "1.1"
        assert run(*base, *options, "--compressed", "-I", f"{url}/").startswith("HTTP/1.1 200")
        with_expect = ["-H", "Expect: 100-continue", "-T", body]
        assert run(*base, *options, *with_expect, f"{url}/put").startswith("PUT /put\n")


def test_requests(links: Chain) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.verify, session.cert = str(links.pki.trust), (str(links.pair.cert), str(links.pair.key))
        for url in (links.https, links.http):
            for _ in range(3):
                answer = session.get(f"{url}/a", params={"b": "c d"}, timeout=30)
                assert answer.ok
                assert answer.text.startswith("GET /a?b=c+d\n")
            assert session.post(url, data=BODY, timeout=30).content.endswith(BODY)
            assert session.head(url, timeout=30).status_code == 200


def test_httpx(links: Chain) -> None:
    context = links.pki.client_context(links.pair)
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        for url in (links.https, links.http):
            for _ in range(3):
                answer = client.get(f"{url}/a", params={"b": "c"})
                assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
                assert answer.text.startswith("GET /a?b=c\n")
            assert client.post(url, content=BODY).content.endswith(BODY)
            with client.stream("POST", url, content=BODY) as streamed:
                assert streamed.read().endswith(BODY)


def test_a_client_without_its_certificate_is_told_so(links: Chain) -> None:
    with (
        httpx.Client(verify=links.pki.client_context(), trust_env=False, timeout=30) as client,
        pytest.raises(httpx.TransportError, match=r"(?i)certificate required"),
    ):
        client.get(links.https)
    assert links.inside.refusal(reason="no_certificate")["stage"] == "verify"


_NODE = r"""
const fs = require("node:fs"), https = require("node:https"), assert = require("node:assert");
const [secure, plain, ca, cert, key] = process.argv.slice(2);
const agent = new https.Agent({
  keepAlive: true, maxSockets: 1, ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key),
});
const ask = (method, url, body) => new Promise((resolve, reject) => {
  const request = https.request(url, {method, agent}, (response) => {
    const parts = [];
    response.on("data", (part) => parts.push(part));
    response.on("end", () => resolve({status: response.statusCode, reused: request.reusedSocket,
                                      text: Buffer.concat(parts).toString()}));
  });
  request.on("error", reject);
  request.end(body);
});
(async () => {
  const body = "0123456789abcdef".repeat(20000);
  const first = await ask("GET", secure + "/a?b=c");
  assert.ok(first.text.startsWith("GET /a?b=c\n"), first.text);
  const second = await ask("POST", secure + "/", body);
  assert.ok(second.text.endsWith(body));
  assert.ok(second.reused, "the connection was not kept");
  agent.destroy();
  const fetched = await fetch(plain + "/a?b=c");
  assert.ok((await fetched.text()).startsWith("GET /a?b=c\n"));
  const posted = await fetch(plain + "/", {method: "POST", body});
  assert.ok((await posted.text()).endsWith(body));
  const stream = new Blob([body]).stream();  // chunked
  const streamed = await fetch(plain + "/", {method: "POST", body: stream, duplex: "half"});
  assert.ok((await streamed.text()).endsWith(body));
  console.log(JSON.stringify({fetched: fetched.status, posted: posted.status}));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.needs("node")
def test_node(links: Chain, tmp_path: Path) -> None:
    script = tmp_path / "client.js"
    script.write_text(_NODE)
    told = run("node", script, links.https, links.http, links.pki.trust, links.pair.cert, links.pair.key)
    assert json.loads(told) == {"fetched": 200, "posted": 200}


@pytest.mark.needs("ab")
def test_ab(links: Chain, tmp_path: Path) -> None:
    both = tmp_path / "client.pem"
    both.write_bytes(links.pair.cert.read_bytes() + links.pair.key.read_bytes())
    both.chmod(0o600)
    count = ["-n", 100, "-c", 8, "-l", "-q"]
    for options, url in ((["-E", both], links.https), ([], links.http)):
        for kept in ([], ["-k"]):
            report = run("ab", *count, *kept, *options, f"{url}/")
            assert re.search(r"Complete requests:\s+100\n", report), report
            assert re.search(r"Failed requests:\s+0\n", report), report
            assert "Non-2xx" not in report, report
    links.inside.counts(400, "tlsidecar_requests_total", code="2xx")


@pytest.mark.needs("wrk")
def test_wrk(links: Chain) -> None:
    """It has no client certificates, and so needs the ambassador."""
    report = run("wrk", "-t1", "-c8", "-d1s", f"{links.http}/")
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    assert int(re.search(r"(\d+) requests in", report)[1]) > 20, report  # type: ignore[index]
    # What it had begun when its time was over is cut.
    assert links.outside.metric("tlsidecar_upstream_errors_total") == 0


def _answers(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def test_websockets(pki: Pki, tmp_path: Path) -> None:
    """The client that most Python services use; its frames, masks, pings and closing handshake are a browser's."""
    with serve(_answers, "127.0.0.1", 0, subprotocols=[Subprotocol("chat")], max_size=None) as service:
        thread = threading.Thread(target=service.serve_forever, daemon=True)
        thread.start()
        port = service.socket.getsockname()[1]
        with chain(pki, tmp_path, f"127.0.0.1:{port}") as links:
            context = links.pki.client_context(links.pair)
            for url, options in (
                (links.https.replace("https", "wss"), {"ssl": context}),
                (links.http.replace("http", "ws"), {}),
            ):
                with connect_websocket(
                    f"{url}/live?x=1",
                    subprotocols=[Subprotocol("chat")],
                    max_size=None,
                    proxy=None,
                    **options,  # type: ignore[arg-type]
                ) as socket:
                    assert socket.subprotocol == "chat"
                    for message in ("hello", "grüße", BODY, b""):
                        socket.send(message)
                        assert socket.recv(timeout=20) == message
                    assert socket.ping().wait(20)
                assert socket.close_code == 1000
            for sidecar in (links.inside, links.outside):
                sidecar.settles()
                # Once the service has ended, Python's ssl closes with or without close_notify, as it happens.
                assert sidecar.last_access(access="request", status=101)["reason"] in ("completed", "truncated")
        service.shutdown()
        thread.join(20)
