"""``make soak MINUTES=3``: the load of :mod:`soak.load` on one sidecar, with a reload every ten seconds, one in three
of them with a key that does not fit; with ``SOAK="--workers 2 --kill-every 60"`` on several workers, one of which is
killed now and then. Ends with 0 when nothing failed but a killed worker's own connections, and nothing grew (the rule
is in :mod:`soak.growth`); prints the figures in any case.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from support import configs
from support.pki import Pki, replace
from support.reloading import shown_to
from support.services import echo, http_service, serving
from support.sidecar import Sidecar, running

from soak.growth import Growth, cpu_s
from soak.killings import Killings
from soak.load import Churn, Client, KeepAlive, Stranger, Target, Tunnel, every

SAMPLE_EVERY_S = 2.0
# So many new connections must be shown what a reload has put to use: each worker is asked, most likely.
PROBES_PER_WORKER = 3


class Reloads:
    """New pairs for the server, one time in three with a key that does not fit."""

    def __init__(self, sidecar: Sidecar, pki: Pki, target: Target) -> None:
        self._sidecar = sidecar
        self._pki = pki
        self._target = target
        self._other_key = Pki(pki.directory / "other").issue("other", "localhost").key.read_bytes()
        self.outcomes = {"applied": 0, "refused": 0}
        self.problems: list[str] = []
        self.longest_s = 0.0

    def reload(self, number: int) -> None:
        try:
            pair = self._pki.issue("server", "localhost")
            wanted = "refused" if number % 3 == 0 else "applied"
            if wanted == "refused":
                replace(pair.key, self._other_key, mode=0o600)
            began = time.monotonic()
            document = self._sidecar.call("POST", "/v1/reload")[1]
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.outcomes[document["outcome"]] += 1
            if document["outcome"] != wanted:
                self.problems.append(f"reload {number} was {document['outcome']}: {document}")
            elif wanted == "applied":
                self._is_served(number, int(document["attempt"]["serial"], 16))
        except Exception as error:
            self.problems.append(f"reload {number}: {error!r}")

    def _is_served(self, number: int, serial: int) -> None:
        for _ in range(PROBES_PER_WORKER * self._sidecar.workers):
            try:
                shown = shown_to(self._target.port, self._pki, self._target.pair)
            except ConnectionError:
                continue  # perhaps of a worker that was killed: the other clients' connections are the judges of that
            if shown != serial:
                self.problems.append(f"reload {number} was applied, and a new connection was shown what was before it")


def main() -> int:
    asked = _options()
    if asked.kill_every and asked.workers < 2:
        print("--kill-every needs --workers 2 or more: of one the first is spared", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="soak-") as name, serving(echo) as tcp, http_service() as http:
        pki = Pki(Path(name) / "pki")
        server, good = pki.issue("server", "localhost"), pki.issue("good", "client.test")
        stranger = pki.issue("stranger", "stranger.test")
        only_good = ("dns:client.test",)
        config = configs.identity(server, pki.trust, poll_interval="1h")
        config += configs.terminate(http, name="web", protocol="http", allow=only_good)
        config += configs.terminate(tcp.address, name="raw", allow=only_good)
        workers = {"TLSIDECAR_WORKERS": str(asked.workers)}
        with running(Path(name) / "sidecar", config, env=workers) as sidecar:
            targets = {
                listener: Target(sidecar.port(listener), pki.trust, good, stranger) for listener in ("web", "raw")
            }
            return _soak(sidecar, pki, targets, asked)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--reload-every", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--kill-every", type=float, metavar="SECONDS", help="one worker, never the first; else none")
    return parser.parse_args()


def _soak(sidecar: Sidecar, pki: Pki, targets: dict[str, Target], asked: argparse.Namespace) -> int:
    over = threading.Event()
    clients: list[Client] = [KeepAlive(targets["web"], over, seed) for seed in range(4)]
    clients += [Tunnel(targets["raw"], over, seed) for seed in range(2)]
    clients += [Churn(targets["raw"], over, seed) for seed in range(2)]
    clients += [Stranger(targets[name], over, seed) for seed, name in enumerate(("web", "raw"))]
    reloads = Reloads(sidecar, pki, targets["raw"])
    killings = Killings(sidecar, (target.port for target in targets.values()))
    growth = Growth(sidecar.pid)
    started, spent_s = time.monotonic(), cpu_s(sidecar.pid)
    for client in clients:
        client.start()
    others = [every(asked.reload_every, over, reloads.reload)]
    if asked.kill_every:
        others.append(every(asked.kill_every, over, killings.kill))
    while time.monotonic() - started < asked.minutes * 60:
        time.sleep(SAMPLE_EVERY_S)
        growth.sample(time.monotonic() - started)
    spent_s = cpu_s(sidecar.pid) - spent_s
    over.set()
    for thread in (*clients, *others):
        thread.join(60)
    print(f"duration          {time.monotonic() - started:.0f} s, {spent_s:.0f} s of processor time")
    problems = [f"{thread.name} did not end" for thread in (*clients, *others) if thread.is_alive()]
    problems += _done(clients, sidecar)
    print(
        f"reloads           {reloads.outcomes['applied']} applied, {reloads.outcomes['refused']} refused on purpose; "
        f"the longest took {reloads.longest_s:.2f} s"
    )
    problems += reloads.problems
    problems += killings.told([failure for client in clients for failure in client.errors])
    problems += growth.told()
    sidecar.settles()
    print(f"at rest           {sidecar.descriptors()} descriptors of the sidecar's own process")
    status = sidecar.status()
    if "Traceback" in sidecar.log_text or status["log_lines_dropped"]:
        problems.append("a traceback in the log, or lines lost")
    problems += [problem["message"] for problem in status["problems"] if problem["code"] == "worker_failing"]
    for problem in problems[:50]:
        print(f"FAILED {problem}")
    return 1 if problems else 0


def _done(clients: list[Client], sidecar: Sidecar) -> list[str]:
    """Print how much was done; which kinds of client did nothing."""
    by_kind: dict[str, int] = {}
    for client in clients:
        by_kind[type(client).__name__] = by_kind.get(type(client).__name__, 0) + client.done
    accepted = sidecar.metric("tlsidecar_connections_total", outcome="accepted")
    moved = sidecar.metric("tlsidecar_bytes_total") / 1e6
    print(f"done              {', '.join(f'{kind} {count}' for kind, count in by_kind.items())}")
    print(f"connections       {accepted:.0f} accepted, {moved:.0f} MB moved")
    return [f"{kind} did nothing" for kind, count in by_kind.items() if not count]


if __name__ == "__main__":
    sys.exit(main())
