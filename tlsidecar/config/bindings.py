"""The addresses that a configuration wants to listen on, and which two of them cannot both be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from tlsidecar.config.addresses import collide
from tlsidecar.config.document import Document
from tlsidecar.config.judge import Finding, Part
from tlsidecar.config.places import metrics_socket
from tlsidecar.config.problems import Key, labelled, quoted
from tlsidecar.settings import Address


class _Wanted(NamedTuple):
    """``owner`` is who wants it, in words."""

    key: Key
    address: Address
    owner: str


def bindings(document: Document) -> Iterator[Finding]:
    """No two things may want the same address: the second bind would fail, or worse, steal."""
    for one, other in combinations(_wanted(document), 2):
        if collide(one.address, other.address):
            message = f"{quoted(str(other.address))} is taken by {one.owner}"
            yield Finding(other.key, message, "choose another address")


def _wanted(document: Document) -> Iterator[_Wanted]:
    """Of two that collide the later one is found wrong."""
    admin, metrics = document.admin, document.root.tables["metrics"]
    yield _Wanted((*admin.key, "socket"), _unix(document.admin_socket), "the admin socket")
    if (view_socket := admin.read("view_socket")) is not None:
        yield _Wanted((*admin.key, "view_socket"), _unix(view_socket), "the view socket")
    if (http := admin.read("http")) is not None:
        yield _Wanted((*admin.key, "http"), http, "admin.http")
    if (scraped := metrics.read("listen")) is not None:
        yield _Wanted((*metrics.key, "listen"), scraped, "metrics.listen")
        if "allow" in metrics:
            yield _Wanted((*metrics.key, "allow"), _unix(metrics_socket(document.admin_socket)), "metrics.allow")
    yield from _asked_at(document.identities)
    for listener in document.listeners:
        if (listen := listener.read("listen")) is not None:
            owner = f"listener {quoted(listener.read('name') or 'without name')}"
            yield _Wanted((*listener.key, "listen"), listen, owner)


def _asked_at(identities: Sequence[Part]) -> Iterator[_Wanted]:
    """Where a CA asks over HTTP. It is open only while something is ordered, so that a listener there would be in the
    way of the next renewal, months later. Identities that name one address share it."""
    addresses: set[Address] = set()
    for identity in identities:
        http = identity.tables["acme"].read("http")
        if http is not None and http not in addresses:
            addresses.add(http)
            key: Key = (*identity.key, "acme", "http")
            yield _Wanted(key, http, labelled(key, identity.read("name")))


def _unix(path: Path) -> Address:
    return Address(path=str(path))
