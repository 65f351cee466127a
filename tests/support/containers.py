"""The image, built from our own Dockerfile and run by Debian's container tools, as root, in a storage of its own.

The base is made of Debian's packages (its Python, not the pinned image's), so that no registry of images is needed.
Packages come from where the host's pip and apt get theirs.
"""

from __future__ import annotations

import configparser
import contextlib
import gzip
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE = "localhost/python:3.13-slim"
IMAGE = "localhost/tlsidecar:test"
USER = 65532
TOOLS = ("mmdebstrap", "buildah", "podman", "runc")

# As it is meant to run. runc: the other runtime of Debian refuses the first version of control groups.
RUN_OPTIONS = (
    *("--runtime", "runc", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096", "--network", "host"),
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "128m"),
)
_BUILD_S = 400
_COMMAND_S = 60


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Engine:
    """Images and containers below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._storage = ["--root", f"{directory}/storage", "--runroot", f"{directory}/run", "--storage-driver", "vfs"]

    def podman(self, *arguments: str, code: int | None = 0, timeout: float = _COMMAND_S) -> Done:
        """``code`` is the exit code to insist on; None takes any."""
        return _done([*self.command(), *arguments], code, timeout)

    def command(self) -> list[str]:
        """What begins each command with these images and containers."""
        return ["podman", *self._storage, "--cgroup-manager", "cgroupfs"]

    def build(self) -> None:
        """The base, then our Dockerfile on it. The OCI format would drop HEALTHCHECK."""
        base = self.directory / "base.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        _done(["mmdebstrap", "--quiet", "--variant=minbase", packages, "trixie", str(base)], 0, _BUILD_S)
        container = self._buildah("from", "scratch").out.strip()
        self._buildah("add", "--quiet", container, str(base), "/")
        self._buildah("commit", "--quiet", "--format", "docker", "--rm", container, BASE)
        base.unlink()
        build = ["bud", "--isolation", "chroot", "--network", "host", "--format", "docker", *self._host_network()]
        self._buildah(*build, "--build-arg", f"PYTHON_IMAGE={BASE}", "--tag", IMAGE, str(ROOT))

    def _buildah(self, *arguments: str) -> Done:
        return _done(["buildah", *self._storage, *arguments], 0, _BUILD_S)

    def _host_network(self) -> list[str]:
        """What the host trusts and where its pip looks, for the build alone: none of it stays in the image."""
        mounts = []
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
        if bundle.exists():
            mounts += ["--volume", f"{bundle}:{bundle}:ro"]
        asked = subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
        pip = configparser.ConfigParser(interpolation=None)
        pip["global"] = {}
        for line in asked.stdout.splitlines():
            name, _, value = line.partition("=")
            option, address = name.rpartition(".")[2], value.strip("'")
            if option in ("index-url", "trusted-host", "proxy") and not address.startswith("file:"):
                pip["global"][option] = address
        if pip["global"]:
            settings = self.directory / "pip.conf"
            with settings.open("w") as file:
                pip.write(file)
            mounts += ["--volume", f"{settings}:/etc/pip.conf:ro"]
        return mounts

    def compressed_bytes_beyond_base(self) -> int:
        """What a registry would send to somebody who has the base: the other layers, compressed."""
        archive = self.directory / "image.tar"
        self.podman("save", "--quiet", "--output", str(archive), IMAGE)
        base_layers = json.loads(self.podman("image", "inspect", BASE).out)[0]["RootFS"]["Layers"]
        with tarfile.open(archive) as image:
            (manifest,) = json.load(image.extractfile("manifest.json"))  # type: ignore[arg-type] # a file
            sizes = []
            for layer in manifest["Layers"][len(base_layers) :]:
                content = image.extractfile(layer)
                assert content is not None
                sizes.append(len(gzip.compress(content.read(), 6)))
        archive.unlink()
        return sum(sizes)

    @contextlib.contextmanager
    def running(self, name: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
        self.podman("run", "--detach", "--name", name, *RUN_OPTIONS, *options, IMAGE, *command)
        try:
            yield Container(self, name)
        finally:
            self.podman("rm", "--force", "--time", "1", name, code=None)

    def remove(self) -> None:
        self.podman("system", "reset", "--force", code=None)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class Container:
    engine: Engine
    name: str

    def exec(self, *command: str, code: int | None = 0) -> Done:
        return self.engine.podman("exec", self.name, *command, code=code)

    def state(self) -> dict[str, Any]:
        (inspected,) = json.loads(self.engine.podman("inspect", self.name).out)
        found = inspected["State"]
        assert isinstance(found, dict)
        return found

    @property
    def log(self) -> str:
        done = self.engine.podman("logs", self.name)
        return done.out + done.err


def obstacle() -> str:
    """Why no image can be built here; empty when nothing is in the way."""
    if os.geteuid() != 0:
        return "containers are built and run as root here"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"Debian's {', '.join(missing)} is missing" if missing else ""


def give_away(directory: Path) -> None:
    """To the image's user."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)


def _done(command: list[str], code: int | None, timeout: float) -> Done:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert code is None or done.returncode == code, (
        f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return Done(done.returncode, done.stdout, done.stderr)
