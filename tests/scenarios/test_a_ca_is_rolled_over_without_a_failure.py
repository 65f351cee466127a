"""The three steps of a rollover over three sidecars, each reached in another way, and clients that renew when they
like: no handshake fails, every step that is too early is refused, and in the end the old CA opens nothing."""

from __future__ import annotations

import dataclasses
import os
import random
import shlex
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import configs, sshd
from support.certs_cli import certs
from support.engine import alert_of_ours
from support.mtls import Alerted, connect, connected
from support.pki import Pair, replace
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually

from certs.authority import Authority
from certs.issued import Record, publish_issued, read_record
from certs.profiles import LeafRequest

CLIENTS = int(os.environ.get("ROLLOVER_CLIENTS", "3"))
RENEWS_ONE_TIME_IN = 20
PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
LATE_S = 60.0


def issued(ca: Path, out: Path, name: str) -> Pair:
    """What ``certs issue`` does, without a process for it."""
    publish(Authority(ca), Record(LeafRequest(dns=(name,)), ca, ""), out)
    return Pair(out / "tls.crt", out / "tls.key")


def publish(authority: Authority, record: Record, out: Path) -> None:
    material = authority.issue(record.request, "a test")
    record = dataclasses.replace(record, serial=material.identity.serial)
    publish_issued(out, material, record, authority.clock.now())


class Client(threading.Thread):
    """Handshakes without end with one sidecar after the other, and a new leaf now and then, or when it is told to."""

    def __init__(self, ports: Sequence[int], out: Path, over: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self._ports, self._out, self._over = ports, out, over
        self._pair = Pair(out / "tls.crt", out / "tls.key")
        self._random = random.Random(seed)
        self.done = 0
        self.renewals = 0
        self.errors: list[BaseException] = []
        self.shall_renew = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            try:
                if self.shall_renew.is_set() or not self._random.randrange(RENEWS_ONE_TIME_IN):
                    self._renew()
                self._talk(self._random.choice(self._ports))
            except BaseException as error:
                self.errors.append(error)

    def _renew(self) -> None:
        """What ``certs rotate`` does, without a process for it."""
        self.shall_renew.clear()
        record = read_record(self._out)
        publish(Authority(record.authority), record, self._out)
        self.renewals += 1

    def _talk(self, port: int) -> None:
        peer = connect(port, self._out / "ca.crt", self._pair)
        peer.send(b"!")
        assert peer.recv_exactly(1) == b"!"
        peer.end_writing()
        peer.recv_all()
        peer.close()
        self.done += 1


class Clients:
    def __init__(self, ca: Path, folder: Path, ports: Sequence[int], over: threading.Event) -> None:
        self.each = []
        for number in range(CLIENTS):
            issued(ca, folder / f"client-{number}", f"client-{number}.test")
            self.each.append(Client(ports, folder / f"client-{number}", over, number))
        for client in self.each:
            client.start()

    def renew(self) -> None:
        """Each of them, whatever it did by itself; then some handshakes with what they have."""
        before = [client.renewals for client in self.each]
        for client in self.each:
            client.shall_renew.set()
        eventually(lambda: all(c.renewals > b for c, b in zip(self.each, before, strict=True)), LATE_S)
        self.make_some()

    def make_some(self) -> None:
        before = [client.done for client in self.each]
        eventually(lambda: all(c.done > b + 1 for c, b in zip(self.each, before, strict=True)), LATE_S)


@pytest.mark.needs("ssh", "sshd", "ssh-keygen")
def test_three_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = tmp_path / "ca"
    rollover = ("rollover", ca)
    certs("init", ca, "--name", "Dev CA")
    left_behind = issued(ca, tmp_path / "forgotten", "forgotten.test")
    kept = Pair(tmp_path / "kept.crt", tmp_path / "kept.key")
    replace(kept.cert, left_behind.cert.read_bytes())
    replace(kept.key, left_behind.key.read_bytes(), mode=0o600)
    sets = [tmp_path / f"server-{number}" for number in range(3)]
    over = threading.Event()
    with ExitStack() as stack:
        service = stack.enter_context(serving(echo))
        sidecars = []
        for out in sets:
            config = configs.identity(issued(ca, out, "localhost"), out / "ca.crt", poll_interval="1h")
            config += configs.terminate(service.address)
            sidecars.append(stack.enter_context(running(tmp_path / f"sidecar-{out.name}", config)))
        ports = [sidecar.port() for sidecar in sidecars]
        server = stack.enter_context(sshd.running(tmp_path / "ssh", PATH))
        monkeypatch.setenv("PATH", f"{server.programs}:{PATH}")
        pipe = shlex.join([sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(sidecars[1].socket_path)])
        far = f"{server.target}{sidecars[2].socket_path}"
        at = [("--socket", str(sidecars[0].socket_path)), ("--via", pipe), ("--socket", far)]
        all_of_them = [word for each in at for word in each]
        clients = Clients(ca, tmp_path, ports, over)
        try:
            certs(*rollover, "start")
            told = certs(*rollover, "switch", *all_of_them, code=4)
            assert [told.count(f"{name} does not trust the new CA yet") for _, name in at] == [1, 1, 1], told
            for out, where in zip(sets[:2], at[:2], strict=True):
                certs("rotate", out, *where)
            told = certs(*rollover, "switch", *all_of_them, code=4)
            assert [told.count(name) for _, name in at] == [0, 0, 1], told
            (proof,) = certs("rotate", sets[2], *at[2])["sidecars"]
            assert (proof["socket"], proof["listeners"]) == (far, [])  # by its word: its addresses are elsewhere
            clients.renew()

            certs(*rollover, "switch", *all_of_them)
            told = certs(*rollover, "finish", *all_of_them, code=4)
            assert told.count("itself serves a certificate of the old CA") == 3
            for out, where in zip(sets, at, strict=True):
                certs("rotate", out, *where)
                clients.make_some()  # some have leaves of the old CA, some of the new one
            clients.renew()
            with connected(ports[2], clients.each[0]._out / "ca.crt", kept) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
                told = certs(*rollover, "finish", *all_of_them, code=4)
                assert f"forgotten.test is connected to {far} (in)" in told
            eventually(lambda: certs(*rollover, "finish", *all_of_them), LATE_S)

            certs("rotate", sets[2], *at[2])
            clients.renew()
        finally:
            over.set()
            for client in clients.each:
                client.join(LATE_S)
        assert [error for client in clients.each for error in client.errors] == []
        counts = {what: sum(getattr(client, what) for client in clients.each) for what in ("done", "renewals")}
        sys.stdout.write(
            f"{CLIENTS} clients: {counts['done']} handshakes, none failed; {counts['renewals']} renewals\n"
        )
        alert = alert_of_ours("UNKNOWN_CA").replace("_", " ")  # the CA it shows with its leaf is not trusted
        refused = pytest.raises((Alerted, ConnectionError), match=f"(?i){alert}")
        with refused, connected(ports[2], tmp_path / "client-0" / "ca.crt", kept) as peer:
            peer.recv()
        for sidecar in sidecars:
            failed = int(sidecar is sidecars[2])
            sidecar.counts(failed, "tlsidecar_handshakes_total", outcome="failed")
            assert [each["reason"] for each in sidecar.refusals()] == ["unknown_ca"] * failed
