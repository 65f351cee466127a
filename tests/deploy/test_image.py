"""The image, as far as it can be proved without a container engine: what it copies exists and is sent to the build, its
build commands make a working environment, and what they make serves as a stranger on a file system it cannot write.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE_USER = 65532
AS_STRANGER = f"setpriv --reuid {IMAGE_USER} --regid {IMAGE_USER} --clear-groups".split()

pytestmark = pytest.mark.xdist_group("image")


@dataclass
class Stage:
    """One FROM and what follows: keyword and argument of each instruction, with its continuation lines joined."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def arguments(self, keyword: str) -> list[str]:
        return [argument for found, argument in self.instructions if found == keyword]


def read_dockerfile() -> list[Stage]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = [Stage("", "")]
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        keyword, _, argument = line.partition(" ")
        if keyword == "FROM":
            base, _, name = argument.partition(" AS ")
            stages.append(Stage(base, name))
        elif keyword:
            stages[-1].instructions.append((keyword, argument.strip()))
    return stages


GLOBAL, BUILD, FINAL = read_dockerfile()


def context_sources() -> list[str]:
    """What is copied from the build context, not from another stage."""
    return [source for argument in BUILD.arguments("COPY") for source in argument.split()[:-1]]


def is_sent(path: Path) -> bool:
    """Whether .dockerignore lets a file into the build context: the last pattern that matches decides."""
    sent = True
    relative = path.relative_to(ROOT)
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!").strip("/")
        if not pattern or pattern.startswith("#"):
            continue
        within = [relative, *relative.parents][:-1]
        if any(_matches(pattern, str(part)) for part in within):
            sent = line.strip().startswith("!")
    return sent


def _matches(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return _matches(pattern[3:], path) or any(_matches(pattern[3:], path[at + 1 :]) for at in _slashes(path))
    return pattern.count("/") == path.count("/") and re.fullmatch(translate(pattern), path) is not None


def _slashes(path: str) -> list[int]:
    return [at for at, character in enumerate(path) if character == "/"]


def test_everything_that_is_copied_exists_and_is_sent() -> None:
    assert "." not in context_sources()
    for source in context_sources():
        path = ROOT / source
        assert path.exists(), source
        files = [path] if path.is_file() else list(path.rglob("*.py"))
        assert files
        assert [str(file) for file in files if not is_sent(file)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "tests/conftest.py",
        "pki/intermediate.key",
        "certs/tls.key",
        "tlsidecar/demo/ca.crt",
        "certs/__pycache__/clock.cpython-313.pyc",
        "tls.pem",
        "tlsidecar.toml",
    ],
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not is_sent(ROOT / path)


def test_the_image_runs_as_nobody_in_particular_and_gets_its_signals() -> None:
    assert FINAL.base == BUILD.base == "${PYTHON_IMAGE}", "the interpreter must be at the same place in both stages"
    assert GLOBAL.arguments("ARG") == ["PYTHON_IMAGE=python:3.13-slim"]
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", FINAL.arguments("USER")[-1])
    assert json.loads(FINAL.arguments("ENTRYPOINT")[0]) == ["tlsidecar"]
    assert json.loads(FINAL.arguments("CMD")[0]) == ["run"]
    assert FINAL.arguments("STOPSIGNAL") == ["SIGTERM"]
    health = FINAL.arguments("HEALTHCHECK")[0].partition(" CMD ")[2]
    assert json.loads(health) == ["tlsidecar", "health", "--live"]
    environment = " ".join(FINAL.arguments("ENV"))
    for variable in ("PYTHONSAFEPATH=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"):
        assert variable in environment
    assert FINAL.arguments("COPY") == ["--from=build /opt/tlsidecar /opt/tlsidecar"]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """What the build stage leaves behind, made by its own commands in a directory that stands for the root."""
    # Not below pytest's directory, which only its owner may enter: the image's user must get in.
    root = Path(tempfile.mkdtemp(prefix="tlsidecar-image-"))
    try:
        root.chmod(0o755)
        _build(root)
        yield root
    finally:
        shutil.rmtree(root)


def _build(root: Path) -> None:
    environment = {
        "PATH": f"{_interpreter().parent}:/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
    }
    arguments: dict[str, str] = {}
    directory = root
    for keyword, argument in BUILD.instructions:
        if keyword == "ENV":
            environment |= dict(pair.split("=", 1) for pair in argument.split() if not pair.startswith("PIP_NO_CACHE"))
        elif keyword == "ARG":
            name, _, default = argument.partition("=")
            arguments[name] = default
        elif keyword == "WORKDIR":
            directory = root / argument.lstrip("/")
            directory.mkdir(parents=True)
        elif keyword == "COPY":
            *sources, target = argument.split()
            for source in sources:
                _copy(ROOT / source, directory / target, into=target.endswith("/"))
        elif keyword == "RUN":
            command = argument.replace("/opt/", f"{root}/opt/")
            run = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=directory,
                env=environment | arguments,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
        else:
            raise AssertionError(f"the test does not know what {keyword} does")


def _interpreter() -> Path:
    """The Python that stands for the base image's: ours, or the system's where strangers may not run ours."""
    ours, systems = Path(sys.base_prefix, "bin/python3"), Path("/usr/bin/python3")
    return systems if not _stranger_may_run(ours) and _stranger_may_run(systems) else ours


def _stranger_may_run(python: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    new_enough = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    # Through a shell: what setpriv itself executes is still found with root's rights.
    command = [*AS_STRANGER, "sh", "-c", f"exec {python} -c '{new_enough}'"]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


def _copy(source: Path, target: Path, *, into: bool) -> None:
    place = target / source.name if into else target
    if source.is_dir():
        shutil.copytree(source, place, ignore=lambda at, names: [n for n in names if not is_sent(Path(at, n))])
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)


def run(image: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the image's environment with nothing of ours around it."""
    program = image / "opt/tlsidecar/bin" / command[0]
    return subprocess.run(
        [program, *command[1:]],
        cwd="/",
        env={"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_build_leaves_exactly_what_is_locked(image: Path) -> None:
    listing = (
        "import importlib.metadata as m; print(*sorted(d.name.lower().replace('_', '-') for d in m.distributions()))"
    )
    locked = re.findall(r"^([\w.-]+)==[^ ]+(?: ;[^\n]*)? \\$", (ROOT / "locks/image.txt").read_text(), re.MULTILINE)
    only_windows = {"colorama"}
    found = run(image, "python", "-c", listing)
    assert set(found.stdout.split()) == {name.lower() for name in locked} - only_windows | {"tlsidecar"}, found.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_there_is_no_toolkit_and_no_installer_in_it(image: Path) -> None:
    for module in ("textual", "rich", "pip", "setuptools", "pytest"):
        assert "ModuleNotFoundError" in run(image, "python", "-c", f"import {module}").stderr, module


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_bytecode_is_there_because_it_cannot_be_written_later(image: Path) -> None:
    (package,) = image.glob("opt/tlsidecar/lib/python3.*/site-packages/tlsidecar")
    sources = {file.stem for file in package.glob("*.py")}
    compiled = {file.name.partition(".")[0] for file in (package / "__pycache__").glob("*.pyc")}
    assert sources
    assert sources == compiled


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_commands_answer(image: Path) -> None:
    version = run(image, "tlsidecar", "--version")
    assert (version.returncode, "0.1.0" in version.stdout) == (0, True), version.stderr
    health = run(image, "tlsidecar", "health", "--live", TLSIDECAR_ADMIN_SOCKET="/nowhere/admin.sock")
    assert health.returncode == 3, health.stderr
    plain = run(image, "tlsidecar", "ui", "--once", "--socket", "/nowhere/admin.sock")
    assert plain.returncode == 3, plain.stderr
    assert "Traceback" not in plain.stderr


# In a mount namespace of its own: everything is read-only but a small /run, and the user is the image's, without any
# capability. `wait`, `health` and `status` are the image's own; the exit code is the daemon's.
_READ_ONLY_RUN = """
set -eu
mount -t tmpfs -o mode=0755 tmpfs /run
{prepare}
for place in / /tmp /var /var/tmp /dev/shm /home /root; do mount -o remount,ro,bind "$place" 2>/dev/null || true; done
if touch {etc}/written 2>/dev/null; then echo 'the file system can be written' >&2; exit 90; fi
exec {as_stranger} --bounding-set=-all --no-new-privs sh -c '
    tlsidecar run --config {etc}/tlsidecar.toml & daemon=$!
    tlsidecar wait --timeout 60s && tlsidecar health --live && tlsidecar health --ready && tlsidecar status --json
    echo "checks: $?" >&2
    kill -TERM $daemon; wait $daemon
'
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.needs("unshare", "setpriv")
@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param("install -d -m 0700 -o {user} -g {user} /run/tlsidecar", id="as the image has it"),
        pytest.param("chgrp {user} /run; chmod 2777 /run", id="as Kubernetes mounts an emptyDir"),
    ],
)
def test_it_serves_as_a_stranger_on_a_file_system_it_cannot_write(prepare: str, image: Path) -> None:
    _skip_unless_namespaces_are_allowed()
    etc = _configure(image)
    script = _READ_ONLY_RUN.format(as_stranger=" ".join(AS_STRANGER), etc=etc, prepare=prepare.format(user=IMAGE_USER))
    served = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={
            "PATH": f"{image}/opt/tlsidecar/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert served.returncode == 0, served.stderr
    assert "checks: 0" in served.stderr, served.stderr
    assert "Traceback" not in served.stderr
    status = json.loads(served.stdout[served.stdout.index("{") :])
    assert (status["state"], status["generation"]) == ("ready", 1)


def _configure(image: Path) -> Path:
    """A CA, a certificate and a configuration, made by the image's own commands, once."""
    etc = image / "etc"
    if etc.exists():
        return etc
    for command in (
        ("certs", "init", f"{image}/pki", "--name", "Image test CA"),
        ("certs", "issue", f"{image}/pki", "--out", f"{etc}/identity", "--dns", "web.internal", "--both"),
    ):
        made = run(image, "tlsidecar", *command)
        assert made.returncode == 0, made.stderr
    (etc / "tlsidecar.toml").write_text(
        '[identity]\ncert = "identity/tls.crt"\nkey = "identity/tls.key"\ntrust = "identity/ca.crt"\n'
        '[[listener]]\nname = "web"\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:9"\nallow = ["any"]\n'
    )
    _give_away(etc)
    return etc


def _skip_unless_namespaces_are_allowed() -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not allow mount namespaces")
    if not _stranger_may_run(_interpreter()):
        pytest.skip("there is no Python 3.11 here that another user may run")


def _give_away(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        os.chown(path, IMAGE_USER, IMAGE_USER, follow_symlinks=False)
