"""Who may do what on which admin socket."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection
from enum import IntEnum

from tlsidecar.observe.audit import Caller

_UCRED = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)
_SO_PEERGROUPS = 59  # Linux 4.13; the socket module does not name it
_GROUPS_BYTES = 1024  # the most that Python's getsockopt reads: 256 groups


class Access(IntEnum):
    """What an entrance allows; each level includes the ones before it."""

    PROBE = 1  # health, readiness, metrics
    VIEW = 2  # everything that only reads
    CONTROL = 3


def caller_of(connection: socket.socket) -> Caller:
    """The process that connected, as it was at that moment; nobody known over TCP."""
    if connection.family != socket.AF_UNIX:
        return Caller()
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Caller(uid=uid, gid=gid, pid=pid)


def groups_of(connection: socket.socket) -> Collection[int]:
    """The supplementary groups of the process that connected; none where the kernel does not tell, or has too many."""
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(packed) // 4}I", packed)


def may_enter(caller: Caller, groups: Collection[int], group_id: int | None) -> bool:
    """Our own uid and root may, and members of the group that the socket was made for. The file's permissions say the
    same; this holds where they were changed, or where a descriptor was handed on."""
    if caller.uid in (0, os.geteuid()):
        return True
    return group_id is not None and (caller.gid == group_id or group_id in groups)
