"""What the controller and a worker's process say to each other; see tlsidecar.workers.handle for what it means.

The controller asks START and APPLY first, in that order. Material is the only thing that is not JSON: it holds the key,
goes down only, and is never anywhere but in memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from certs.errors import MaterialError
from certs.material import Material
from tlsidecar.dataplane.denials import Denial
from tlsidecar.settings import Settings
from tlsidecar.workers.wire import WireError

START = "start"  # Start -> nothing, once it accepts
APPLY = "apply"  # generation and material -> nothing, once new connections get it
PRESENT = "present"  # the challenges of an ACME CA, all of them -> True, once they are answered
CONFIGURE = "configure"  # settings, generation and material -> the PolicyChanges, once new connections get all three
SNAPSHOT = "snapshot"  # nothing -> WorkerSnapshot
CONNECTIONS = "connections"  # ConnectionQuery -> ConnectionPage
CONNECTION_KEYS = "connection_keys"  # ConnectionQuery -> ConnectionKeys
CONNECTION_GROUPS = "connection_groups"  # GroupQuery -> GroupPage
CONNECTION = "connection"  # id -> ConnectionDetail or None
CLOSE_CONNECTION = "close_connection"  # id -> whether there was one
STOP_ACCEPTING = "stop_accepting"  # nothing -> True
DRAIN = "drain"  # whether only what is inbound -> how many connections there were
DRAINED = "drained"  # the same -> nothing, once the last of these connections is gone
DENY = "deny"  # the Denials, all of them -> True, once they are kept out
COUNT = "count"  # ConnectionSelection -> how many are meant
END = "end"  # ConnectionSelection, Reason and whether gently -> how many there were
CLOSE_ALL = "close_all"  # Reason -> how many there were
LOG_LEVEL = "log_level"  # the level; not answered
REOPEN_LOG = "reopen_log"  # nothing; not answered
STOP = "stop"  # nothing; the process ends

ANNOUNCED = "announced"  # from the worker: what happened, as a list of (one of the kinds below, its value)
LOST = "lost"  # from the worker: how many announcements were dropped because nobody took them
OPENED, CLOSED, REFUSED, FAILED, UPSTREAM = "opened", "closed", "refused", "failed", "upstream"

_GENERATION = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker needs to know besides its material. ``sockets`` is how many of the descriptors that follow are of
    each listener, in the order of the settings."""

    settings: Settings
    number: int
    workers: int
    sockets: tuple[int, ...]
    held: bool  # somebody else holds these sockets, too: dataplane.bind.HeldSocket
    log_level: str
    denials: tuple[Denial, ...] = ()


def packed_material(generation: int, material: Material) -> bytes:
    """With the private key: for the socketpair and for nothing else."""
    return _GENERATION.pack(generation) + material.to_bytes()


def unpacked_material(body: bytes) -> tuple[int, Material]:
    """Raises :class:`WireError`."""
    try:
        (generation,) = _GENERATION.unpack_from(body)
        return generation, Material.from_bytes(body[_GENERATION.size :])
    except (struct.error, MaterialError):
        raise WireError("not material") from None


def packed_configuration(settings: bytes, generation: int, material: Material) -> bytes:
    """``settings`` are packed already. With the private key, as :func:`packed_material`."""
    return _LENGTH.pack(len(settings)) + settings + packed_material(generation, material)


def unpacked_configuration(body: bytes) -> tuple[bytes, tuple[int, Material]]:
    """Raises :class:`WireError`."""
    try:
        (length,) = _LENGTH.unpack_from(body)
    except struct.error:
        raise WireError("not a configuration") from None
    end = _LENGTH.size + length
    return body[_LENGTH.size : end], unpacked_material(body[end:])
