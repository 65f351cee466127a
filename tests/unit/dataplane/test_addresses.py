"""One form for a peer's address, whatever kind of socket accepted it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tlsidecar.dataplane.addresses import peer_address, unmapped


@pytest.mark.parametrize(
    ("family", "name", "written"),
    [
        (socket.AF_INET, ("192.0.2.1", 80), "192.0.2.1:80"),
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80"),
        (socket.AF_INET6, ("fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
        (socket.AF_INET6, ("::ffff:192.0.2.1", 80, 0, 0), "192.0.2.1:80"),
        (socket.AF_INET6, ("::1", 80, 0, 0), "[::1]:80"),
        (socket.AF_UNIX, "", "unix"),
        (socket.AF_UNIX, b"\x00abstract", "unix"),
    ],
)
def test_as_it_is_written(family: int, name: Any, written: str) -> None:
    assert peer_address(family, name) == written


def test_what_only_looks_mapped_stays() -> None:
    assert unmapped("::ffff:0:1") == "::ffff:0:1"
    assert unmapped("64:ff9b::192.0.2.1") == "64:ff9b::192.0.2.1"
