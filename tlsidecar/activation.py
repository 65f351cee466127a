"""Listening sockets that somebody else has opened for us (sd_listen_fds(3)): a socket unit, or a sidecar before us for
which its service manager kept them. What cannot be used is closed and named; its address is then bound as if it had
not come.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from dataclasses import field

from tlsidecar.dataplane.bind import HeldSocket
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import Address, ListenerSettings

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
MOST_DESCRIPTORS = 1024


@dataclass(slots=True)
class Handed:
    """What came, each with its name (empty where none was given)."""

    descriptors: list[tuple[str, int]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Handed:
        """What ``LISTEN_FDS`` says, if it is meant for this process; the variables are taken out."""
        count, names, pid = (environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"))
        handed = cls()
        if not count:
            return handed
        if not (count.isdecimal() and int(count) <= MOST_DESCRIPTORS and pid.isdecimal()):
            handed.complaints.append(f"LISTEN_FDS={count!a} with LISTEN_PID={pid!a} is not understood: ignored")
            return handed
        if int(pid) != os.getpid():
            return handed  # somebody's before us, who passed the environment on
        given = names.split(":") if names else []
        for place in range(int(count)):
            handed.descriptors.append((given[place] if place < len(given) else "", FIRST_DESCRIPTOR + place))
        return handed

    def sockets(self, listeners: Iterable[ListenerSettings]) -> dict[str, list[socket.socket]]:
        """The sockets of each listener that has some: by its name, else by its address. The rest is closed, and named
        in ``complaints``."""
        listeners = list(listeners)
        found: dict[str, list[socket.socket]] = {}
        for name, descriptor in self.descriptors:
            shown = f"descriptor {descriptor}" + (f" ({name!a})" if name else "")
            obstacle = _obstacle(descriptor)
            if obstacle:
                self.complaints.append(f"{shown}, handed over to listen on, {obstacle}: it is not used")
                continue
            sock = HeldSocket(fileno=descriptor)
            sock.setblocking(False)
            sock.set_inheritable(False)
            owner = _owner(name, sock, listeners)
            if owner is None:
                self.complaints.append(f"{shown}, handed over to listen on, is of no listener: closed")
                sock.close()
                continue
            found.setdefault(owner, []).append(sock)
        self.descriptors = []
        return found


def _obstacle(descriptor: int) -> str:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return "is no socket"
    except OSError:
        return "is not open"
    sock = socket.socket(fileno=os.dup(descriptor))
    with sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            return "is of another family than IPv4, IPv6 and Unix"
        if sock.type != socket.SOCK_STREAM:
            return "is no stream socket"
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "does not listen"
    return ""


def _owner(name: str, sock: socket.socket, listeners: list[ListenerSettings]) -> str | None:
    for listener in listeners:
        if listener.name == name:
            return name
    bound = sock.getsockname()
    address = Address(path=bound) if sock.family == socket.AF_UNIX else Address(host=bound[0], port=bound[1])
    return next((listener.name for listener in listeners if listener.listen == address), None)
