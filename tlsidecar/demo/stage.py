"""What the demo plays on: a dev CA, certificates, a plaintext service, and two sidecars as processes of their own."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import AdminError

TRUST_DOMAIN = "spiffe://demo.example"
SHOP = f"{TRUST_DOMAIN}/ns/demo/sa/shop"
WEB = f"{TRUST_DOMAIN}/ns/demo/sa/web"
STRANGER = f"{TRUST_DOMAIN}/ns/demo/sa/stranger"

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


class StageError(Exception):
    """What the demo plays on cannot be set up, or has gone; the text says why."""


class Sidecar:
    """One ``tlsidecar run``, on a config file."""

    def __init__(self, directory: Path, name: str, identity: Path, listener: str) -> None:
        self.name = name
        self.socket = directory / f"{name}-run" / "admin.sock"
        self._config = directory / f"{name}.toml"
        self._log = directory / f"{name}.log"
        self._config.write_text(
            f'[admin]\nsocket = "{self.socket}"\n\n'
            f'[identity]\ncert = "{identity}/tls.crt"\nkey = "{identity}/tls.key"\ntrust = "{identity}/ca.crt"\n\n'
            f"[[listener]]\n{listener}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin; what it says goes to a file beside its configuration."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "tlsidecar", "run", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Raises :class:`StageError` with what it said, when it is not ready in time."""
        waiting = _run("wait", "--socket", str(self.socket), "--timeout", f"{START_TIMEOUT_S}s", check=False)
        if waiting.returncode:
            raise StageError(f"sidecar {self.name} is not ready:\n{self._log.read_text(errors='replace')}")

    def stop(self) -> None:
        """Have it drain and end; kill it where it does not in time."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, path: str) -> dict[str, Any]:
        """A reply of the admin API. Raises :class:`StageError`."""
        try:
            return AdminClient(self.socket).get(path)
        except AdminError as error:
            raise StageError(f"sidecar {self.name} does not answer: {error}") from None

    @property
    def port(self) -> int:
        """The port its listener is bound to."""
        return int(self.ask("/v1/status")["listeners"][0]["bound"].rpartition(":")[2])


class DemoSetup:
    """Everything, running; leaving it stops all of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = directory / "pki"
        self.sidecars: list[Sidecar] = []
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> DemoSetup:
        with contextlib.ExitStack() as undo:
            undo.push(self._closing)
            self._set_up()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def web(self) -> Sidecar:
        """The one beside the service."""
        return self.sidecars[0]

    @property
    def shop(self) -> Sidecar:
        """The one beside the service's caller."""
        return self.sidecars[1]

    def identity(self, name: str) -> Path:
        """The directory with the certificate that was issued to ``name``."""
        return self.directory / name

    def client_context(self, name: str = "") -> ssl.SSLContext:
        """A TLS client of the standard library's, that is no tlsidecar; ``name`` is whose certificate it shows."""
        context = ssl.create_default_context(cafile=str(self.identity("shop") / "ca.crt"))
        context.check_hostname = False  # it calls 127.0.0.1; the chain is verified
        if name:
            context.load_cert_chain(self.identity(name) / "tls.crt", self.identity(name) / "tls.key")
        return context

    def _set_up(self) -> None:
        _run("certs", "init", str(self.authority), "--name", "Demo CA")
        for name, uri in (("web", WEB), ("shop", SHOP), ("stranger", STRANGER)):
            out = str(self.identity(name))
            names = ["--dns", f"{name}.demo.internal", "--dns", "localhost", "--spiffe", uri]
            _run("certs", "issue", str(self.authority), "--out", out, *names, "--both")
        service = _Service()
        self._closing.callback(service.stop)
        web = Sidecar(
            self.directory,
            "web",
            self.identity("web"),
            'name = "web"\nmode = "terminate"\nlisten = "127.0.0.1:0"\nprotocol = "http"\n'
            f'upstream = "127.0.0.1:{service.port}"\nallow = ["{SHOP}"]\n',
        )
        self._begin(web)
        shop = Sidecar(
            self.directory,
            "shop",
            self.identity("shop"),
            'name = "web"\nmode = "originate"\nlisten = "127.0.0.1:0"\nprotocol = "http"\n'
            f'upstream = "127.0.0.1:{web.port}"\nexpect = ["{WEB}"]\n',
        )
        self._begin(shop)

    def _begin(self, sidecar: Sidecar) -> None:
        self._closing.callback(sidecar.stop)
        sidecar.start()
        sidecar.wait_until_ready()
        self.sidecars.append(sidecar)


def rotate(stage: DemoSetup, sidecar: Sidecar) -> str:
    """``tlsidecar certs rotate``: returns what it printed. Raises :class:`StageError`."""
    return _run("certs", "rotate", str(stage.identity(sidecar.name)), "--socket", str(sidecar.socket)).stdout


def _run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "tlsidecar", *arguments], capture_output=True, text=True, check=False
    )
    if check and outcome.returncode:
        raise StageError(f"tlsidecar {' '.join(arguments)} ended with {outcome.returncode}: {outcome.stderr.strip()}")
    return outcome


class _Service:
    """The plaintext service: it answers with the headers that name its caller, and has never heard of TLS."""

    def __init__(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        caller = self.headers.get("X-Forwarded-Client-Cert", "nothing")
        answer = f"hello, you are: {caller}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass
