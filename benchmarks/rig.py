"""The rig: nginx as the service behind every proxy, and what holds it, the proxies and their certificates."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import contenders, h2load
from benchmarks.contenders import Contender, Place, Program
from benchmarks.credentials import FOREIGN, make_foreign_pki, make_pki
from benchmarks.machine import raise_descriptor_limit, share_cores
from benchmarks.processes import DidNotStart, Process, Processes
from benchmarks.settings import H2, HTTP, SETTINGS, STREAMS

BODIES_BYTES = {"1k": 1 << 10, "16k": 16 << 10, "1m": 1 << 20, "100m": 100 << 20}

# The idle-class process that keeps the proxies' core awake ends by itself after this long.
AWAKE_S = 3 * 3600.0


class Rig:
    """Everything that one run needs beside the proxies."""

    def __init__(self, place: Place, services: Sequence[Process]) -> None:
        self.place = place
        self.services = services

    def start(self, programs: Iterable[Program], left_out: dict[str, str]) -> list[Contender]:
        """Start those that can be; why the others cannot is in ``left_out``, by name and setting."""
        running = []
        for program in programs:
            try:
                running.append(contenders.start(program, self.place))
            except DidNotStart as error:
                left_out[f"{program.name} {program.setting}"] = str(error)
        return running

    def stop(self, running: Iterable[Contender]) -> None:
        self.place.processes.stop(*(contender.process for contender in running))


@contextlib.contextmanager
def set_up(*, alone: bool = False) -> Iterator[Rig]:
    """The rig, ``alone`` without a neighbour on the proxies' core, and at the end nothing of it. Raises Unsuitable and
    :class:`DidNotStart`."""
    cores = share_cores()
    os.sched_setaffinity(0, cores.load)  # we, too, stay off the proxies' core
    descriptors = raise_descriptor_limit()
    for program in ("nginx", "haproxy", "wrk", "taskset", "chrt"):
        if shutil.which(program) is None:
            raise DidNotStart(f"{program} is not installed, and the load is made with it")
    directory = Path(tempfile.mkdtemp(prefix="tlsidecar-bench-"))
    directory.chmod(0o755)  # hitch reads as nobody
    try:
        with Processes(_made(directory / "logs")) as processes:
            http, h2, streams = (contenders.free_port() for _ in range(3))
            ports = dict.fromkeys(SETTINGS, http) | {H2: h2, STREAMS: streams}
            foreign = {
                name: make_foreign_pki(_made(directory / f"pki-{number}"), name) for number, name in enumerate(FOREIGN)
            }
            pki = make_pki(_made(directory / "pki"))
            place = Place(processes, directory, pki, foreign, cores, ports, descriptors, not alone)
            _keep_awake(place)
            yield Rig(place, [_start_service(place), *_start_h2_services(place)])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _made(directory: Path) -> Path:
    directory.mkdir()
    directory.chmod(0o755)
    return directory


def _start_service(place: Place) -> Process:
    files = _made(place.directory / "files")
    for name, size in BODIES_BYTES.items():
        (files / name).write_bytes(bytes(size))
    values = {"PORT": str(place.service_ports[HTTP]), "FILES_DIRECTORY": str(files)}
    work = _made(place.directory / "service")
    config = work / "nginx.conf"
    config.write_text(contenders.service_config(place, work, values))
    command = ["nginx", "-c", str(config), "-e", "stderr"]
    process = place.processes.start("service", command, place.cores.load, directory=work)
    contenders.wait_until_listening(process, place.service_ports[HTTP])
    return process


def _start_h2_services(place: Place) -> Iterator[Process]:
    """Those in the clear that proxies for HTTP/2 have behind them; none where nghttp2's programs are not installed."""
    if not h2load.is_installed():
        return
    files = place.directory / "files"
    (files / "small").write_bytes(b"hello\n")
    commands = {
        # A trailer behind each answer makes it one of gRPC.
        H2: ["nghttpd", "--no-tls", "--address=127.0.0.1", f"--htdocs={files}", "--trailer=grpc-status: 0"],
        STREAMS: [sys.executable, "-m", "benchmarks.stream_service"],
    }
    for setting, command in commands.items():
        port = place.service_ports[setting]
        process = place.processes.start(f"service for {setting}", [*command, str(port)], place.cores.load)
        contenders.wait_until_listening(process, port)
        yield process


def _keep_awake(place: Place) -> None:
    """A process of the idle class on the proxies' core: a virtual core that halts between requests has wake-up costs
    that vary with what else the host does, and that are charged to whoever is measured. It is in their session, so that
    it never gets the core that one of them could use."""
    loop = f"import time\nend = time.time() + {AWAKE_S}\nwhile time.time() < end: pass"
    place.processes.start("awake", ["chrt", "--idle", "0", sys.executable, "-c", loop], place.cores.proxy)
    time.sleep(0.1)
