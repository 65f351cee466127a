"""The rig: nginx as the service behind every proxy, haproxy as the mutual-TLS client before it, and what holds them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contenders, h2load
from benchmarks.contenders import H2, HTTP, LOGGED, STREAMS, TCP, Contender, Place, Program
from benchmarks.credentials import SERVER_NAME, make_pki
from benchmarks.machine import raise_descriptor_limit, share_cores
from benchmarks.processes import DidNotStart, Process, Processes

# One suite for everybody: left to themselves Envoy prefers AES-128 and OpenSSL follows the client's AES-256.
CIPHER_SUITE = "TLS_AES_128_GCM_SHA256"

BODIES_BYTES = {"1k": 1 << 10, "16k": 16 << 10, "1m": 1 << 20, "100m": 100 << 20}

# The idle-class process that keeps the proxies' core awake ends by itself after this long.
AWAKE_S = 3 * 3600.0

_ORIGINATOR_HEAD = """global
  nbthread 1
  maxconn {most}
defaults
  mode tcp
  timeout connect 5s
  timeout client 600s
  timeout server 600s
"""
_ORIGINATOR_LISTEN = """listen to-{port}-{kind}
  bind 127.0.0.1:{local} backlog 4096
  server one 127.0.0.1:{port} ssl crt {pem} ca-file {trust} verify required force-tlsv13 {how}
"""


@dataclass(frozen=True)
class Entrance:
    """The load's own ports for one proxy: plaintext in, mutual TLS to the proxy."""

    full: int  # a full handshake for every connection
    resumed: int  # sessions resumed where the proxy offers it


class Rig:
    """Everything that one run needs beside the proxies."""

    def __init__(self, place: Place, services: Sequence[Process]) -> None:
        self.place = place
        self.services = services

    def start(self, programs: Iterable[Program], left_out: dict[str, str]) -> list[Contender]:
        """Start those that can be; why the others cannot is in ``left_out``, by name and protocol."""
        running = []
        for program in programs:
            try:
                running.append(contenders.start(program, self.place))
            except DidNotStart as error:
                left_out[f"{program.name} {program.protocol}"] = str(error)
        return running

    def stop(self, running: Iterable[Contender]) -> None:
        self.place.processes.stop(*(contender.process for contender in running))

    @contextlib.contextmanager
    def entrances(self, running: Iterable[Contender]) -> Iterator[dict[Contender, Entrance]]:
        """One haproxy that speaks mutual TLS to all of them, with a port each."""
        client = self.place.pki.client
        running = list(running)
        doors = {contender.port: Entrance(contenders.free_port(), contenders.free_port()) for contender in running}
        speaks_h2 = {contender.port: contender.protocol in contenders.OVER_H2 for contender in running}
        text = _ORIGINATOR_HEAD.format(most=self.place.descriptors // 2 - 100)
        for port, door in doors.items():
            alpn = " alpn h2" if speaks_h2[port] else ""
            for kind, local, reuse in (("full", door.full, " no-ssl-reuse"), ("resumed", door.resumed, "")):
                text += _ORIGINATOR_LISTEN.format(
                    port=port,
                    kind=kind,
                    local=local,
                    pem=client.combined,
                    trust=client.trust,
                    how=f"verifyhost {SERVER_NAME} sni str({SERVER_NAME}) ciphersuites {CIPHER_SUITE}{reuse}{alpn}",
                )
        config = self.place.directory / "originator.cfg"
        config.write_text(text)
        process = self.place.processes.start(
            "originator", ["haproxy", "-db", "-f", str(config)], self.place.cores.load, directory=self.place.directory
        )
        try:
            for door in doors.values():
                contenders.wait_until_listening(process, door.full)
            yield {contender: doors[contender.port] for contender in running}
        finally:
            self.place.processes.stop(process)


@contextlib.contextmanager
def set_up() -> Iterator[Rig]:
    """The rig, and at the end nothing of it. Raises Unsuitable and :class:`DidNotStart`."""
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
            ports = {TCP: http, HTTP: http, LOGGED: http, H2: h2, STREAMS: streams}
            place = Place(processes, directory, make_pki(_made(directory / "pki")), cores, ports, descriptors)
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
    for protocol, command in commands.items():
        port = place.service_ports[protocol]
        process = place.processes.start(f"service for {protocol}", [*command, str(port)], place.cores.load)
        contenders.wait_until_listening(process, port)
        yield process


def _keep_awake(place: Place) -> None:
    """A process of the idle class on the proxies' core: a virtual core that halts between requests has wake-up costs
    that vary with what else the host does, and that are charged to whoever is measured."""
    loop = f"import time\nend = time.time() + {AWAKE_S}\nwhile time.time() < end: pass"
    place.processes.start("awake", ["chrt", "--idle", "0", sys.executable, "-c", loop], place.cores.proxy)
    time.sleep(0.1)
