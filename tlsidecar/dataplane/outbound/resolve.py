"""Upstream host names to socket addresses, off the data path: a name is looked up when it is first dialled and again
when the answer is older than its time to live; a failing resolver leaves the last good answer in use."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, NamedTuple

from tlsidecar.dataplane.addresses import ready_to_look_up
from tlsidecar.settings import Address

# getaddrinfo tells no time to live; this keeps a moved name from being missed for long and costs one lookup in it.
ANSWER_LIFETIME_S = 10.0


class Target(NamedTuple):
    """One address to connect to."""

    family: int
    address: Any


Resolved = Callable[[tuple[Target, ...], str], None]


@lru_cache(maxsize=256)
def literal_targets(address: Address) -> tuple[Target, ...]:
    """The targets of an address that needs no lookup; empty for a DNS name. ``localhost`` never leaves the machine
    (RFC 6761 section 6.3)."""
    if address.is_unix:
        return (Target(socket.AF_UNIX, address.path),)
    if address.host.rstrip(".").lower() == "localhost":
        return (
            Target(socket.AF_INET, ("127.0.0.1", address.port)),
            Target(socket.AF_INET6, ("::1", address.port)),
        )
    try:
        version = ip_address(address.host.partition("%")[0]).version
    except ValueError:
        return ()
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return (Target(family, (address.host, address.port)),)


class Resolver:
    """Looks names up in the loop's thread pool; one lookup at a time for each name."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: dict[tuple[str, int], tuple[float, tuple[Target, ...]]] = {}
        self._waiting: dict[tuple[str, int], list[Resolved]] = {}
        self._lookups: dict[tuple[str, int], asyncio.Future[Any]] = {}

    def resolve(self, address: Address, resolved: Resolved) -> None:
        """Call ``resolved(targets, detail)``: at once when the answer is known, else later. No targets: ``detail``
        says why."""
        literal = literal_targets(address)
        if literal:
            resolved(literal, "")
            return
        key = (address.host, address.port)
        known = self._answers.get(key)
        if known is not None:
            answered_at, targets = known
            if self._loop.time() - answered_at > ANSWER_LIFETIME_S:
                self._look_up(key)
            resolved(targets, "")
            return
        self._waiting.setdefault(key, []).append(resolved)
        self._look_up(key)

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()
        self._waiting.clear()

    def _look_up(self, key: tuple[str, int]) -> None:
        if key in self._lookups:
            return
        host, port = key
        question = partial(socket.getaddrinfo, ready_to_look_up(host), port, type=socket.SOCK_STREAM)
        try:
            lookup = self._lookups[key] = self._loop.run_in_executor(None, question)
        except RuntimeError as error:
            # Too many processes, or no memory for a thread: the next one who asks may have it.
            for resolved in self._waiting.pop(key, []):
                resolved((), str(error))
            return
        lookup.add_done_callback(partial(self._answered, key))

    def _answered(self, key: tuple[str, int], lookup: asyncio.Future[Any]) -> None:
        del self._lookups[key]
        if lookup.cancelled():
            return
        waiting = self._waiting.pop(key, [])
        error = lookup.exception()
        if error is not None:
            for resolved in waiting:
                resolved((), str(error))
            return
        targets = tuple(dict.fromkeys(Target(family, address) for family, _, _, _, address in lookup.result()))
        self._answers[key] = (self._loop.time(), targets)
        for resolved in waiting:
            resolved(targets, "")
