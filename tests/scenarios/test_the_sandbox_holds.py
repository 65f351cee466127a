"""What somebody could do who has taken over the sidecar: only what its configuration needs; and what that needs, also
after it has changed, goes on working."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import configs, inside
from support.certs_cli import certs
from support.mtls import connected
from support.pki import Pki, replace
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

from tlsidecar.sandbox.landlock import LandlockUnavailable, abi

try:
    ABI = abi()
except LandlockUnavailable:
    ABI = 0
needs_landlock = pytest.mark.skipif(ABI < 6, reason=f"Landlock's ABI here is {ABI}, and 6 is needed")

DENIED = ("EACCES", "EPERM")


def tried_inside(sidecar: Sidecar, pid: int) -> dict[tuple[str, Any], str]:
    """How each thing went that was tried in this process of the sidecar."""
    os.kill(pid, inside.SIGNAL)

    def look() -> dict[tuple[str, Any], str]:
        for line in sidecar.whole_lines:
            if line.startswith(inside.REPORT):
                who, found = json.loads(line.removeprefix(inside.REPORT))
                if who == pid:
                    return {(what, argument): how for what, argument, how in found}
        return {}

    return eventually(look)


@needs_landlock
@pytest.mark.parametrize("workers", ["1", "2"])
def test_only_what_the_configuration_needs(pki: Pki, tmp_path: Path, workers: str) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text("secret")
    with (
        serving(echo) as service,
        serving(echo) as other,
        socket.socket() as free,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        free.bind(("127.0.0.1", 0))
        abstract.bind(f"\0{tmp_path.name}-{os.getpid()}")
        abstract.listen()
        upstream, another = (int(each.address.rpartition(":")[2]) for each in (service, other))
        denied: Sequence[tuple[str, object]] = [
            ("read", str(secret)),
            ("list", str(secret.parent)),
            ("append", str(secret)),
            ("write", str(secret.parent / "new")),
            ("remove", str(secret)),
            ("append", str(server.key)),
            ("write", str(server.cert.parent / "new")),
            ("append", str(tmp_path / "sidecar" / "tlsidecar.toml")),
            ("write", "/dev/shm/tlsidecar-probe"),
            ("bind", free.getsockname()[1]),
            ("connect", another),
            ("connect_abstract", f"{tmp_path.name}-{os.getpid()}"),
            ("signal", os.getpid()),
            ("run", "/bin/true"),
            ("ask_to_open", str(secret)),
            ("ask_to_open", "/etc/passwd"),
            ("ask_to_connect", another),
            ("ask_to_run", "/bin/true"),
        ]
        allowed: Sequence[tuple[str, object]] = [
            ("read", str(server.key)),
            ("read", str(tmp_path / "sidecar" / "tlsidecar.toml")),
            ("list", str(server.cert.parent)),
            ("bind", 0),
            ("connect", upstream),
        ]
        env = {
            "PYTHONPATH": str(Path(inside.__file__).parent),
            "PROBE": json.dumps([*denied, *allowed]),
            "TLSIDECAR_WORKERS": workers,
        }
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config, env=env) as sidecar:
            sandbox = sidecar.status()["sandbox"]
            assert (sandbox["mode"], sandbox["holds"], sandbox["abi"]) == ("auto", True, ABI)
            assert {"files", "tcp_ports", "signals"} <= set(sandbox["covers"])
            assert any("UDP" in gap for gap in sandbox["gaps"])
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
            # The controller, and whoever carries the traffic.
            pids = {sidecar.pid, *(worker["pid"] for worker in sidecar.status()["workers"])}
            assert len(pids) == (1 if workers == "1" else 3)
            for pid in pids:
                found = tried_inside(sidecar, pid)
                if pid != sidecar.pid:
                    # Only the controller reads files, so only it has that side of the broker.
                    found = {each: how for each, how in found.items() if not each[0].startswith("ask")}
                wrong = {each: how for each, how in found.items() if (how in DENIED) is not (each in denied)}
                assert wrong == {}
            assert secret.read_text() == "secret"


def lets_in(sidecar: Sidecar, pki: Pki) -> bool:
    with connected(sidecar.port("in"), pki.trust, pki.issue("client", "client.test")) as peer:
        peer.send(b"!")
        return peer.recv_exactly(1) == b"!"


def generation(sidecar: Sidecar) -> int:
    found: int = sidecar.status()["generation"]
    return found


@needs_landlock
def test_rotations_into_other_directories_go_on(pki: Pki, tmp_path: Path) -> None:
    """A link that is turned, and a directory that is replaced as a whole, lead to where nothing was at the start."""
    server = pki.issue("server", "localhost")
    first = tmp_path / "releases" / "1"
    first.mkdir(parents=True)

    def fill(directory: Path) -> None:
        pair = pki.issue("server", "localhost")
        for source, name in ((pair.cert, "tls.crt"), (pair.key, "tls.key")):
            replace(directory / name, source.read_bytes(), mode=0o600)

    fill(first)
    current = tmp_path / "material" / "current"
    current.parent.mkdir()
    current.symlink_to(first)
    at_current = type(server)(current / "tls.crt", current / "tls.key")
    with serving(echo) as service:
        config = configs.identity(at_current, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert sidecar.status()["sandbox"]["holds"]
            beside = tmp_path / "releases" / "2"
            beside.mkdir()
            fill(beside)
            far = tmp_path / "another" / "place"
            far.mkdir(parents=True)
            fill(far)
            for number, target in enumerate((beside, far), 2):
                link = current.with_name("next")
                link.symlink_to(target)
                link.rename(current)
                eventually(lambda number=number: generation(sidecar) == number)
            # The directory itself makes way for another one.
            fresh = tmp_path / "another" / "fresh"
            fresh.mkdir()
            fill(fresh)
            far.rename(far.with_name("old"))
            fresh.rename(far)
            eventually(lambda: generation(sidecar) == 4)
            assert lets_in(sidecar, pki)


@needs_landlock
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_upstream_may_get_another_port(pki: Pki, tmp_path: Path, workers: str) -> None:
    server = pki.issue("server", "localhost")
    with serving(lambda sock: sock.sendall(b"old")) as old, serving(echo) as new:
        config = configs.identity(server, pki.trust) + configs.terminate(old.address)
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar:
            assert sidecar.status()["sandbox"]["holds"]
            sidecar.config_path.write_text(sidecar.config_path.read_text().replace(old.address, new.address))
            assert sidecar.call("POST", "/v1/reload")[1]["attempt"]["configuration"] == "applied"
            for _ in range(4):
                assert lets_in(sidecar, pki)


@needs_landlock
def test_a_program_that_issues_has_what_it_needs(pki: Pki, tmp_path: Path) -> None:
    """It reads, writes and connects where the sidecar may not; nobody says so in the configuration."""
    pair = pki.issue("server", "localhost")
    pem = tmp_path / "elsewhere" / "all.pem"
    pem.parent.mkdir()
    replace(pem, pair.cert.read_bytes() + pair.key.read_bytes(), mode=0o600)
    program = tmp_path / "bin" / "issue"
    program.parent.mkdir()
    with serving(echo) as service, serving(echo) as ca:
        port = ca.address.rpartition(":")[2]
        program.write_text(
            "#!/bin/sh\nset -e\n"
            f"{sys.executable} -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'\n"
            f"echo ran >> {pem.parent}/runs\nexec cat {pem}\n"
        )
        program.chmod(0o755)
        config = f'[identity]\ncommand = ["{program}"]\ntrust = "{pki.trust}"\n' + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert sidecar.status()["sandbox"]["holds"]
            assert lets_in(sidecar, pki)
            assert sidecar.call("POST", "/v1/rotate")[0] == 200
            assert (pem.parent / "runs").read_text() == "ran\nran\n"
            program.write_text("#!/bin/sh\necho no >&2; exit 3\n")
            status, answer = sidecar.call("POST", "/v1/rotate")
            assert (status, answer["attempt"]["reason"]) == (409, "command_failed")
            assert "exit code 3" in answer["attempt"]["detail"]
            assert lets_in(sidecar, pki)


@needs_landlock
def test_material_and_log_may_come_and_go(pki: Pki, tmp_path: Path) -> None:
    """The directory of the material is not there at the start; the log is renamed away and opened anew."""
    pair = pki.issue("server", "localhost")
    late = tmp_path / "late" / "material"
    named = type(pair)(late / "tls.crt", late / "tls.key")
    log = tmp_path / "logs" / "tlsidecar.log"
    log.parent.mkdir()
    with serving(echo) as service:
        config = 'wait_for_material = "30s"\n' + f'log.file = "{log}"\n' + configs.identity(named, pki.trust)
        sidecar = Sidecar(tmp_path / "sidecar", "", env=None)
        sidecar.config_path.write_text(
            config.replace("[identity]", f'[admin]\nsocket = "{sidecar.socket_path}"\n[identity]')
            + configs.terminate(service.address)
        )
        sidecar.start(wait=False)
        try:
            eventually(lambda: log.exists() and "waiting for material" in log.read_text())
            late.mkdir(parents=True)
            for source, path in ((pair.cert, named.cert), (pair.key, named.key)):
                replace(path, source.read_bytes(), mode=0o600)
            sidecar.answers()
            assert sidecar.status()["sandbox"]["holds"]
            log.rename(log.with_name("old.log"))
            sidecar.signal(signal.SIGHUP)
            eventually(lambda: lets_in(sidecar, pki) and log.exists() and "connection" in log.read_text())
            assert sidecar.stop() == 0
        finally:
            sidecar.kill()


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_where_the_kernel_refuses(pki: Pki, tmp_path: Path, error: str) -> None:
    """As in a container whose seccomp filter knows nothing of Landlock."""
    hidden = [sys.executable, str(Path(inside.__file__).with_name("without_landlock.py")), error]
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "auto", config, under=hidden) as sidecar:
            sandbox = sidecar.status()["sandbox"]
            assert (sandbox["mode"], sandbox["holds"], sandbox["abi"], sandbox["covers"]) == ("auto", False, 0, [])
            assert "seccomp" in sandbox["reason"]
            eventually(lambda: "there is no sandbox" in sidecar.log_text)
            assert lets_in(sidecar, pki)
        required = Sidecar(tmp_path / "required", config, env={"TLSIDECAR_SANDBOX": "required"}, under=hidden)
        required.start(wait=False)
        assert required.wait() == 2
        assert 'sandbox: "required", and it cannot hold' in required.log_text
        assert "Traceback" not in required.log_text
        assert not required.socket_path.exists()
        command = [*hidden, sys.executable, "-m", "tlsidecar", "check", "--config", str(required.config_path)]
        checked = subprocess.run([*command, "--sandbox", "required"], capture_output=True, text=True, check=False)
        assert checked.returncode == 2
        assert "cannot hold" in checked.stdout
        checked = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0
        assert json.loads(checked.stdout)["sandbox"]["holds"] is False


@needs_landlock
@pytest.mark.parametrize("older", [1, 3, 5])
def test_on_older_kernels(pki: Pki, tmp_path: Path, older: int) -> None:
    """What its ABI knows holds, and the sources that write go on working; what it does not know is told."""
    under = [sys.executable, str(Path(inside.__file__).with_name("older_landlock.py")), str(older)]
    certs("init", tmp_path / "ca", "--name", "Dev CA")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    with (
        serving(echo) as service,
        serving(echo) as other,
        socket.socket() as free,
        socket.socket(socket.AF_UNIX) as near,
    ):
        free.bind(("127.0.0.1", 0))
        near.bind(f"\0{tmp_path.name}-{os.getpid()}")
        near.listen()
        tries: dict[tuple[str, object], int] = {  # and the ABI that denies it
            ("read", str(secret)): 1,
            ("append", str(secret)): 1,
            ("run", "/bin/true"): 1,
            ("truncate", str(secret)): 3,
            ("connect", other.port): 4,
            ("bind", free.getsockname()[1]): 4,
            ("connect_abstract", f"{tmp_path.name}-{os.getpid()}"): 6,
            ("signal", os.getpid()): 6,
        }
        free.close()
        env = {"PYTHONPATH": str(Path(inside.__file__).parent), "PROBE": json.dumps([*tries])}
        config = f'[identity]\nauthority = "{tmp_path}/ca"\ndns = ["localhost"]\n' + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config, env=env, under=under) as sidecar:
            sandbox = sidecar.status()["sandbox"]
            assert (sandbox["holds"], sandbox["abi"]) == (True, older)
            assert any("truncating" in each for each in sandbox["gaps"]) is (older < 3)
            assert sidecar.call("POST", "/v1/rotate")[0] == 200
            assert generation(sidecar) == 2
            found = tried_inside(sidecar, sidecar.pid)
            assert {each for each, how in found.items() if how in DENIED} == {
                each for each, since in tries.items() if since <= older
            }
        if older < 4:
            required = Sidecar(tmp_path / "required", config, env={"TLSIDECAR_SANDBOX": "required"}, under=under)
            required.start(wait=False)
            assert required.wait() == 2
            assert (
                f'"required", and this kernel knows no TCP ports in it (Landlock ABI {older} of 4)' in required.log_text
            )
            assert "Traceback" not in required.log_text


def test_a_local_ca_may_come_late(tmp_path: Path, pki: Pki) -> None:
    state = tmp_path / "state"
    state.mkdir()
    config = f'[identity]\nauthority = "{state}/deep/ca"\ndns = ["localhost"]\n' + configs.terminate("127.0.0.1:1")
    sidecar = Sidecar(tmp_path / "sidecar", config, env={"TLSIDECAR_WAIT_FOR_MATERIAL": "60s"})
    try:
        sidecar.start(wait=False)
        eventually(lambda: "waiting for material" in sidecar.log_text)
        certs("init", state / "deep" / "ca", "--name", "Dev CA")
        sidecar.answers()
        assert any(f"{state} and all that is below it" in gap for gap in sidecar.status()["sandbox"]["gaps"])
        assert sidecar.stop() == 0
    finally:
        sidecar.kill()


def test_it_can_be_switched_off(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "off", config, env={"TLSIDECAR_SANDBOX": "off"}) as sidecar:
            sandbox = sidecar.status()["sandbox"]
            assert (sandbox["mode"], sandbox["holds"], sandbox["reason"]) == ("off", False, "it is switched off")
            assert "sandbox" not in sidecar.log_text


def children_of(pid: int) -> dict[int, str]:
    """Their names, as ps shows them; with several workers there is the process that forks them, too."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/comm").read_text() for child in children}


@needs_landlock
def test_a_broker_that_was_killed_is_said(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            eventually(lambda: "sidecar-broker\n" in children_of(sidecar.pid).values())
            assert len(children_of(sidecar.pid)) == (1 if os.environ.get("TLSIDECAR_WORKERS", "1") == "1" else 2)
            (broker,) = (pid for pid, name in children_of(sidecar.pid).items() if name == "sidecar-broker\n")
            os.kill(broker, signal.SIGKILL)
            trust = tmp_path / "far" / "ca.crt"
            trust.parent.mkdir()
            trust.write_bytes(pki.trust.read_bytes())
            text = sidecar.config_path.read_text()
            sidecar.config_path.write_text(text.replace(str(pki.trust), str(trust)))
            attempt = sidecar.call("POST", "/v1/reload")[1]["attempt"]
            assert attempt["configuration"] == "not applied"
            assert "broker is gone" in attempt["detail"]
            assert lets_in(sidecar, pki)
            sidecar.config_path.write_text(text)
            assert sidecar.call("POST", "/v1/reload")[0] == 200
