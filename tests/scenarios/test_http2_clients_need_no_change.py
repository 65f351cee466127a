"""HTTP/2 clients and servers as people have them, unchanged: over mutual TLS to a terminating sidecar, in the clear to
an ambassador in front of one, and as the service behind both."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import configs
from support.h2_services import BODY, nghttpd
from support.pki import Pair, Pki
from support.ports import free_port
from support.sidecar import Sidecar, running
from support.waiting import eventually, listens


class Chain(NamedTuple):
    trust: Path
    pair: Pair
    inside: Sidecar
    https: str  # for clients with a certificate
    http: str  # for clients without


@contextlib.contextmanager
def chain(pki: Pki, directory: Path, service: str) -> Iterator[Chain]:
    server, ambassador = pki.issue("server", "localhost"), pki.issue("ambassador", "ambassador.test")
    inner = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http", http2="only")
    with running(directory / "inner", inner) as inside:
        outer = configs.identity(ambassador, pki.trust)
        outer += configs.originate(f"localhost:{inside.port()}", protocol="http", http2="also")
        with running(directory / "outer", outer) as outside:
            https, http = f"https://localhost:{inside.port()}", f"http://127.0.0.1:{outside.port()}"
            yield Chain(pki.trust, pki.issue("client", "client.test"), inside, https, http)


@pytest.fixture
def links(pki: Pki, tmp_path: Path) -> Iterator[Chain]:
    with nghttpd(tmp_path) as service, chain(pki, tmp_path, service) as links:
        yield links


def run(*command: object, code: int = 0) -> str:
    finished = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert finished.returncode == code, (finished.stdout[-2000:], finished.stderr[-2000:])
    return finished.stdout + finished.stderr


def curl(links: Chain, *arguments: object, code: int = 0) -> str:
    shown = ("--cacert", links.trust, "--cert", links.pair.cert, "--key", links.pair.key)
    return run("curl", "--silent", "--show-error", "--max-time", 30, *shown, *arguments, code=code)


@pytest.mark.needs("curl", "nghttpd")
def test_curl(links: Chain, tmp_path: Path) -> None:
    told = ("--write-out", " %{http_version} %{http_code} %{size_download}")
    assert curl(links, "--http2", *told, f"{links.https}/") == f"{BODY.decode()} 2 200 {len(BODY)}"
    assert curl(links, "--http2-prior-knowledge", *told, f"{links.http}/") == f"{BODY.decode()} 2 200 {len(BODY)}"
    body = tmp_path / "body"
    body.write_bytes(b"x" * 300_000)
    for version, base in (("--http2", links.https), ("--http2-prior-knowledge", links.http)):
        assert curl(links, version, *told, "--data-binary", f"@{body}", "--output", "/dev/null", f"{base}/").endswith(
            " 2 200 40"
        )
        assert curl(links, version, *told, "--output", "/dev/null", f"{base}/large") == f" 2 200 {1 << 20}"


@pytest.mark.needs("curl", "nghttpd")
def test_a_client_of_http1_is_told_that_it_is_none_of_ours(links: Chain) -> None:
    """Where HTTP/2 is spoken alone, whether ALPN has come to nothing or was not spoken of."""
    for way in ("--http1.1", "--no-alpn"):
        said = curl(links, way, "--write-out", "%{http_version} %{http_code}", f"{links.https}/")
        assert said == "HTTP/2 alone is spoken here.\n1.1 505"
    links.inside.counts(2, "tlsidecar_refusals_total", reason="h2_protocol_error")


@pytest.mark.needs("nghttp", "nghttpd")
def test_nghttp(links: Chain) -> None:
    shown = (f"--cert={links.pair.cert}", f"--key={links.pair.key}")
    assert run("nghttp", "--no-dep", *shown, f"{links.https}/").startswith(BODY.decode())  # it knows no CA of ours
    told = run("nghttp", "--no-dep", "--verbose", "--null-out", f"{links.http}/", f"{links.http}/large")
    assert told.count(":status: 200") == 2


@pytest.mark.needs("h2load", "nghttpd")
def test_h2load(links: Chain) -> None:
    for path in ("/", "/large"):
        told = run("h2load", "--requests=200", "--clients=4", "--max-concurrent-streams=10", f"{links.http}{path}")
        assert re.search(r"200 done, 200 succeeded, 0 failed, 0 errored, 0 timeout", told), told
    links.inside.counts(400, "tlsidecar_requests_total", code="2xx")


_CLIENT = """
const http2 = require("node:http2"), fs = require("node:fs");
const [url, ca, cert, key] = process.argv.slice(1);
const options = ca ? { ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key) } : {};
const session = http2.connect(url, options);
const ask = (headers, body) => new Promise((resolve, reject) => {
  const stream = session.request(headers, { endStream: body === undefined });
  let status, size = 0, trailers = {};
  stream.on("response", (head) => { status = head[":status"]; });
  stream.on("trailers", (fields) => { trailers = { ...fields }; });
  stream.on("data", (data) => { size += data.length; });
  stream.on("end", () => resolve([status, size, trailers["x-trailer"] ?? ""]));
  stream.on("error", reject);
  if (body !== undefined) stream.end(body);
});
const asked = [ask({ ":path": "/large" }), ask({ ":path": "/", ":method": "POST" }, Buffer.alloc(300000))];
for (let number = 0; number < 50; number++) asked.push(ask({ ":path": "/", "x-number": `${number}` }));
Promise.all(asked).then((answers) => { console.log(JSON.stringify(answers)); session.close(); });
"""

_SERVER = """
const http2 = require("node:http2");
const server = http2.createServer();
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  stream.respond({ ":status": 200 }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": headers["x-forwarded-client-cert"] ?? "" }));
  let size = 0;
  stream.on("data", (data) => { size += data.length; });
  stream.on("end", () => stream.end(headers[":path"] === "/large" ? Buffer.alloc(1 << 20) : `${size}`));
});
server.listen(Number(process.argv[1]), "127.0.0.1");
"""


@pytest.mark.needs("node")
def test_node_on_both_ends(pki: Pki, tmp_path: Path) -> None:
    port = free_port()
    with subprocess.Popen(["node", "-e", _SERVER, str(port)], stderr=subprocess.DEVNULL) as service:
        try:
            eventually(lambda: listens(port), 20)
            with chain(pki, tmp_path, f"127.0.0.1:{port}") as links:
                shown = (links.trust, links.pair.cert, links.pair.key)
                for arguments in ((links.https, *shown), (links.http,)):
                    large, posted, *others = json.loads(run("node", "-e", _CLIENT, *arguments))
                    assert (large[:2], posted[:2]) == ([200, 1 << 20], [200, len("300000")])
                    assert [answer[:2] for answer in others] == [[200, 1]] * 50
                    who = "DNS=client.test" if arguments[1:] else "DNS=ambassador.test"
                    assert all(who in answer[2] for answer in (large, posted, *others))
        finally:
            service.terminate()
