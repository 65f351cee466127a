"""nginx and haproxy as judges: each forwards what it takes a connection's bytes to mean to a service of ours.

After the bytes under test a sentinel request follows on the same connection, which the judge answers itself: only where
it finds the sentinel exactly behind them has it taken them for one whole request.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.services import serving
from support.waiting import eventually
from unit.dataplane.http1.conversation import Message, parse_requests

SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: sentinel\r\n\r\n"
PATIENCE_S = 30.0

NGINX = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/nginx.log crit;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 128k;
  large_client_header_buffers 8 64k; underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  upstream service {{ server unix:{directory}/service; keepalive 8; }}
  server {{
    listen unix:{directory}/nginx; keepalive_requests 100000;
    location = /sentinel {{ add_header X-Sentinel 1; return 200; }}
    location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Host $http_host;
                  proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """
global
  tune.bufsize 65536
  tune.http.maxhdr 256
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
  http-reuse always
frontend door
  bind unix@{directory}/haproxy
  http-request return status 200 hdr X-Sentinel 1 if {{ path /sentinel }} {{ hdr(host) sentinel }}
  default_backend service
backend service
  server service unix@{directory}/service
"""

# Said anew by each hop, or how a body is framed, which the body itself shows.
_OF_THE_HOP = frozenset(
    {b"connection", b"keep-alive", b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"te"}
)


@dataclass
class Verdict:
    """What a judge made of some bytes: the requests it forwarded, whether the sentinel came right behind, and its
    statuses."""

    requests: list[object] = field(default_factory=list)
    sentinel: bool = False
    statuses: list[int] = field(default_factory=list)


def meaning(message: Message) -> object:
    """What of a request every hop must hand on alike."""
    headers = sorted((name, value.strip(b" \t")) for name, value in message.headers if name not in _OF_THE_HOP)
    return message.first, headers, message.body


class Judge:
    def __init__(self, path: Path, seen: dict[int, object]) -> None:
        self._path = str(path)
        self._seen = seen

    def judge(self, data: bytes, *, whole: bool = True) -> Verdict:
        """``whole``: follow it with the sentinel; else with the end."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(self._path)
            answer = b""
            with contextlib.suppress(ConnectionError):
                sock.sendall(data + SENTINEL if whole else data)
                if not whole:
                    sock.shutdown(socket.SHUT_WR)
                while b"X-Sentinel: 1" not in answer and b"x-sentinel: 1" not in answer:
                    more = sock.recv(65536)
                    if not more:
                        break
                    answer += more
        numbers = [int(number) for number in re.findall(rb"(?i)x-echo: (\d+)\r\n", answer)]
        statuses = [int(code) for code in re.findall(rb"HTTP/1\.[01] ([2-5]\d\d) ", answer)]
        return Verdict([self._seen[number] for number in numbers], b"x-sentinel: 1" in answer.lower(), statuses)


class _Echo:
    """The service behind both judges: remembers what each request means, and answers with its number."""

    def __init__(self) -> None:
        self.seen: dict[int, object] = {}

    def handle(self, sock: socket.socket) -> None:
        pending = b""
        while data := sock.recv(65536):
            pending += data
            for message in parse_requests(pending):
                # A judge sends a next request only after our answer.
                pending = b""
                number = len(self.seen)
                self.seen[number] = meaning(message)
                sock.sendall(b"HTTP/1.1 200 OK\r\nX-Echo: %d\r\nContent-Length: 0\r\n\r\n" % number)


@contextlib.contextmanager
def judges() -> Iterator[dict[str, Judge]]:
    """nginx and haproxy, running."""
    echo = _Echo()
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="judges"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.enter_context(serving(echo.handle, family=socket.AF_UNIX, path=str(directory / "service")))
        found = {}
        for name, text in (("nginx", NGINX), ("haproxy", HAPROXY)):
            config = directory / f"{name}.conf"
            config.write_text(text.format(directory=directory))
            arguments = {"nginx": ["-p", str(directory), "-c", str(config)], "haproxy": ["-db", "-f", str(config)]}
            with (directory / f"{name}.out").open("wb") as out:
                process = subprocess.Popen(
                    [shutil.which(name) or name, *arguments[name]], stdin=subprocess.DEVNULL, stdout=out, stderr=out
                )
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            judge = found[name] = Judge(directory / name, echo.seen)

            def answers(process=process, judge=judge, out=directory / f"{name}.out") -> bool:  # type: ignore[no-untyped-def]
                assert process.poll() is None, out.read_text()
                try:
                    return judge.judge(b"").sentinel
                except (ConnectionError, FileNotFoundError):
                    return False

            eventually(answers)
        yield found
