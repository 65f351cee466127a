"""A peer's address as the kernel tells it, in the one form in which it is written everywhere; and a host's name as the
resolver takes it.

A socket that listens on ``[::]`` sees its IPv4 clients under IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2):
they are IPv4 clients all the same, and are called so in the log, in headers, to the service and in the admin API.
"""

from __future__ import annotations

import socket
from typing import Any

_MAPPED = "::ffff:"
UNIX_PEER = "unix"


def unmapped(host: str) -> str:
    """The IPv4 address in an IPv4-mapped one, in the kernel's dotted form; any other stays as it is."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def peer_address(family: int, name: Any) -> str:
    """``host:port`` with brackets round IPv6, or ``unix``, of the address that accept(2) gives."""
    if family == socket.AF_INET:
        host, port = name
        return f"{host}:{port}"
    if family == socket.AF_INET6:
        host = unmapped(name[0])
        return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"
    return UNIX_PEER


def ready_to_look_up(host: str) -> str | bytes:
    """A host's name as getaddrinfo takes it: of text Python makes the international form (IDNA), for which it loads
    Unicode's tables, also where there is nothing to do."""
    return host.encode("ascii") if host.isascii() else host
