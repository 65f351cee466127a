"""``make soak MINUTES=3``: the load of :mod:`soak.load` on one sidecar, with a reload every ten seconds, one in three
of them with a key that does not fit. Ends with 0 when nothing failed and nothing grew; prints the figures in any case.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from support import configs
from support.pki import Pki, replace
from support.services import echo, http_service, serving
from support.sidecar import Sidecar, running

from soak.load import Churn, Client, KeepAlive, Stranger, Target, Tunnel, every

RELOAD_EVERY_S = 10.0
SAMPLE_EVERY_S = 2.0
WARM_UP_FRACTION = 1 / 3
# Over minutes the allocator's arenas still come and go: a leak of a kilobyte a connection would be far above this.
MOST_GROWTH_BYTES = 3 * 1024 * 1024


@dataclass(frozen=True)
class Sample:
    at_s: float
    resident: int
    descriptors: int
    threads: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    minutes: float = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as name, serving(echo) as tcp, http_service() as http:
        pki = Pki(Path(name) / "pki")
        server, good = pki.issue("server", "localhost"), pki.issue("good", "client.test")
        stranger = pki.issue("stranger", "stranger.test")
        only_good = ("dns:client.test",)
        config = configs.identity(server, pki.trust, poll_interval="1h")
        config += configs.terminate(http, name="web", protocol="http", allow=only_good)
        config += configs.terminate(tcp.address, name="raw", allow=only_good)
        with running(Path(name) / "sidecar", config) as sidecar:
            targets = {
                listener: Target(sidecar.port(listener), pki.trust, good, stranger) for listener in ("web", "raw")
            }
            return _soak(sidecar, pki, targets, minutes * 60)


def _soak(sidecar: Sidecar, pki: Pki, targets: dict[str, Target], duration_s: float) -> int:
    over = threading.Event()
    clients: list[Client] = [KeepAlive(targets["web"], over, seed) for seed in range(4)]
    clients += [Tunnel(targets["raw"], over, seed) for seed in range(2)]
    clients += [Churn(targets["raw"], over, seed) for seed in range(2)]
    clients += [Stranger(targets[name], over, seed) for seed, name in enumerate(("web", "raw"))]
    reloads: dict[str, int] = {"applied": 0, "refused": 0}
    problems: list[str] = []
    other_key = Pki(pki.directory / "other").issue("other", "localhost").key.read_bytes()

    def reload(number: int) -> None:
        try:
            pair = pki.issue("server", "localhost")
            wanted = "refused" if number % 3 == 0 else "applied"
            if wanted == "refused":
                replace(pair.key, other_key, mode=0o600)
            outcome = sidecar.call("POST", "/v1/reload")[1]["outcome"]
            reloads[outcome] += 1
            if outcome != wanted:
                problems.append(f"reload {number} was {outcome}")
        except Exception as error:
            problems.append(f"reload {number}: {error!r}")

    started, cpu_s = time.monotonic(), sidecar.cpu_s()
    for client in clients:
        client.start()
    reloader = every(RELOAD_EVERY_S, over, reload)
    samples: list[Sample] = []
    while time.monotonic() - started < duration_s:
        time.sleep(SAMPLE_EVERY_S)
        samples.append(_sample(sidecar, time.monotonic() - started))
    cpu_s = sidecar.cpu_s() - cpu_s
    over.set()
    for thread in (*clients, reloader):
        thread.join(60)
    problems += [error for client in clients for error in client.errors]
    problems += [f"{thread.name} did not end" for thread in clients if thread.is_alive()]
    sidecar.settles()
    if "Traceback" in sidecar.log_text or sidecar.status()["log_lines_dropped"]:
        problems.append("a traceback in the log, or lines lost")
    problems += _told(clients, reloads, samples, time.monotonic() - started, cpu_s, sidecar)
    for problem in problems[:50]:
        print(f"FAILED {problem}")
    return 1 if problems else 0


def _sample(sidecar: Sidecar, at_s: float) -> Sample:
    status = Path(f"/proc/{sidecar.pid}/status").read_text()
    threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
    return Sample(at_s, sidecar.resident_bytes(), sidecar.descriptors(), threads)


def _told(
    clients: list[Client],
    reloads: dict[str, int],
    samples: list[Sample],
    duration_s: float,
    cpu_s: float,
    sidecar: Sidecar,
) -> list[str]:
    """Print the figures; what in them is not as it should be."""
    warm = samples[int(len(samples) * WARM_UP_FRACTION) :]
    slope, _ = statistics.linear_regression([each.at_s for each in warm], [each.resident for each in warm])
    half = len(warm) // 2
    early, late = (statistics.median(each.resident for each in part) for part in (warm[:half], warm[half:]))
    by_kind: dict[str, int] = {}
    for client in clients:
        by_kind[type(client).__name__] = by_kind.get(type(client).__name__, 0) + client.done
    accepted = sidecar.metric("tlsidecar_connections_total", outcome="accepted")
    moved = sidecar.metric("tlsidecar_bytes_total") / 1e6
    print(f"duration          {duration_s:.0f} s, {cpu_s:.0f} s of processor time")
    print(f"done              {', '.join(f'{kind} {count}' for kind, count in by_kind.items())}")
    print(f"connections       {accepted:.0f} accepted, {moved:.0f} MB moved")
    print(f"reloads           {reloads['applied']} applied, {reloads['refused']} refused on purpose")
    print(f"resident          {samples[0].resident / 1e6:.1f} MB at first, {warm[0].resident / 1e6:.1f} warm, ", end="")
    print(f"{samples[-1].resident / 1e6:.1f} last; after warm-up {slope * 3600 / 1e6:+.1f} MB an hour")
    print(
        f"descriptors       {min(s.descriptors for s in warm)} to {max(s.descriptors for s in warm)} under load, ",
        end="",
    )
    print(f"{sidecar.descriptors()} after it")
    print(f"threads           {warm[0].threads} warm, {samples[-1].threads} last")
    problems = [f"{kind} did nothing" for kind, count in by_kind.items() if not count]
    if late - early > MOST_GROWTH_BYTES:
        problems.append(f"resident memory grew by {(late - early) / 1e6:.1f} MB between the halves after warm-up")
    if max(each.threads for each in warm) > warm[0].threads + 2:
        problems.append("threads grew")
    return problems


if __name__ == "__main__":
    sys.exit(main())
