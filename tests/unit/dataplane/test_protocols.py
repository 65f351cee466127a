"""How many strangers may hold a connection of the service, where it is reached before the peer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.control.world import SETTINGS

from tlsidecar.dataplane.protocols import MOST_UNPROVED_SESSIONS, usual_handshakes


@pytest.mark.parametrize(
    ("starttls", "connections", "handshakes"),
    [
        ("", 4000, 1000),
        ("postgres", 4000, 1000),
        ("smtp", 4000, 1000),
        ("mysql", 4000, MOST_UNPROVED_SESSIONS),
        ("mysql", 40, 10),
        ("mysql", 1, 1),
    ],
)
def test_handshakes_at_once(starttls: str, connections: int, handshakes: int) -> None:
    listener = replace(SETTINGS.listeners[0], starttls=starttls)
    assert usual_handshakes(listener, connections) == handshakes
