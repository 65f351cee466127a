"""An HTTP service whose bodies can be foretold, and a client that checks every byte of them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import random
from urllib.parse import parse_qs, urlsplit

from support.services import http_service, read_chunks

CHUNK_BYTES = 4096


def foretold(seed: int, count: int) -> bytes:
    """The body that ``GET /bytes?seed=…&count=…`` answers."""
    return random.Random(seed).randbytes(count)


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET: bytes foretold by the query; POST: the body back. Chunked when the query says ``chunked=1``. The response
    repeats the X-Forwarded-Client-Cert that came with the request as ``X-Seen``."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self._answer(foretold(int(query["seed"]), int(query["count"])), chunked="chunked" in query)

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(read_chunks(self.rfile))
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body, chunked="chunked=" in self.path)

    def _answer(self, body: bytes, *, chunked: bool) -> None:
        self.send_response(200)
        self.send_header("X-Seen", self.headers.get("X-Forwarded-Client-Cert", ""))
        if not chunked:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), CHUNK_BYTES):
            piece = body[start : start + CHUNK_BYTES]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


def body_service() -> contextlib.AbstractContextManager[str]:
    """Its address."""
    return http_service(_Handler)


def exchange(connection: http.client.HTTPConnection, source: random.Random, most_bytes: int = 40_000) -> str:
    """One request of one of four kinds, its response compared byte for byte; returns what the service saw of us."""
    count, way = source.randrange(most_bytes), source.randrange(4)
    suffix = "&chunked=1" if source.random() < 0.5 else ""
    if way < 2:
        seed = source.randrange(1 << 30)
        wanted = foretold(seed, count)
        connection.request("GET", f"/bytes?seed={seed}&count={count}{suffix}")
    else:
        wanted = source.randbytes(count)
        headers = {"X-Hash": hashlib.sha256(wanted).hexdigest()}
        if way == 2:
            connection.request("POST", f"/echo?x=1{suffix}", wanted, headers)
        else:
            pieces = (wanted[start : start + 3000] for start in range(0, len(wanted), 3000))
            headers["Transfer-Encoding"] = "chunked"
            connection.request("POST", f"/echo?x=1{suffix}", pieces, headers, encode_chunked=True)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, (response.status, body[:200])
    assert hashlib.sha256(body).digest() == hashlib.sha256(wanted).digest(), (len(body), count, way, suffix)
    return response.headers["X-Seen"]
