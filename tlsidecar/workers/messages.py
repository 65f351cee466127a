"""What the controller and a worker's process say to each other; see tlsidecar.workers.handle for what it means.

The controller asks START and APPLY first, in that order, APPLY then with the material of each identity. Material is
the only thing that is not JSON: it holds the key, goes down only, and is never anywhere but in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from certs.errors import MaterialError
from certs.material import Material
from tlsidecar.dataplane.denials import Denial
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import Settings
from tlsidecar.workers.wire import WireError

START = "start"  # Start -> nothing, once it accepts
APPLY = "apply"  # generations -> nothing, once new connections get them
PRESENT = "present"  # the challenges of an ACME CA, all of them -> True, once they are answered
CONFIGURE = "configure"  # settings, and the generation of each identity -> PolicyChanges, once new connections get all
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

_GENERATION = struct.Struct(">QII")  # its number, and how many bytes the identity's name and the material have
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


class Numbered(NamedTuple):
    """The material of one identity, as a numbered generation."""

    identity: str
    generation: int
    material: Material


def packed_material(generations: Iterable[Numbered]) -> bytes:
    """With the private keys: for the socketpair and for nothing else."""
    parts: list[bytes] = []
    for identity, number, material in generations:
        name, whole = identity.encode(), material.to_bytes()
        parts += [_GENERATION.pack(number, len(name), len(whole)), name, whole]
    return b"".join(parts)


def unpacked_material(body: bytes) -> tuple[Numbered, ...]:
    """Raises :class:`WireError`."""
    found: list[Numbered] = []
    at = 0
    try:
        while at < len(body):
            number, name_bytes, material_bytes = _GENERATION.unpack_from(body, at)
            at += _GENERATION.size
            name, whole = body[at : at + name_bytes], body[at + name_bytes : at + name_bytes + material_bytes]
            at += name_bytes + material_bytes
            found.append(Numbered(name.decode(), number, Material.from_bytes(whole)))
    except (struct.error, UnicodeDecodeError, MaterialError):
        raise WireError("not material") from None
    return tuple(found)


def packed_configuration(settings: bytes, generations: Iterable[Numbered]) -> bytes:
    """``settings`` are packed already. With the private keys, as :func:`packed_material`."""
    return _LENGTH.pack(len(settings)) + settings + packed_material(generations)


def unpacked_configuration(body: bytes) -> tuple[bytes, tuple[Numbered, ...]]:
    """Raises :class:`WireError`."""
    try:
        (length,) = _LENGTH.unpack_from(body)
    except struct.error:
        raise WireError("not a configuration") from None
    end = _LENGTH.size + length
    return body[_LENGTH.size : end], unpacked_material(body[end:])
