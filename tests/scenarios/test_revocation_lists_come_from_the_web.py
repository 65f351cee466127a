"""``crl_urls``: who is on the list is turned away; a new list counts without a reload; the server may go away."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import Alerted, connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running


@pytest.fixture
def web(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serves what is in a directory."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "pki"))  # type: ignore[arg-type] - the server's own

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def is_let_in(sidecar: Sidecar, pki: Pki, pair: Pair) -> bool:
    try:
        with connected(sidecar.port(), pki.trust, pair) as peer:
            peer.send(b"!")
            return peer.recv_exactly(1) == b"!"
    except (Alerted, ConnectionError):
        return False


def test_fetched_kept_and_used_without_the_server(web: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    server, good, bad = (pki.issue(name, name) for name in ("localhost", "good.test", "bad.test"))
    pki.revoke(bad)
    url = f"http://127.0.0.1:{web.server_address[1]}/ca.crl"
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, crl_urls=[url], crl_cache=str(tmp_path / "kept"))
        config += configs.terminate(service.address)
        with running(tmp_path / "first", config) as sidecar:
            assert [is_let_in(sidecar, pki, pair) for pair in (good, bad)] == [True, False]
            assert sidecar.refusal(reason="certificate_revoked")["identity"] == "bad.test"
            assert sidecar.metric("tlsidecar_crl_next_update_timestamp_seconds") > 0
        (tmp_path / "pki" / "ca.crl").unlink()
        with running(tmp_path / "second", config, env={"TLSIDECAR_SANDBOX": "off"}) as sidecar:
            assert [is_let_in(sidecar, pki, pair) for pair in (good, bad)] == [True, False]
            # Lists come and go with the configuration; a sandbox would not let us keep them elsewhere.
            text = sidecar.config_path.read_text()
            lists = [line for line in text.splitlines(keepends=True) if line.startswith("crl_")]
            sidecar.config_path.write_text(text.replace("".join(lists), ""))
            assert sidecar.call("POST", "/v1/reload")[1]["attempt"]["configuration"] == "applied"
            assert is_let_in(sidecar, pki, bad)
            pki.revoke(bad)
            sidecar.config_path.write_text(text.replace(str(tmp_path / "kept"), str(tmp_path / "elsewhere")))
            attempt = sidecar.call("POST", "/v1/reload")[1]["attempt"]
            assert attempt["configuration_changes"] == ["identity.crl_urls", "identity.crl_cache"]
            assert [is_let_in(sidecar, pki, pair) for pair in (good, bad)] == [True, False]


def test_without_a_list_there_is_no_start(web: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    url = f"http://127.0.0.1:{web.server_address[1]}/ca.crl"
    config = configs.identity(pki.issue("s", "localhost"), pki.trust, crl_urls=[url], crl_cache=str(tmp_path / "kept"))
    sidecar = Sidecar(tmp_path / "sidecar", config + configs.terminate("127.0.0.1:9")).start(wait=False)
    try:
        assert sidecar.wait() == 2
        assert "missing_file" in sidecar.log_text
        assert "Traceback" not in sidecar.log_text
    finally:
        sidecar.kill()
