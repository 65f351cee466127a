"""The image as a container: built from our Dockerfile on Debian's Python and run as it is meant to run: read-only, no
capability, 128 MiB, nobody's user. `make image-test`: a minute for the build, then a container for each test.
"""

from __future__ import annotations

import http.server
import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import configs, inside
from support.containers import IMAGE, ROOT, RUN_OPTIONS, USER, Container, Engine, give_away, obstacle
from support.mtls import Alerted, connected
from support.pki import Pair, Pki
from support.ports import free_port
from support.raw_http import read_answer, request
from support.services import http_service
from support.waiting import eventually

from tlsidecar.sandbox import landlock

pytestmark = [
    pytest.mark.skipif(os.environ.get("IMAGE_TEST") != "1", reason="make image-test runs it: it builds an image"),
    pytest.mark.timeout(500),
]

MOST_COMPRESSED_BYTES = 60 << 20
PEERS, REQUESTS = 200, 40


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if found := obstacle():
        pytest.fail(found)
    engine = Engine(tmp_path_factory.mktemp("containers"))
    try:
        engine.build()
        yield engine
    finally:
        engine.remove()


class World:
    """What is mounted: a Secret volume as Kubernetes lays it out, a configuration, a directory for the socket."""

    def __init__(self, directory: Path, service: str) -> None:
        self.pki = Pki(directory / "pki")
        self.client = self.pki.issue("client", "client.test")
        self.secret = directory / "secret"
        self.run = directory / "run"
        self.etc = directory / "etc"
        for each in (self.secret, self.run, self.etc):
            each.mkdir()
        self.run.chmod(0o700)
        self.port = free_port()
        mounted = Pair(Path("/var/lib/tlsidecar/tls.crt"), Path("/var/lib/tlsidecar/tls.key"))
        (self.etc / "tlsidecar.toml").write_text(
            configs.identity(mounted, Path("/var/lib/tlsidecar/ca.crt"), poll_interval="200ms")
            + configs.terminate(service, protocol="http", listen=f"127.0.0.1:{self.port}", allow=("dns:client.test",))
        )
        for file in ("tls.crt", "tls.key", "ca.crt"):
            (self.secret / file).symlink_to(f"..data/{file}")
        self.publish("first")
        give_away(self.run)
        give_away(self.etc)

    def publish(self, name: str) -> None:
        """A new directory, then one rename of ``..data``: what kubelet does."""
        pair = self.pki.issue(name, "localhost")
        fresh = self.secret / f"..{name}"
        fresh.mkdir()
        for source, target in ((pair.cert, "tls.crt"), (pair.key, "tls.key"), (self.pki.trust, "ca.crt")):
            shutil.copy(source, fresh / target)
        (self.secret / "..new").symlink_to(fresh.name)
        (self.secret / "..new").rename(self.secret / "..data")
        give_away(self.secret)

    @property
    def mounts(self) -> list[str]:
        return [
            *("--volume", f"{self.etc}:/etc/tlsidecar:ro", "--volume", f"{self.secret}:/var/lib/tlsidecar:ro"),
            *("--volume", f"{self.run}:/run/tlsidecar"),
        ]

    def served_serial(self) -> int:
        context = self.pki.client_context(self.client)
        with (
            socket.create_connection(("127.0.0.1", self.port), 5) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            certificate = tls.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with http_service() as service:
        yield World(tmp_path, service)


@pytest.fixture
def container(engine: Engine, world: World) -> Iterator[Container]:
    with engine.running("tlsidecar", *world.mounts) as container:
        container.exec("tlsidecar", "wait", "--timeout", "15s")
        yield container


def test_mutual_tls_goes_through_it(container: Container, world: World) -> None:
    with connected(world.port, world.pki.trust, world.client) as peer:
        peer.send(request())
        assert read_answer(peer).status == 200
    stranger = world.pki.issue("stranger", "stranger.test")
    for nobody in (stranger, None):
        with pytest.raises((Alerted, ConnectionError)):
            answer_to(world, nobody)
    refusals = json.loads(container.exec("tlsidecar", "refusals", "--json").out)["refusals"]
    assert len(refusals) == 2


def answer_to(world: World, client: Pair | None) -> bytes:
    with connected(world.port, world.pki.trust, client) as peer:
        peer.send(request())
        return peer.recv()


def test_a_swapped_volume_is_served(container: Container, world: World) -> None:
    before = world.served_serial()
    world.publish("second")
    eventually(lambda: world.served_serial() != before, 20)
    status = json.loads(container.exec("tlsidecar", "status", "--json").out)
    assert (status["state"], status["generation"]) == ("ready", 2)


def test_its_commands_run_inside(container: Container) -> None:
    assert "pid 1" in container.exec("tlsidecar", "status").out
    assert "nothing is wrong" in container.exec("tlsidecar", "ui", "--once").out
    assert container.exec("tlsidecar", "health", "--live").code == 0
    assert container.exec("tlsidecar", "check").code == 0
    missing = container.exec("tlsidecar", "ui", "--socket", "/nowhere", code=None)
    assert (missing.code, "Traceback" in missing.err) == (3, False)


def test_its_own_health_check_says_healthy(engine: Engine, container: Container) -> None:
    configured = json.loads(engine.podman("image", "inspect", IMAGE).out)[0]
    check = next(value for key, value in configured.items() if key.lower() == "healthcheck")
    assert check["Test"] == ["CMD", "tlsidecar", "health", "--live"]
    assert engine.podman("healthcheck", "run", container.name, code=None).code == 0
    # Without a socket to ask, the same check says no.
    container.exec("sh", "-c", "mv /run/tlsidecar/admin.sock /run/tlsidecar/gone")
    assert engine.podman("healthcheck", "run", container.name, code=None).code == 1
    container.exec("sh", "-c", "mv /run/tlsidecar/gone /run/tlsidecar/admin.sock")


def test_stopping_it_drains(engine: Engine, tmp_path: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            answer.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"late")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http_service(Slow) as service:
        world = World(tmp_path, service)
        with engine.running("draining", *world.mounts) as container, ThreadPoolExecutor(1) as pool:
            container.exec("tlsidecar", "wait", "--timeout", "15s")
            with connected(world.port, world.pki.trust, world.client) as peer:
                peer.send(request())
                assert asked.wait(10)
                stopping = pool.submit(engine.podman, "stop", "--time", "25", container.name)
                eventually(lambda: "draining" in container.log)
                answer.set()
                assert read_answer(peer).body == b"late"
            stopping.result(30)
            assert (container.state()["ExitCode"], container.state()["OOMKilled"]) == (0, False)


def test_it_can_do_next_to_nothing(container: Container) -> None:
    status = dict(line.split(":\t", 1) for line in container.exec("cat", "/proc/1/status").out.splitlines())
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Uid"].split() == status["Gid"].split() == [str(USER)] * 4
    for place in ("/written", "/opt/tlsidecar/written", "/etc/tlsidecar/written", "/var/lib/tlsidecar/written"):
        assert container.exec("touch", place, code=None).code != 0, place


def test_its_memory_holds_under_load(container: Container, world: World) -> None:
    context = world.pki.client_context(world.client)

    def load(_: int) -> int:
        with (
            socket.create_connection(("127.0.0.1", world.port), 30) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            together.wait(60)
            answered = 0
            for _ in range(REQUESTS):
                tls.sendall(request("POST", "/", body=b"x" * 8192))
                answered += read_answer(_Reader(tls)).status == 200
            return answered

    together = threading.Barrier(PEERS)
    with ThreadPoolExecutor(PEERS) as pool:
        assert sum(pool.map(load, range(PEERS))) == PEERS * REQUESTS
    state = container.state()
    assert (state["Running"], state["OOMKilled"]) == (True, False)
    resident = container.exec("sh", "-c", "grep VmHWM /proc/1/status").out.split()
    sys.stdout.write(f"{PEERS} peers, {PEERS * REQUESTS} requests: {int(resident[1]) >> 10} MiB of 128 at most\n")


class _Reader:
    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls

    def recv(self, most: int = 65536) -> bytes:
        return self._tls.recv(most)


def test_it_is_small(engine: Engine) -> None:
    size = engine.compressed_bytes_beyond_base()
    sys.stdout.write(f"{size / (1 << 20):.1f} MiB compressed beyond the base\n")
    assert size <= MOST_COMPRESSED_BYTES


def test_what_the_build_was_given_is_not_in_it(engine: Engine) -> None:
    look = ("--entrypoint", "sh", IMAGE, "-c", "test -s /etc/pip.conf || ls /opt; ls -d /build; true")
    assert engine.podman("run", "--rm", *RUN_OPTIONS, *look).out.split() == ["tlsidecar"]


def test_the_kernel_holds_it_there_as_well_as_here(engine: Engine, world: World) -> None:
    """What somebody could do who has taken over the process in the container: tried in that process."""
    probed = "/probe"
    denied = [("read", "/etc/debian_version"), ("list", "/opt"), ("connect", 1), ("bind", 1025), ("run", "/bin/true")]
    allowed = [("read", "/var/lib/tlsidecar/tls.key"), ("list", "/etc/tlsidecar")]
    probe = ("--volume", f"{Path(inside.__file__).parent}:{probed}:ro", "--env", f"PYTHONPATH={probed}")
    with engine.running(
        "sandboxed", *world.mounts, *probe, "--env", f"PROBE={json.dumps([*denied, *allowed])}"
    ) as container:
        container.exec("tlsidecar", "wait", "--timeout", "15s")
        sandbox = json.loads(container.exec("tlsidecar", "status", "--json").out)["sandbox"]
        assert (sandbox["mode"], sandbox["holds"], sandbox["abi"]) == ("auto", True, landlock.abi())
        engine.podman("kill", "--signal", str(int(inside.SIGNAL)), container.name)
        report = eventually(lambda: [each for each in container.log.splitlines() if each.startswith(inside.REPORT)])[0]
        _, found = json.loads(report.removeprefix(inside.REPORT))
        denials = {(what, argument) for what, argument, how in found if how in ("EACCES", "EPERM")}
        assert denials == set(denied), found


def test_its_admin_protocol_goes_through_a_pipe(engine: Engine, container: Container, tmp_path: Path) -> None:
    """As `docker exec -i` carries it for the console's target docker://."""
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\nexec {shlex.join(engine.command())} "$@"\n')
    docker.chmod(0o700)
    shown = subprocess.run(
        [sys.executable, "-m", "tlsidecar", "ui", "--once", f"docker://{container.name}", "-o", "json"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["sidecars"][0]["status"]["pid"] == 1


def test_compose_runs_as_it_is(engine: Engine, tmp_path: Path) -> None:
    """deploy/compose.yaml: its CA made once, the sidecar before the service, one network for both, then all ended."""
    engine.podman("tag", IMAGE, "localhost/tlsidecar:0.1.0")
    podman = tmp_path / "podman"
    podman.write_text(f'#!/bin/sh\nexec {shlex.join(engine.command())} "$@"\n')
    podman.chmod(0o700)
    options = "--runtime runc --ulimit nofile=20000:20000 --ulimit nproc=4096:4096"
    command = [Path(sys.prefix) / "manifests/bin/podman-compose", "--podman-path", podman, "--in-pod", "false"]
    command += ["-p", "composed", f"--podman-run-args={options}", "-f", ROOT / "deploy/compose.yaml"]

    def compose(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    try:
        compose("up", "--detach", "--no-build")
        sidecar = Container(engine, "composed_tlsidecar_1")
        sidecar.exec("tlsidecar", "wait", "--timeout", "30s")
        assert sidecar.exec("tlsidecar", "check").code == 0
        (volume,) = json.loads(engine.podman("volume", "inspect", "composed_clients").out)
        clients = Path(volume["Mountpoint"])
        curl = ["curl", "-sS", "--cacert", clients / "ca.crt", "--max-time", "20", "https://localhost:8443/"]
        pair = ["--cert", clients / "tls.crt", "--key", clients / "tls.key"]
        eventually(lambda: subprocess.run([*curl, *pair], capture_output=True, check=False).returncode == 0, 30)
        assert subprocess.run(curl, capture_output=True, check=False).returncode != 0
        assert json.loads(sidecar.exec("tlsidecar", "status", "--json").out)["sandbox"]["holds"]
    finally:
        compose("down", "--volumes")
