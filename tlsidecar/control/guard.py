"""The controller's own loops, kept running through defects of ours.

Whatever goes wrong in one of them costs that turn and nothing else: it is logged with its traceback, stands among the
problems under the loop's name, and the loop begins again. Serving, reloading and the admin socket go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from certs.clock import Clock
from tlsidecar.lazy_dataclass import dataclass

RESTART_AFTER_S = 1.0
# A loop that has run for so long since its last defect is well again.
WELL_AFTER_S = 60.0

_log = logging.getLogger("tlsidecar.control.guard")


@dataclass(slots=True)
class Defect:
    """What went wrong in one task: the newest error in words, the first time, how often, and when last
    (monotonic seconds)."""

    error: str
    since: datetime
    count: int
    last_at: float


class Guard:
    """Keeps loops running and remembers what ended them."""

    def __init__(self, clock: Clock, restart_after_s: float = RESTART_AFTER_S) -> None:
        self._clock = clock
        self._restart_after_s = restart_after_s
        self._defects: dict[str, Defect] = {}

    def __repr__(self) -> str:
        return f"<Guard {list(self._defects)}>"

    async def keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run ``loop``, which never returns by itself, again whenever it fails."""
        while True:
            try:
                await loop()
            except Exception as error:
                self.failed(name, error)
            await asyncio.sleep(self._restart_after_s)

    def failed(self, name: str, error: Exception) -> None:
        """A defect showed itself in ``name``. Called where ``error`` is being handled."""
        now = self._clock.now()
        text = f"{type(error).__name__}: {error}"
        defect = self._defects.get(name)
        if defect is None:
            defect = self._defects[name] = Defect(text, now, 0, 0.0)
        if defect.count == 0 or defect.error != text:
            _log.exception("a defect in the sidecar: %s goes on without it", name)
        defect.error = text
        defect.count += 1
        defect.last_at = self._clock.monotonic()

    def defects(self) -> Mapping[str, Defect]:
        """By the name of what failed; without those that have been well for a while."""
        horizon = self._clock.monotonic() - WELL_AFTER_S
        self._defects = {name: defect for name, defect in self._defects.items() if defect.last_at >= horizon}
        return self._defects
