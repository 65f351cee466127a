"""What the run is made on: which cores carry what, how many descriptors there are, and which versions took part."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# A connection under load takes two descriptors in a proxy and two in the load's own proxy; some are for themselves.
_DESCRIPTORS_PER_CONNECTION = 2
_DESCRIPTORS_TO_SPARE = 500


class Unsuitable(Exception):
    """This machine cannot run the benchmark; the message says what is missing."""


@dataclass(frozen=True)
class Cores:
    """The proxies share one core; the load and the service behind the proxies have the others."""

    proxy: tuple[int, ...]
    load: tuple[int, ...]


def share_cores() -> Cores:
    """Raises :class:`Unsuitable` with fewer than two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Unsuitable("the benchmark needs two cores: one for the proxies, one for their load")
    return Cores((cores[0],), tuple(cores[1:]))


def raise_descriptor_limit() -> int:
    """Take all descriptors we may have; what we start inherits them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def most_connections(wanted: int, descriptors: int) -> int:
    return min(wanted, max(50, (descriptors - _DESCRIPTORS_TO_SPARE) // _DESCRIPTORS_PER_CONNECTION))


def describe() -> dict[str, object]:
    """For the head of the report."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl_of_tlsidecar": _openssl(),
    }


def versions(programs: dict[str, list[str]]) -> dict[str, str]:
    """The version each program tells, for those that are here."""
    found = {}
    for name, command in programs.items():
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        said = done.stdout + done.stderr
        match = re.search(r"\d+\.\d+\.\d+", said) or re.search(r"\d+\.\d+", said)
        found[name] = match[0] if match else "unknown"
    return found


def commit(directory: Path) -> str:
    """The commit that is measured, marked when the checkout differs from it."""
    git = ["git", "-C", str(directory)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    packages = ["tlsidecar", "certs", "tui"]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *packages], check=False).returncode != 0
    return head.stdout.strip() + (" with changes" if changed else "")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _openssl() -> str:
    from cryptography.hazmat.backends.openssl import backend

    return str(backend.openssl_version_text())
