"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tlsidecar.dataplane.reactor import FusedEventLoop
from tlsidecar.extras import install_line


class EventLoopMissing(Exception):
    """The configured loop is not installed; the text says how to get it."""


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """``auto`` is the stock loop with the data plane fused into its selector, which measures as fast as uvloop here.

    Raises :class:`EventLoopMissing`.
    """
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            raise EventLoopMissing(f'event_loop = "uvloop" needs a package: {install_line("fast")}') from None
        return uvloop.new_event_loop
    return FusedEventLoop
