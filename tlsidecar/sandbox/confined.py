"""The sandbox of one process as the daemon holds it: how much of it holds, and the broker that stands outside."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from certs import safe_files
from tlsidecar.config import Recipe
from tlsidecar.dataplane.outbound.network import Connector
from tlsidecar.sandbox.broker import Broker
from tlsidecar.sandbox.enter import enter
from tlsidecar.sandbox.level import Level, level_of
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from certs.program import Run

_log = logging.getLogger("tlsidecar.sandbox")


class Confined:
    """Without a broker nothing is held, and everything is done by the process itself."""

    def __init__(self, level: Level, broker: Broker | None = None) -> None:
        self.level = level
        self._broker = broker

    def __repr__(self) -> str:
        return f"<Confined {self.level}>"

    @property
    def run(self) -> Run | None:
        """Runs the program that issues our material."""
        return None if self._broker is None else self._broker.run

    @property
    def connector(self) -> Connector | None:
        """Connects where we may not."""
        return None if self._broker is None else self._broker.connect

    @property
    def descriptor(self) -> int:
        """By which workers ask the broker; -1 without one."""
        return -1 if self._broker is None else self._broker.fileno()

    def log(self) -> None:
        """Say how much holds; as soon as there is a log."""
        level = self.level
        if level.holds:
            _log.info("sandboxed", extra={"fields": {"abi": level.abi, "covers": list(level.covers)}})
        elif level.mode == "auto":
            _log.warning("there is no sandbox: %s", level.reason)

    def close(self) -> None:
        if self._broker is not None:
            safe_files.use_opener(None)
            self._broker.close()


def confined(settings: Settings, recipe: Recipe) -> Confined:
    """Enter the sandbox that the settings ask for, as far as it can be had, with a broker outside of it. Call it before
    there is a thread. Raises :class:`.level.SandboxError`."""
    level = level_of(settings)
    if not level.holds:
        return Confined(level)
    broker = Broker.start(settings, recipe)
    try:
        level = enter(settings)
    except BaseException:
        broker.close()
        raise
    if not level.holds:
        broker.close()
        return Confined(level)
    safe_files.use_opener(broker.open)
    return Confined(level, broker)
