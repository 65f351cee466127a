"""slowhttptest in its three modes against a terminating sidecar, and a good client beside it that never notices.

It has no client certificate, so a TCP ambassador goes before it: that passes every byte on as it comes, over mutual
TLS, and so the slow heads, bodies and reads are the terminating sidecar's to bear. `make slowhttp` runs it for longer.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connect
from support.pki import Pair, Pki
from support.raw_http import read_answer, request
from support.services import serving
from support.sidecar import running
from support.waiting import eventually

SECONDS = int(os.environ.get("SLOWHTTP_S", "8"))
CONNECTIONS = 200 if SECONDS > 10 else 100
SMALL, BIG = (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count + bytes(count) for count in (2, 8 << 20))

# Twice what a client of a sidecar without slow peers waits at the same time, or this, whichever is more: in the middle,
# and ever. A machine with other work makes everybody wait now and then; who is held up waits all along, and until a
# timeout.
MOST_USUALLY_S = 0.25
MOST_EVER_S = 2.0
TIMEOUT = "3s"


def answers(sock: socket.socket) -> None:
    """200 to everything: much under /big, little elsewhere. Bodies are read to their end."""
    data = b""
    while more := sock.recv(65536):
        data += more
        while b"\r\n\r\n" in data:
            head, _, rest = data.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            length = int(fields.get(b"content-length", b"0"))
            if len(rest) < length:
                break
            data = rest[length:]
            sock.sendall(BIG if b" /big" in head else SMALL)


class GoodClient(threading.Thread):
    """Asks on a kept connection and on a new one, again and again; ``waits`` has how long each took."""

    def __init__(self, port: int, pki: Pki, pair: Pair) -> None:
        super().__init__(daemon=True)
        self._arguments = (port, pki.trust, pair)
        self._stop_asked = threading.Event()
        self.waits: list[float] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            kept = connect(*self._arguments)
            while not self._stop_asked.wait(0.02):
                began = time.monotonic()
                self._ask(kept)
                fresh = connect(*self._arguments)
                self._ask(fresh)
                self.waits.append(time.monotonic() - began)
                fresh.close()
            kept.close()
        except BaseException as error:
            self.error = error

    def stop(self) -> list[float]:
        self._stop_asked.set()
        self.join(30)
        assert self.error is None, self.error
        return self.waits

    @staticmethod
    def _ask(peer: Peer) -> None:
        peer.send(request())
        assert read_answer(peer).status == 200


MODES = {
    "head": (["-H", "-i", "1", "-x", "24", "-t", "GET"], "/", CONNECTIONS, "head_timeout"),
    "body": (["-B", "-i", "30", "-s", "8192", "-x", "24", "-t", "POST"], "/", CONNECTIONS, "body_timeout"),
    "read": (["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "1"], "/big", 16, "slow_reader"),
}


@pytest.mark.needs("slowhttptest")
@pytest.mark.parametrize("mode", list(MODES))
def test_the_good_client_never_waits(mode: str, pki: Pki, tmp_path: Path) -> None:
    options, path, connections, reason = MODES[mode]
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    limits = configs.limits(head_timeout=TIMEOUT, body_idle_timeout=TIMEOUT, write_timeout=TIMEOUT)
    with serving(answers) as service:
        inner = limits + configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "calm", inner) as calm, running(tmp_path / "inner", inner) as inside:
            outer = configs.identity(server, pki.trust) + configs.originate(f"localhost:{inside.port()}")
            with running(tmp_path / "outer", outer) as outside:
                beside, apart = (GoodClient(sidecar.port(), pki, client) for sidecar in (inside, calm))
                resident = inside.resident_bytes()
                command = ["slowhttptest", *options, "-c", str(connections), "-r", "200", "-l", str(SECONDS), "-p", "3"]
                attack = subprocess.Popen(
                    [*command, "-u", f"http://127.0.0.1:{outside.port()}{path}"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=tmp_path,
                    text=True,
                )

                def all_came() -> bool:
                    """On a busy machine the first of them may be shown out before the last has come."""
                    return bool(inside.listener()["connections_total"] >= connections * 4 // 5)

                try:
                    eventually(all_came, 40)
                    beside.start()
                    apart.start()
                    told, _ = attack.communicate(timeout=SECONDS + 60)
                finally:
                    attack.kill()
                waits, usual = beside.stop(), apart.stop()

                assert attack.returncode == 0, told[-2000:]
                assert min(len(waits), len(usual)) >= 3
                most_usually = max(2 * statistics.median(usual), MOST_USUALLY_S)
                assert statistics.median(waits) <= most_usually, sorted(waits)
                assert max(waits) <= max(2 * max(usual), MOST_EVER_S), sorted(waits)[-5:]
                assert inside.resident_bytes() - resident < 64 * 1024 * 1024
                # They were not only borne, but shown out.
                if reason == "slow_reader":
                    assert inside.metric("tlsidecar_connections_total", outcome=reason) >= connections // 2
                else:
                    assert inside.metric("tlsidecar_refusals_total", reason=reason) >= connections // 2
                outside.settles()
            inside.settles()
