"""Variants of ours, which take their turns beside the plain one: what the two differ in is read off the same rounds."""

from __future__ import annotations

# Behind the name of the one that they are variants of.
TWO_WORKERS = " 2 workers"
WITHOUT_LOG = " without a log"
OVER_TCP = " over TCP"  # as bytes, what the others take for HTTP
RELOADING = " reloading"

ALL = (TWO_WORKERS, WITHOUT_LOG, OVER_TCP, RELOADING)


def is_variant(name: str) -> bool:
    return name.endswith(ALL)
