"""Ports for programs that cannot be told to choose one and to say which."""

from __future__ import annotations

import random
import socket
from pathlib import Path

# Below what the kernel gives to whoever asks for any port, to clients above all: of those, one that was free a moment
# ago is taken by the next connection of a test beside this one.
_LOWEST, _KERNELS = 10_000, Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 1000


def free_ports(count: int, *kinds: socket.SocketKind) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, of these kinds or else of TCP, all different."""
    highest = int(_KERNELS.read_text().split()[0]) - 1
    chance = random.SystemRandom()
    found: list[int] = []
    for _ in range(_TRIES):
        port = chance.randint(min(_LOWEST, highest), highest)
        if port not in found and all(_is_free(port, kind) for kind in kinds or (socket.SOCK_STREAM,)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports below {highest}")


def free_port() -> int:
    return free_ports(1)[0]


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
