"""Flow-control windows (RFC 9113 section 6.9): they are the ends' own to keep, and here is what neither may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import flow_control


def overgrown(window: int) -> bool:
    """Whether a window is larger than there may be one (RFC 9113 section 6.9.1)."""
    return window > frames.MAX_WINDOW


def initial_window(payload: bytes, initial: int, rooms: Callable[[], Iterable[int]]) -> int:
    """What a side's SETTINGS leave of its ``initial`` window; ``rooms`` tells by how much those of its open streams are
    larger, and is asked only where the window grows. Raises :class:`.ConnectionFault` where one of them grows too large
    by it (RFC 9113 section 6.9.2)."""
    for setting, value in frames.settings_in(payload):
        if setting == frames.INITIAL_WINDOW_SIZE:
            if value > initial and any(overgrown(value + room) for room in rooms()):
                raise flow_control("an initial window that makes a stream's too large")
            initial = value
    return initial
