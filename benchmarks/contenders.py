"""Who is measured: tlsidecar in its variants, and the proxies it is compared with, each started the same way."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.admin import wait_until_ready
from benchmarks.credentials import CLIENT_ID, Pki
from benchmarks.machine import Cores
from benchmarks.processes import DidNotStart, Process, Processes
from benchmarks.settings import H2, HTTP, SETTINGS, TCP
from benchmarks.variants import OVER_TCP, TWO_WORKERS, WITHOUT_LOG

CONFIGS = Path(__file__).parent / "configs"
LISTENS_WITHIN_S = 20.0

_ENVOY_FIELDS = {
    "time": "START_TIME",
    "peer": "DOWNSTREAM_REMOTE_ADDRESS",
    "identity": "DOWNSTREAM_PEER_URI_SAN",
    "method": "REQ(:METHOD)",
    "target": "REQ(:PATH)",
    "status": "RESPONSE_CODE",
    "bytes_in": "BYTES_RECEIVED",
    "bytes_out": "BYTES_SENT",
    "total_s": "DURATION",
    "upstream_s": "RESPONSE_DURATION",
    "upstream": "UPSTREAM_HOST",
    "request_id": "REQ(X-REQUEST-ID)",
}
_ENVOY_LOG = (
    '[{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, '
    'path: "@WORK@/access.log", log_format: {json_format: {'
    + ", ".join(f'{name}: "%{operator}%"' for name, operator in _ENVOY_FIELDS.items())
    + "}}}}]"
)

_STREAM_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_stream_module.so"),
)


@dataclass(frozen=True)
class Program:
    """How one proxy is run in one setting: its command, and the template that its configuration is made from."""

    name: str
    setting: str
    command: tuple[str, ...]
    template: str = ""
    values: dict[str, str] = field(default_factory=dict)
    ours: bool = False
    variant: str = ""  # of ours: see :mod:`benchmarks.variants`
    missing: str = ""  # what has to be installed, when it is not


@dataclass(frozen=True, eq=False)
class Contender:
    """A proxy that is running."""

    program: Program
    process: Process
    port: int
    directory: Path

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def setting(self) -> str:
        return self.program.setting

    @property
    def speaks(self) -> str:
        return SETTINGS[self.program.setting].speaks

    @property
    def ours(self) -> bool:
        return self.program.ours

    @property
    def admin_socket(self) -> Path:
        return self.directory / "admin" / "admin.sock"


@dataclass(frozen=True)
class Place:
    """Where a program is started: behind which service, with which material, on which cores."""

    processes: Processes
    directory: Path
    pki: Pki
    foreign_pkis: Mapping[str, Pki]
    cores: Cores
    service_ports: Mapping[str, int]  # by setting
    descriptors: int
    has_neighbour: bool = True  # see :mod:`benchmarks.neighbour`

    def pki_of(self, setting: str) -> Pki:
        return self.foreign_pkis.get(SETTINGS[setting].pki, self.pki)


def programs(tlsidecar: Sequence[str], envoy: str) -> Iterator[Program]:
    """Everyone, installed or not: ours first, in the order of the report."""
    loops = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") else [])
    for name, setting in SETTINGS.items():
        suffix = _suffix(setting.speaks)
        for loop in loops:
            for variant in ("", *setting.variants):
                yield _tlsidecar(tlsidecar, name, loop, variant)
        yield _nginx(name)
        yield Program("haproxy", name, ("haproxy", "-db", "-f", "@CONFIG@"), f"haproxy_{suffix}.cfg")
        yield Program(
            "Envoy",
            name,
            (envoy, "-c", "@CONFIG@", "--concurrency", "1", "--log-level", "critical", "--use-dynamic-base-id"),
            f"envoy_{suffix}.yaml",
        )
        if name == TCP:
            yield Program("hitch", TCP, ("hitch", "--config=@CONFIG@"), "hitch.conf", missing=_missing("hitch"))
            yield Program("stunnel", TCP, (_stunnel(), "@CONFIG@"), "stunnel.conf")
            yield _ghostunnel()


def start(program: Program, place: Place, port: int | None = None) -> Contender:
    """Start a program and wait until it accepts. Raises :class:`DidNotStart`."""
    if program.missing:
        raise DidNotStart(program.missing)
    port = port or free_port()
    directory = place.directory / re.sub("[ ,/]+", "-", f"{program.name}-{program.setting}-{port}")
    directory.mkdir()
    directory.chmod(0o755)
    values = (
        _values(place, directory, port, program.setting)
        | _logging(directory, is_shipped=SETTINGS[program.setting].is_shipped)
        | program.values
    )
    if program.ours:  # ours is also measured while its material is exchanged under it
        rotating = place.pki_of(program.setting).rotating
        values |= {"CERTIFICATE": str(rotating / "tls.crt"), "KEY": str(rotating / "tls.key")}
    config = directory / (program.template or "none")
    if program.template:
        config.write_text(_filled((CONFIGS / program.template).read_text(), values))
    command = [_filled(word, values | {"CONFIG": str(config)}) for word in program.command]
    process = place.processes.start(
        f"{program.name} {program.setting}", command, place.cores.proxy, directory=directory
    )
    wait_until_listening(process, port)
    contender = Contender(program, process, port, directory)
    if program.ours:  # its port is open before all its workers accept
        try:
            wait_until_ready(contender.admin_socket, LISTENS_WITHIN_S)
        except TimeoutError as error:
            raise DidNotStart(f"{process.name}: {error}") from None
    return contender


def service_config(place: Place, directory: Path, values: dict[str, str]) -> str:
    """The configuration of the service behind all that speak HTTP/1.1, or bytes."""
    return _filled(
        (CONFIGS / "backend.conf").read_text(), _values(place, directory, place.service_ports[TCP], TCP) | values
    )


def wait_until_listening(process: Process, port: int, within_s: float = LISTENS_WITHIN_S) -> float:
    """Returns when it accepted, on time.perf_counter. Raises :class:`DidNotStart`."""
    deadline = time.perf_counter() + within_s
    while time.perf_counter() < deadline:
        if not process.is_running:
            raise DidNotStart(f"{process.name} ended with {process.exit_code}: {process.last_words}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.001)
            continue
        return time.perf_counter()
    raise DidNotStart(f"{process.name} did not listen within {within_s:.0f} s: {process.last_words}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _values(place: Place, directory: Path, port: int, setting: str) -> dict[str, str]:
    server = place.pki_of(setting).server
    as_root = os.geteuid() == 0
    return {
        "WORK": str(directory),
        "PORT": str(port),
        "UPSTREAM_PORT": str(place.service_ports[setting]),
        "CERTIFICATE": str(server.certificate),
        "KEY": str(server.key),
        "TRUST": str(server.trust),
        "COMBINED": str(server.combined),
        "CLIENT_ID": CLIENT_ID,
        "FILES": str(place.descriptors),
        "USER": "user root;" if as_root else "",
        "HITCH_USER": 'user = "nobody"' if as_root else "",
        "STREAM_MODULE": str(_stream_module()),
    }


def _logging(directory: Path, *, is_shipped: bool) -> dict[str, str]:
    """What a configuration says of its log; ours says nothing but where it goes when it is as shipped."""
    log = f"{directory}/access.log"
    return {
        "LOG": f'file = "{log}"' if is_shipped else 'access = "off"\nlevel = "error"',
        "LIMITS": "" if is_shipped else "[listener.limits]\nmax_upstream_idle = 256",
        "NGINX_LOG": f"{log} json" if is_shipped else "off",
        "HAPROXY_LOG": "log stdout format raw local0" if is_shipped else "",
        "HAPROXY_LOGS": "log global" if is_shipped else "no log",
        "ENVOY_LOG": _ENVOY_LOG.replace("@WORK@", str(directory)) if is_shipped else "[]",
    }


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], text)


def _tlsidecar(command: Sequence[str], setting: str, loop: str, variant: str) -> Program:
    speaks = TCP if variant == OVER_TCP else SETTINGS[setting].speaks
    return Program(
        f"tlsidecar {loop}{variant}",
        setting,
        (*command, "run", "--config", "@CONFIG@"),
        "tlsidecar.toml",
        {
            "EVENT_LOOP": loop,
            "WORKERS": "2" if variant == TWO_WORKERS else "1",
            "PROTOCOL": TCP if speaks == TCP else HTTP,
            "VERSIONS": 'http2 = "only"' if speaks == H2 else "",
        }
        | ({"LOG": 'access = "off"'} if variant == WITHOUT_LOG else {}),
        ours=True,
        variant=variant,
    )


def _nginx(setting: str) -> Program:
    speaks = SETTINGS[setting].speaks
    missing = "" if speaks != TCP or _stream_module().exists() else "nginx has no stream module (libnginx-mod-stream)"
    return Program(
        "nginx",
        setting,
        ("nginx", "-c", "@CONFIG@", "-e", "stderr"),
        f"nginx_{_suffix(speaks)}.conf",
        missing=missing,
    )


def _suffix(speaks: str) -> str:
    """Of the configurations for it."""
    return "h2" if speaks == H2 else speaks


def _ghostunnel() -> Program:
    flags = (
        "--listen",
        "127.0.0.1:@PORT@",
        "--target",
        "127.0.0.1:@UPSTREAM_PORT@",
        "--cert",
        "@CERTIFICATE@",
        "--key",
        "@KEY@",
    )
    access = ("--cacert", "@TRUST@", "--allow-uri", CLIENT_ID, "--quiet", "all")
    return Program("ghostunnel", TCP, ("ghostunnel", "server", *flags, *access), missing=_missing("ghostunnel"))


def _missing(program: str) -> str:
    return "" if shutil.which(program) else f"{program} is not installed"


def _stunnel() -> str:
    return "stunnel4" if shutil.which("stunnel4") else "stunnel"


def _stream_module() -> Path:
    return next((path for path in _STREAM_MODULES if path.exists()), _STREAM_MODULES[0])
